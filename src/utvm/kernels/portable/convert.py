"""Between float32 and int8 or uint8, in plain C that no compiler option can round differently.

Not schedules of loops: a helper quantises four values at once, and results of a table are moved as words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CWriter, float_literal
from utvm.cores import Core
from utvm.graph import Dequantize, DType, Operator, Quantize
from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.portable.quantize import rounding_limits, short_reciprocal, two_factors
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload

_AT_ONCE = 4
"""Elements of a turn: their loads and conversions come before all stores."""
_CALL_CYCLES = 20.0
_BY_TABLE, _BY_PRODUCT, _BY_SOFT_FLOAT = 2.7, 5.75, 80.0
"""Cycles of an element of Dequantize: the first two counted on the modelled Cortex-M7, others differ by little."""


class PortableConvert(KernelFamily):
    """Quantize from float32, and Dequantize.

    Knob of Dequantize: `table`, whether all 256 results are read from 1 KB of flash or computed.
    """

    name = "portable"
    kinds = (Quantize, Dequantize)
    dtypes = (DType.FLOAT32, DType.INT8, DType.UINT8)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` does not convert between float32 and int8."""
        if isinstance(op, Quantize) and op.x.dtype is not DType.FLOAT32:
            return "its input is not float32"
        if isinstance(op, Quantize) and op.y.dtype is not DType.INT8:
            return "float32 becomes int8 here, not uint8"
        return super().refusal(op, core)

    def space(self, op: Operator, core: Core) -> Space:
        """Return both forms of Dequantize."""
        del core
        return {"table": (0, 1)} if isinstance(op, Dequantize) else {}

    def default(self, op: Operator, core: Core) -> Config:
        """Return the faster form."""
        del core
        return {"table": 1} if isinstance(op, Dequantize) else {}

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return both forms: one is fast, the other one small."""
        return ({"table": 1}, {"table": 0}) if isinstance(op, Dequantize) else (self.default(op, core),)

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return about the cycles of a form of Dequantize, which compete with each other alone."""
        if not isinstance(op, Dequantize):
            return None
        computed = _BY_PRODUCT if core.fpu else _BY_SOFT_FLOAT
        table = (config or self.default(op, core))["table"]
        return _CALL_CYCLES + op.x.elements * (_BY_TABLE if table else computed)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a conversion."""
        assert isinstance(op, Quantize | Dequantize)
        scale = op.y.scale if isinstance(op, Quantize) else op.x.scale
        w = CWriter()
        if isinstance(op, Quantize):
            helpers, constants = _write_quantize(w, op, core)
        else:
            helpers, constants = _write_dequantize(w, op, table=bool((config or self.default(op, core))["table"]))
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


def _write_dequantize(w: CWriter, op: Dequantize, *, table: bool) -> tuple[tuple[str, ...], dict[str, CArray]]:
    if table:
        return ("utvm_load4", "utvm_store4"), _write_by_table(w, op)

    def write(lanes: int) -> None:
        for lane in range(lanes):
            value = f"(float)(x[i{offset(lane)}]{offset(-op.x.zero_point)})"
            w(f"const float value{lane} = {float_literal(op.x.scale)} * {value};")
        for lane in range(lanes):
            w(f"y[i{offset(lane)}] = value{lane};")

    _write_turns(w, op.x.elements, write)
    return (), {}


def _write_by_table(w: CWriter, op: Dequantize) -> dict[str, CArray]:
    source = "x" if op.x.dtype is DType.INT8 else "(const int8_t *)x"

    def write(lanes: int) -> None:
        if lanes == 1:
            w("y[i] = table[(uint8_t)x[i]];")
            return
        # The bits as integers: GCC loads a float of a table by an addition more.
        w(f"const uint32_t four = utvm_load4({source} + i);")
        for lane, place in enumerate(("four & 255", "four >> 8 & 255", "four >> 16 & 255", "four >> 24")):
            w(f"const uint32_t value{lane} = utvm_load4((const int8_t *)(table + ({place})));")
        for lane in range(lanes):
            w(f"utvm_store4((int8_t *)(y + i{offset(lane)}), value{lane});")

    _write_turns(w, op.x.elements, write)
    every = np.arange(256, dtype=np.uint8).view(op.x.dtype.value).astype(np.int32) - op.x.zero_point
    return {"table": CArray(c_type="float", values=np.float32(op.x.scale) * every.astype(np.float32))}


def _write_turns(w: CWriter, elements: int, write: Callable[[int], None]) -> None:
    """Write a loop of `_AT_ONCE` elements a turn, and one of those that are left."""
    rest = elements % _AT_ONCE
    if elements > rest:
        with w.loop("i", elements - rest, step=_AT_ONCE):
            write(_AT_ONCE)
    if rest:
        with w.loop("i", elements, start=elements - rest):
            write(1)
