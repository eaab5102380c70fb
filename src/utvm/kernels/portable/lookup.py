"""Operators on single bytes, by a table of all 256.

Not a schedule of loops: four results are stored as one word.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import (
    Add,
    DType,
    Elementwise,
    LeakyRelu,
    Logistic,
    Mul,
    Operator,
    Quantize,
    Relu,
    Relu6,
    Sub,
    Tanh,
    Tensor,
)
from utvm.graph.arithmetic import ByteArray, LookupOperator, integer_range, is_lookup, lookup_table
from utvm.graph.reference import evaluate_operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.element_pairs import with_a_number
from utvm.kernels.rough import table_cycles
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload

_AT_ONCE = 8
"""Elements of a turn: their loads come before all stores, which fills the pipeline of a Cortex-M7."""


class PortableLookup(KernelFamily):
    """Logistic, Tanh, Relu, Relu6, LeakyRelu, Quantize between int8 and uint8; Add, Sub, Mul with a constant number."""

    name = "portable"
    kinds = (Logistic, Tanh, Relu, Relu6, LeakyRelu, Quantize, Add, Sub, Mul, Elementwise)
    dtypes = (DType.INT8, DType.UINT8)

    def outside_signature(self, op: Operator) -> str | None:
        """Return which tensor is of a type that this family lacks; a Quantize alone may have uint8."""
        wide = [t for t in (*op.inputs, *op.outputs) if t.dtype is DType.UINT8 and not isinstance(op, Quantize)]
        if wide:
            return f"it does not take uint8 (tensor '{wide[0].name}')"
        return super().outside_signature(op)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` does not map each byte by itself."""
        if isinstance(op, Add | Sub | Mul):
            return None if with_a_number(op) is not None else "no operand is a constant number"
        if isinstance(op, Elementwise):
            return None if _maps_bytes(op) else "it does not map each int8 by itself"
        return super().refusal(op, core) or (None if is_lookup(op) else "it is not between int8 and uint8")

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles it takes."""
        return table_cycles(op.outputs[0].elements, core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a table look-up."""
        del core
        assert isinstance(op, LookupOperator | Add | Sub | Mul | Elementwise)
        operand = op.activations[0]
        output, elements = op.y, op.y.elements
        stored = "y" if output.dtype is DType.INT8 else "(int8_t *)y"
        rest = elements % _AT_ONCE
        w = CWriter()
        if elements > rest:
            with w.loop("i", elements - rest, step=_AT_ONCE):
                for lane in range(_AT_ONCE):
                    w(f"const uint32_t x{lane} = (uint8_t)x[i{offset(lane)}];")
                for lane in range(_AT_ONCE):
                    w(f"const uint32_t y{lane} = table[x{lane}];")
                for first in range(0, _AT_ONCE, 4):
                    low, high = (f"y{lane} | y{lane + 1} << 8" for lane in (first, first + 2))
                    w(f"utvm_store4({stored} + i{offset(first)}, {low} | ({high}) << 16);")
        if rest:
            with w.loop("i", elements, start=elements - rest):
                w(f"y[i] = ({output.dtype.c_type})table[(uint8_t)x[i]];")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"lookup_{dims(op.y.shape)}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type=operand.dtype.c_type, role="input"),
                    CParameter(name="table", c_type="uint8_t", role="constant"),
                    CParameter(name="y", c_type=output.dtype.c_type, role="output"),
                ),
                body=w.text,
                helpers=("utvm_store4",) if elements > rest else (),
            ),
            constants={"table": CArray(c_type="uint8_t", values=_table(op))},
            in_place=(0,),
        )


def _table(op: LookupOperator | Add | Sub | Mul | Elementwise) -> NDArray[np.uint8]:
    """Return the results of all inputs, in the order of inputs and results taken as unsigned."""
    values: ByteArray
    if isinstance(op, Elementwise):
        values = _of_every_byte(op)
    else:
        values = _with_number_table(op) if isinstance(op, Add | Sub | Mul) else lookup_table(op)
    least, _ = integer_range(op.activations[0].dtype)
    return np.roll(values, least).view(np.uint8)


def _maps_bytes(op: Elementwise) -> bool:
    """Whether y holds, for each element of the one activation, a byte that depends on it and constant numbers alone."""
    if len(op.activations) != 1:
        return False
    (x,) = op.activations
    numbers = all(t.elements == 1 for t in op.xs if t.is_constant)
    return numbers and x.shape == op.y.shape and x.dtype is op.y.dtype is DType.INT8


def _of_every_byte(op: Elementwise) -> NDArray[np.int8]:
    """Return the results for the activation from -128 to 127."""
    every = np.arange(-128, 128, dtype=np.int16).astype(np.int8)
    small = {t: replace(t, shape=every.shape) for t in (*op.activations, op.y)}
    small |= {t: replace(t, shape=(1,), data=t.values.reshape(1)) for t in op.xs if t.is_constant}
    operands = [t.values.reshape(1) if t.is_constant else every for t in op.xs]
    (values,) = evaluate_operator(op.with_tensors(small), operands)
    return values.astype(np.int8)


def _with_number_table(op: Add | Sub | Mul) -> NDArray[np.int8]:
    """Return the results of an operator with a constant number for the other operand from -128 to 127."""
    every = np.arange(-128, 128, dtype=np.int16).astype(np.int8)
    number = np.full(1, with_a_number(op), np.int8)

    def operand(tensor: Tensor) -> Tensor:
        # The number may stand in a constant of any shape, which does not fit the inputs of a table.
        known = tensor.is_constant
        return replace(tensor, shape=number.shape if known else every.shape, data=number if known else None)

    small = replace(op, a=operand(op.a), b=operand(op.b), y=replace(op.y, shape=every.shape))
    operands = [number if t.is_constant else every for t in (op.a, op.b)]
    (values,) = evaluate_operator(small, operands)
    return values.astype(np.int8)
