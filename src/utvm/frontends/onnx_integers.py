"""QOperator and dynamically quantised forms of ONNX, spelled out as float layers between QuantizeLinear and
DequantizeLinear.

Sources: the ONNX operators QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger, DynamicQuantizeLinear, and
onnxruntime's contributed operators (ContribOperators.md: QLinearAdd, QGemm and their like).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.onnx_model import OnnxModel, OnnxNode
from utvm.frontends.refusal import RefusedError

_FLOAT = 1
"""ONNX's number of float32."""


class _Speller:
    """The nodes that one node becomes."""

    def __init__(self, node: OnnxNode, taken: set[str]) -> None:
        self.node = node
        self.taken = taken
        self.made: list[OnnxNode] = []

    def at(self, position: int) -> str:
        """Return the name of an input, empty where it is absent."""
        return self.node.inputs[position] if position < len(self.node.inputs) else ""

    def needed(self, position: int) -> str:
        """Return the name of an input that has to be there."""
        if not self.at(position):
            raise RefusedError(f"input {position} is needed and absent")
        return self.at(position)

    def add(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Append a node and return the name of what it makes."""
        if not output:
            number = len(self.taken)
            while (output := f"{self.node.outputs[0]}/{number}") in self.taken:
                number += 1
        self.taken.add(output)
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.made.append(
            dataclasses.replace(self.node, kind=kind, inputs=tuple(inputs), outputs=(output,), attributes=attributes)
        )
        return output

    def number(self, value: float) -> str:
        """Return the name of a number."""
        return self.add("Constant", (), value_float=value)

    def real(self, x: int, scale: int, zero: int, axis: int = 0) -> str:
        """Return the real values of the integers at input `x`."""
        return self.add("DequantizeLinear", (self.needed(x), self.needed(scale), self.at(zero)), axis=axis)

    def finish(self, y: str, scale: int, zero: int) -> None:
        """Append the node that makes the integers of the result, whose zero point says of which type they are."""
        if not self.at(zero):
            raise RefusedError("the zero point of its result is absent, so that int8 and uint8 can't be told apart")
        self.add("QuantizeLinear", (y, self.needed(scale), self.at(zero)), self.node.outputs[0])

    def bias(self, position: int, a_scale: int, b_scale: int) -> str:
        """Return the real values of a bias in steps of the product of two scales; empty where it is absent."""
        if not self.at(position):
            return ""
        step = self.add("Mul", (self.needed(a_scale), self.needed(b_scale)))
        return self.add("Mul", (self.add("Cast", (self.at(position),), to=_FLOAT), step))


def _conv(s: _Speller) -> None:
    inputs = (s.real(0, 1, 2), s.real(3, 4, 5), s.bias(8, 1, 4))
    s.finish(s.add("Conv", inputs, **s.node.attributes), 6, 7)


def _matmul(s: _Speller) -> None:
    s.finish(s.add("MatMul", (s.real(0, 1, 2), s.real(3, 4, 5, axis=1))), 6, 7)


def _gemm(s: _Speller) -> None:
    axis = 0 if s.node.attributes.get("transB", 0) else 1
    bias, alpha = s.bias(6, 1, 4), s.node.attributes.get("alpha", 1.0)
    if bias and alpha != 1:
        # The bias is an integer that joins the sum, which alpha scales.
        bias = s.add("Mul", (bias, s.number(alpha)))
    y = s.add("Gemm", (s.real(0, 1, 2), s.real(3, 4, 5, axis=axis), bias), **s.node.attributes)
    if s.at(7):
        s.finish(y, 7, 8)
    else:
        s.add("Identity", (y,), s.node.outputs[0])


def _two(kind: str) -> Callable[[_Speller], None]:
    return lambda s: s.finish(s.add(kind, (s.real(0, 1, 2), s.real(3, 4, 5))), 6, 7)


def _one(kind: str) -> Callable[[_Speller], None]:
    def spell(s: _Speller) -> None:
        attributes = dict(s.node.attributes)
        if attributes.pop("channels_last", 0):
            raise RefusedError("its channels are last; [N,C,H,W] is expected")
        attributes.pop("opset", None)
        s.finish(s.add(kind, (s.real(0, 1, 2),), **attributes), 3, 4)

    return spell


def _concat(s: _Speller) -> None:
    parts = [s.real(index, index + 1, index + 2) for index in range(2, len(s.node.inputs), 3)]
    s.finish(s.add("Concat", parts, **s.node.attributes), 0, 1)


_STATIC: Mapping[str, Callable[[_Speller], None]] = {
    "QLinearConv": _conv,
    "QLinearMatMul": _matmul,
    "QGemm": _gemm,
    "QLinearAdd": _two("Add"),
    "QLinearMul": _two("Mul"),
    "QLinearConcat": _concat,
    "QLinearSigmoid": _one("Sigmoid"),
    "QLinearSoftmax": _one("Softmax"),
    "QLinearLeakyRelu": _one("LeakyRelu"),
    "QLinearReduceMean": _one("ReduceMean"),
    "QLinearAveragePool": _one("AveragePool"),
    "QLinearGlobalAveragePool": _one("GlobalAveragePool"),
}


_OF_INTEGERS = ("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat")


class _Dynamic:
    """Layers whose inputs are quantised while the network runs: float layers of the weights that the file has."""

    def __init__(self, constants: dict[str, NDArray[Any]]) -> None:
        self.constants = constants
        self.names: set[str] = set()
        """What stays real here and is integers in the file."""

    def spell(self, s: _Speller) -> bool:
        """Append what a node becomes; tell whether it is of these kinds."""
        node = s.node
        if node.kind in _OF_INTEGERS and node.inputs[0] not in self.names:
            raise RefusedError("its input is not quantised by a DynamicQuantizeLinear")
        if node.kind == "DynamicQuantizeLinear":
            self.names.add(node.outputs[0])
            s.add("Identity", node.inputs[:1], node.outputs[0])
            for name, value in zip(node.outputs[1:], (np.float32(1), np.uint8(0)), strict=False):
                self.constants[name] = np.array(value)
        elif node.kind in ("ConvInteger", "MatMulInteger"):
            # Zero points are those of outputs: of the first dimension of a filter, of the last of a matrix.
            axis = 0 if node.kind == "ConvInteger" else 1
            weights = s.add("DequantizeLinear", (s.needed(1), s.number(1.0), s.at(3)), axis=axis)
            s.add(node.kind.removesuffix("Integer"), (s.needed(0), weights), node.outputs[0], **node.attributes)
        elif node.kind == "DynamicQuantizeMatMul":
            weights = s.add("DequantizeLinear", (s.needed(1), s.needed(2), s.at(3)), axis=1)
            self._product(s, weights, s.at(4))
        elif node.kind == "MatMulIntegerToFloat":
            weights = s.add("DequantizeLinear", (s.needed(1), s.needed(3), s.at(5)), axis=1)
            self._product(s, weights, s.at(6))
        else:
            return False
        return True

    def _product(self, s: _Speller, weights: str, bias: str) -> None:
        if not bias:
            s.add("MatMul", (s.needed(0), weights), s.node.outputs[0])
        else:
            s.add("Add", (s.add("MatMul", (s.needed(0), weights)), bias), s.node.outputs[0])


def spelled_out(model: OnnxModel, note: Callable[[OnnxNode, RefusedError], None]) -> OnnxModel:
    """Return a model without QOperator and dynamically quantised forms.

    Args:
        model: as it was read.
        note: called with a node that has no such form, and why.
    """
    constants = dict(model.constants)
    dynamic = _Dynamic(constants)
    taken = {*constants, *model.inputs, *(name for node in model.nodes for name in node.outputs)}

    def nodes() -> Iterator[OnnxNode]:
        for node in model.nodes:
            speller = _Speller(node, taken)
            try:
                if node.kind in _STATIC:
                    _STATIC[node.kind](speller)
                elif not dynamic.spell(speller):
                    yield node
                    continue
            except (RefusedError, IndexError) as reason:
                note(node, reason if isinstance(reason, RefusedError) else RefusedError("inputs are absent"))
                continue
            yield from speller.made

    return dataclasses.replace(model, nodes=tuple(nodes()), constants=constants)
