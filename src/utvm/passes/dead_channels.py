"""Drop channels that carry nothing: constant ones, and those that only meet weights of zero."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from utvm.graph import (
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    Operator,
    Pad,
    Quantization,
    StridedSlice,
    Tensor,
    Weighted,
)
from utvm.graph.names import Names
from utvm.numerics import INT32_MAX
from utvm.passes._channels import Coupling, Known, Mask, channels, coupling, known_channels, mixes, mixing_weights


def drop_dead_channels(graph: Graph) -> Graph:
    """Return the graph without channels that no output bit depends on; inputs and outputs keep their shapes.

    A channel can go if it is constant (all weights that make it are zero, and what follows keeps it so) or
    if all weights that read it are zero. Convolutions and fully connected layers absorb a constant channel
    into their bias, exactly: (value - zero point) times the sum of its weights. With spatial padding the
    sum would be another one at the border, so there the value has to be the zero point. A layer of int16 without a bias
    gets none, since the type of its bias says how it is computed. Channels that are
    coupled, such as the two operands of a residual addition, go together or not at all. Every tensor keeps
    at least one channel.
    """
    couplings = {op: coupling(op) for op in graph.operators}
    known = known_channels(graph, couplings)
    removed = _largest_removal(graph, known, couplings)
    keep = {tensor: np.flatnonzero(~mask) for tensor, mask in removed.items() if mask.any()}
    if not keep:
        return graph
    rewriter = _Rewriter(graph, keep, known)
    operators = [rewriter.operator(op) for op in graph.operators]
    return graph.rewrite(operators, tensors={tensor: _narrow(tensor, -1, index) for tensor, index in keep.items()})


def _largest_removal(
    graph: Graph, known: Mapping[Tensor, Known], couplings: Mapping[Operator, Coupling]
) -> dict[Tensor, Mask]:
    """Return the slots to remove: assume that all can go, then put back until nothing contradicts."""
    removed = {tensor: np.ones(channels(tensor), np.bool_) for tensor in graph.tensors}
    parameters = [t for op in graph.operators for t in _parameters(op)]
    pinned = [tensor for wanted in couplings.values() for tensor in wanted.pinned]
    for tensor in (*graph.sources, *graph.kept, *parameters, *pinned):
        removed[tensor][:] = False
    readers = {
        op: _removable_alone(op, known[op.x])
        for op in graph.operators
        if isinstance(op, Conv2D | FullyConnected) and mixes(op)
    }

    def settle() -> None:
        changed = True
        while changed:
            before = sum(int(mask.sum()) for mask in removed.values())
            for op in reversed(graph.operators):
                for link in couplings[op].links:
                    stays = ~(removed[link.x][link.x_index] & removed[link.y][link.y_index])
                    removed[link.x][link.x_index[stays]] = False
                    removed[link.y][link.y_index[stays]] = False
                if op in readers:
                    x, y = op.inputs[0], op.outputs[0]
                    removed[x] &= readers[op][~removed[y]].all(axis=0)
            changed = sum(int(mask.sum()) for mask in removed.values()) != before

    settle()
    least = _least_channels(graph)
    for tensor, mask in removed.items():
        missing = min(least.get(tensor, 1), mask.size) - int((~mask).sum())
        if missing > 0:
            mask[np.flatnonzero(mask)[:missing]] = False
            settle()
    return removed


def _parameters(op: Operator) -> tuple[Tensor, ...]:
    if isinstance(op, Weighted):
        return (op.weights,) if op.bias is None else (op.weights, op.bias)
    return ()


def _least_channels(graph: Graph) -> dict[Tensor, int]:
    """A fully connected layer with scales per channel keeps two: TFLite treats a single one differently."""
    return {
        op.y: 2
        for op in graph.operators
        if isinstance(op, FullyConnected) and op.weights.quant is not None and len(op.weights.quant.scale) > 1
    }


def _removable_alone(op: Conv2D | FullyConnected, x: Known) -> Mask:
    """Return [output channels, input channels]: whether the output can do without the input channel."""
    weights = mixing_weights(op)
    offsets = np.where(x.mask, x.values.astype(np.int64) - op.x.zero_point, 0)
    largest = np.abs(np.int64(0) if op.bias is None else op.bias.values.astype(np.int64))
    if offsets.any():
        largest = largest + (np.abs(weights.astype(np.int64)).sum(axis=1) * np.abs(offsets)).sum(axis=1)
    padded = isinstance(op, Conv2D) and op.padding.any
    takes = not padded and (op.bias is not None or op.x.dtype is not DType.INT16)
    absorbed = x.mask & ((offsets == 0) | takes) & (largest.max(initial=0) <= INT32_MAX)
    result: Mask = ~weights.any(axis=1) | absorbed
    return result


class _Rewriter:
    """Rebuilds operators for their narrowed tensors; the tensors themselves are replaced afterwards."""

    def __init__(self, graph: Graph, keep: Mapping[Tensor, NDArray[np.int64]], known: Mapping[Tensor, Known]) -> None:
        self._graph = graph
        self._keep = keep
        self._known = known
        self._names = Names(t.name for t in graph.tensors)

    def operator(self, op: Operator) -> Operator:
        if not any(tensor in self._keep for tensor in (*op.inputs, *op.outputs)):
            return op
        match op:
            case Conv2D() | FullyConnected():
                return self._mixing(op)
            case DepthwiseConv2D():
                outputs = self._kept(op.y)
                bias = None if op.bias is None else _narrow(op.bias, 0, outputs)
                return self._with_parameters(op, _narrow(op.weights, 3, outputs), bias)
            case Pad():
                before, _ = op.paddings[-1]
                kept, inside = self._kept(op.y), channels(op.x)
                fewer = int((kept < before).sum()), int((kept >= before + inside).sum())
                return dataclasses.replace(op, paddings=(*op.paddings[:-1], fewer))
            case StridedSlice():
                first = int((self._kept(op.x) < op.begin[-1]).sum())
                return dataclasses.replace(op, begin=(*op.begin[:-1], first))
            case _:
                return op

    def _kept(self, tensor: Tensor) -> NDArray[np.int64]:
        return self._keep.get(tensor, np.arange(channels(tensor)))

    def _mixing(self, op: Conv2D | FullyConnected) -> Operator:
        """Narrow the weights to the kept inputs and outputs; what the other inputs add goes to the bias."""
        inputs, outputs = self._kept(op.x), self._kept(op.y)
        x = self._known[op.x]
        gone = x.mask.copy()
        gone[inputs] = False
        offsets = np.where(gone, x.values.astype(np.int64) - op.x.zero_point, 0)
        change = (mixing_weights(op).sum(axis=1, dtype=np.int64) * offsets).sum(axis=1)[outputs]
        bias = None if op.bias is None else _narrow(op.bias, 0, outputs)
        weights = _narrow(op.weights, 0, outputs)
        if change.any():
            bias = _added(bias, change) if bias is not None else _new_bias(op, weights, change)
        columns = np.arange(weights.shape[-1])
        weights = _narrow(weights, -1, columns[np.isin(columns % channels(op.x), inputs)])
        return self._with_parameters(op, weights, bias)

    def _with_parameters(self, op: Weighted, weights: Tensor, bias: Tensor | None) -> Operator:
        return dataclasses.replace(
            op, weights=self._named(op.weights, weights), bias=bias and self._named(op.bias, bias)
        )

    def _named(self, old: Tensor | None, new: Tensor) -> Tensor:
        """Give a changed parameter a name of its own, unless nothing else uses the one that it replaces."""
        if new is old or (old is not None and len(self._graph.consumers[old]) == 1):
            return new
        return dataclasses.replace(new, name=self._names.fresh(new.name))


def _added(bias: Tensor, change: NDArray[np.int64]) -> Tensor:
    return dataclasses.replace(bias, data=(bias.values.astype(np.int64) + change).astype(bias.dtype.value))


def _new_bias(op: Conv2D | FullyConnected, weights: Tensor, change: NDArray[np.int64]) -> Tensor:
    scales = () if weights.quant is None else weights.quant.scale
    return Tensor(
        name=f"{op.name}/bias",
        shape=change.shape,
        dtype=DType.INT32,
        quant=Quantization(
            scale=tuple(float(np.float32(op.x.scale * scale)) for scale in scales),
            zero_point=(0,) * len(scales),
            axis=0 if len(scales) > 1 else None,
        ),
        data=change.astype(np.int32),
    )


def _narrow(tensor: Tensor, axis: int, index: NDArray[np.int64]) -> Tensor:
    """Return a tensor with only the given indices of a dimension; per-channel scales go along."""
    axis %= len(tensor.shape)
    if len(index) == tensor.shape[axis]:
        return tensor
    quant = tensor.quant
    if quant is not None and quant.axis == axis and len(quant.scale) > 1:
        quant = Quantization(
            scale=tuple(quant.scale[i] for i in index),
            zero_point=tuple(quant.zero_point[i] for i in index),
            axis=axis,
        )
    data = None if tensor.data is None else np.ascontiguousarray(np.take(tensor.data, index, axis=axis))
    shape = (*tensor.shape[:axis], len(index), *tensor.shape[axis + 1 :])
    return dataclasses.replace(tensor, shape=shape, quant=quant, data=data)
