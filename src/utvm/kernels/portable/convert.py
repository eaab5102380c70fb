"""Between float32 and int8 or uint8, in plain C that no compiler option can round differently."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CWriter, float_literal
from utvm.cores import Core
from utvm.graph import Dequantize, DType, Operator, Quantize
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.portable.quantize import rounding_limits, short_reciprocal, two_factors
from utvm.kernels.weighted import offset
from utvm.kernels.workload import dims, workload

_AT_ONCE = 4
"""Elements of a turn: their loads and conversions come before all stores."""
_TABLE_WORTH = 512
"""Elements from which a table of 1 KB is worth its flash on cores without FPU: Dequantize."""


class PortableConvert(KernelFamily):
    """Quantize from float32, and Dequantize."""

    name = "portable"
    kinds = (Quantize, Dequantize)
    dtypes = (DType.FLOAT32, DType.INT8, DType.UINT8)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` does not convert between float32 and int8."""
        if isinstance(op, Quantize) and op.x.dtype is not DType.FLOAT32:
            return "its input is not float32"
        return super().refusal(op, core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a conversion."""
        assert isinstance(op, Quantize | Dequantize)
        scale = op.y.scale if isinstance(op, Quantize) else op.x.scale
        w = CWriter()
        if isinstance(op, Quantize):
            helpers, constants = _write_quantize(w, op, core)
        else:
            helpers, constants = _write_dequantize(w, op, core)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.x.shape)}",
                comment=f"{workload(op)}, scale {scale!r}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type=op.x.dtype.c_type, role="input"),
                    *(CParameter(name=name, c_type=a.c_type, role="constant") for name, a in constants.items()),
                    CParameter(name="y", c_type=op.y.dtype.c_type, role="output"),
                ),
                body=w.text,
                helpers=helpers,
            ),
            constants=constants,
        )


def _write_quantize(w: CWriter, op: Quantize, core: Core) -> tuple[tuple[str, ...], dict[str, CArray]]:
    scale = op.y.scale
    factors, limits = two_factors(scale) if core.fpu else None, rounding_limits(scale)
    if factors is not None:
        rest = op.x.elements % _AT_ONCE
        if op.x.elements > rest:
            numbers = ", ".join([*map(float_literal, (scale, *factors)), str(op.y.zero_point)])
            with w.loop("i", op.x.elements - rest, step=_AT_ONCE):
                w(f"utvm_quantize4(x + i, y + i, {numbers});")
        if rest:
            _write_divided(w, op, op.x.elements - rest)
        return ("utvm_quantize4", "utvm_round", "utvm_clamp"), {}
    if limits is not None:
        factor, exponent = short_reciprocal(scale)
        with w.loop("i", op.x.elements):
            w("const uint32_t bits = utvm_float_bits(x[i]);", "const uint32_t size = bits & 0x7FFFFFFFu;")
            w(f"const uint32_t below = utvm_quotient_below(size, {factor}, {exponent});")
            w("const int32_t steps = (int32_t)(below + (size >= limits[below]));")
            w(f"const int32_t value = (bits >> 31 ? -steps : steps){offset(op.y.zero_point)};")
            w("y[i] = (int8_t)utvm_clamp(value, -128, 127);")
        constants = {"limits": CArray(c_type="uint32_t", values=limits.view(np.uint32))}
        return ("utvm_float_bits", "utvm_quotient_below", "utvm_clamp"), constants
    _write_divided(w, op, 0)
    return ("utvm_round", "utvm_clamp"), {}


def _write_divided(w: CWriter, op: Quantize, start: int) -> None:
    """Write the elements from `start` on by divisions."""
    with w.loop("i", op.x.elements, start=start):
        w(f"const int32_t value = utvm_round(x[i] / {float_literal(op.y.scale)}){offset(op.y.zero_point)};")
        w("y[i] = (int8_t)utvm_clamp(value, -128, 127);")


def _write_dequantize(w: CWriter, op: Dequantize, core: Core) -> tuple[tuple[str, ...], dict[str, CArray]]:
    table = not core.fpu and op.x.elements >= _TABLE_WORTH

    def write(lanes: int) -> None:
        for lane in range(lanes):
            value = f"x[i{offset(lane)}]"
            real = f"{float_literal(op.x.scale)} * (float)({value}{offset(-op.x.zero_point)})"
            w(f"const float value{lane} = {f'table[(uint8_t){value}]' if table else real};")
        for lane in range(lanes):
            w(f"y[i{offset(lane)}] = value{lane};")

    _write_turns(w, op.x.elements, write)
    if not table:
        return (), {}
    every = np.arange(256, dtype=np.uint8).view(op.x.dtype.value).astype(np.int32) - op.x.zero_point
    values = np.float32(op.x.scale) * every.astype(np.float32)
    return (), {"table": CArray(c_type="float", values=values)}


def _write_turns(w: CWriter, elements: int, write: Callable[[int], None]) -> None:
    """Write a loop of `_AT_ONCE` elements a turn, and one of those that are left."""
    rest = elements % _AT_ONCE
    if elements > rest:
        with w.loop("i", elements - rest, step=_AT_ONCE):
            write(_AT_ONCE)
    if rest:
        with w.loop("i", elements, start=elements - rest):
            write(1)
