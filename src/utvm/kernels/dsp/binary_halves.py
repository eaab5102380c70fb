"""The loops of Add, Sub and Mul of int16: four elements a turn, any scale and clamp, in scheduled assembler.

As those of int8 (`binary_loop`) each makes twice the value that TFLite requantises, and finishes it by one SMMLAR and a
saturating shift. Twice the value is

- SUM: of both operands, 15 bits higher;
- SCALED: of the operand of the larger scale, 15 bits higher, and of twice the other one's rounded product;
- PRODUCT: twice the product, saturated; only the two least values reach the limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.graph.formulas import INT16
from utvm.kernels.dsp.assembly import LOOP_REGISTERS, assembler_loop, loop_cycles, short_digest
from utvm.kernels.dsp.binary_loop import LANES, Away
from utvm.kernels.dsp.choosing import fastest

_ARGUMENTS = "const int16_t *a, const int16_t *b, int16_t *y, int32_t turns, const int32_t *constants"
_SAVED_BYTES = 36


class HalfDoubling(StrEnum):
    """How twice the value is made."""

    SUM = "sum"
    SCALED = "scaled"
    PRODUCT = "product"


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfLoop:
    """What the code of a loop depends on. Operand b is multiplied, where one is.

    Attributes:
        form: how twice the value is made.
        signs: of a and b in a sum; at most one is -1.
        own_shift: the right shift of b's own rounding (SCALED).
        shift: the right shift of the second rounding.
        away: how it treats ties of negative numbers.
        clamp: the limits.
    """

    form: HalfDoubling
    signs: tuple[int, int] = (1, 1)
    own_shift: int = 0
    shift: int
    away: Away
    clamp: tuple[int, int]

    def constants(self, multiplier: int, own_multiplier: int) -> list[int]:
        """Return what a call is given: multiplier and half of the second rounding, then of b's own."""
        return [multiplier, 1 << self.shift >> 1, own_multiplier, 1 << self.own_shift >> 1]

    def function(self, timing: Timing) -> CSupport:
        """Return `void NAME(a, b, y, turns, constants)`, scheduled for a core."""
        return _function(self, timing)


@lru_cache(maxsize=512)
def _function(loop: HalfLoop, timing: Timing) -> CSupport:
    frugal = (False, True) if loop.own_shift else (False,)
    found: dict[bool, CSupport] = {}

    def cycles(choice: bool) -> float:
        found[choice] = _scheduled(loop, timing, frugal=choice)
        return loop_cycles(found[choice], timing)

    return found[fastest(frugal, cycles, "no order of an element-wise loop fits the registers")]


