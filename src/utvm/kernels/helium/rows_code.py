"""Copies of rows of bytes by vectors; what is left of a row behind whole vectors is predicated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.kernels.dsp.assembly import assembler_function
from utvm.kernels.helium.code import constant

VECTOR = 16
_AT_ONCE = 4
"""Vectors that are loaded before the first is stored: a load waits behind a store."""
_MOST_STEP = 127
"""The largest offset of an access to bytes."""
_CALL_CYCLES, _ROW_CYCLES = 20, 0.5
_LOAD_CYCLES, _STORE_CYCLES, _MISALIGNED_CYCLES = 2, 2.1, 0.4
_WORD = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsSpec:
    """A copy of rows of bytes.

    Attributes:
        count: rows, at least one.
        nbytes: bytes of a row, at least one.
        pitch: from a row of the input to the next, any number of bytes.
        out_pitch: of the output.
        times: how often each row is written.
        step: from once to the next time, in bytes.
    """

    count: int
    nbytes: int
    pitch: int
    out_pitch: int
    times: int = 1
    step: int = 0

    @property
    def cycles(self) -> float:
        """About how many modelled cycles the function takes."""
        vectors, turns = -(-self.nbytes // VECTOR), self.nbytes // (VECTOR * _AT_ONCE)
        load = _LOAD_CYCLES + (_MISALIGNED_CYCLES if self.pitch % _WORD else 0)
        store = _STORE_CYCLES + (_MISALIGNED_CYCLES if self.step % _WORD or self.out_pitch % _WORD else 0)
        each = vectors * (load + self.times * store) + turns
        return _CALL_CYCLES + self.count * (_ROW_CYCLES + each)


@lru_cache(maxsize=256)
def rows_function(spec: RowsSpec) -> CSupport:
    """Return `void name(void *to, const void *from)`, which copies rows."""
    turns, rest = divmod(spec.nbytes, VECTOR * _AT_ONCE)
    vectors = -(-rest // VECTOR)
    together = 1 if turns or spec.times > 1 else max(1, min(spec.count, _AT_ONCE // vectors))
    repeats, left = divmod(spec.count, together)
    lines = ["push {r4-r8, lr}"]
    if rest % VECTOR:
        lines += [*constant("r4", rest % VECTOR), "vctp.8 r4"]
    behind = turns * VECTOR * _AT_ONCE
    rows = _Rows(spec, rest)
    moved = behind + (0 if rows.written_beside else spec.times * spec.step)
    lines += [*constant("r5", spec.pitch - behind), *constant("r6", spec.out_pitch - moved)]
    lines += constant("r7", spec.step) if spec.step else []
    if turns:
        lines += [*constant("r2", spec.count), "4:", *constant("r4", turns), "dls lr, r4", "5:"]
        lines += [*rows.turn(), "le lr, 5b", *(rows.copies(1) if rest else rows.moves())]
        lines += ["subs.w r2, r2, #1", "bne.w 4b"]
    else:
        lines += [*constant("r2", repeats), "dls lr, r2", "4:", *rows.copies(together), "le lr, 4b"]
        lines += rows.copies(left) if left else []
    numbers = (spec.count, spec.nbytes, spec.pitch, spec.out_pitch, spec.times, spec.step)
    name = f"utvm_helium_rows_{'_'.join(f'm{-each}' if each < 0 else str(each) for each in numbers)}"
    comment = f"{spec.count} rows of {spec.nbytes} bytes"
    lines.append("pop {r4-r8, pc}")
    return assembler_function(name, f"void {name}(void *to, const void *from)", lines, comment)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Writes copies of rows: from r1, which moves by r5, to r0, which moves by r7 from once to the next and by r6."""

    spec: RowsSpec
    rest: int

    def turn(self) -> list[str]:
        """Return the copy of as many whole vectors as a turn has."""
        loads = [f"vldrb.u8 q{number}, [r1], #{VECTOR}" for number in range(_AT_ONCE)]
        if self.spec.times == 1:
            return [*loads, *(f"vstrb.8 q{number}, [r0], #{VECTOR}" for number in range(_AT_ONCE))]
        lines = [*loads, "mov r8, r0"]
        for _ in range(self.spec.times):
            lines += [f"vstrb.8 q{number}, [r8, #{VECTOR * number}]" for number in range(_AT_ONCE)]
            lines.append("add r8, r8, r7")
        return [*lines, f"add.w r0, r0, #{VECTOR * _AT_ONCE}"]

    @property
    def short(self) -> bool:
        """Whether a row is less than a vector, so that one predicate serves several accesses in a line."""
        return self.rest == self.spec.nbytes < VECTOR

    @property
    def written_beside(self) -> bool:
        """Whether all copies of a short row lie where offsets reach."""
        spec = self.spec
        return self.short and 1 < spec.times <= _AT_ONCE and (spec.times - 1) * spec.step <= _MOST_STEP

    def copies(self, count: int) -> list[str]:
        """Return the copies of what is left of some rows behind turns, up to as many vectors as a turn has."""
        spec, lines = self.spec, list[str]()
        if self.short and abs(spec.pitch) <= _MOST_STEP:
            lines += _predicated(f"vldrbt.u8 q{row}, [r1], #{spec.pitch}" for row in range(count))
        else:
            for row in range(count):
                lines += [*self._row(row, "vldrb.u8", "r1"), "add r1, r1, r5"]
        if self.short and spec.times == 1 and abs(spec.out_pitch) <= _MOST_STEP:
            return lines + _predicated(f"vstrbt.8 q{row}, [r0], #{spec.out_pitch}" for row in range(count))
        for row in range(count):
            if self.written_beside:
                lines += _predicated(f"vstrbt.8 q{row}, [r0, #{time * spec.step}]" for time in range(spec.times))
            else:
                again = ["add r0, r0, r7"] if spec.step else []
                lines += [*self._row(row, "vstrb.8", "r0"), *again] * spec.times
            lines.append("add r0, r0, r6")
        return lines

    def _row(self, row: int, name: str, pointer: str) -> list[str]:
        full, tail = divmod(self.rest, VECTOR)
        first = row * (full + (tail > 0))
        lines = [f"{name} q{first + k}, [{pointer}, #{VECTOR * k}]" for k in range(full)]
        if tail:
            lines += _predicated([f"{name.replace('b.', 'bt.')} q{first + full}, [{pointer}, #{VECTOR * full}]"])
        return lines

    def moves(self) -> list[str]:
        """Return the way to the next row where nothing is left behind turns."""
        back = ["add r0, r0, r7"] * self.spec.times if self.spec.step else []
        return ["add r1, r1, r5", *back, "add r0, r0, r6"]


def _predicated(lines: Iterable[str]) -> list[str]:
    """Return up to four predicated instructions behind the one that says so."""
    block = list(lines)
    return [f"vps{'t' * len(block)}", *block]
