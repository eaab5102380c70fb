"""Nodes that read constants alone are computed at import: shapes, weights, the arithmetic of exporters."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.builder import MAX_ELEMENTS
from utvm.frontends.onnx_model import OnnxNode
from utvm.frontends.refusal import RefusedError

MAX_COMPUTED = 2 * MAX_ELEMENTS
"""Elements of all constants of a model that are computed."""

_BROADCASTING = frozenset(
    (
        *("Add", "And", "Clip", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min"),
        *("Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"),
    )
)
_BOUNDED = frozenset(
    (
        *("Abs", "Cast", "CastLike", "Ceil", "Compress", "Concat", "Cos", "Erf", "Exp", "Flatten", "Floor"),
        *("GatherElements", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Neg", "Not", "Reciprocal", "ReduceMax"),
        *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Round", "Shape", "Sigmoid"),
        *("Sign", "Sin", "Size", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze", "Tanh", "Transpose"),
        *("Tril", "Trilu", "Unsqueeze"),
    )
)
"""Operators whose results are no larger than all of their operands together."""


def computable(node: OnnxNode) -> bool:
    """Whether a node of this kind is computed where all that it reads is known."""
    return node.kind in _BROADCASTING or node.kind in _BOUNDED or node.kind in _SIZES


def computed(node: OnnxNode, operands: Sequence[NDArray[Any] | None], opset: int) -> tuple[NDArray[Any], ...]:
    """Return a node's results; None stands for an absent operand.

    Raises:
        RefusedError: they would be too large, or can't be computed.
    """
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    _guard(node, operands)
    if node.kind in ("QuantizeLinear", "DequantizeLinear"):
        # The package evaluates newer versions alone, which compute the same.
        opset = max(opset, 21)
    names = [f"i{index}" if value is not None else "" for index, value in enumerate(operands)]
    made = [f"o{index}" for index in range(len(node.outputs))]
    attributes = {name: _attribute(value) for name, value in node.attributes.items()}
    try:
        alone = helper.make_node(node.kind, names, made, **attributes)
        inputs = [helper.make_tensor_value_info(name, 0, None) for name in names if name]
        outputs = [helper.make_tensor_value_info(name, 0, None) for name in made]
        model = helper.make_model(
            helper.make_graph([alone], "alone", inputs, outputs), opset_imports=[helper.make_opsetid("", opset)]
        )
        given = {name: value for name, value in zip(names, operands, strict=True) if value is not None}
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(model).run(None, given)
    except Exception as error:
        raise RefusedError(f"it can't be computed from its constants ({type(error).__name__})") from error
    return tuple(np.asarray(result) for result in results)


def _attribute(value: Any) -> Any:
    """Return an attribute in the form in which the package takes it."""
    from onnx import numpy_helper

    if isinstance(value, np.ndarray):
        return numpy_helper.from_array(value)
    return list(value) if isinstance(value, tuple) else value


def _guard(node: OnnxNode, operands: Sequence[NDArray[Any] | None]) -> None:
    """Refuse results that would not fit into memory."""
    values = [value for value in operands if value is not None]
    try:
        if node.kind in _SIZES:
            elements = _SIZES[node.kind](node, values)
        elif node.kind in _BROADCASTING:
            elements = math.prod(np.broadcast_shapes(*(value.shape for value in values)))
        else:
            elements = sum(value.size for value in values)
    except (ValueError, ZeroDivisionError, IndexError, TypeError, OverflowError) as error:
        raise RefusedError("its constants do not fit it") from error
    if elements > MAX_ELEMENTS:
        raise RefusedError(f"its result would have {elements:,.0f} elements")


def _integers(value: NDArray[Any]) -> list[int]:
    return [int(v) for v in value.reshape(-1)]


def _gemm(node: OnnxNode, values: Sequence[NDArray[Any]]) -> float:
    rows = values[0].shape[1 if node.attributes.get("transA", 0) else 0]
    return float(rows * values[1].shape[0 if node.attributes.get("transB", 0) else 1])


def _gather(node: OnnxNode, values: Sequence[NDArray[Any]]) -> float:
    return float(values[1].size * values[0].size / values[0].shape[node.attributes.get("axis", 0)])


def _gather_nd(node: OnnxNode, values: Sequence[NDArray[Any]]) -> float:
    named = node.attributes.get("batch_dims", 0) + values[1].shape[-1]
    return math.prod(values[1].shape[:-1]) * math.prod(values[0].shape[named:])


def _steps(node: OnnxNode, values: Sequence[NDArray[Any]]) -> float:
    """Elements of the first operand; scales and zero points that broadcast beyond it do not fit."""
    shape = values[0].shape
    for units in values[1:3]:
        if units.size == 1:
            continue
        room = (shape[node.attributes.get("axis", 1)],) if units.ndim == 1 else shape
        if len(units.shape) != len(room) or any(map(operator.gt, units.shape, room)):
            raise ValueError(units.shape)
    return values[0].size


_SIZES: Mapping[str, Callable[[OnnxNode, Sequence[NDArray[Any]]], float]] = {
    "ConstantOfShape": lambda _, values: math.prod(_integers(values[0])),
    "DequantizeLinear": _steps,
    "Expand": lambda _, values: math.prod(np.broadcast_shapes(values[0].shape, tuple(_integers(values[1])))),
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "MatMul": lambda _, values: values[0].size * values[1].size // values[0].shape[-1] ** 2,
    "Pad": lambda _, values: math.prod(n + int(np.abs(values[1]).max(initial=0)) * 2 for n in values[0].shape),
    "QuantizeLinear": _steps,
    "Range": lambda _, values: abs(float(values[1]) - float(values[0])) / abs(float(values[2])),
    "Tile": lambda _, values: values[0].size * math.prod(_integers(values[1])),
}
"""Elements of the results that may be larger than the operands."""
