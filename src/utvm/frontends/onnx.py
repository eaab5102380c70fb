"""ONNX: a file → Graph in float32, or in int8 where the file is quantised (QDQ or QOperator form).

All problems of a file are told in one error.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.builder import FLOAT_NAMES, GraphBuilder
from utvm.frontends.errors import FrontendError
from utvm.frontends.onnx_constants import MAX_COMPUTED, computable, computed
from utvm.frontends.onnx_control import CONTROL, BodyRuns
from utvm.frontends.onnx_functions import FUNCTIONS
from utvm.frontends.onnx_fused import FUSED
from utvm.frontends.onnx_integer_values import ON_INTEGERS
from utvm.frontends.onnx_integers import spelled_out
from utvm.frontends.onnx_layers import LAYERS, Converter
from utvm.frontends.onnx_model import OnnxModel, OnnxNode, read_onnx
from utvm.frontends.onnx_movement import FLOAT_TYPES, MOVEMENT
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.onnx_quantized import (
    Steps,
    dequantize,
    integer_input,
    moved_steps,
    quantize,
    quantized,
    steps_of,
    with_steps,
)
from utvm.frontends.onnx_recurrent import RECURRENT
from utvm.frontends.problems import Problems
from utvm.frontends.qdq import integer_graph, integers_of, is_quantised
from utvm.frontends.reading import model_bytes
from utvm.frontends.refusal import RefusedError
from utvm.frontends.whole_numbers import COMPUTED_ALONE, WHOLE_NAMES, is_whole
from utvm.graph import Dequantize, DType, Graph, GraphError, Tensor
from utvm.graph.names import printable
from utvm.passes import fold_constants, remove_dead_operators
from utvm.passes.channel_order import ChannelsLast, channels_last

CONVERTERS = {
    **LAYERS,
    **FUNCTIONS,
    **FUSED,
    **RECURRENT,
    **MOVEMENT,
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
}
_ALWAYS = frozenset(("Shape", "Size"))
"""They read no values, so that they are known even of activations."""
_KEEP_VALUES = frozenset(
    (
        *("MaxPool", "Relu", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather"),
        *("GlobalMaxPool", "Dropout", "DepthToSpace", "SpaceToDepth"),
    )
)
"""Operators that may read integers: what they make has the same units."""
_TAKE_INTEGERS = frozenset(("QuantizeLinear", "DequantizeLinear", "Identity"))
_MOVING = frozenset(("Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Identity", "Dropout"))
"""What may be done to integers as to floats."""
_FLOAT_INSTEAD = (
    "Give the float model from which it was made, and typical inputs: `utvm quantize` quantises it. Or export it with "
    "pairs of QuantizeLinear and DequantizeLinear around each layer (QDQ)."
)
_ADVICE = "Take the operator out of the model, or export it in other operators: docs/frontends.md has those that are."


def load_onnx(model: Path | bytes, *, name: str | None = None) -> Graph:
    """Import a model. Images of a float one stay [N,C,H,W]; a pass brings them into the order that kernels have.

    A quantised one becomes int8, images [N,H,W,C]; uint8 becomes int8 with zero points lower by 128.

    Args:
        model: a file, or its bytes.
        name: the graph's name; the file's stem if None.

    Raises:
        FrontendError: with every problem found: node, reason, what to do.
    """
    source = model.name if isinstance(model, Path) else (name or "the model")
    data = model_bytes(model) if isinstance(model, Path) else model
    raw = read_onnx(data, source, model.parent if isinstance(model, Path) else None)
    return _Importer(raw, source, name or (model.stem if isinstance(model, Path) else "model")).graph()


def graph_of_nodes(model: OnnxModel, name: str) -> ChannelsLast:
    """Return the graph of a model that was no file, images in the order of kernels, and how these were moved.

    A quantised one becomes int8, as in `load_onnx`.

    Raises:
        FrontendError: with every problem found.
    """
    importer = _Importer(model, name, name)
    moved = channels_last(remove_dead_operators(fold_constants(importer.float_graph())))
    if not is_quantised(moved.graph):
        return moved
    problems = Problems()
    made = integer_graph(moved.graph, problems)
    if made is None:
        raise FrontendError(name, problems.texts)
    return replace(moved, graph=made)


class _Importer:
    def __init__(self, raw: OnnxModel, source: str, name: str) -> None:
        self.source = source
        self.builder = GraphBuilder(name)
        self.problems = Problems()
        self.raw = spelled_out(
            raw, lambda node, reason: self.problems.of_operator(node.index, node.kind, str(reason), _FLOAT_INSTEAD)
        )
        self.values: dict[str, Value] = dict(self.raw.constants)
        self.steps: dict[str, Steps] = {}
        """Constant → which integers it stands for."""
        self.left = MAX_COMPUTED
        self.bodies = BodyRuns(self.builder, self.values, self._convert)

    def graph(self) -> Graph:
        """Return the graph; int8 if there are pairs of Quantize and Dequantize."""
        graph = self.float_graph()
        try:
            return integers_of(graph, self.source, _FLOAT_INSTEAD) if is_quantised(graph) else graph
        except GraphError as error:
            raise FrontendError(self.source, [str(error)]) from error

    def float_graph(self) -> Graph:
        """Return the graph as it is written, in float32."""
        readers = {node.inputs[:1]: node for node in reversed(self.raw.nodes) if node.kind == "DequantizeLinear"}
        for name, shape in self.raw.inputs.items():
            reader, dtype = readers.get((name,)), self.raw.input_types[name]
            try:
                if reader is not None and dtype in ("int8", "uint8"):
                    self.values[name] = integer_input(self.builder, name, shape, reader, self.values)
                elif dtype in FLOAT_NAMES or self._is_cast(name):
                    self.values[name] = self.builder.input(name, shape)
                elif dtype in WHOLE_NAMES:
                    self.values[name] = self.builder.input(name, shape, DType.INT32)
                else:
                    self.problems.of_file(f"input '{printable(name)}' is {dtype}; floats or integers are expected")
            except (RefusedError, KeyError) as reason:
                self.problems.of_file(f"input '{printable(name)}': {reason}")
        for node in self.raw.nodes:
            self._convert(node)
        outputs = [(name, self.values[name]) for name in self.raw.outputs if name in self.values]
        if any(not isinstance(value, Tensor) for _, value in outputs):
            self.problems.of_file("an output does not depend on the inputs")
        if len(outputs) < len(self.raw.outputs) and not self.problems.texts:
            lost = next(name for name in self.raw.outputs if name not in self.values)
            self.problems.of_file(f"nothing makes output '{printable(lost)}'")
        if self.problems.texts:
            raise FrontendError(self.source, self.problems.texts, advice=self.problems.advice)
        try:
            return self.builder.graph([(name, value) for name, value in outputs if isinstance(value, Tensor)])
        except GraphError as error:
            raise FrontendError(self.source, [str(error)]) from error

    def _is_cast(self, name: str) -> bool:
        """Whether all that is done with an input of integers is a cast to floats."""
        readers = [node for node in self.raw.nodes if name in node.reads]
        casts = all(node.kind == "Cast" and node.attributes.get("to") in FLOAT_TYPES for node in readers)
        return bool(readers) and casts and name not in self.raw.outputs

    def _convert(self, node: OnnxNode) -> None:
        """Make a node's outputs known; where it is refused, what reads them is left out."""
        if not all(name in self.values for name in node.reads):
            return
        self.builder.place = node.name or f"{node.kind.lower()}_{node.index}"
        kind = f"{node.kind} of {node.within}" if node.within else node.kind
        try:
            # What is not finite is refused by name.
            with np.errstate(all="ignore"):
                results = self._results(node)
        except RefusedError as reason:
            self.problems.of_operator(node.index, kind, str(reason), reason.advice)
            return
        except Exception as error:
            self.problems.of_operator(node.index, kind, f"it is damaged ({type(error).__name__})")
            return
        self.values.update(zip(node.outputs, results, strict=False))

    def _results(self, node: OnnxNode) -> tuple[Value, ...]:
        if node.kind == "Constant":
            return (_constant(node),)
        if node.kind in CONTROL:
            return self.bodies.results(node)
        operands = [self.values[name] if name else None for name in node.inputs]
        known = [value for value in operands if not isinstance(value, Tensor)]
        if len(known) == len(operands) and node.kind not in _ALWAYS and computable(node):
            self._keep_steps(node, known)
            results = computed(node, known, self.raw.opset)
            self.left -= sum(result.size for result in results)
            if self.left < 0:
                raise RefusedError(f"the constants that are computed have more than {MAX_COMPUTED:,} elements")
            return results
        of_whole = any(map(is_whole, operands)) and node.kind not in _MOVING
        convert = (ON_INTEGERS if of_whole else CONVERTERS).get(node.kind)
        if convert is None and node.kind in CONVERTERS:
            raise RefusedError(COMPUTED_ALONE)
        if convert is None and node.kind.startswith("QLinear"):
            raise RefusedError("the model is quantised already, in a form that is not read", _FLOAT_INSTEAD)
        if convert is None:
            raise RefusedError("this operator is not supported", _ADVICE)
        stored = [value for value in operands if isinstance(value, Tensor) and value.dtype is DType.INT8]
        if stored and node.kind in _KEEP_VALUES and stored == operands[:1]:
            return self._of_integers(node, convert, stored[0])
        if stored and node.kind not in _TAKE_INTEGERS:
            raise RefusedError("it reads integers, outside of a pair of QuantizeLinear and DequantizeLinear")
        context = NodeContext(node, self.builder, self.values, self.raw.opset)
        before = len(self.builder.operators)
        made = convert(context)
        if self.steps:
            steps = [self.steps.get(name) for name in node.inputs]
            turned = node.kind == "MatMul" or (node.kind == "Gemm" and not node.attributes.get("transB", 0))
            self.builder.operators[before:] = [
                with_steps(op, steps, turned=turned) for op in self.builder.operators[before:]
            ]
        return made if isinstance(made, tuple) else (made,)

    def _of_integers(self, node: OnnxNode, convert: Converter, x: Tensor) -> tuple[Value, ...]:
        """Convert an operator that keeps values between a Dequantize and a Quantize of the same units."""
        if node.kind == "Relu" and x.zero_point != 0:
            raise RefusedError(f"it cuts integers at 0, which is not their zero point ({x.zero_point})")
        real = self.builder.add(Dequantize, x.shape, "real", x=x)
        values: ChainMap[str, Value] = ChainMap({node.inputs[0]: real}, self.values)
        made = convert(NodeContext(node, self.builder, values, self.raw.opset))
        assert x.quant is not None
        units = x.quant
        results = made if isinstance(made, tuple) else (made,)
        return tuple(quantized(self.builder, y, units) if isinstance(y, Tensor) else y for y in results)

    def _keep_steps(self, node: OnnxNode, operands: Sequence[NDArray[Any] | None]) -> None:
        """Note which integers a constant that is computed stands for."""
        first = self.steps.get(node.inputs[0]) if node.inputs else None
        if node.kind == "DequantizeLinear":
            found = steps_of(node, operands)
        elif first is not None and operands[0] is not None:
            found = moved_steps(node, first, operands[0].ndim)
        else:
            found = None
        if found is not None:
            self.steps[node.outputs[0]] = found


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
