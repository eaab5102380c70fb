"""What a model can cost on a board: the frontier of cycles, RAM and flash, every point compiled."""

from __future__ import annotations

import math
from pathlib import Path

from utvm import api
from utvm.api.assembling import graph_of
from utvm.api.quantized import QuantizedModel
from utvm.arguments import checked_arguments
from utvm.boards import Board
from utvm.graph import Graph
from utvm.lowering import FrontierPoint, undominated
from utvm.progress import end, say
from utvm.report import FrontierReport, PlanPoint
from utvm.toolchain import MemoryOverflowError

_FOR_EACH_ARENA = 12


@checked_arguments
def frontier(
    model: str | Path | Graph | QuantizedModel,
    board: str | Path | Board,
    *,
    points: int = 12,
    small: bool = False,
    assume: str | None = None,
    records: str | Path | None = None,
) -> FrontierReport:
    """Return combinations of kernels that no other beats in cycles, RAM and flash together, as far apart as can be.

    Cycles are the sums of what was measured of each kernel, of what is estimated where nothing was; RAM is the arena
    and flash the linked image, both exact.

    Args:
        model: a model file, a graph, or what `utvm.quantize` made.
        board: a board's name, the path of its TOML, or the board.
        points: how many are compiled at most.
        small, assume, records: as in `compile`.

    Raises:
        UtvmError: the model can't be read or lowered, or a tool is missing.

    Example:
        for point in utvm.frontier("model.tflite", "qemu-cortex-m7", points=4).points:
            print(point.cycles, point.arena_bytes, point.flash_bytes)
    """
    target = api.as_board(board)
    assembly = api.assemble(graph_of(model), target, small=small, assume=assume, records=records)
    found = assembly.frontier(_FOR_EACH_ARENA)
    compiled = []
    shown = _apart(found, points)
    for number, point in enumerate(shown, 1):
        program = point.program
        say(f"compiling plan {number} of {len(shown)}")
        try:
            image = api.build_program(target, program, program.render())
        except MemoryOverflowError:
            continue
        compiled.append(
            PlanPoint(
                cycles=round(point.cycles),
                measured=all(call.measured is not None for call in program.calls),
                arena_bytes=program.arena_bytes,
                flash_bytes=image.flash_bytes,
                kernels=tuple((call.op.name, call.kernel.family, dict(call.kernel.config)) for call in program.calls),
            )
        )
    end()
    return FrontierReport(
        model=assembly.graph.name, board=target.name, core=assembly.core.name, points=tuple(undominated(compiled))
    )


def _apart(found: list[FrontierPoint], most: int) -> list[FrontierPoint]:
    """Return the extremes and then, again and again, the point farthest from all that are taken."""
    if len(found) <= most:
        return found
    logs = [
        [math.log(max(value, 1)) for value in (p.cycles, p.program.arena_bytes, p.program.flash_bytes)] for p in found
    ]
    spans = [max(axis) - min(axis) or 1.0 for axis in zip(*logs, strict=True)]
    places = [[value / span for value, span in zip(log, spans, strict=True)] for log in logs]
    taken = list(dict.fromkeys(min(range(len(found)), key=lambda i: places[i][axis]) for axis in range(3)))
    while len(taken) < most:
        taken.append(max(range(len(found)), key=lambda i: min(math.dist(places[i], places[t]) for t in taken)))
    return [found[index] for index in sorted(taken)]