def _scheduled(loop: HalfLoop, timing: Timing, *, frugal: bool) -> CSupport:
    """Return the loop; where registers are short, b's own half is a constant of an instruction more."""
    block = Block()
    for pair in range(LANES // 2):
        block(f"ldr %a{pair}, [%a], #4", f"ldr %b{pair}, [%b], #4")
    for lane in range(LANES):
        _write_doubled(block, loop, lane, frugal=frugal)
        _write_finish(block, loop, lane)
    for pair in range(LANES // 2):
        block(f"pkhbt %w{pair}, %s{2 * pair}, %s{2 * pair + 1}, lsl #16")
        _write_limits(block, loop, f"%w{pair}")
        block(f"str %w{pair}, [%y], #4")
    block("subs %n, %n, #1")
    fixed = {"%a": "r0", "%b": "r1", "%y": "r2", "%n": "r3", "%first": "r5", "%offset": "r6"}
    entry = [f"ldr r4, [sp, #{_SAVED_BYTES}]", "ldr r5, [r4, #0]", "ldr r6, [r4, #4]"]
    if loop.form is not HalfDoubling.PRODUCT:
        fixed["%mask"] = "r7"
        entry += ["movw r7, #0", "movt r7, #0xFFFF"]
    if loop.form is HalfDoubling.SCALED:
        fixed["%own"] = "r8"
        entry += ["ldr r8, [r4, #8]"]
        if loop.own_shift and not frugal:
            fixed["%half"] = "r9"
            entry += ["ldr r9, [r4, #12]"]
    pool = tuple(register for register in LOOP_REGISTERS if register not in fixed.values())
    body = schedule(block, timing, pool=pool, fixed=fixed)
    name = f"utvm_binary_halves_{loop.form}_{short_digest(loop, frugal)}"
    comment = f"y = two operands ({loop.form}) requantised and limited to {loop.clamp}, four elements a turn"
    return assembler_loop(name, _ARGUMENTS, body.lines, comment, entry=entry)


def _write_doubled(block: Block, loop: HalfLoop, lane: int, *, frugal: bool) -> None:
    """Write what leaves twice the value of a lane in `%s`."""
    pair, high = divmod(lane, 2)
    if loop.form is HalfDoubling.PRODUCT:
        half = "bt"[high] * 2
        block(f"smul{half} %p{lane}, %a{pair}, %b{pair}", f"qadd %s{lane}, %p{lane}, %p{lane}")
        return
    for name in "ab":
        of_top, of_low = (f"and %{name}x{lane}, %{name}{pair}, %mask", f"lsl %{name}x{lane}, %{name}{pair}, #16")
        block(of_top if high else of_low)
    if loop.form is HalfDoubling.SUM:
        block(f"asr %t{lane}, %ax{lane}, #1")
        left, right = f"%t{lane}", f"%bx{lane}"
        operation = {(1, 1): "add", (1, -1): "sub", (-1, 1): "rsb"}[loop.signs]
        block(f"{operation} %s{lane}, {left}, {right}, asr #1")
        return
    own = f"%r{lane}"
    if loop.own_shift and frugal:
        block(f"smmulr {own}, %bx{lane}, %own", f"add {own}, {own}, {own}, asr #31")
        block(f"add {own}, {own}, #{1 << loop.own_shift >> 1}", f"asr {own}, {own}, #{loop.own_shift}")
    elif loop.own_shift:
        block(f"add %h{lane}, %half, %bx{lane}, asr #31", f"smmlar {own}, %bx{lane}, %own, %h{lane}")
        block(f"asr {own}, {own}, #{loop.own_shift}")
    else:
        block(f"smmulr {own}, %bx{lane}, %own")
    block(f"lsl %d{lane}, {own}, #1")
    operation = {(1, 1): "add", (1, -1): "rsb", (-1, 1): "sub"}[loop.signs]
    block(f"{operation} %s{lane}, %d{lane}, %ax{lane}, asr #1")


def _write_finish(block: Block, loop: HalfLoop, lane: int) -> None:
    """Write the way from twice a value to its result, saturated to 16 bits."""
    value, own = f"%s{lane}", f"%o{lane}"
    shifted = f", asr #{loop.shift}" if loop.shift else ""
    match loop.away:
        case Away.NEVER:
            block(f"smmlar {value}, {value}, %first, %offset")
        case Away.BY_VALUE:
            block(f"add {own}, %offset, {value}, asr #31", f"smmlar {value}, {value}, %first, {own}")
        case Away.BY_PRODUCT:
            block(f"smmulr {value}, {value}, %first", f"add {value}, {value}, {value}, asr #31")
            block(f"add {value}, {value}, %offset")
    if loop.clamp == (0, INT16[1]):
        block(f"usat {value}, #15, {value}{shifted}")
    else:
        block(f"ssat {value}, #16, {value}{shifted}")


def _write_limits(block: Block, loop: HalfLoop, lanes: str) -> None:
    """Write the limits of two results that SSAT or USAT has not made."""
    low, high = loop.clamp
    if low not in (INT16[0], 0) or (low == 0 and high != INT16[1]):
        _splat(block, "%low", low)
        block(f"ssub16 %t, {lanes}, %low", f"sel {lanes}, {lanes}, %low")
    if high != INT16[1]:
        _splat(block, "%high", high)
        block(f"ssub16 %u, {lanes}, %high", f"sel {lanes}, %high, {lanes}")


def _splat(block: Block, register: str, value: int) -> None:
    half = value & 0xFFFF
    block(f"movw {register}, #{half}", f"movt {register}, #{half}")
