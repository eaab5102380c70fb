"""Factors and amounts per channel go into weights and biases: batch normalisation, spelled out or not.

For float graphs: results change by rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph import (
    Add,
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    Mul,
    Operator,
    Reshape,
    Sub,
    Tensor,
    Transpose,
    Weighted,
)
from utvm.graph.names import Names

_Made = dict[tuple[str, bytes], Tensor]
"""Constants that were made, by the name of what they replace and their bytes."""
_Fold = Callable[[Graph, "Mul | Add | Sub", Tensor, NDArray[np.float32], _Made], "Graph | None"]


def fold_affine(graph: Graph) -> Graph:
    """Return the graph with Mul, Add and Sub by constants folded into float layers, or made one layer.

    That is the layer before, else all layers that read the result, as behind the norm of a transformer.

    Layers that read the same constants, as steps of a loop do, still share them where equal factors go in.
    """
    made: _Made = {}
    for fold in (_into_producer, _into_readers, _as_layer):
        while (folded := _fold_first(graph, fold, made)) is not None:
            graph = folded
    return graph


def _fold_first(graph: Graph, fold: _Fold, made: _Made) -> Graph | None:
    for op in graph.operators:
        if not isinstance(op, Mul | Add | Sub) or op.y.dtype is not DType.FLOAT32:
            continue
        for x, constant in ((op.a, op.b), (op.b, op.a)):
            if x.is_constant or not constant.is_constant or x.shape != op.y.shape:
                continue
            values = _per_channel(constant, x.shape)
            if values is None or (isinstance(op, Sub) and x is op.b):
                continue
            changed = fold(graph, op, x, values, made)
            if changed is not None:
                return changed
    return None


def _per_channel(constant: Tensor, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Return one value for each of the last dimension, None if the constant differs along others."""
    if not shape or constant.elements not in (1, constant.shape[-1] if constant.shape else 1):
        return None
    return np.broadcast_to(constant.values.reshape(-1), (shape[-1],)).astype(np.float32)


def _into_producer(
    graph: Graph, op: Mul | Add | Sub, x: Tensor, values: NDArray[np.float32], made: _Made
) -> Graph | None:
    between, layer = x, graph.producers.get(x)
    while isinstance(layer, Reshape) and layer.x.shape[-1:] == x.shape[-1:] and _read_once(graph, between):
        between, layer = layer.x, graph.producers.get(layer.x)
    if not isinstance(layer, Weighted) or not _read_once(graph, x) or not _read_once(graph, between):
        return None
    if not layer.weights.is_constant or (layer.bias is not None and not layer.bias.is_constant):
        return None
    if layer.y.shape[-1] != len(values) or _channels(layer) != len(values):
        return None
    weights, bias = layer.weights, _bias(layer, len(values))
    if isinstance(op, Mul):
        shape = (-1, *[1] * (weights.values.ndim - 1)) if not isinstance(layer, DepthwiseConv2D) else (-1,)
        weights = _changed(graph, weights, weights.values * values.reshape(shape), made)
        bias = bias * values
    else:
        bias = bias + (values if isinstance(op, Add) else -values)
    if layer.bias is None:
        name = f"{layer.weights.name}/bias"
        old = Tensor(name=name, shape=bias.shape, dtype=DType.FLOAT32, data=bias)
    else:
        old = layer.bias
    fused = dataclasses.replace(layer, weights=weights, bias=_changed(graph, old, bias, made))
    rest = [fused if other is layer else other for other in graph.operators if other is not op]
    return graph.rewrite(rest, tensors={x: op.y})


def _into_readers(
    graph: Graph, op: Mul | Add | Sub, x: Tensor, values: NDArray[np.float32], made: _Made
) -> Graph | None:
    layers = _reading_layers(graph, op.y)
    if not layers or any(not _takes(graph, layer, layers, op, len(values)) for layer in layers):
        return None
    changed: dict[Operator, Operator] = {}
    for layer in layers:
        weights = layer.weights.values
        if isinstance(op, Mul):
            # The last dimension of weights is what they read.
            changed[layer] = dataclasses.replace(layer, weights=_changed(graph, layer.weights, weights * values, made))
        else:
            amount = weights.reshape(len(weights), -1, len(values)).sum(axis=1) @ values
            channels = len(weights)
            old = layer.bias or Tensor(
                name=f"{layer.weights.name}/bias", shape=(channels,), dtype=DType.FLOAT32, data=amount
            )
            bias = _bias(layer, channels) + (amount if isinstance(op, Add) else -amount)
            changed[layer] = dataclasses.replace(layer, bias=_changed(graph, old, bias, made))
    rest = [changed.get(other, other) for other in graph.operators if other is not op]
    return graph.rewrite(rest, tensors={op.y: x})


