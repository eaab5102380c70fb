"""Profiling: a network on a board as a whole and call by call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from utvm import api
from utvm.api.quantized import QuantizedModel
from utvm.api.sizes import Size
from utvm.arguments import checked_arguments
from utvm.boards import Board
from utvm.codegen import ARENA_SYMBOL, function_names, step_symbol
from utvm.deploy.build import shipping
from utvm.device import LinkLostError, Session
from utvm.emulators import StandIn, stand_in
from utvm.frontends.inputs import read_network_inputs
from utvm.graph import Graph
from utvm.graph.cost import macs_of
from utvm.graph.samples import random_input
from utvm.loops import Schedule
from utvm.lowering import SlowerCall, counted
from utvm.progress import end, say
from utvm.report import OperatorProfile, ProfileReport

_SEED = 0


@checked_arguments
def profile(
    model: str | Path | Graph | QuantizedModel,
    board: str | Path | Board,
    *,
    input_file: str | Path | None = None,
    small: bool = False,
    flash: Size | None = None,
    ram: Size | None = None,
    assume: str | None = None,
    records: str | Path | None = None,
    schedules: Mapping[str, Schedule] | None = None,
    timeout: float | None = None,
) -> tuple[ProfileReport, api.Compiled]:
    """Run a network once as a whole, then each of its kernel calls alone, in order, and return what each cost.

    Where a physical board does not answer, an emulator takes its place, with its core, clock and memories.

    Args:
        model: a model file, a graph, or what `utvm.quantize` made.
        board: a board's name, the path of its TOML, or the board.
        input_file: the input; seeded random values if None.
        small, flash, ram, records, schedules: as in `compile`.
        assume: as in `compile` and `connect`.
        timeout: seconds that a call may take on the target; the session's default if None.

    Raises:
        UtvmError: any of it failed; the message says what to do.

    Example:
        report, compiled = utvm.profile("model.tflite", "qemu-cortex-m7")
        slowest = max(report.operators, key=lambda operator: operator.instructions or 0)
    """
    target = api.as_board(board)
    options: dict[str, Any] = {"small": small, "flash": flash, "ram": ram, "records": records, "steps": True}
    options["schedules"] = schedules
    given: dict[str, Any] = {"input_file": input_file, "plan": "small" if small else "fast", "timeout": timeout}
    emulated = None if target.emulator is not None else stand_in(target)
    if emulated is None:
        compiled = api.compile(model, target, assume=assume, **options)
        with api.connect(target, assume=assume) as session:
            return profile_in(session, compiled, **given)
    try:
        session = api.connect(target)
    except LinkLostError as absent:
        return _emulated(model, emulated, shipping(target), options, given, note=str(absent))
    with session:
        return profile_in(session, api.compile(model, target, assume=assume, **options), **given)


def _emulated(
    model: str | Path | Graph | QuantizedModel,
    emulated: StandIn,
    board: Board,
    options: dict[str, Any],
    given: dict[str, Any],
    *,
    note: str,
) -> tuple[ProfileReport, api.Compiled]:
    """Profile what a product on a board would run, by what takes the place of the board."""
    compiled = api.compile(model, board, **options)
    image = api.build_program(emulated.board, compiled.program, compiled.files, steps=True)
    with api.connect_stand_in(emulated) as session:
        report, _ = profile_in(session, replace(compiled, board=emulated.board, image=image), **given)
    said = f"The board is not at hand ({note}): {emulated.described}, code and constants as in flash."
    return replace(report, flash_bytes=compiled.image.flash_bytes - _step_bytes(compiled), note=said), compiled


def profile_in(
    session: Session,
    compiled: api.Compiled,
    *,
    input_file: str | Path | None = None,
    plan: str = "fast",
    timeout: float | None = None,
) -> tuple[ProfileReport, api.Compiled]:
    """Profile a network compiled with `steps` in a session that is open; see `profile`."""
    program, image = compiled.program, compiled.image
    inputs = (
        {tensor.name: random_input(tensor, _SEED + index) for index, tensor in enumerate(program.graph.inputs)}
        if input_file is None
        else read_network_inputs(Path(input_file), program.graph)
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
        say(f"measuring operator {index + 1} of {len(calls)}, {call.op.kind} {call.op.name}")
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
    end()
    core = compiled.board.core
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
        flash_bytes=image.flash_bytes - _step_bytes(compiled),
        slower=_slower(compiled, rows),
    )
    return report, compiled


def _slower(compiled: api.Compiled, rows: Sequence[OperatorProfile]) -> tuple[SlowerCall, ...]:
    """Return what got a slower family, with shares of the cycles of this run, or of its instructions."""
    for basis, counts in (
        ("by cycles of this run", [row.cycles for row in rows]),
        ("by instructions of this run", [row.instructions for row in rows]),
    ):
        known = [float(count) for count in counts if count is not None]
        if len(known) == len(rows):
            return counted(compiled.slower, known, basis)
    return compiled.slower


def _step_bytes(compiled: api.Compiled) -> int:
    """Return the bytes of the functions that only profiling needs."""
    symbols = (step_symbol(compiled.program.name, index) for index in range(len(compiled.program.calls)))
    return sum(compiled.image.function_bytes(symbol) for symbol in symbols)
