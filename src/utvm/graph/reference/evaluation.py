"""Running a graph, or one operator, on arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.errors import UtvmError
from utvm.graph.definitions import defined_apart, definition
from utvm.graph.foreign import Foreign, run_foreign
from utvm.graph.general import L2Normalize
from utvm.graph.graph import Graph
from utvm.graph.operators import (
    BatchToSpace,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    FullyConnected,
    LeakyRelu,
    Logistic,
    Operator,
    Pad,
    Quantize,
    Relu,
    Relu6,
    Reshape,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Softmax,
    SpaceToBatch,
    Split,
    Store,
    StridedSlice,
    Tanh,
    Transpose,
    Weighted,
)
from utvm.graph.recurrent import Lstm
from utvm.graph.reference import movement, recurrent, unary, weighted
from utvm.graph.reference.floating import FLOATING
from utvm.graph.tensor import DType, Tensor

Array = NDArray[Any]


INTEGERS = (DType.INT8, DType.INT16)
"""Types of which `reference.weighted` sums products, by fewer and larger steps than a definition."""


class EvaluationError(UtvmError):
    """Inputs that do not fit a graph."""


_SEMANTICS: Mapping[type[Operator], Callable[..., Array | tuple[Array, ...]]] = {
    Conv2D: weighted.conv2d,
    DepthwiseConv2D: weighted.depthwise_conv2d,
    FullyConnected: weighted.fully_connected,
    Softmax: unary.softmax,
    Logistic: unary.lookup,
    Tanh: unary.lookup,
    Relu: unary.lookup,
    Relu6: unary.lookup,
    LeakyRelu: unary.lookup,
    Quantize: unary.quantize,
    Dequantize: unary.dequantize,
    Reshape: movement.reshape,
    Store: movement.reshape,
    Pad: movement.pad,
    Concatenation: movement.concatenation,
    Split: movement.split,
    StridedSlice: movement.strided_slice,
    Transpose: movement.transpose,
    ResizeNearestNeighbor: movement.resize_nearest_neighbor,
    ResizeBilinear: movement.resize_bilinear,
    SpaceToBatch: movement.space_to_batch,
    BatchToSpace: movement.batch_to_space,
    L2Normalize: unary.l2_normalize,
    Foreign: run_foreign,
    Lstm: recurrent.lstm,
}


def evaluate(
    graph: Graph,
    inputs: Mapping[str, Array] | Sequence[Array],
    *,
    keep: bool = False,
    rough: bool = False,
    memory: MutableMapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Return the graph's outputs by name; with `keep`, every tensor that is not a constant.

    Args:
        graph: what is run.
        inputs: one array for each graph input, by name or in order, of the input's shape and type.
        keep: whether all tensors are wanted.
        rough: whether float32 may be rounded otherwise than on a device: sums as fast as this machine makes them.
        memory: the values of states by their names, which the run replaces; those that are missing are the initial
            ones. None is a run from the start.

    Raises:
        EvaluationError: an input is missing, unknown, or of another shape or type.
    """
    values = _bound(graph, inputs)
    memory = {} if memory is None else memory
    values.update((state.before, memory.get(state.name, state.initial)) for state in graph.states)
    # Tables and definitions are made once for all operators that compute the same.
    for op, first in zip(graph.operators, graph.alike, strict=True):
        operands = [t.values if t.is_constant else values[t] for t in op.inputs]
        values.update(zip(op.outputs, evaluate_operator(first, operands, rough=rough), strict=True))
    memory.update(
        {state.name: state.after.values if state.after.is_constant else values[state.after] for state in graph.states}
    )
    if keep:
        return {tensor.name: value for tensor, value in values.items()}
    return {t.name: t.values if t.is_constant else values[t] for t in graph.outputs}


def evaluate_operator(op: Operator, values: Sequence[Array], *, rough: bool = False) -> tuple[Array, ...]:
    """Return the operator's outputs for `values`, the arrays of all `op.inputs` in that order."""
    with np.errstate(all="ignore"):
        result = _semantics(op, rough=rough)(op, *values)
    outputs = result if isinstance(result, tuple) else (result,)
    for tensor, value in zip(op.outputs, outputs, strict=True):
        if value.shape != tensor.shape or value.dtype != np.dtype(tensor.dtype.value):
            raise EvaluationError(
                f"{op.kind} '{op.name}' makes {value.dtype}{list(value.shape)}, but its output "
                f"'{tensor.name}' is {tensor.dtype}{list(tensor.shape)}; its attributes do not fit its tensors"
            )
    return outputs


def _semantics(op: Operator, *, rough: bool) -> Callable[..., Array | tuple[Array, ...]]:
    """Return what an operator computes in the type of its tensors."""
    if rough and op.outputs[0].dtype is DType.FLOAT32 and type(op) in FLOATING:
        return FLOATING[type(op)]
    if defined_apart(op) and not (isinstance(op, Weighted) and op.y.dtype in INTEGERS):
        return _defined
    return _SEMANTICS.get(type(op), _defined)


def _defined(op: Operator, *values: Array) -> Array:
    """Evaluate the definition of an operator that has no reference apart."""
    found = definition(op)
    if found is None:
        raise EvaluationError(f"{op.kind} '{op.name}' has neither a reference nor a definition")
    arrays = dict(zip(found.inputs, values, strict=True))
    (y,) = op.outputs
    return found.evaluate(arrays).reshape(y.shape).astype(y.dtype.value)


def _bound(graph: Graph, inputs: Mapping[str, Array] | Sequence[Array]) -> dict[Tensor, Array]:
    """Return the graph's inputs with their arrays."""
    names = [t.name for t in graph.inputs]
    if isinstance(inputs, Mapping):
        if set(inputs) != set(names):
            raise EvaluationError(f"graph '{graph.name}' has inputs {names}, not {sorted(inputs)}")
        arrays = [np.asarray(inputs[name]) for name in names]
    else:
        if len(inputs) != len(names):
            raise EvaluationError(f"graph '{graph.name}' has {len(names)} inputs {names}, not {len(inputs)}")
        arrays = [np.asarray(array) for array in inputs]
    for tensor, array in zip(graph.inputs, arrays, strict=True):
        if array.shape != tensor.shape or array.dtype != np.dtype(tensor.dtype.value):
            raise EvaluationError(
                f"input '{tensor.name}' is {tensor.dtype}{list(tensor.shape)}, "
                f"the array given is {array.dtype}{list(array.shape)}"
            )
    return dict(zip(graph.inputs, arrays, strict=True))
