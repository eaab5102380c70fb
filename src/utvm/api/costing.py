"""What a model costs on a board, by estimate alone: no C, no compiler, no run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from utvm.api.assembling import as_board, assemble, graph_of
from utvm.api.quantized import QuantizedModel
from utvm.api.sizes import Size, size_in_bytes
from utvm.arguments import checked_arguments
from utvm.boards import Board
from utvm.cores import Core
from utvm.deploy.build import shipping
from utvm.emulators import stand_in
from utvm.errors import UtvmError, warn
from utvm.graph import Graph
from utvm.graph.cost import macs_of
from utvm.kernels import FAMILIES
from utvm.lowering import Call, Program
from utvm.progress import end, say
from utvm.report.cost import CostReport, OperatorCost, Refused

_STATEMENT_BYTES, _STARTUP_BYTES = 8, 600
"""About what a statement of generated C, and all that is not the model's, take of flash: six networks on two cores."""


@checked_arguments
def cost(
    model: str | Path | Graph | QuantizedModel,
    board: str | Path | Board,
    *,
    small: bool = False,
    flash: Size | None = None,
    ram: Size | None = None,
    assume: str | None = None,
    records: str | Path | None = None,
) -> CostReport:
    """Return what a model costs on a board by estimate: cycles, arena and flash, all of them modelled.

    A board that is not emulated is taken as a product uses it, code and constants in flash.

    Args:
        model: a model file, a graph, or what `utvm.quantize` made.
        board: a board's name, the path of its TOML, or the board.
        small, flash, ram, assume, records: as in `compile`. An estimate over `flash` is a warning here.

    Raises:
        UtvmError: the model can't be read or lowered.

    Example:
        print(utvm.cost("model.tflite", "nucleo-f746zg").cycles)
    """
    say("reading the model")
    report = _estimated(
        graph_of(model), as_board(board), small=small, flash=flash, ram=ram, assume=assume, records=records
    )
    end()
    budget = size_in_bytes(flash)
    if budget is not None and report.flash_bytes > budget:
        warn(
            f"{report.model} takes about {report.flash_bytes:,} bytes of flash, more than the {budget:,} that were "
            "given; `utvm compile` builds it and says what fits"
        )
    return report


def _estimated(graph: Graph, target: Board, **options: Any) -> CostReport:
    """Return what a graph costs on a board; options are those of `cost`."""
    if target.emulator is None:
        target = shipping(target)
    assembly = assemble(graph, target, **options)
    core = timed(target, assembly.core)
    program = replace(assembly, core=core).program()
    operators = tuple(_operator(call, core) for call in program.calls)
    known = [op.cycles for op in operators if op.cycles is not None]
    source = "no model of this core" if core.timing is None else f"{core.timing.name}, estimated"
    return CostReport(
        model=program.name,
        board=target.name,
        core=target.core.name,
        clock_hz=target.clock_hz,
        macs=sum(op.macs for op in operators),
        cycles=sum(known) if len(known) == len(operators) else None,
        cycles_source=source,
        arena_bytes=program.arena_bytes,
        ram_bytes=max(place.data.length for place in target.placements) - target.stack_bytes,
        flash_bytes=_flash_bytes(program),
        storage_bytes=max(place.constants.length for place in target.placements),
        operators=operators,
    )


@checked_arguments
def compare(
    model: str | Path | Graph | QuantizedModel, boards: Sequence[str | Path | Board], *, small: bool = False
) -> list[CostReport | Refused]:
    """Return what a model costs on each of several boards, by estimate, or why it can't be lowered for one.

    Args:
        model: a model file, a graph, or what `utvm.quantize` made.
        boards: names of boards, paths of their TOMLs, or boards.
        small: as in `compile`.

    Raises:
        UtvmError: the model or a board can't be read.

    Example:
        reports = utvm.compare("model.tflite", ["nucleo-f746zg", "raspberry-pi-pico"])
        print([report.cycles for report in reports])  # modelled
    """
    graph = graph_of(model)
    found: list[CostReport | Refused] = []
    for number, board in enumerate(boards, 1):
        target = as_board(board)
        say(f"estimating for {target.name}, {number} of {len(boards)}")
        try:
            found.append(_estimated(graph, target, small=small))
        except UtvmError as error:
            reason = " ".join(str(error).split())
            found.append(Refused(board=target.name, core=target.core.name, reason=reason))
    end()
    return found


def timed(board: Board, core: Core) -> Core:
    """Return a core with the timing that is modelled where it has none of its own."""
    if core.timing is not None:
        return core
    emulated = stand_in(board)
    return core if emulated is None else replace(core, timing=emulated.board.core.timing)


def _operator(call: Call, core: Core) -> OperatorCost:
    cycles: float | None = call.cycles
    if not cycles:
        family = next(
            family for family in FAMILIES if family.name == call.kernel.family and family.applies(call.op, core)
        )
        cycles = family.about(call.op, core)
    return OperatorCost(
        name=call.op.name,
        kind=call.op.kind,
        family=call.kernel.family,
        macs=macs_of(call.op),
        cycles=None if cycles is None else round(cycles),
    )


def _flash_bytes(program: Program) -> int:
    """Return about what the program takes: constants, each micro-kernel once, and C by its statements."""
    functions = {call.kernel.function for call in program.calls}
    kernels = {part.name: part for function in functions for part in function.support}
    code = sum(4 * len(part.assembly) for part in kernels.values())
    statements = sum(function.body.count(";") for function in functions)
    return program.constant_bytes + code + _STATEMENT_BYTES * statements + _STARTUP_BYTES
