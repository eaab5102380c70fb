"""Nodes that read constants alone are computed at import: shapes, weights, the arithmetic of exporters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.builder import MAX_ELEMENTS
from utvm.frontends.onnx_model import OnnxNode
from utvm.frontends.refusal import RefusedError

_BROADCASTING = frozenset(
    [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Mod",
        "Min",
        "Max",
        "And",
        "Or",
        "Xor",
        "Equal",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Where",
        "PRelu",
    ]
)
_BOUNDED = frozenset(
    [
        "Abs",
        "Cast",
        "CastLike",
        "Ceil",
        "Clip",
        "Compress",
        "Concat",
        "Cos",
        "DequantizeLinear",
        "Erf",
        "Exp",
        "Flatten",
        "Floor",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "IsInf",
        "IsNaN",
        "LeakyRelu",
        "Log",
        "Neg",
        "Not",
        "QuantizeLinear",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Round",
        "Shape",
        "Sigmoid",
        "Sign",
        "Sin",
        "Size",
        "Slice",
        "Softmax",
        "Softplus",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sum",
        "Tanh",
        "Transpose",
        "Tril",
        "Trilu",
        "Unsqueeze",
    ]
)
"""Operators whose results are no larger than all of their operands together."""


def computable(node: OnnxNode) -> bool:
    """Whether a node of this kind is computed where all that it reads is known."""
    growing = ("ConstantOfShape", "Expand", "Tile", "Range", "MatMul", "Gemm", "Pad")
    return node.kind in _BROADCASTING or node.kind in _BOUNDED or node.kind in growing


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
    sizes: Mapping[str, Callable[[], float]] = {
        "ConstantOfShape": lambda: math.prod(int(v) for v in values[0].reshape(-1)),
        "Expand": lambda: values[0].size * math.prod(int(v) for v in values[1].reshape(-1)),
        "Tile": lambda: values[0].size * math.prod(int(v) for v in values[1].reshape(-1)),
        "Range": lambda: abs(float(values[1]) - float(values[0])) / abs(float(values[2])),
        "MatMul": lambda: values[0].size * values[1].size // values[0].shape[-1] ** 2,
        "Gemm": lambda: values[0].size * values[1].size // min(values[0].shape) ** 2,
        "Pad": lambda: math.prod(size + int(np.abs(values[1]).max(initial=0)) * 2 for size in values[0].shape),
    }
    try:
        if node.kind in sizes:
            elements = sizes[node.kind]()
        elif node.kind in _BROADCASTING:
            elements = math.prod(np.broadcast_shapes(*(value.shape for value in values)))
        else:
            elements = sum(value.size for value in values)
    except (ValueError, ZeroDivisionError, IndexError, TypeError, OverflowError) as error:
        raise RefusedError("its constants do not fit it") from error
    if elements > MAX_ELEMENTS:
        raise RefusedError(f"its result would have {elements:,.0f} elements")
