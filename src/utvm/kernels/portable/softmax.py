"""Softmax in plain C: TFLite's fixed point, with the exponentials of all differences in a table.

Not a schedule of loops: the largest value, the sum and the scale of a row stay in registers. A definition of several
computations would store them for all rows, and could not write over its input.
"""

from __future__ import annotations

from dataclasses import replace

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.graph import Operator, Softmax
from utvm.graph.arithmetic import SOFTMAX_SUM_INTEGER_BITS, softmax_exponentials
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.workload_keys import dims, workload

_LEAST_ZEROS = SOFTMAX_SUM_INTEGER_BITS + 23 - 31
"""Leading zeros of a sum whose shares are shifted by 31 bits at most: those of larger sums all round to 0."""
_DEEP = 1 << (32 - _LEAST_ZEROS - (31 - SOFTMAX_SUM_INTEGER_BITS))
"""Elements of a row from which a sum may be larger; a single exponential counts as 2^19."""


class PortableSoftmax(KernelFamily):
    """Softmax over the last dimension."""

    name = "portable"
    kinds = (Softmax,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a softmax."""
        del core
        assert isinstance(op, Softmax)
        depth = op.x.shape[-1]
        bits = SOFTMAX_SUM_INTEGER_BITS
        w = CWriter()
        with w.loop("row", op.x.elements // depth):
            w(f"const int8_t *from = x + row * {depth};", f"int8_t *to = y + row * {depth};")
            sum_type = "uint32_t" if depth >= _DEEP else "int32_t"
            w("int32_t most = -128;", f"{sum_type} sum = 0;")
            with w.loop("i", depth):
                w("most = from[i] > most ? from[i] : most;")
            with w.loop("i", depth):
                w(f"sum += ({sum_type})(((uint32_t)exponentials[most - from[i]] + {1 << (bits - 1)}u) >> {bits});")
            right = write_scale(w, depth)
            w(f"const int32_t right = {right};")
            with w.loop("i", depth):
                w("const int32_t share = utvm_high_mul(exponentials[most - from[i]], scale);")
                w("to[i] = (int8_t)utvm_clamp(utvm_shift_right(share, right) - 128, -128, 127);")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"softmax_{dims(op.x.shape)}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="exponentials", c_type="int32_t", role="constant"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=("utvm_leading_zeros", "utvm_reciprocal", "utvm_high_mul", "utvm_shift_right", "utvm_clamp"),
            ),
            constants={"exponentials": CArray(c_type="int32_t", values=softmax_exponentials(op))},
            in_place=(0,),
        )


def softmax_by_calls(
    plain: Kernel, op: Softmax, family: str, most: CSupport, total: CSupport, shares: CSupport
) -> Kernel:
    """Return the kernel that calls three functions for each row, with the tables of the plain one.

    Args:
        plain: the kernel of plain C.
        op: the softmax.
        family: the family's name.
        most: of a row and its length; returns the largest input.
        total: of a row, the exponentials, the largest input and the length; returns the sum of rounded exponentials.
        shares: of a row, where it is written, the exponentials, the largest input, the length, the sum's reciprocal,
            and by how many bits products with it are shifted right.
    """
    depth = op.x.shape[-1]
    w = CWriter()
    with w.loop("row", op.x.elements // depth):
        w(f"const int8_t *from = x + row * {depth};", f"int8_t *to = y + row * {depth};")
        w(f"const int32_t most = {most.name}(from, {depth});")
        w(f"const int32_t sum = {total.name}(from, exponentials, most, {depth});")
        right = write_scale(w, depth)
        w(f"{shares.name}(from, to, exponentials, most, {depth}, scale, {right});")
    function = replace(
        plain.function,
        stem=f"{plain.function.stem}_{family}",
        body=w.text,
        helpers=("utvm_leading_zeros", "utvm_reciprocal"),
        support=(most, total, shares),
    )
    return replace(plain, function=function)


def write_scale(w: CWriter, depth: int) -> str:
    """Write `scale`, the reciprocal of a row's `sum`; return by how many bits its products are shifted right, in C.

    tflite-micro leaves a shift by more than 31 bits undefined: here these shares are 0, to nearest. A sum that wraps to
    0 leaves none either.
    """
    right = f"{SOFTMAX_SUM_INTEGER_BITS + 23} - zeros"
    reciprocal = "utvm_reciprocal((int32_t)(((uint32_t)sum << zeros) - 0x80000000u))"
    if depth < _DEEP:
        w("const int32_t zeros = utvm_leading_zeros((uint32_t)sum);", f"const int32_t scale = {reciprocal};")
        return right
    w("const int32_t zeros = sum == 0 ? 0 : utvm_leading_zeros((uint32_t)sum);")
    w(f"const int32_t scale = zeros < {_LEAST_ZEROS} ? 0 : {reciprocal};")
    return f"zeros < {_LEAST_ZEROS} ? 31 : {right}"