def _reading_layers(graph: Graph, tensor: Tensor) -> list[Conv2D | FullyConnected] | None:
    """Return the layers that alone read a tensor, perhaps moved with its last dimension whole; None where others do."""
    if tensor in graph.kept:
        return None
    found: list[Conv2D | FullyConnected] = []
    for reader in graph.consumers.get(tensor, ()):
        if isinstance(reader, Conv2D | FullyConnected) and reader.x is tensor:
            found.append(reader)
            continue
        moved = isinstance(reader, Reshape | Transpose) and reader.y.shape[-1:] == tensor.shape[-1:]
        if isinstance(reader, Transpose):
            moved = moved and reader.perm[-1] == len(reader.perm) - 1
        behind = _reading_layers(graph, reader.outputs[0]) if moved else None
        if behind is None:
            return None
        found += behind
    return found


def _takes(
    graph: Graph,
    layer: Conv2D | FullyConnected,
    layers: Sequence[Operator],
    op: Mul | Add | Sub,
    channels: int,
) -> bool:
    """Whether a factor or an amount on each channel that a layer reads can go into its constants."""
    if not layer.weights.is_constant or (layer.bias is not None and not layer.bias.is_constant):
        return False
    if layer.weights.shape[-1] != channels or layer.x.shape[-1] != channels:
        return False
    # An amount is not in the padding. Layers that share weights change alike or not at all.
    padded = isinstance(layer, Conv2D) and layer.padding.any and not isinstance(op, Mul)
    return not padded and all(other in layers for other in graph.consumers[layer.weights])


def _read_once(graph: Graph, tensor: Tensor) -> bool:
    return tensor not in graph.kept and len(graph.consumers[tensor]) == 1


def _channels(layer: Weighted) -> int:
    return layer.weights.shape[3] if isinstance(layer, DepthwiseConv2D) else layer.weights.shape[0]


def _as_layer(graph: Graph, op: Mul | Add | Sub, x: Tensor, values: NDArray[np.float32], made: _Made) -> Graph | None:
    """Return the graph with a factor and an amount on an image as one depthwise layer of a single pixel."""
    if not isinstance(op, Mul) or len(x.shape) != 4 or op.y in graph.kept:
        return None
    readers = graph.consumers[op.y]
    if len(readers) != 1 or not isinstance(readers[0], Add) or readers[0].y.shape != x.shape:
        return None
    other = readers[0].b if readers[0].a is op.y else readers[0].a
    amount = _per_channel(other, x.shape) if other.is_constant else None
    if amount is None:
        return None
    data = values.reshape(1, 1, 1, -1).copy()
    weights = Tensor(name=f"{op.name}/weights", shape=data.shape, dtype=DType.FLOAT32, data=data)
    if any(t.name in (weights.name, f"{op.name}/bias") for t in graph.tensors):
        return None
    bias = Tensor(name=f"{op.name}/bias", shape=amount.shape, dtype=DType.FLOAT32, data=amount.copy())
    layer: Operator = DepthwiseConv2D(name=op.name, x=x, weights=weights, bias=bias, y=readers[0].y)
    return graph.rewrite(layer if other is readers[0] else other for other in graph.operators if other is not op)


def _bias(layer: Weighted, channels: int) -> NDArray[Any]:
    return np.zeros(channels, np.float32) if layer.bias is None else layer.bias.values


def _changed(graph: Graph, old: Tensor, values: NDArray[Any], made: _Made) -> Tensor:
    """Return a constant in the place of another: one for all layers that get the same, under a name of its own."""
    data = values.astype(np.float32)
    key = old.name, data.tobytes()
    if key not in made:
        taken = {t.name for t in graph.tensors if t is not old or len(graph.consumers[old]) > 1}
        made[key] = dataclasses.replace(old, name=Names(taken).fresh(old.name), data=data)
    return made[key]
