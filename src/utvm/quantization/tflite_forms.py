"""Padding as TFLite can say it: SAME, VALID, or an operator of its own before the layer."""

from __future__ import annotations

import dataclasses

import numpy as np

from utvm.graph import (
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Graph,
    MaxPool2D,
    Operator,
    Pad,
    Padding,
    Tensor,
    same_padding,
)
from utvm.graph.arithmetic import integer_range
from utvm.graph.names import Names
from utvm.quantization.quantizer import QuantizationError

_MOST_PARTS = 10
"""kMaxInputNum of tflite-micro's concatenation.cc."""
_LEAST = float(np.finfo(np.float32).min)
_Windowed = Conv2D | DepthwiseConv2D | MaxPool2D | AveragePool2D


def tflite_form(graph: Graph) -> Graph:
    """Return the int8 graph with a Pad before each layer whose padding has no name in TFLite, and joins of ten at most.

    Raises:
        QuantizationError: a mean over the pixels inside the input alone has such a padding.
    """
    operators: list[Operator] = []
    names = Names(t.name for t in graph.tensors)
    for op in graph.operators:
        if isinstance(op, Concatenation):
            operators += _joined_by_ten(op, names)
            continue
        if not isinstance(op, _Windowed) or not op.padding.any or _is_same(op):
            operators.append(op)
            continue
        if isinstance(op, AveragePool2D):
            raise QuantizationError(
                f"the average pool '{op.name}' leaves its padding out of the mean, with a padding that TFLite does not "
                "have: let it count its padding (count_include_pad), or pad as SAME does"
            )
        around = ((0, 0), (op.padding.top, op.padding.bottom), (op.padding.left, op.padding.right), (0, 0))
        shape = tuple(size + sum(pad) for size, pad in zip(op.x.shape, around, strict=True))
        padded = Tensor(name=names.fresh(f"{op.name}/padded"), shape=shape, dtype=op.x.dtype, quant=op.x.quant)
        least = _LEAST if op.x.quant is None else float(integer_range(op.x.dtype)[0])
        value = least if isinstance(op, MaxPool2D) else 0.0 if op.x.quant is None else op.x.zero_point
        operators.append(Pad(name=f"{op.name}/pad", x=op.x, y=padded, paddings=around, value=value))
        operators.append(dataclasses.replace(op, x=padded, padding=Padding()))
    return graph.rewrite(operators)


def _joined_by_ten(op: Concatenation, names: Names) -> list[Operator]:
    """Return a Concatenation in as many as tflite-micro takes, ten parts each."""
    made: list[Operator] = []
    parts = list(op.xs)
    while len(parts) > _MOST_PARTS:
        groups = [parts[i : i + _MOST_PARTS] for i in range(0, len(parts), _MOST_PARTS)]
        parts = [_part(op, group, names, made) if len(group) > 1 else group[0] for group in groups]
    return [*made, dataclasses.replace(op, xs=tuple(parts))]


def _part(op: Concatenation, group: list[Tensor], names: Names, made: list[Operator]) -> Tensor:
    length = sum(x.shape[op.axis] for x in group)
    shape = (*op.y.shape[: op.axis], length, *op.y.shape[op.axis + 1 :])
    y = dataclasses.replace(op.y, name=names.fresh(f"{op.name}/part"), shape=shape)
    made.append(dataclasses.replace(op, name=y.name, xs=tuple(group), y=y))
    return y


def _is_same(op: _Windowed) -> bool:
    """Whether SAME gives the operator's padding and output size."""
    window = op.filter if isinstance(op, MaxPool2D | AveragePool2D) else op.weights.shape[1:3]
    dilation = (1, 1) if isinstance(op, MaxPool2D | AveragePool2D) else op.dilation
    amounts = ((op.padding.top, op.padding.bottom), (op.padding.left, op.padding.right))
    return all(
        (*amounts[axis], op.y.shape[axis + 1])
        == same_padding(op.x.shape[axis + 1], (window[axis] - 1) * dilation[axis] + 1, op.stride[axis])
        for axis in (0, 1)
    )
