"""Rows over the root of their sum of squares, in plain C.

Not a schedule of loops: a row's root and shift stay in registers, as the values of a row in `softmax`.
"""

from __future__ import annotations

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import L2Normalize, Operator
from utvm.graph.arithmetic import L2_OUTPUT_BITS
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.workload_keys import dims, workload


class PortableL2Normalize(KernelFamily):
    """One row after another: its sum of squares, the inverse root, the products."""

    name = "portable"
    kinds = (L2Normalize,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an L2 normalisation."""
        del core
        assert isinstance(op, L2Normalize)
        depth, zero = op.x.shape[-1], op.x.zero_point
        value = f"from[i] - ({zero})" if zero else "from[i]"
        w = CWriter()
        with w.loop("row", op.x.elements // depth):
            w(f"const int8_t *const from = x + row * {depth};", f"int8_t *const to = y + row * {depth};")
            w("int32_t sum = 0;")
            with w.loop("i", depth):
                w(f"const int32_t value = {value};", "sum += value * value;")
            w("int32_t shift = 0;", "const int32_t root = utvm_inverse_root(sum, &shift);")
            with w.loop("i", depth):
                w(f"const int32_t value = {value};")
                scaled = f"utvm_requantize_double(value, root, shift + {L2_OUTPUT_BITS})"
                w(f"to[i] = (int8_t)utvm_clamp({scaled}, -128, 127);")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"l2normalize_{dims(op.x.shape)}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=("utvm_inverse_root", "utvm_requantize_double", "utvm_clamp"),
            ),
            in_place=(0,),
        )
