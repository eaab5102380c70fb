"""Graphs on emulated boards, without passes: what is drawn is what runs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.support.batch import NAME, Batch, batches
from utvm import api
from utvm.codegen import ARENA_SYMBOL, RUN_SYMBOL
from utvm.device import Session, build_image
from utvm.lowering import Program
from utvm.toolchain import MemoryOverflowError, Source

_AT_ONCE = 32
FIRST_SYMBOL = "test_first"
"""The function of a source that runs before all programs of an image."""
_TRAP = Source(
    name="trap.c",
    text=f"""#include <stdint.h>
void {FIRST_SYMBOL}(void);
void {FIRST_SYMBOL}(void) {{ *(volatile uint32_t *)0xE000ED14u |= 1u << 3; }}
""",
)
"""Sets CCR.UNALIGN_TRP (Armv7-M, DDI 0403, B3.2.8)."""


def run_program(session: Session, program: Program, inputs: Sequence[NDArray]) -> list[NDArray]:
    """Load a program into the session's board, run it once as users do and return its outputs."""
    files = program.render()
    image = build_image(session.board, api.image_sources(program.name, files), entries=[RUN_SYMBOL])
    compiled = api.Compiled(board=session.board, program=program, files=files, image=image, seconds={})
    return list(api.Model(session, compiled).run(list(inputs)).outputs.values())


def run_programs(
    session: Session,
    programs: Sequence[Program],
    inputs: Sequence[Sequence[NDArray]],
    *,
    trap: bool = False,
    first: Source | None = None,
) -> list[list[NDArray] | None]:
    """Run programs, each alone in the arena, from as few images as hold them, and return the outputs of each.

    None stands for a program that the board's memory does not hold even alone. With `trap`, unaligned accesses fault.
    The function FIRST_SYMBOL of `first` runs once before all others of an image.
    """
    first = _TRAP if trap else first
    found: list[list[NDArray] | None] = []
    for batch in batches(programs, _AT_ONCE):
        found += _run_batch(session, batch, inputs[len(found) : len(found) + len(batch.programs)], first)
    return found


def _run_batch(
    session: Session, batch: Batch, inputs: Sequence[Sequence[NDArray]], first: Source | None
) -> list[list[NDArray] | None]:
    steps = batch.steps()
    entries = [RUN_SYMBOL, *(symbol for symbols in steps for symbol in symbols), *([FIRST_SYMBOL] if first else [])]
    sources = [*api.image_sources(NAME, batch.render()), *([first] if first else [])]
    try:
        image = build_image(session.board, sources, entries=entries)
    except MemoryOverflowError:
        if len(batch.programs) == 1:
            return [None]
        half = len(batch.programs) // 2
        parts = (batch.programs[:half], inputs[:half]), (batch.programs[half:], inputs[half:])
        return [outputs for programs, given in parts for outputs in _run_batch(session, Batch(programs), given, first)]
    session.load(image)
    if first:
        session.call(FIRST_SYMBOL)
    arena = image.symbol(ARENA_SYMBOL).address
    found: list[list[NDArray] | None] = []
    for program, arrays, symbols in zip(batch.programs, inputs, steps, strict=True):
        for tensor, value in zip(program.graph.inputs, arrays, strict=True):
            session.write(ARENA_SYMBOL, np.ascontiguousarray(value).tobytes(), offset=program.memory.offset_of(tensor))
        for symbol in symbols:
            session.call(symbol, arena)
        found.append(
            [
                np.frombuffer(
                    session.read(ARENA_SYMBOL, tensor.nbytes, offset=program.memory.offset_of(tensor)),
                    tensor.dtype.value,
                ).reshape(tensor.shape)
                for tensor in program.graph.outputs
            ]
        )
    return found
