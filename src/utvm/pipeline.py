"""A board's pipeline against the table that models it: short kernels, run and counted through the debug link."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from utvm import api
from utvm.boards import Board
from utvm.cores.instruction import Instruction
from utvm.cores.measured import measured_facts, measured_timing
from utvm.cores.pipeline_shapes import PipelineKernel, pipeline_frame, pipeline_kernels
from utvm.cores.thumb.placing import placed
from utvm.cores.timing import Timing
from utvm.device import Session, build_image
from utvm.emulators import assumptions
from utvm.errors import UtvmError
from utvm.report import TURN_TOLERANCE, PipelineAnswer, PipelineReport
from utvm.toolchain import Image, Source

_FEW, _MANY = 16, 48
"""Turns of a kernel in its two functions: the difference is free of what surrounds them."""
_MAX_CYCLES = 8
_STORE_CYCLES = (1.0, 2.0, 2.4, 3.0, 4.0)
_BUFFER_WORDS = 192


def check_pipeline(board: Board) -> PipelineReport:
    """Run the kernels for a board's core on it and compare.

    An emulator counts with the same table, so that it checks the kernels; simulated RTL and boards count themselves.

    Raises:
        UtvmError: no table models its core, or the board can't be reached, or counts nothing.
    """
    timing = table_for(board)
    measured = "measured" if board.core.name in assumptions()["measured"].cores else None
    modelled = board.emulator is not None and board.emulator.kind == "qemu"
    with api.connect(board, assume=measured if modelled else None) as session:
        return check_pipeline_in(session, timing)


def check_pipeline_in(session: Session, timing: Timing) -> PipelineReport:
    """Run the kernels in a session that is open and compare with a table; see `check_pipeline`."""
    board = session.board
    session.load(pipeline_image(board))
    answers, source = [], ""
    for index, kernel in enumerate(_kernels(board)):
        counts = []
        for turns in (_FEW, _MANY):
            measurement = session.call(_symbol(index, turns))
            if measurement.cycles is None:
                raise UtvmError(f"nothing counts the cycles of board '{board.name}': its pipeline can't be checked")
            counts.append(measurement.cycles)
            source = measurement.cycles_source or ""
        answers.append(
            PipelineAnswer(
                kernel=kernel,
                measured=(counts[1] - counts[0]) / (_MANY - _FEW),
                expected=expected_cycles(kernel, timing),
            )
        )
    changes, unexplained = _explain(board.core.name, answers)
    return PipelineReport(
        core=board.core.name,
        table=timing.name,
        source=source,
        answers=tuple(answers),
        changes=changes,
        unexplained=unexplained,
    )


def table_for(board: Board) -> Timing:
    """Return the measured table of a board's core, or the one that there is.

    Raises:
        UtvmError: nothing models the core.
    """
    core = board.core
    timing = assumptions()["measured"].timings.get(core.name, core.timing)
    if timing is None:
        raise UtvmError(
            f"no table models the pipeline of {core.name}: there is nothing to check board '{board.name}' by"
        )
    return timing


def pipeline_image(board: Board) -> Image:
    """Build the kernels for a board."""
    kernels = _kernels(board)
    lines = list(board.core.isa.directives)
    for index, kernel in enumerate(kernels):
        for turns in (_FEW, _MANY):
            lines += _function(_symbol(index, turns), kernel, turns, board)
    text = "\n".join(f'    "{line}\\n"' for line in lines)
    names = [_symbol(index, turns) for index in range(len(kernels)) for turns in (_FEW, _MANY)]
    declared = "".join(f"void {name}(void);\n" for name in names)
    source = f"long long utvm_pipeline_words[{_BUFFER_WORDS}];\n{declared}__asm__(\n{text});\n"
    return build_image(board, [Source(name="pipeline.c", text=source)], entries=names)


def _kernels(board: Board) -> tuple[PipelineKernel, ...]:
    return pipeline_kernels(board.core.name, board.core.isa.name, dsp=board.core.dsp, narrow=_is_narrow(board))


def _is_narrow(board: Board) -> bool:
    return board.core.architecture == "armv6-m"


def _symbol(index: int, turns: int) -> str:
    return f"utvm_pipeline_{index}_{turns}"


def _function(name: str, kernel: PipelineKernel, turns: int, board: Board) -> Iterator[str]:
    """Yield a function of so many turns, in a section of its own."""
    yield from (f'.pushsection .text.{name}, \\"ax\\", %progbits', ".balign 8", f".global {name}")
    yield from (f".type {name}, %function", f"{name}:")
    before, after = pipeline_frame(board.core.isa.name, narrow=_is_narrow(board), buffer="utvm_pipeline_words")
    yield from (*before, ".balign 8")
    yield from kernel.turn * turns
    yield from after
    yield from (f".size {name}, . - {name}", ".popsection")


def expected_cycles(kernel: PipelineKernel, timing: Timing) -> float:
    """Return the cycles of one turn by a table."""
    code: Sequence[Instruction]
    try:
        code = placed(kernel.turn * _MANY)
    except ValueError:  # not Thumb
        code = [timing.parse(line) for line in kernel.turn * _MANY]
    length = len(kernel.turn) * _FEW
    cycles = timing.cost(code[:length], code[length:]) / (_MANY - _FEW)
    return cycles + sum(timing.unaligned_cycles.get(kind, 0) for kind in kernel.misaligned)


def _explain(core: str, answers: Sequence[PipelineAnswer]) -> tuple[dict[str, bool | int | float], tuple[str, ...]]:
    """Return the facts that differ with their values, and what no value of a fact explains."""
    changes: dict[str, bool | int | float] = {}
    left = []
    for answer in answers:
        if answer.holds:
            continue
        value = _settled(core, answer)
        if value is None:
            left.append(answer)
        else:
            changes[answer.kernel.settles] = value
    if changes:
        # What another kernel settled explains these too.
        changed = measured_timing(core, changes, "as changed")
        left = [a for a in left if abs(expected_cycles(a.kernel, changed) - a.measured) > TURN_TOLERANCE]
    return changes, tuple(answer.kernel.what for answer in left)


def _settled(core: str, answer: PipelineAnswer) -> bool | int | float | None:
    """Return the value of the kernel's fact with which the table gives what was measured."""
    fact = answer.kernel.settles
    known = measured_facts(core)
    if fact not in known:
        return None
    old = known[fact]
    values: tuple[bool | int | float, ...] = (
        (not old,) if isinstance(old, bool) else _STORE_CYCLES if isinstance(old, float) else tuple(range(_MAX_CYCLES))
    )
    for value in values:
        timing = measured_timing(core, {fact: value}, "model: tried")
        if abs(expected_cycles(answer.kernel, timing) - answer.measured) <= TURN_TOLERANCE:
            return value
    return None
