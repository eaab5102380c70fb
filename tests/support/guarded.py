"""Kernels whose operands lie, one after another, at the very end and the very start of a board's memory.

An emulated board has nothing behind its last byte and before its first: an access there faults. Operands start at
multiples of a word, as tensors in an arena do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tests.support.batch import NAME
from utvm import api
from utvm.boards import Board
from utvm.codegen import ArenaRef, CArray, CCall, CModel, render_model, step_symbol
from utvm.device import Session, build_image
from utvm.emulators import QemuTarget
from utvm.kernels import PRELUDE, with_dependencies
from utvm.lowering import Program

FREE_BYTES = 1 << 18
"""Bytes at both ends of a board's data memory that are kept for operands."""
_WORD = 4
_UNTOUCHED = 0x5A


def with_free_ends(board: Board) -> Board:
    """Return the board with `FREE_BYTES` at both ends of its data memory that no image takes."""
    whole = board.data
    inner = replace(whole, origin=whole.origin + FREE_BYTES, length=whole.length - 2 * FREE_BYTES)
    (placement,) = board.placements
    assert placement.constants == whole != placement.code
    return replace(
        board,
        memories=tuple(inner if memory == whole else memory for memory in board.memories),
        placements=(replace(placement, constants=inner, data=inner),),
    )


def run_guarded(
    session: Session, target: QemuTarget, programs: Sequence[Program], inputs: Sequence[Sequence[NDArray]]
) -> list[NDArray]:
    """Return the output of each program of one call, made with each of its operands at both ends of memory.

    `session` is one of a board `with_free_ends` on `target`. All calls of a program must leave the same bytes, by
    accesses at multiples of their size: the emulator lets vectors lie anywhere, a core does not.

    Raises:
        TargetFaultError: a kernel reads or writes outside its operands.
    """
    ways = [_ways(program, given, session.board) for program, given in zip(programs, inputs, strict=True)]
    helpers = [helper for program in programs for helper in program.calls[0].kernel.function.helpers]
    model = CModel(
        name=NAME, summary="guarded calls", arena_bytes=1, inputs=(), outputs=(),
        calls=tuple(way.call for each in ways for way in each),
    )  # fmt: skip
    files = render_model(model, {name: PRELUDE[name] for name in with_dependencies(helpers)}, steps=True)
    symbols = [step_symbol(NAME, index) for index in range(len(model.calls))]
    session.load(build_image(session.board, api.image_sources(NAME, files), entries=symbols))
    left = iter(symbols)
    found = []
    for program, each in zip(programs, ways, strict=True):
        raw = set()
        for way in each:
            raw.add(way.run(session, next(left)))
            counts = target.counts()
            assert counts is not None
            assert not any(counts.misaligned.values()), f"{counts.misaligned} of {program.graph}"
        assert len(raw) == 1, f"what is around the operands changes the output of {program.graph}"
        (output,) = program.graph.outputs
        found.append(np.frombuffer(raw.pop(), output.dtype.value).reshape(output.shape))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """A call, the bytes of its operands, and where the output is; offsets from the start of the data memory."""

    call: CCall
    start: int
    given: dict[int, bytes]
    output: tuple[int, int]

    def run(self, session: Session, symbol: str) -> bytes:
        for offset, data in self.given.items():
            session.write(self.start, data, offset=offset)
        session.call(symbol, self.start)
        offset, count = self.output
        return session.read(self.start, count, offset=offset)


def _ways(program: Program, inputs: Sequence[NDArray], board: Board) -> list[_Way]:
    """Return a call for each operand, which is last in memory; the one behind it is first, the others between."""
    (call,) = program.c_model().calls
    (made,) = program.calls
    arrays = {tensor.name: array for tensor, array in zip(program.graph.inputs, inputs, strict=True)}
    activations = iter(made.op.activations)
    content: dict[str, bytes] = {}
    for parameter in call.function.parameters:
        operand = call.operands[parameter.name]
        if isinstance(operand, CArray):
            content[parameter.name] = operand.values.astype(parameter.c_type.removesuffix("_t")).tobytes()
        elif parameter.role == "input":
            content[parameter.name] = np.ascontiguousarray(arrays[next(activations).name]).tobytes()
        else:
            size = made.kernel.scratch_bytes if parameter.role == "scratch" else program.graph.outputs[0].nbytes
            content[parameter.name] = bytes([_UNTOUCHED]) * size
    names = list(content)
    output = next(p.name for p in call.function.parameters if p.role == "output")
    first = board.data.origin - FREE_BYTES
    end = board.data.length + 2 * FREE_BYTES
    found = []
    for index, last in enumerate(names):
        places = {last: _down(end - len(content[last]))}
        others = names[index + 1 :] + names[:index]
        free = places[last]
        for name in others[1:]:
            free = places[name] = _down(free - _WORD - len(content[name]))
        if others:
            places[others[0]] = 0
            assert len(content[others[0]]) <= FREE_BYTES
        assert free >= end - FREE_BYTES, f"{program.graph} is too large"
        found.append(
            _Way(
                call=replace(call, operands={name: ArenaRef(offset=places[name]) for name in names}),
                start=first,
                given={places[name]: content[name] for name in names},
                output=(places[output], len(content[output])),
            )
        )
    return found


def _down(offset: int) -> int:
    return offset // _WORD * _WORD
