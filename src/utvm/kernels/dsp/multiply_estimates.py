"""About how many cycles a multiply-accumulate micro-kernel takes, before it is scheduled.

What a block costs is linear in its rows and lane pairs: cycles = start + rows * (row + pairs * pair). The three are
read from three short blocks of the same kind, which the scheduler makes for the core in hand. So the estimate knows
slots, units, latencies and registers of any pipeline, and many layers share its short blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from utvm.cores.timing import Timing
from utvm.kernels.base import INSTRUCTION_BYTES
from utvm.kernels.dsp.multiply import multiply_body
from utvm.kernels.dsp.multiply_spec import MultiplySpec

ESTIMATE_ERROR = 0.03
"""The share by which an estimate may be off: half of them are within half of it (docs/decisions/0038)."""
_SHORT, _LONG = 4, 10
"""Lane pairs of the short blocks: even, for `RowSource.BYTES`."""
_WORD_BYTES = 8
"""Offsets that are equal modulo two words are alike to a load: aligned alike, of the same bank."""
_APART = 256
_SOME_SHIFT = 1
"""An instruction shifts by any number of bits alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockCost:
    """What one turn of a block takes: cycles, and about the bytes of its code."""

    cycles: float
    code_bytes: float


def multiply_cost(spec: MultiplySpec, timing: Timing, *, shift: int = 0) -> BlockCost:
    """Return what one block of N channels takes, two if paired; arguments, errors as `multiply_kernel`."""
    lines, cycles = multiply_body(spec, timing, shift)
    return BlockCost(cycles=cycles, code_bytes=INSTRUCTION_BYTES * len(lines))


def multiply_estimate(spec: MultiplySpec, timing: Timing, *, shift: int = 0) -> BlockCost:
    """Return about the same within `ESTIMATE_ERROR`, without a schedule of the block itself.

    Raises:
        ScheduleError: a short block of the kind does not fit the registers.
    """
    if spec.rows * spec.pairs <= 2 * _LONG:
        return multiply_cost(spec, timing, shift=shift)
    kind = _kind(spec)
    return _estimated(kind, timing, min(shift, _SOME_SHIFT), spec.rows, spec.pairs)


def _estimated(kind: MultiplySpec, timing: Timing, shift: int, rows: int, pairs: int) -> BlockCost:
    one, long, two = _short_costs(kind, timing, shift)
    return BlockCost(
        cycles=_extended(one.cycles, long.cycles, two.cycles, rows, pairs),
        code_bytes=_extended(one.code_bytes, long.code_bytes, two.code_bytes, rows, pairs)
        if kind.unrolled
        else _extended(one.code_bytes, long.code_bytes, one.code_bytes, 1, pairs),
    )


@lru_cache(maxsize=4096)
def _short_costs(kind: MultiplySpec, timing: Timing, shift: int) -> tuple[BlockCost, BlockCost, BlockCost]:
    """Return what the three short blocks of a kind take: of few pairs, of more pairs, of two rows."""
    one, long, two = (
        multiply_cost(_short(kind, *size), timing, shift=shift) for size in ((1, _SHORT), (1, _LONG), (2, _SHORT))
    )
    return one, long, two


def _extended(one: float, long: float, two: float, rows: int, pairs: int) -> float:
    """Return start + rows * (row + pairs * pair) from the values at (1, short), (1, long) and (2, short)."""
    pair = (long - one) / (_LONG - _SHORT)
    return one + (rows - 1) * (two - one) + rows * (pairs - _SHORT) * pair


@lru_cache(maxsize=4096)
def _kind(spec: MultiplySpec) -> MultiplySpec:
    """Return the longest of the short blocks that are like this one.

    Where no lanes are loaded for two pixels, only their alignment says how far apart the pixels are. The same holds of
    outputs of a word; bytes are stored anywhere alike.
    """
    pairs = range(_LONG)
    taps = [4 * pair for pair in pairs]
    own = [row[:_LONG] for row in spec.offsets]
    if spec.pairs < _LONG:
        own = [(*row, *(row[-1] + 4 * more for more in range(1, _LONG - spec.pairs + 1))) for row in own]
    shares = len({offset for row in own for offset in row}) < spec.pixels * _LONG
    if not shares:
        own = [tuple(_APART * m + row[0] % _WORD_BYTES + tap for tap in taps) for m, row in enumerate(own)]
    stride = 2 * _WORD_BYTES + (spec.pixel_stride % _WORD_BYTES if spec.out_bytes > 1 else 0)
    return replace(spec, rows=1, offsets=tuple(own), pixel_stride=stride, tail=0)


def _short(kind: MultiplySpec, rows: int, pairs: int) -> MultiplySpec:
    return replace(kind, rows=rows, offsets=tuple(row[:pairs] for row in kind.offsets))
