"""The mean of a window of rows of taps, four channels at once, as one function."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.kernels.xpulp.code import (
    add_and_shift,
    add_dot,
    higher_of,
    load_by,
    lower_of,
    pack_bytes,
    pack_high,
    pack_low,
    repeat,
    store_step,
    xpulp_function,
)
from utvm.kernels.xpulp.finish_code import cycles

_NAMES = ("channels", "row", "rows", "columns", "factor", "offset", "shift", "low", "high")
_REGISTERS = ("a3", "a4", "a5", "a6", "a7", "s0", "s1", "s2", "s3")
_IN = dict(zip(_NAMES, _REGISTERS, strict=True))
_SUMS = ("t0", "t1", "t2", "t3")
_ONES = ("s4", "s5", "s6", "s7")
_AT, _LINE, _LEFT, _BLOCKS, _TURNS, _SINGLES = "t4", "t5", "t6", "s9", "s10", "s11"
_VALUES = ("s8", "ra")
_PACKED = ("s6", "s7")
"""Where pairs of taps are, which need two words of ones alone."""
_TAKEN = 3
"""Cycles of a branch that is taken."""
_WAIT = 1
"""Cycles of an instruction behind a load of what it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageSpec:
    """A function.

    Attributes:
        away: whether halves go away from zero.
        taps: whose bytes a word of ones adds, 1 or 2.
        unroll: steps of so many taps in a turn.
        hardware: whether a hardware loop repeats turns, else a branch.
    """

    away: bool
    taps: int
    unroll: int
    hardware: bool

    @property
    def name(self) -> str:
        """Its symbol."""
        ends = "_away" * self.away + "_branches" * (not self.hardware)
        return f"utvm_xpulp_mean_{self.taps}x{self.unroll}{ends}"

    @property
    def at_once(self) -> int:
        """Taps of a turn."""
        return self.taps * self.unroll


@lru_cache(maxsize=32)
def average_function(spec: AverageSpec) -> CSupport:
    """Return `void name(x, y, shape)`; shape: channels, row, rows, columns, M, offset, shift, low, high."""
    shift = spec.at_once.bit_length() - 1
    lines = [f"lw {register}, {4 * place}(a2)" for place, register in enumerate(_REGISTERS)]
    lines += [f"li {_ONES[0]}, {1 if spec.taps == 1 else 0x10001}"]
    lines += [f"slli {_ONES[i]}, {_ONES[0]}, {8 * i}" for i in range(1, len(_ONES) if spec.taps == 1 else 2)]
    lines += [f"srli {_TURNS}, {_IN['columns']}, {shift}", f"andi {_SINGLES}, {_IN['columns']}, {spec.at_once - 1}"]
    lines += [f"srli {_BLOCKS}, {_IN['channels']}, 2", f"beqz {_BLOCKS}, 6f", "1:"]
    lines += [*(f"li {total}, 0" for total in _SUMS), *_rows(2)]
    lines += [f"beqz {_TURNS}, 3f", *_repeated(spec, _TURNS, _turn(spec), 4), "3:"]
    lines += [f"beqz {_SINGLES}, 5f", *repeat(_SINGLES, _single(spec)), "5:", *_next_row(2)]
    lines += [line for total in _SUMS for line in _finish(spec, total)]
    lines += [*pack_bytes(_SUMS[0], _SUMS), store_step(_SUMS[0], "a1", 4), "addi a0, a0, 4"]
    lines += [f"addi {_BLOCKS}, {_BLOCKS}, -1", f"bnez {_BLOCKS}, 1b", "6:"]
    total, value = _SUMS[0], _VALUES[0]
    byte = [load_by(1, value, _AT, _IN["channels"]), "nop", f"add {total}, {total}, {value}"]
    lines += [f"andi {_BLOCKS}, {_IN['channels']}, 3", f"beqz {_BLOCKS}, 9f", "7:", f"li {total}, 0", *_rows(8)]
    lines += [*repeat(_IN["columns"], byte), *_next_row(8), *_finish(spec, total)]
    lines += [f"sb {total}, 0(a1)", "addi a1, a1, 1", "addi a0, a0, 1", f"addi {_BLOCKS}, {_BLOCKS}, -1"]
    lines += [f"bnez {_BLOCKS}, 7b", "9:"]
    prototype = f"void {spec.name}(const int8_t *x, int8_t *y, const int32_t *shape)"
    return xpulp_function(
        spec.name, prototype, lines, "the mean of a window of rows of taps, clamped, for each channel"
    )


