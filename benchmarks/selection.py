"""How near the default choice of each layer is to the best of all families and configs, on an emulated board.

    python benchmarks/selection.py --board BOARD [--assume PART] [--kinds Conv2D,FullyConnected] MODEL ...

Builds and runs every legal config of every family for every distinct operator with weights; minutes for each network.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

from utvm import api
from utvm.boards import Board
from utvm.codegen import RUN_SYMBOL
from utvm.device import build_image
from utvm.frontends import load
from utvm.graph import Graph, Operator
from utvm.graph.cost import macs_of
from utvm.kernels import FAMILIES, KernelFamily, workload
from utvm.kernels.base import Config
from utvm.lowering import LoweringError, Options, lower
from utvm.passes import run_passes
from utvm.toolchain import Image


def main() -> None:
    """Print one line a layer: cycles of the default, of the best, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--kinds", default="Conv2D,FullyConnected,DepthwiseConv2D")
    parser.add_argument("--assume", metavar="PART", help="choose for, and model, the memories of a part: stm32f746")
    arguments = parser.parse_args()
    board, seen, worst = api.as_board(arguments.board), set(), 0.0
    board = replace(board, core=api.assumed_core(board, arguments.assume))
    with api.connect(board, assume=arguments.assume) as session, ThreadPoolExecutor(2) as builders:
        for model in arguments.models:
            for op in run_passes(load(model)).operators:
                if op.kind not in arguments.kinds.split(",") or not macs_of(op) or workload(op) in seen:
                    continue
                seen.add(workload(op))
                jobs = [None, *_configs(op, board)]
                images = builders.map(lambda job, op=op: _build(op, board, job), jobs)
                costs = []
                for job, image in zip(jobs, images, strict=True):
                    if image is not None:
                        session.load(image)
                        costs.append((session.call(RUN_SYMBOL).cycles, job))
                default, best = costs[0][0], min(cost for cost, _ in costs)
                name, config = next((job[0].name, dict(job[1])) for cost, job in costs if cost == best and job)
                worst = max(worst, default / best)
                shape = f"{op.x.shape[1:]} -> {op.y.shape[1:]}"
                print(f"{model.stem[:4]} {op.kind:16} {shape:32} default {default:>9,} best {best:>9,} "
                      f"{default / best:.3f}  {name} {config}, of {len(costs) - 1}", flush=True)  # fmt: skip
    print(f"worst {worst:.3f}")


def _configs(op: Operator, board: Board) -> Iterator[tuple[KernelFamily, Config]]:
    for family in FAMILIES:
        if family.applies(op, board.core):
            space = family.space(op, board.core)
            for values in product(*space.values()):
                config = dict(zip(space, values, strict=True))
                if family.legal(op, board.core, config):
                    yield family, config


def _build(op: Operator, board: Board, choice: tuple[KernelFamily, Config] | None) -> Image | None:
    graph = Graph(name="layer", inputs=op.activations, outputs=op.outputs, operators=(op,))
    try:
        program = lower(graph, board.core, Options(choices={} if choice is None else {op.name: choice}))
    except LoweringError:
        return None
    return build_image(board, api.image_sources(program.name, program.render()), entries=[RUN_SYMBOL])


if __name__ == "__main__":
    main()
