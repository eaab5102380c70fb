"""How operators couple the channels (last dimension) of their tensors, and which channels are constant.

Dropping channels is a question about slots: (tensor, index into its last dimension). An operator either
couples a slot of its input to one of its output (elementwise, depthwise, pooling: both go or both stay), or
mixes all its input slots into each output slot (Conv2D, FullyConnected), or is not understood, which pins
its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.compute import access
from utvm.graph import (
    BatchToSpace,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    DType,
    FullyConnected,
    Graph,
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
    SpaceToBatch,
    Split,
    StridedSlice,
    Tanh,
    Tensor,
    Transpose,
    Weighted,
)
from utvm.graph.definitions import definition
from utvm.passes._edit import compute

Mask = NDArray[np.bool_]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelLink:
    """Slots x[x_index[i]] and y[y_index[i]] go together; y's depends on x's (and on no other slot of x)."""

    x: Tensor
    x_index: Index
    y: Tensor
    y_index: Index


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupling:
    """What an operator asks of the channels of its tensors; `pinned` tensors keep all of theirs."""

    links: tuple[ChannelLink, ...] = ()
    pinned: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """The channels of a tensor that hold one number in every position, whatever the graph's inputs."""

    mask: Mask
    """bool [channels]."""
    values: NDArray[Any]
    """The numbers, of the tensor's type; meaningless where the mask is not set."""


_COUNTED = (DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32)
"""Types of which channels are dropped; sums of float32 keep all of theirs."""


def channels(tensor: Tensor) -> int:
    """Return the extent of the last dimension; 1 for a scalar."""
    return tensor.shape[-1] if tensor.shape else 1


