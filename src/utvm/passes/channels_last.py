"""Images in the order that kernels have, [N,H,W,C]: transpositions move down the graph until they cancel.

Frameworks with [N,C,H,W] put one before and one after each layer. A transposition is held back until an operator needs
its result; operators that can work on the source of it do, and hold back what comes out of them instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.graph import (
    Add,
    Concatenation,
    FullyConnected,
    Graph,
    Mean,
    Mul,
    Operator,
    Pad,
    Reshape,
    Softmax,
    Split,
    StridedSlice,
    Sub,
    Tensor,
    Transpose,
)
from utvm.graph.names import Names

Perm = tuple[int, ...]
_TO_LAST: Mapping[int, Perm] = {3: (0, 2, 1), 4: (0, 2, 3, 1)}
_TO_FIRST: Mapping[int, Perm] = {3: (0, 2, 1), 4: (0, 3, 1, 2)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelsLast:
    """A graph in the order of kernels.

    Attributes:
        inputs: for inputs whose order changed, the permutation that brings the source's array into the new order.
        outputs: for outputs whose order changed, the permutation from the source's order to the new one.
    """

    graph: Graph
    inputs: Mapping[str, Perm]
    outputs: Mapping[str, Perm]


def channels_last(graph: Graph) -> ChannelsLast:
    """Return the graph with as few transposed elements as this finds.

    Inputs and outputs of three and four dimensions change their order where that saves a transposition.
    """
    turned: dict[Tensor, Perm] = {}
    best = _Sinking(graph, turned).result()
    for tensor in graph.inputs:
        perm = _TO_LAST.get(len(tensor.shape))
        if perm is not None:
            tried = _Sinking(graph, {**turned, tensor: perm}).result()
            if _cost(tried.graph) < _cost(best.graph):
                best, turned = tried, {**turned, tensor: perm}
    return best


def _cost(graph: Graph) -> int:
    return sum(op.y.elements for op in graph.operators if isinstance(op, Transpose))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Held:
    """A tensor that is not made yet.

    Attributes:
        base: what it is made from.
        perm: its dimension i is dimension perm[i] of base; None where `order` says it.
        order: element i of the flat tensor is element order[i] of base.
        ops: what makes it, the last of them the tensor itself.
    """

    base: Tensor
    perm: Perm | None
    order: NDArray[np.int64] | None = None
    ops: tuple[Operator, ...] = ()


class _Sinking:
    def __init__(self, graph: Graph, turned: Mapping[Tensor, Perm]) -> None:
        self.graph = graph
        self.operators: list[Operator] = []
        self.made: dict[Tensor, Tensor] = {}
        """Tensor of the old graph → what stands for it."""
        self.held: dict[Tensor, _Held] = {}
        self.names = Names([*(t.name for t in graph.tensors), *(op.name for op in graph.operators)])
        self.turned = turned

    def result(self) -> ChannelsLast:
        inputs = []
        for tensor in self.graph.inputs:
            perm = self.turned.get(tensor)
            if perm is None:
                inputs.append(tensor)
                continue
            last = dataclasses.replace(tensor, shape=tuple(tensor.shape[axis] for axis in perm))
            inputs.append(last)
            inner = dataclasses.replace(tensor, name=self.names.fresh(f"{tensor.name}/channels_first"))
            back = tuple(int(i) for i in np.argsort(perm))
            self.made[tensor] = inner
            self.held[inner] = _Held(
                base=last, perm=back, ops=(Transpose(name=self.names.fresh(inner.name), x=last, y=inner, perm=back),)
            )
        for op in self.graph.operators:
            self._visit(op.with_tensors(self.made))
        outputs, moved = self._outputs()
        changed = Graph(
            name=self.graph.name, operators=tuple(self.operators), inputs=tuple(inputs), outputs=tuple(outputs)
        )
        return ChannelsLast(
            graph=changed, inputs={tensor.name: perm for tensor, perm in self.turned.items()}, outputs=moved
        )

    def _outputs(self) -> tuple[list[Tensor], dict[str, Perm]]:
        """Return the graph's outputs; an image that is held back is given out in the order in which it is made."""
        outputs, moved = [], {}
        for old in self.graph.outputs:
            tensor = self.made.get(old, old)
            held = self.held.get(tensor)
            free = held is not None and any(held.base in op.outputs for op in self.operators)
            if held is not None and free and held.perm == _TO_FIRST.get(len(tensor.shape)):
                named = dataclasses.replace(held.base, name=old.name)
                self.operators = [op.with_tensors({held.base: named}) for op in self.operators]
                self.held = {
                    t: dataclasses.replace(h, base=named) if h.base is held.base else h for t, h in self.held.items()
                }
                moved[old.name] = _TO_LAST[len(tensor.shape)]
                tensor = named
            outputs.append(self._need(tensor))
        return outputs, moved

    def _visit(self, op: Operator) -> None:
        rule = _RULES.get(type(op))
        if rule is None and _is_elementwise(op):
            rule = _elementwise
        if rule is not None and any(t in self.held for t in op.inputs) and rule(self, op):
            return
        if isinstance(op, Transpose):
            self.held[op.y] = _Held(base=op.x, perm=op.perm, ops=(op,))
            return
        self.operators.append(op.with_tensors({t: self._need(t) for t in op.inputs}))

    def _need(self, tensor: Tensor) -> Tensor:
        """Make a tensor that is held back."""
        held = self.held.pop(tensor, None)
        if held is not None:
            self.operators += held.ops
        return tensor

    def hold(self, y: Tensor, base: Tensor, perm: Perm) -> None:
        """Hold back y = base transposed; where nothing moves, base stands for it."""
        if perm == tuple(range(len(perm))):
            self.made[y] = base
            return
        name = self.names.fresh(f"{y.name}/transpose")
        self.held[y] = _Held(base=base, perm=perm, ops=(Transpose(name=name, x=base, y=y, perm=perm),))

    def emit(self, op: Operator, y: Tensor, shape: tuple[int, ...], perm: Perm, **changes: Any) -> None:
        """Append an operator on the sources, of whose result y is a transposition."""
        inner = dataclasses.replace(y, name=self.names.fresh(f"{y.name}/last"), shape=shape)
        self.operators.append(dataclasses.replace(op, **{"y": inner, **changes}))
        self.hold(y, inner, perm)

    def perm_of(self, tensor: Tensor) -> Perm | None:
        """Return the permutation of a tensor that is held back as one."""
        held = self.held.get(tensor)
        return None if held is None else held.perm


