"""The loops of Add, Sub and Mul: four elements a turn, any scale and clamp, in scheduled assembler.

Each makes twice the value that TFLite requantises, and finishes it by one SMMLAR whose addend holds the second
rounding's half and the output zero point, and by a saturating shift. Twice the value is

- SHIFTED: `table[p] ± (q << 20)`, where the operand q is rescaled by exactly one half;
- LOOKED_UP: `table[p] + second table[q]`;
- PRODUCT: the product of int16 lanes without zero points, those of b doubled.

Results under other clamps than int8's whole range are packed as 128 more than they are, and limited four at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.graph import FULL_INT8
from utvm.kernels.dsp.assembly import assembler_loop, loop_cycles, short_digest
from utvm.kernels.dsp.choosing import fastest

LANES = 4
TABLE_WORDS = 256
_ARGUMENTS = "const int8_t *a, const int8_t *b, int8_t *y, int32_t words, const int32_t *constants"
_SAVED_BYTES = 36
_POOL: tuple[str, ...] = ("r8", "r9", "r10", "r11", "r12", "lr")


class Doubling(StrEnum):
    """How twice the value is made."""

    SHIFTED = "shifted"
    LOOKED_UP = "looked up"
    PRODUCT = "product"


class Away(StrEnum):
    """How ties of the second rounding go away from zero."""

    NEVER = "never"
    """They need not: nothing is shifted, or what is negative is clamped."""
    BY_VALUE = "by value"
    """One less where the value is negative: the first product is negative just there."""
    BY_PRODUCT = "by product"
    """One less where the first product is negative: it is 0 for a value of -1 times one half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryLoop:
    """What the code of a loop depends on. Operand a is looked up, b shifted, where one is.

    - `form`: how twice the value is made;
    - `subtracts`: whether the shifted operand is subtracted (SHIFTED);
    - `doublings`: how often b's lanes are doubled (PRODUCT);
    - `shift`: the right shift of the second rounding;
    - `away`: how it treats ties of negative numbers;
    - `clamp`: the limits.
    """

    form: Doubling
    subtracts: bool = False
    doublings: int = 0
    shift: int
    away: Away
    clamp: tuple[int, int]

    @property
    def packs(self) -> bool:
        """Whether results are 128 more than they are, until a word of them is limited."""
        return self.clamp != FULL_INT8

    @property
    def constants_at(self) -> int:
        """Where multiplier, offset and, for products, the zero points of a and b are among the constants, in words."""
        return {Doubling.SHIFTED: TABLE_WORDS, Doubling.LOOKED_UP: 2 * TABLE_WORDS, Doubling.PRODUCT: 0}[self.form]

    def function(self, timing: Timing) -> CSupport:
        """Return `void NAME(a, b, y, words, constants)`, the fastest for a core."""
        return _function(self, timing)


@lru_cache(maxsize=512)
def _function(loop: BinaryLoop, timing: Timing) -> CSupport:
    narrow = (False,) if loop.form is Doubling.PRODUCT else (False, True)
    found: dict[bool, CSupport] = {}

    def cycles(by_bytes: bool) -> float:
        found[by_bytes] = _scheduled(loop, by_bytes, timing)
        return loop_cycles(found[by_bytes], timing)

    return found[fastest(narrow, cycles, "no order of an element-wise loop fits the registers")]


def _scheduled(loop: BinaryLoop, narrow: bool, timing: Timing) -> CSupport:
    """Return the loop with operands read by bytes or by words."""
    block = Block()
    _write_operands(block, loop, narrow)
    for lane in range(LANES):
        block(*_finish(f"%s{lane}", loop))
        if not loop.packs:
            block(f"strb %s{lane}, [%y, #{lane}]")
    if loop.packs:
        _write_packed(block, loop)
    else:
        block("add %y, %y, #4")
    if narrow:
        block("add %a, %a, #4", "add %b, %b, #4")
    block("subs %n, %n, #1")
    fixed = {"%a": "r0", "%b": "r1", "%y": "r2", "%n": "r3", "%first": "r5", "%offset": "r6"}
    pool = _POOL
    entry = [f"ldr r4, [sp, #{_SAVED_BYTES}]"]
    first = 4 * loop.constants_at
    if loop.form is Doubling.PRODUCT:
        fixed |= {"%za": "r4", "%zb": "r7"}
        entry += ["ldr r5, [r4, #0]", "ldr r6, [r4, #4]", "ldr r7, [r4, #12]", "ldr r4, [r4, #8]"]
    elif loop.form is Doubling.LOOKED_UP:
        fixed |= {"%table": "r4", "%second": "r7"}
        entry += [f"ldr r5, [r4, #{first}]", f"ldr r6, [r4, #{first + 4}]", f"add r7, r4, #{4 * TABLE_WORDS}"]
    else:
        fixed |= {"%table": "r4"}
        pool = ("r7", *_POOL)
        entry += [f"ldr r5, [r4, #{first}]", f"ldr r6, [r4, #{first + 4}]"]
    body = schedule(block, timing, pool=pool, fixed=fixed)
    name = f"utvm_binary_{loop.form.replace(' ', '_')}_{short_digest(loop, narrow)}"
    comment = f"y = two operands ({loop.form}) requantised and limited to {loop.clamp}, four elements a turn"
    return assembler_loop(name, _ARGUMENTS, body.lines, comment, entry=entry)