def coupling(op: Operator) -> Coupling:
    """Return how an operator couples the channels of its tensors."""
    everything = Coupling(pinned=(*op.inputs, *op.outputs))
    if any(not tensor.shape for tensor in (*op.activations, *op.outputs)):
        return everything
    if any(tensor.dtype not in _COUNTED for tensor in (*op.activations, *op.outputs)):
        return everything
    match op:
        case Conv2D() | FullyConnected():
            return Coupling() if mixes(op) else everything
        case DepthwiseConv2D():
            if not weights_known(op):
                return everything
            outputs = np.arange(channels(op.y))
            return Coupling(links=(ChannelLink(x=op.x, x_index=outputs // op.multiplier, y=op.y, y_index=outputs),))
        case (
            Relu()
            | Relu6()
            | LeakyRelu()
            | Logistic()
            | Tanh()
            | Quantize()
            | Dequantize()
            | ResizeNearestNeighbor()
            | ResizeBilinear()
            | SpaceToBatch()
            | BatchToSpace()
        ):
            return Coupling(links=(_span(op.x, op.y),))
        case Transpose():
            last = len(op.perm) - 1
            return Coupling(links=(_span(op.x, op.y),)) if op.perm[last] == last else everything
        case Pad():
            return Coupling(links=(_span(op.x, op.y, y_first=op.paddings[-1][0]),))
        case Reshape():
            return _reshape(op) or everything
        case Concatenation():
            if op.axis != len(op.y.shape) - 1:
                return Coupling(links=tuple(_span(x, op.y) for x in op.xs))
            firsts = np.cumsum([0, *map(channels, op.xs)])
            return Coupling(links=tuple(_span(x, op.y, y_first=int(n)) for x, n in zip(op.xs, firsts, strict=False)))
        case Split():
            if op.axis != len(op.x.shape) - 1:
                return Coupling(links=tuple(_span(op.x, y) for y in op.ys))
            firsts = np.cumsum([0, *map(channels, op.ys)])
            return Coupling(links=tuple(_span(op.x, y, x_first=int(n)) for y, n in zip(op.ys, firsts, strict=False)))
        case StridedSlice():
            last = len(op.begin) - 1
            if last in op.shrink or op.strides[last] != 1:
                return everything
            return Coupling(links=(_span(op.x, op.y, x_first=op.begin[last]),))
        case _:
            return _derived(op) or everything


def _derived(op: Operator) -> Coupling | None:
    """Return what follows from an operator's definition; None where it has none, or nothing follows."""
    defined = definition(op)
    if defined is None or defined.only is None:
        return None
    (y,) = op.outputs
    links: list[ChannelLink] = []
    pinned: list[Tensor] = []
    for name, tensor in defined.inputs.items():
        first = access.channel_offset(defined.only, name)
        if first == 0 and channels(tensor) == channels(y):
            links.append(_span(tensor, y))
        else:
            pinned.append(tensor)
    return Coupling(links=tuple(links), pinned=tuple(pinned)) if links else None


def _span(x: Tensor, y: Tensor, *, x_first: int = 0, y_first: int = 0) -> ChannelLink:
    """Return the link of as many neighbouring slots as the narrower tensor has."""
    index = np.arange(min(channels(x), channels(y)))
    return ChannelLink(x=x, x_index=index + x_first, y=y, y_index=index + y_first)


def _reshape(op: Reshape) -> Coupling | None:
    """Last dimensions that are multiples of each other: the elements of a channel stay a set of channels."""
    x_channels, y_channels = channels(op.x), channels(op.y)
    if 0 in (x_channels, y_channels) or (x_channels % y_channels and y_channels % x_channels):
        return None
    index = np.arange(max(x_channels, y_channels))
    return Coupling(links=(ChannelLink(x=op.x, x_index=index % x_channels, y=op.y, y_index=index % y_channels),))


def weights_known(op: Weighted) -> bool:
    """Whether weights and bias are constants."""
    return op.weights.is_constant and (op.bias is None or op.bias.is_constant)


def mixes(op: Operator) -> bool:
    """Whether an operator sums over input channels in a way that `mixing_weights` can express."""
    if isinstance(op, Conv2D | FullyConnected) and op.weights.dtype is not DType.INT8:
        return False
    match op:
        case Conv2D():
            return weights_known(op) and op.groups == 1
        case FullyConnected():
            # Where rows are cut otherwise than the last dimension, slots are no channels of the weights.
            fits = op.weights.shape[0] == channels(op.y) and op.weights.shape[1] % channels(op.x) == 0
            return weights_known(op) and bool(op.x.shape) and fits
        case _:
            return False


def mixing_weights(op: Conv2D | FullyConnected) -> NDArray[Any]:
    """Return the weights as [output channels, positions, input channels], in their own type."""
    weights = op.weights.values
    return weights.reshape(weights.shape[0], -1, channels(op.x))


def known_channels(graph: Graph, couplings: Mapping[Operator, Coupling]) -> dict[Tensor, Known]:
    """Return the constant channels of every tensor, found by evaluating operators on what is known already.

    An output slot is a candidate if all that it depends on is known. The reference says what it holds, so
    every rounding and clamp is right; it is known if it holds the same number everywhere (which padding can
    prevent).
    """
    known: dict[Tensor, Known] = {}
    for tensor in graph.tensors:
        if tensor.data is not None and tensor.elements:
            rows = tensor.data.reshape(-1, channels(tensor))
            known[tensor] = Known(mask=np.asarray((rows == rows[0]).all(axis=0)), values=rows[0])
        else:
            known[tensor] = _nothing(tensor)
    for op in graph.operators:
        candidates = _candidates(op, couplings[op], known)
        if not any(mask.any() for mask in candidates.values()):
            continue
        inputs = {tensor: _filled(tensor, known[tensor]) for tensor in op.activations}
        for tensor, result in compute(op, inputs).items():
            rows = result.reshape(-1, channels(tensor))
            uniform = (rows == rows[0]).all(axis=0)
            known[tensor] = Known(mask=candidates[tensor] & uniform, values=rows[0])
    return known


def _nothing(tensor: Tensor) -> Known:
    count = channels(tensor)
    return Known(mask=np.zeros(count, np.bool_), values=np.zeros(count, tensor.dtype.value))


def _filled(tensor: Tensor, known: Known) -> NDArray[Any]:
    values = np.where(known.mask, known.values, tensor.zero_point).astype(tensor.dtype.value)
    return np.broadcast_to(values.reshape(values.shape if tensor.shape else ()), tensor.shape).copy()


def _candidates(op: Operator, wanted: Coupling, known: Mapping[Tensor, Known]) -> dict[Tensor, Mask]:
    """Return for each output the slots that depend on known slots alone."""
    found: dict[Tensor, Mask] = {t: np.ones(channels(t), np.bool_) for t in op.outputs}
    if any(tensor.elements == 0 for tensor in (*op.inputs, *op.outputs)):
        return {tensor: ~mask for tensor, mask in found.items()}
    for link in wanted.links:
        np.logical_and.at(found[link.y], link.y_index, known[link.x].mask[link.x_index])
    pinned = [t for t in wanted.pinned if t in op.inputs and not t.is_constant]
    if not all(known[tensor].mask.all() for tensor in pinned):
        found = {tensor: np.zeros_like(mask) for tensor, mask in found.items()}
    if isinstance(op, Conv2D | FullyConnected) and mixes(op):
        weightless: Mask = np.logical_not(mixing_weights(op).any(axis=1))
        found[op.y] = np.asarray((weightless | known[op.x].mask).all(axis=1))
    elif isinstance(op, DepthwiseConv2D) and weights_known(op):
        weighted: Mask = np.asarray(op.weights.values.reshape(-1, channels(op.y)).any(axis=0))
        found[op.y] |= ~weighted
    return found