def _is_elementwise(op: Operator) -> bool:
    x, y = getattr(op, "x", None), getattr(op, "y", None)
    return (
        op.input_fields == ("x",)
        and isinstance(x, Tensor)
        and isinstance(y, Tensor)
        and x.shape == y.shape
        and not isinstance(op, Softmax | Transpose | Pad | StridedSlice | Mean | Reshape)
        and not hasattr(op, "filter")
        and not hasattr(op, "align_corners")
        and not hasattr(op, "block")
    )


def _elementwise(s: _Sinking, op: Operator) -> bool:
    x, y = op.inputs[0], op.outputs[0]
    held = s.held[x]
    if held.perm is None:
        return False
    s.emit(op, y, held.base.shape, held.perm, x=held.base)
    return True


def _transpose(s: _Sinking, op: Operator) -> bool:
    assert isinstance(op, Transpose)
    held = s.held[op.x]
    if held.perm is None:
        return False
    s.hold(op.y, held.base, tuple(held.perm[axis] for axis in op.perm))
    return True


def _binary(s: _Sinking, op: Operator) -> bool:
    assert isinstance(op, Add | Sub | Mul)
    perms = {s.perm_of(t) for t in (op.a, op.b) if not t.is_constant}
    perm = next(iter(perms))
    if len(perms) != 1 or perm is None or len(perm) != len(op.y.shape):
        return False
    inverse = [int(i) for i in np.argsort(perm)]

    def source(tensor: Tensor) -> Tensor:
        if not tensor.is_constant:
            return s.held[tensor].base
        wide = tensor.values.reshape((*[1] * (len(perm) - tensor.values.ndim), *tensor.shape))
        data = np.ascontiguousarray(wide.transpose(inverse))
        return dataclasses.replace(tensor, name=s.names.fresh(f"{tensor.name}/last"), shape=data.shape, data=data)

    shape = tuple(op.y.shape[axis] for axis in inverse)
    s.emit(op, op.y, shape, perm, a=source(op.a), b=source(op.b))
    return True


def _concatenation(s: _Sinking, op: Operator) -> bool:
    assert isinstance(op, Concatenation)
    perms = {s.perm_of(t) for t in op.xs}
    perm = next(iter(perms))
    if len(perms) != 1 or perm is None:
        return False
    shape = tuple(op.y.shape[int(i)] for i in np.argsort(perm))
    s.emit(op, op.y, shape, perm, xs=tuple(s.held[t].base for t in op.xs), axis=perm[op.axis])
    return True