def _write_operands(block: Block, loop: BinaryLoop, narrow: bool) -> None:
    """Write what leaves twice the value of each lane in `%s0` to `%s3`."""
    if loop.form is Doubling.PRODUCT:
        block("ldr %wa, [%a], #4", "ldr %wb, [%b], #4")
        for lanes, turn in (("e", ""), ("o", ", ror #8")):
            block(f"sxtab16 %a{lanes}, %za, %wa{turn}", f"sxtab16 %b{lanes}, %zb, %wb{turn}")
            block(*[f"sadd16 %b{lanes}, %b{lanes}, %b{lanes}"] * loop.doublings)
        for lane in range(LANES):
            half, lanes = "bt"[lane // 2] * 2, "eo"[lane % 2]
            block(f"smul{half} %s{lane}, %a{lanes}, %b{lanes}")
        return
    if not narrow:
        block("ldr %wa, [%a], #4", "ldr %wb, [%b], #4")
    operation = "sub" if loop.subtracts else "add"
    for lane in range(LANES):
        turn = f", ror #{8 * lane}" if lane else ""
        block(
            f"ldrb %i{lane}, [%a, #{lane}]" if narrow else f"uxtb %i{lane}, %wa{turn}",
            f"ldr %p{lane}, [%table, %i{lane}, lsl #2]",
        )
        if loop.form is Doubling.SHIFTED:
            block(
                f"ldrsb %v{lane}, [%b, #{lane}]" if narrow else f"sxtb %v{lane}, %wb{turn}",
                f"{operation} %s{lane}, %p{lane}, %v{lane}, lsl #20",
            )
        else:
            block(
                f"ldrb %j{lane}, [%b, #{lane}]" if narrow else f"uxtb %j{lane}, %wb{turn}",
                f"ldr %q{lane}, [%second, %j{lane}, lsl #2]",
                f"add %s{lane}, %p{lane}, %q{lane}",
            )


def _finish(register: str, loop: BinaryLoop) -> tuple[str, ...]:
    """Return the instructions from twice a value to its result, saturated to eight bits."""
    shifted = f", asr #{loop.shift}" if loop.shift else ""
    last = f"{'usat' if loop.packs else 'ssat'} {register}, #8, {register}{shifted}"
    own = f"%offset_{register[1:]}"
    match loop.away:
        case Away.NEVER:
            return f"smmlar {register}, {register}, %first, %offset", last
        case Away.BY_VALUE:
            return (
                f"add {own}, %offset, {register}, asr #31",
                f"smmlar {register}, {register}, %first, {own}",
                last,
            )
        case Away.BY_PRODUCT:
            return (
                f"smmulr {register}, {register}, %first",
                f"add {register}, {register}, {register}, asr #31",
                f"add {register}, {register}, %offset",
                last,
            )


def _write_packed(block: Block, loop: BinaryLoop) -> None:
    """Write the store of four unsigned results as a word, limited, 128 taken from each."""
    block("orr %s0, %s0, %s1, lsl #8", "orr %s2, %s2, %s3, lsl #8", "orr %s0, %s0, %s2, lsl #16")
    low, high = loop.clamp
    if low > -128:
        block(f"mov %low, #{_splat(low + 128)}", "usub8 %t, %s0, %low", "sel %s0, %s0, %low")
    if high < 127:
        block(f"mov %high, #{_splat(high + 128)}", "usub8 %u, %high, %s0", "sel %s0, %s0, %high")
    block("eor %s0, %s0, #0x80808080", "str %s0, [%y], #4")


def _splat(value: int) -> str:
    return f"0x{value * 0x01010101:08x}"
