"""Between float32 and int8 or uint8, in plain C that no compiler option can round differently."""

from __future__ import annotations

from utvm.codegen import CFunction, CParameter, CWriter, float_literal
from utvm.cores import Core
from utvm.graph import Dequantize, DType, Operator, Quantize
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.weighted import offset
from utvm.kernels.workload import dims, workload


class PortableConvert(KernelFamily):
    """Quantize from float32, and Dequantize."""

    name = "portable"
    kinds = (Quantize, Dequantize)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` does not convert between float32 and int8."""
        if isinstance(op, Quantize) and op.x.dtype is not DType.FLOAT32:
            return "its input is not float32"
        return super().refusal(op, core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a conversion."""
        del core
        assert isinstance(op, Quantize | Dequantize)
        scale = op.y.scale if isinstance(op, Quantize) else op.x.scale
        w = CWriter()
        with w.loop("i", op.x.elements):
            if isinstance(op, Quantize):
                w(f"const int32_t value = utvm_round(x[i] / {float_literal(op.y.scale)}){offset(op.y.zero_point)};")
                w("y[i] = (int8_t)utvm_clamp(value, -128, 127);")
            else:
                w(f"y[i] = {float_literal(op.x.scale)} * (float)(x[i]{offset(-op.x.zero_point)});")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.x.shape)}",
                comment=f"{workload(op)}, scale {scale!r}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type=op.x.dtype.c_type, role="input"),
                    CParameter(name="y", c_type=op.y.dtype.c_type, role="output"),
                ),
                body=w.text,
                helpers=("utvm_round", "utvm_clamp") if isinstance(op, Quantize) else (),
            ),
        )
