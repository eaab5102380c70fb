"""ONNX: a file → Graph in float32. All problems of a file are told in one error."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from utvm.frontends.builder import GraphBuilder
from utvm.frontends.errors import FrontendError
from utvm.frontends.onnx_constants import computable, computed
from utvm.frontends.onnx_layers import LAYERS
from utvm.frontends.onnx_model import OnnxModel, OnnxNode, read_onnx
from utvm.frontends.onnx_movement import MOVEMENT
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.problems import Problems
from utvm.frontends.refusal import RefusedError
from utvm.graph import Graph, GraphError, Tensor

CONVERTERS = {**LAYERS, **MOVEMENT}
_ALWAYS = frozenset(("Shape", "Size"))
"""They read no values, so that they are known even of activations."""
_QUANTISED = frozenset(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"))
_FLOAT_INSTEAD = "Give the float model from which it was made, and typical inputs: `utvm quantize` quantises it."
_ADVICE = "Take the operator out of the model, or export it in other operators: docs/frontends.md has those that are."


def load_onnx(model: Path | bytes, *, name: str | None = None) -> Graph:
    """Import a float model. Images stay [N,C,H,W]; a pass brings them into the order that kernels have.

    Args:
        model: a file, or its bytes.
        name: the graph's name; the file's stem if None.

    Raises:
        FrontendError: with every problem found: node, reason, what to do.
    """
    source = model.name if isinstance(model, Path) else (name or "the model")
    try:
        data = model.read_bytes() if isinstance(model, Path) else model
    except OSError as error:
        raise FrontendError(source, [f"the file can't be read: {error.strerror}"]) from error
    raw = read_onnx(data, source, model.parent if isinstance(model, Path) else None)
    return _Importer(raw, source, name or (model.stem if isinstance(model, Path) else "model")).graph()


class _Importer:
    def __init__(self, raw: OnnxModel, source: str, name: str) -> None:
        self.raw = raw
        self.source = source
        self.builder = GraphBuilder(name)
        self.problems = Problems()
        self.values: dict[str, Value] = dict(raw.constants)

    def graph(self) -> Graph:
        for name, shape in self.raw.inputs.items():
            if self.raw.input_types[name] != "float32":
                self.problems.of_file(f"input '{name}' is {self.raw.input_types[name]}, float32 is expected")
                continue
            try:
                self.values[name] = self.builder.input(name, shape)
            except RefusedError as reason:
                self.problems.of_file(f"input '{name}': {reason}")
        for node in self.raw.nodes:
            if all(name in self.values for name in node.inputs if name):
                self._convert(node)
        outputs = [(name, self.values[name]) for name in self.raw.outputs if name in self.values]
        if any(not isinstance(value, Tensor) for _, value in outputs):
            self.problems.of_file("an output does not depend on the inputs")
        if self.problems.texts:
            raise FrontendError(self.source, self.problems.texts, advice=self.problems.advice)
        try:
            return self.builder.graph([(name, value) for name, value in outputs if isinstance(value, Tensor)])
        except GraphError as error:
            raise FrontendError(self.source, [str(error)]) from error

    def _convert(self, node: OnnxNode) -> None:
        """Make a node's outputs known; where it is refused, what reads them is left out."""
        self.builder.place = node.name or f"{node.kind.lower()}_{node.index}"
        try:
            results = self._results(node)
        except RefusedError as reason:
            self.problems.of_operator(node.index, node.kind, str(reason), reason.advice)
            return
        except (ValueError, IndexError, TypeError, OverflowError, KeyError) as error:
            self.problems.of_operator(node.index, node.kind, f"it is damaged ({type(error).__name__})")
            return
        self.values.update(zip(node.outputs, results, strict=False))

    def _results(self, node: OnnxNode) -> tuple[Value, ...]:
        if node.kind == "Constant":
            return (_constant(node),)
        operands = [self.values[name] if name else None for name in node.inputs]
        known = [value for value in operands if not isinstance(value, Tensor)]
        if len(known) == len(operands) and node.kind not in _ALWAYS and computable(node):
            return computed(node, known, self.raw.opset)
        convert = CONVERTERS.get(node.kind)
        if node.kind in _QUANTISED or node.kind.startswith("QLinear"):
            raise RefusedError("the model is quantised already, which is not read", _FLOAT_INSTEAD)
        if convert is None:
            raise RefusedError("this operator is not supported", _ADVICE)
        context = NodeContext(node, self.builder, self.values, self.raw.opset)
        results = convert(context)
        return results if isinstance(results, tuple) else (results,)


def _constant(node: OnnxNode) -> Value:
    for name, kind in {
        "value": None,
        "value_float": np.float32,
        "value_int": np.int64,
        "value_floats": np.float32,
        "value_ints": np.int64,
    }.items():
        if name in node.attributes:
            return np.asarray(node.attributes[name], kind)
    raise RefusedError("it holds no numbers")
