"""Four sums at once, in r4, r6, r8 and r10: of runs of bytes, and the finish of sums to bytes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.graph.arithmetic import Requantization
from utvm.graph.operators import FULL_INT8
from utvm.kernels.dsp.assembly import assembler_function, short_digest
from utvm.kernels.helium.code import constant

AT_ONCE = 4
SUMS, POINTERS = ("r4", "r6", "r8", "r10"), ("r5", "r7", "r9", "r11")
"""Where sums are, and addresses of what they are of."""
COLLECT = ("vmov q0[2], q0[0], r4, r8", "vmov q0[3], q0[1], r6, r10")
"""The way of the sums into q0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SumFinish:
    """How sums become bytes: as `factor` says, where there is one, plus a zero point, inside of a clamp."""

    factor: Requantization | None
    zero_point: int = 0
    clamp: tuple[int, int] = FULL_INT8

    @property
    def lines(self) -> list[str]:
        """Return the way from sums in q0 to bytes there, by q1 and r12."""
        factor = self.factor
        if factor is None:
            return []
        lines: list[str] = []
        if factor.shift > 0:
            lines += [*constant("r12", factor.shift), "vshl.s32 q0, r12"]
        lines += [*constant("r12", factor.multiplier), "vqrdmulh.s32 q0, q0, r12"]
        if factor.shift < 0:
            # TFLite rounds halves away from zero, which a clamp at the zero point hides.
            if self.clamp[0] < self.zero_point:
                lines += ["vshr.s32 q1, q0, #31", "vadd.i32 q0, q0, q1"]
            lines += [*constant("r12", factor.shift), "vrshl.s32 q0, r12"]
        lines += [*constant("r12", self.zero_point), "vqadd.s32 q0, q0, r12"] if self.zero_point else []
        if self.clamp == FULL_INT8:
            return [*lines, "vqmovnb.s32 q0, q0", "vqmovnb.s16 q0, q0"]
        for value, name in zip(self.clamp, ("vmax", "vmin"), strict=True):
            lines += [*constant("r12", value), "vdup.32 q1, r12", f"{name}.s32 q0, q0, q1"]
        return lines


def run_cycles(runs: int, count: int) -> float:
    """Return about how many cycles `run_function` takes."""
    return 40 + -(-runs // AT_ONCE) * (34 + -(-count // 16) * 14)


@lru_cache(maxsize=128)
def run_function(combine: str, start: int, finish: SumFinish) -> CSupport:
    """Return `void name(const int8_t *x, int8_t *y, int32_t runs, int32_t count)`, over runs that follow one another.

    The last four may overlap others: there are at least four.

    Args:
        combine: the instruction that adds a vector's bytes to a sum, or takes the most or least of them and it.
        start: what sums begin with.
        finish: how they become bytes.
    """
    lines = ["push {r4-r11, lr}", "sub sp, sp, #4", "3:", "mov r5, r0"]
    lines += [f"add {to}, {of}, r3" for of, to in zip(POINTERS, (*POINTERS[1:], "r0"), strict=True)]
    lines += [*constant("r4", start), *(f"mov {register}, r4" for register in SUMS[1:]), "wlstp.8 lr, r3, 5f", "4:"]
    for number, pointer in enumerate(POINTERS):
        lines.append(f"vldrb.u8 q{number}, [{pointer}], #16")
        lines += [f"{combine} {SUMS[number - 1]}, q{number - 1}"] if number else []
    lines += [f"{combine} {SUMS[-1]}, q3", "letp lr, 4b", "5:", *COLLECT, *finish.lines]
    lines += ["vstrb.32 q0, [r1], #4", f"subs.w r2, r2, #{AT_ONCE}", "beq.w 7f", f"cmp r2, #{AT_ONCE}", "bge.w 3b"]
    lines += [f"rsb.w r12, r2, #{AT_ONCE}", "mls r0, r12, r3, r0", "sub.w r1, r1, r12", f"mov.w r2, #{AT_ONCE}"]
    lines += ["b.w 3b", "7:", "add sp, sp, #4", "pop {r4-r11, pc}"]
    name = f"utvm_helium_runs_{short_digest(combine, start, finish)}"
    prototype = f"void {name}(const int8_t *x, int8_t *y, int32_t runs, int32_t count)"
    return assembler_function(name, prototype, lines, f"{combine} over runs")
