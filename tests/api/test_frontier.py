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
from utvm.cli import main
from utvm.frontends import load
from utvm.frontier import frontier
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input

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
    alike = 0
    with api.connect(BOARD) as session:
        for point in report.points:
            compiled = api.compile(graph, BOARD, ram=point.arena_bytes, flash=point.flash_bytes)
            chosen = tuple((c.op.name, c.kernel.family, dict(c.kernel.config)) for c in compiled.program.calls)
            assert compiled.program.arena_bytes <= point.arena_bytes
            assert compiled.image.flash_bytes <= point.flash_bytes
            if chosen == point.kernels:
                alike += 1
                held = compiled.program.arena_bytes, compiled.image.flash_bytes
                assert held == (point.arena_bytes, point.flash_bytes)
            outputs = api.Model(session, compiled).run(inputs).outputs
            for tensor in graph.outputs:
                assert (outputs[tensor.name] == wanted[tensor.name]).all()
    assert alike
    print(f"{name}: {len(report.points)} points, {alike} by the same kernels, {time.perf_counter() - started:.0f} s")


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
