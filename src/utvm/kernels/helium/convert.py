"""Between float32 and bytes by vectors of four, to the bit as the definition divides and rounds.

Vectors take float32 numbers next to 0 for 0, which changes no result: scales are far from them. Where a compiler has
vectors of integers alone, the same function is plain C.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from utvm.codegen import CSupport, float_literal, statements
from utvm.cores import Core
from utvm.cores.microkernel import Block
from utvm.cores.timing import Timing
from utvm.graph import Dequantize, DType, Operator, Quantize
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.dsp.assembly import assembler_function, short_digest
from utvm.kernels.helium.code import constant
from utvm.kernels.helium.element_loops import TURN, loops_by_fours
from utvm.kernels.helium.family import ScheduledVectors
from utvm.kernels.portable.convert import PortableConvert
from utvm.kernels.portable.quantize import two_factors
from utvm.kernels.weighted import offset

_POOL = tuple(f"q{number}" for number in range(8))
_CALL_CYCLES = 60
_SENSIBLE = (2.0**-60, 2.0**60)
"""Scales for which no product comes near the ends of float32."""


class HeliumConvert(ScheduledVectors, PortableConvert):
    """Quantize from float32 to int8, and Dequantize."""

    name = "helium"

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why vectors do not convert `op` exactly."""
        if (reason := PortableConvert.refusal(self, op, core)) is not None:
            return reason
        if isinstance(op, Quantize) and two_factors(op.y.scale) is None:
            return "its scale has no two factors"
        if isinstance(op, Dequantize) and not _SENSIBLE[0] <= op.x.scale <= _SENSIBLE[1]:
            return "its scale is near the ends of float32"
        return self.lacks(core) or (None if core.fpu else f"{core.name} has no vectors of float32")

    def space(self, op: Operator, core: Core) -> Space:
        """Return no knobs."""
        del op, core
        return {}

    def default(self, op: Operator, core: Core) -> Config:
        """Return the only form."""
        del op, core
        return {}

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the only form."""
        return (self.default(op, core),)

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return none: no other form is as fast."""
        del op, core, config
        return None

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles all vectors take."""
        assert isinstance(op, Quantize | Dequantize)
        assert core.timing is not None
        return _CALL_CYCLES + op.x.elements / TURN * (_function(op, core.timing)[1] + 3)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a conversion."""
        assert isinstance(op, Quantize | Dequantize)
        assert core.timing is not None
        plain = PortableConvert().build(op, core, {})
        support, _ = _function(op, core.timing)
        function = replace(
            plain.function,
            stem=f"{plain.function.stem}_helium",
            comment=plain.function.comment.replace("family portable", f"family {self.name}"),
            parameters=tuple(p for p in plain.function.parameters if p.role != "constant"),
            body=statements(f"{support.name}(x, y, {op.x.elements});"),
            helpers=("utvm_round", "utvm_clamp") if isinstance(op, Quantize) else (),
            support=(support,),
        )
        return replace(plain, family=self.name, config=config, function=function, constants={})


def _function(op: Quantize | Dequantize, timing: Timing) -> tuple[CSupport, float]:
    """Return the function over elements and the modelled cycles of a turn of sixteen."""
    if isinstance(op, Quantize):
        return _quantize(op.y.scale, op.y.zero_point, timing)
    return _dequantize(op.x.scale, op.x.zero_point, op.x.dtype is DType.UINT8, timing)


@lru_cache(maxsize=64)
def _quantize(scale: float, zero_point: int, timing: Timing) -> tuple[CSupport, float]:
    """Return `void name(const float *x, int8_t *y, int32_t count)`."""
    factors = two_factors(scale)
    assert factors is not None

    def vector(block: Block, number: int) -> None:
        x, y = f"%x{number}", f"%y{number}"
        # The conversion is to the nearest integer, halves away from 0; it saturates, and so does what follows.
        block(f"vldrw.u32 {x}, [r0], #16", f"vmul.f32 {y}, {x}, r5", f"vfma.f32 {y}, {x}, r4")
        block(f"vcvta.s32.f32 {y}, {y}", *([f"vqadd.s32 {y}, {y}, r6"] if zero_point else []))
        block(f"vqmovnb.s32 {y}, {y}", f"vqmovnb.s16 {y}, {y}", f"vstrb.32 {y}, [r1], #4")

    plain = (
        f"const int32_t value = utvm_round(x[i] / {float_literal(scale)}){offset(zero_point)};\n"
        "    y[i] = (int8_t)utvm_clamp(value, -128, 127);"
    )
    words = [*(_bits(factor) for factor in factors), zero_point]
    return _loops("quantize", "const float *x, int8_t *y", words, vector, plain, timing)


@lru_cache(maxsize=64)
def _dequantize(scale: float, zero_point: int, unsigned: bool, timing: Timing) -> tuple[CSupport, float]:
    """Return `void name(const int8_t *x, float *y, int32_t count)`, or one of uint8_t."""

    def vector(block: Block, number: int) -> None:
        x = f"%x{number}"
        block(f"vldrb.{'u' if unsigned else 's'}32 {x}, [r0], #4")
        block(*([f"vsub.i32 {x}, {x}, r6"] if zero_point else []))
        block(f"vcvt.f32.s32 {x}, {x}", f"vmul.f32 {x}, {x}, r4", f"vstrw.32 {x}, [r1], #16")

    plain = f"y[i] = {float_literal(scale)} * (float)(x[i]{offset(-zero_point)});"
    arguments = f"const {'u' if unsigned else ''}int8_t *x, float *y"
    return _loops("dequantize", arguments, [_bits(scale), 0, zero_point], vector, plain, timing)


def _loops(
    kind: str, arguments: str, words: list[int], vector: Callable[[Block, int], None], plain: str, timing: Timing
) -> tuple[CSupport, float]:
    """Return a function of turns of sixteen elements and of vectors behind them, and the cycles of such a turn."""
    loops, cycles = loops_by_fours(vector, timing, pool=_POOL, turns="r3")
    name = f"utvm_helium_{kind}_{short_digest(arguments, words)}"
    lines = ["push {r4-r6, lr}", "vpush {d8-d15}"]
    for register, word in zip(("r4", "r5", "r6"), words, strict=True):
        lines += constant(register, word)
    lines += [*loops, "vpop {d8-d15}", "pop {r4-r6, pc}"]
    prototype = f"void {name}({arguments}, int32_t count)"
    function = assembler_function(name, prototype, lines, "count elements")
    portable = f"static {prototype} {{\n  for (int32_t i = 0; i < count; i++) {{\n    {plain}\n  }}\n}}\n"
    text = f"#if __ARM_FEATURE_MVE & 2\n{function.text}#else /* vectors of integers alone */\n{portable}#endif\n"
    return replace(function, text=text), cycles


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.int32))