def _split(s: _Sinking, op: Operator) -> bool:
    assert isinstance(op, Split)
    held = s.held[op.x]
    if held.perm is None:
        return False
    inverse = np.argsort(held.perm)
    parts = [
        dataclasses.replace(y, name=s.names.fresh(f"{y.name}/last"), shape=tuple(y.shape[int(i)] for i in inverse))
        for y in op.ys
    ]
    s.operators.append(dataclasses.replace(op, x=held.base, ys=tuple(parts), axis=held.perm[op.axis]))
    for y, part in zip(op.ys, parts, strict=True):
        s.hold(y, part, held.perm)
    return True


def _pad(s: _Sinking, op: Operator) -> bool:
    assert isinstance(op, Pad)
    held = s.held[op.x]
    if held.perm is None:
        return False
    inverse = [int(i) for i in np.argsort(held.perm)]
    shape = tuple(op.y.shape[i] for i in inverse)
    s.emit(op, op.y, shape, held.perm, x=held.base, paddings=tuple(op.paddings[i] for i in inverse))
    return True


def _slice(s: _Sinking, op: Operator) -> bool:
    assert isinstance(op, StridedSlice)
    held = s.held[op.x]
    if held.perm is None or op.shrink:
        return False
    inverse = [int(i) for i in np.argsort(held.perm)]
    begin, strides = tuple(op.begin[i] for i in inverse), tuple(op.strides[i] for i in inverse)
    shape = tuple(op.y.shape[i] for i in inverse)
    s.emit(op, op.y, shape, held.perm, x=held.base, begin=begin, strides=strides)
    return True


def _mean(s: _Sinking, op: Operator) -> bool:
    assert isinstance(op, Mean)
    held = s.held[op.x]
    if held.perm is None:
        return False
    axes = tuple(sorted(held.perm[axis] for axis in op.axes))
    if len(op.y.shape) == len(op.x.shape):
        shape, perm = tuple(op.y.shape[int(i)] for i in np.argsort(held.perm)), held.perm
    else:
        kept = [axis for axis in range(len(held.perm)) if axis not in axes]
        shape = tuple(held.base.shape[axis] for axis in kept)
        perm = tuple(kept.index(axis) for axis in held.perm if axis not in axes)
    s.emit(op, op.y, shape, perm, x=held.base, axes=axes)
    return True


def _softmax(s: _Sinking, op: Operator) -> bool:
    held = s.held[op.inputs[0]]
    if held.perm is None or held.perm[-1] != len(held.perm) - 1:
        return False
    s.emit(op, op.outputs[0], held.base.shape, held.perm, x=held.base)
    return True


def _reshape(s: _Sinking, op: Operator) -> bool:
    assert isinstance(op, Reshape)
    held = s.held[op.x]
    if held.perm is None:
        return False
    moved = [axis for axis in held.perm if held.base.shape[axis] != 1]
    if moved == sorted(moved):
        s.operators.append(dataclasses.replace(op, x=held.base))
        return True
    if op.y.shape[-1] != op.y.elements:
        return False
    order = np.arange(prod(held.base.shape)).reshape(held.base.shape).transpose(held.perm).reshape(-1)
    s.held[op.y] = _Held(base=held.base, perm=None, order=order, ops=(*held.ops, op))
    return True


def _fully_connected(s: _Sinking, op: Operator) -> bool:
    """A layer on a flattened image reads it in the order in which it is made: its weights move instead."""
    assert isinstance(op, FullyConnected)
    held = s.held.get(op.x)
    if held is None or held.order is None or not op.weights.is_constant:
        return False
    weights = np.empty_like(op.weights.values)
    weights[:, held.order] = op.weights.values
    moved = dataclasses.replace(op.weights, name=s.names.fresh(f"{op.weights.name}/last"), data=weights)
    flat = dataclasses.replace(op.x, name=s.names.fresh(f"{op.x.name}/last"))
    s.operators.append(Reshape(name=s.names.fresh(f"{op.name}/flatten"), x=held.base, y=flat))
    s.operators.append(dataclasses.replace(op, x=flat, weights=moved))
    return True


_RULES: Mapping[type[Operator], Callable[[_Sinking, Operator], bool]] = {
    Transpose: _transpose,
    Add: _binary,
    Sub: _binary,
    Mul: _binary,
    Concatenation: _concatenation,
    Split: _split,
    Pad: _pad,
    StridedSlice: _slice,
    Mean: _mean,
    Softmax: _softmax,
    Reshape: _reshape,
    FullyConnected: _fully_connected,
}
"""How an operator works on the sources of what is held back; False where it can't."""
