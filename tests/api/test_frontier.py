"""The frontier of cycles, RAM and flash: each point compiles under its own budgets, to the byte, and is bit-exact.

`UTVM_SWEEP=1` sweeps all points that `utvm plan --pareto` prints, of the example and of MLPerf Tiny's networks.
"""

import json
import os
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.shared import shared
from utvm import api
from utvm.boards import Board
from utvm.cli import main
from utvm.frontends import load
from utvm.graph import Graph
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.kernels import FAMILIES
from utvm.lowering import Options, lower
from utvm.passes import run_passes
from utvm.plan_frontier import frontier
from utvm.report import PlanPoint

SWEEP = bool(os.environ.get("UTVM_SWEEP"))
NETWORKS = ("ic_resnet8", "ad_autoencoder", "kws_dscnn", "sww_conv1d", "vww_mobilenetv1_025_96")
BOARD = "qemu-cortex-m7"
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"


@pytest.mark.parametrize("name", (*NETWORKS, "example") if SWEEP else NETWORKS[:1])
def test_each_point_fits_its_own_budgets_to_the_byte_and_is_exact(name: str) -> None:
    path = EXAMPLE if name == "example" else shared(f"models/mlperf_tiny/{name}_int8.tflite")
    started = time.perf_counter()
    report = frontier(path, BOARD) if SWEEP else frontier(path, BOARD, points=4)
    assert len(report.points) >= (2 if name == NETWORKS[0] else 1)
    graph = load(path)
    inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
    wanted = evaluate(graph, inputs)
    board = api.as_board(BOARD)
    with api.connect(board) as session:
        for point in report.points:
            own = _by_its_kernels(graph, board, point)
            assert (own.program.arena_bytes, own.image.flash_bytes) == (point.arena_bytes, point.flash_bytes)
            fitting = api.compile(graph, board, ram=point.arena_bytes, flash=point.flash_bytes)
            assert fitting.program.arena_bytes <= point.arena_bytes
            assert fitting.image.flash_bytes <= point.flash_bytes
            for compiled in (own, fitting):
                outputs = api.Model(session, compiled).run(inputs).outputs
                for tensor in graph.outputs:
                    assert (outputs[tensor.name] == wanted[tensor.name]).all()
    print(f"{name}: {len(report.points)} points, {time.perf_counter() - started:.0f} s")


def _by_its_kernels(graph: Graph, board: Board, point: PlanPoint) -> api.Compiled:
    families = {
        (op.name, f.name): f for op in run_passes(graph).operators for f in FAMILIES if f.applies(op, board.core)
    }
    choices = {name: (families[name, family], config) for name, family, config in point.kernels}
    program = lower(run_passes(graph), board.core, Options(choices=choices))
    files = program.render()
    return api.Compiled(
        board=board, program=program, files=files, image=api.build_program(board, program, files), seconds={}
    )


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "frontier.svg"
    command = ["plan", str(EXAMPLE), "--board", "qemu-cortex-m7"]
    assert main([*command, "--pareto", "--points", "3", "--svg", str(picture)]) == 0
    assert "--ram" in capsys.readouterr().out
    circles = ElementTree.fromstring(picture.read_text()).findall("{http://www.w3.org/2000/svg}circle")
    assert main([*command, "--pareto", "--points", "3", "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["points"]
    assert len(circles) == len(points) >= 1
    assert [p["cycles"] for p in points] == sorted(p["cycles"] for p in points)
    assert main([*command, "--svg", str(picture)]) == 0
    assert "scratch" in capsys.readouterr().out
