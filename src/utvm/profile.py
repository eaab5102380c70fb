"""Profiling: a network on a board as a whole and call by call."""

from __future__ import annotations

from pathlib import Path

from utvm import api
from utvm.boards import Board
from utvm.codegen import ARENA_SYMBOL, function_names, step_symbol
from utvm.device import Session
from utvm.frontends.inputs import read_inputs
from utvm.graph import Graph
from utvm.graph.cost import macs_of
from utvm.graph.samples import random_input
from utvm.report import OperatorProfile, ProfileReport

_SEED = 0


def profile(
    model: str | Path | Graph,
    board: str | Path | Board,
    *,
    input_file: Path | None = None,
    small: bool = False,
    flash: int | None = None,
    ram: int | None = None,
    assume: str | None = None,
    records: str | Path | None = None,
    timeout: float | None = None,
) -> tuple[ProfileReport, api.Compiled]:
    """Run a network once as a whole, then each of its kernel calls alone, in order, and return what each cost.

    Args:
        model: a model file, or a graph.
        board: a board's name, the path of its TOML, or the board.
        input_file: the input; seeded random values if None.
        small, flash, ram, records: as in `api.compile`.
        assume: as in `api.compile` and `api.connect`.
        timeout: seconds that a call may take on the target; the session's default if None.

    Raises:
        UtvmError: any of it failed; the message says what to do.
    """
    compiled = api.compile(model, board, small=small, flash=flash, ram=ram, assume=assume, records=records, steps=True)
    with api.connect(compiled.board, assume=assume) as session:
        return profile_in(session, compiled, input_file=input_file, plan="small" if small else "fast", timeout=timeout)


def profile_in(
    session: Session,
    compiled: api.Compiled,
    *,
    input_file: Path | None = None,
    plan: str = "fast",
    timeout: float | None = None,
) -> tuple[ProfileReport, api.Compiled]:
    """Profile a network compiled with `steps` in a session that is open; see `profile`."""
    program, image = compiled.program, compiled.image
    inputs = (
        {tensor.name: random_input(tensor, _SEED + index) for index, tensor in enumerate(program.graph.inputs)}
        if input_file is None
        else read_inputs(input_file, program.graph.inputs)
    )
    loaded = api.Model(session, compiled)
    whole = loaded.run(inputs, timeout=timeout).measurement
    loaded.write_inputs(inputs)
    arena = image.symbol(ARENA_SYMBOL).address
    calls = program.c_model().calls
    names = function_names(calls)
    seen: set[str] = set()
    rows = []
    for index, (call, c_call) in enumerate(zip(program.calls, calls, strict=True)):
        measured = session.call(step_symbol(program.name, index), arena, timeout=timeout)
        symbol, parts = names[c_call.function], {part.name for part in c_call.function.support}
        rows.append(
            OperatorProfile(
                index=index,
                name=call.op.name,
                kind=call.op.kind,
                family=call.kernel.family,
                config=dict(call.kernel.config),
                macs=macs_of(call.op),
                instructions=measured.instructions,
                cycles=measured.cycles,
                scratch_bytes=call.kernel.scratch_bytes,
                constant_bytes=call.kernel.constant_bytes,
                code_bytes=sum(image.function_bytes(name) for name in {symbol, *parts} - seen),
            )
        )
        seen |= {symbol, *parts}
    core = compiled.board.core
    steps = sum(image.function_bytes(step_symbol(program.name, index)) for index in range(len(rows)))
    report = ProfileReport(
        model=program.name,
        board=compiled.board.name,
        core=core.name,
        plan=plan,
        limit=1 / core.macs_per_cycle,
        operators=tuple(rows),
        macs=sum(row.macs for row in rows),
        instructions=whole.instructions,
        cycles=whole.cycles,
        cycles_source=whole.cycles_source,
        seconds=None if whole.cycles is None else whole.cycles / compiled.board.clock_hz,
        arena_bytes=program.arena_bytes,
        flash_bytes=image.flash_bytes - steps,
    )
    return report, compiled