@lru_cache(maxsize=64)
def average_cycles(spec: AverageSpec, *, channels: int, rows: int, columns: int) -> float:
    """Return the cycles of a call; arguments as the words of its shape."""
    turns, singles = divmod(columns, spec.at_once)
    turn = cycles(_turn(spec)) + (0 if spec.hardware else 1 + _TAKEN)
    turn += _WAIT * (spec.unroll if spec.taps == 2 else spec.unroll == 1)
    row = 7 + _TAKEN + turns * turn + singles * cycles(_single(spec)) + (_TAKEN if not turns else 2)
    finish = cycles(_finish(spec, _SUMS[0]))
    whole, left = divmod(channels, 4)
    block = 4 + 2 + rows * row + 4 * finish + 6 + _TAKEN
    single = 4 + rows * (6 + _TAKEN + 3 * columns) + finish + 5 + _TAKEN
    return 45 + whole * block + left * single


def _rows(label: int) -> list[str]:
    return [f"mv {_LINE}, a0", f"mv {_LEFT}, {_IN['rows']}", f"{label}:", f"mv {_AT}, {_LINE}"]


def _next_row(label: int) -> list[str]:
    return [f"add {_LINE}, {_LINE}, {_IN['row']}", f"addi {_LEFT}, {_LEFT}, -1", f"bnez {_LEFT}, {label}b"]


def _repeated(spec: AverageSpec, count: str, body: list[str], label: int) -> list[str]:
    """Return a loop over turns; a branch counts down another register."""
    if spec.hardware:
        return repeat(count, body)
    left = "a2"
    return [f"mv {left}, {count}", f"{label}:", *body, f"addi {left}, {left}, -1", f"bnez {left}, {label}b"]


def _turn(spec: AverageSpec) -> list[str]:
    """Return the sums of as many taps as a turn has."""
    if spec.taps == 2:
        first, second = _VALUES
        low, high = _PACKED
        step = [*(load_by(4, value, _AT, _IN["channels"]) for value in _VALUES)]
        step += [pack_low(low, second, first), pack_high(high, second, first)]
        ways = ((low, 0), (low, 1), (high, 0), (high, 1))
        step += [add_dot(total, value, _ONES[way]) for total, (value, way) in zip(_SUMS, ways, strict=True)]
        return step * spec.unroll
    if spec.unroll == 1:
        return [load_by(4, _VALUES[0], _AT, _IN["channels"]), *_added(_VALUES[0])]
    pair = [load_by(4, value, _AT, _IN["channels"]) for value in _VALUES]
    return [*pair, *(line for value in _VALUES for line in _added(value))] * (spec.unroll // 2)


def _added(value: str) -> list[str]:
    """Return the sums of a tap."""
    return [add_dot(total, value, ones) for total, ones in zip(_SUMS, _ONES, strict=True)]


def _single(spec: AverageSpec) -> list[str]:
    """Return the sums of a tap that no turn has."""
    value = _VALUES[0]
    load = [load_by(4, value, _AT, _IN["channels"]), "nop"]
    if spec.taps == 1:
        return [*load, *_added(value)]
    low, high = _PACKED
    ways = ((low, 0), (low, 1), (high, 0), (high, 1))
    packs = [pack_low(low, "x0", value), pack_high(high, "x0", value)]
    dots = [add_dot(total, each, _ONES[way]) for total, (each, way) in zip(_SUMS, ways, strict=True)]
    return [*load, *packs, *dots]


def _finish(spec: AverageSpec, total: str) -> list[str]:
    value = _VALUES[0]
    return [
        *([f"srai {value}, {total}, 31", f"add {total}, {total}, {value}"] if spec.away else []),
        f"mul {total}, {total}, {_IN['factor']}",
        add_and_shift(total, _IN["offset"], _IN["shift"]),
        higher_of(total, total, _IN["low"]),
        lower_of(total, total, _IN["high"]),
    ]
