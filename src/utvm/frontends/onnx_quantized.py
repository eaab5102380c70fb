"""QuantizeLinear and DequantizeLinear of ONNX: units of activations, and which integers constants stand for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.builder import GraphBuilder
from utvm.frontends.onnx_model import OnnxNode
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.refusal import RefusedError
from utvm.graph import (
    Add,
    DepthwiseConv2D,
    Dequantize,
    DType,
    Mul,
    Operator,
    Quantization,
    Quantize,
    Sub,
    Tensor,
    Weighted,
)

_SHIFT = 128
"""uint8 becomes int8 with a zero point that is lower by this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Which integers the real values of a constant stand for.

    Attributes:
        scales: one, or one for each index along `axis`.
        zero: as of int8; of the first where there are several.
    """

    scales: tuple[float, ...]
    zero: int
    axis: int


def steps_of(node: OnnxNode, operands: Sequence[NDArray[Any] | None]) -> Steps | None:
    """Return the steps of a constant that a DequantizeLinear makes; None where int8 has no such form."""
    stored, scales = operands[0], operands[1]
    if stored is None or scales is None or scales.ndim > 1 or not np.all(scales > 0):
        return None
    zero = operands[2] if len(operands) > 2 else None
    first = 0 if zero is None or not zero.size else int(zero.flat[0])
    axis = int(node.attributes.get("axis", 1)) % max(stored.ndim, 1) if scales.size > 1 else 0
    return Steps(
        scales=tuple(float(s) for s in scales.reshape(-1)),
        zero=first - (_SHIFT if stored.dtype == np.uint8 else 0),
        axis=axis,
    )


def moved_steps(node: OnnxNode, steps: Steps, rank: int) -> Steps | None:
    """Return the steps of a constant that a node moves; None where that node does more."""
    if node.kind == "Identity" or (len(steps.scales) == 1 and node.kind in ("Reshape", "Squeeze", "Unsqueeze")):
        return steps
    if node.kind == "Transpose":
        perm = tuple(node.attributes.get("perm", tuple(reversed(range(rank)))))
        return dataclasses.replace(steps, axis=perm.index(steps.axis))
    return None


def with_steps(op: Operator, steps: Sequence[Steps | None], *, turned: bool) -> Operator:
    """Return an operator whose constants say which integers they stand for.

    Args:
        op: what a node became.
        steps: of each of the node's inputs.
        turned: whether the node has its output channels along the second dimension of its weights.
    """
    if isinstance(op, Weighted):
        found = steps[1] if len(steps) > 1 else None
        if found is None:
            return op
        if len(found.scales) > 1 and found.axis != (1 if turned else 0):
            raise RefusedError("the scales of its weights are not those of its output channels")
        axis = 3 if isinstance(op, DepthwiseConv2D) else 0
        several = len(found.scales) > 1
        quant = Quantization(scale=found.scales, zero_point=(0,) * len(found.scales), axis=axis if several else None)
        return dataclasses.replace(op, weights=dataclasses.replace(op.weights, quant=quant))
    if isinstance(op, Add | Sub | Mul) and len(steps) == 2:
        changes: dict[str, Any] = {
            field: dataclasses.replace(tensor, quant=Quantization.per_tensor(one.scales[0], one.zero))
            for field, tensor, one in (("a", op.a, steps[0]), ("b", op.b, steps[1]))
            if tensor.is_constant and one is not None and len(one.scales) == 1
        }
        return dataclasses.replace(op, **changes) if changes else op
    return op


def quantize(n: NodeContext) -> Value:
    """An activation becomes int8."""
    return quantized(n.b, n.x(), _units(n, None))


def quantized(b: GraphBuilder, x: Tensor, units: Quantization) -> Tensor:
    """Append the operator that makes an activation int8."""
    y = dataclasses.replace(b.tensor(f"{b.place}/y", x.shape, DType.INT8), quant=units)
    b.operators.append(Quantize(name=b.unique(b.place), x=x, y=y))
    return y


def dequantize(n: NodeContext) -> Value:
    """An int8 activation becomes real, by the units that it was made in."""
    x = n.x()
    if x.dtype is not DType.INT8:
        raise RefusedError("what it reads is no int8 or uint8")
    units = _units(n, x.quant)
    if units != x.quant:
        raise RefusedError("its scale or zero point are not those of the QuantizeLinear before it")
    return n.b.add(Dequantize, x.shape, x=x)


def integer_input(
    b: GraphBuilder, name: str, shape: tuple[int, ...], reader: OnnxNode, values: Mapping[str, Value]
) -> Tensor:
    """Return an input of integers, in the units of the DequantizeLinear that reads it."""
    return b.input(name, shape, DType.INT8, _units(NodeContext(reader, b, values, 13), None))


def _units(n: NodeContext, known: Quantization | None) -> Quantization:
    scale = n.floats(1, "scale")
    if n.has(2):
        zero = n.constant(2, "zero point")
    else:
        signed = n.integer("output_dtype", 2) == 3 or known is not None
        zero = np.array(0 if known is None else known.zero_point[0], np.int8 if signed else np.uint8)
    if scale.size != 1 or zero.size != 1:
        raise RefusedError("it has a scale for each channel of an activation; one for all is supported")
    if zero.dtype not in (np.int8, np.uint8):
        raise RefusedError(f"it makes {zero.dtype}; int8 and uint8 are supported")
    if not scale.flat[0] > 0:
        raise RefusedError("its scale is not positive")
    return Quantization.per_tensor(float(scale.flat[0]), int(zero.flat[0]) - (_SHIFT if zero.dtype == np.uint8 else 0))
