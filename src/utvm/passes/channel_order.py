"""Images in the order that kernels have, [N,H,W,C]: transpositions move down the graph until they cancel.

Frameworks with [N,C,H,W] put one before and one after each layer. A transposition is held back until an operator needs
its result; operators that can work on the source of it do, and hold back what comes out of them instead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from utvm.graph import (
    Add,
    Concatenation,
    Dequantize,
    Elementwise,
    FullyConnected,
    Graph,
    LeakyRelu,
    Logistic,
    Mean,
    Mul,
    Operator,
    Pad,
    Quantize,
    Reduction,
    Relu,
    Relu6,
    Reshape,
    Softmax,
    Split,
    StridedSlice,
    Sub,
    Tanh,
    Tensor,
    Transpose,
)
from utvm.graph.names import Names

Perm = tuple[int, ...]
_T = TypeVar("_T")
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
        op: what makes it, perhaps from another tensor that is held back.
    """

    base: Tensor
    perm: Perm | None
    op: Operator
    order: NDArray[np.int64] | None = None


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
            last = dataclasses.replace(tensor, shape=_picked(tensor.shape, perm))
            inputs.append(last)
            inner = dataclasses.replace(tensor, name=self.names.fresh(f"{tensor.name}/channels_first"))
            self.made[tensor] = inner
            self.hold(inner, last, _inverse(perm))
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
        outputs: list[Tensor] = []
        moved: dict[str, Perm] = {}
        for old in self.graph.outputs:
            tensor = self.made.get(old, old)
            held, rank = self.held.get(tensor), len(tensor.shape)
            turned = held is not None and rank in _TO_FIRST and held.perm == _TO_FIRST[rank]
            source = held.base if held is not None and turned else tensor
            made_here = any(source in op.outputs for op in self.operators)
            if source is not old and made_here and source not in (*outputs, *self.graph.outputs):
                named = dataclasses.replace(source, name=old.name)
                changed = {source: named}
                if turned:
                    moved[old.name] = _TO_LAST[rank]
                    changed[tensor] = dataclasses.replace(tensor, name=self.names.fresh(tensor.name))
                self._rename(changed)
                outputs.append(named)
            elif tensor is not old and held is None:
                self.operators.append(Reshape(name=self.names.fresh(f"{old.name}/copy"), x=tensor, y=old))
                outputs.append(old)
            else:
                outputs.append(self.need(tensor))
        return outputs, moved

    def _rename(self, changed: Mapping[Tensor, Tensor]) -> None:
        self.operators = [op.with_tensors(changed) for op in self.operators]
        self.made = {t: changed.get(stands, stands) for t, stands in self.made.items()}
        self.held = {
            changed.get(t, t): dataclasses.replace(h, base=changed.get(h.base, h.base), op=h.op.with_tensors(changed))
            for t, h in self.held.items()
        }

    def _visit(self, op: Operator) -> None:
        if any(t in self.held for t in op.inputs) and (self._moved(op) or _HELD_TOO.get(type(op), _no)(self, op)):
            return
        if isinstance(op, Transpose):
            self.hold(op.y, self.need(op.x), op.perm, op)
        else:
            self.operators.append(op.with_tensors({t: self.need(t) for t in op.inputs}))

    def _moved(self, op: Operator) -> bool:
        """Append an operator that works on what its operands are transpositions of, if one permutation makes all."""
        rule = _RULES.get(type(op))
        held = {t: self.held.get(t) for t in op.inputs if not t.is_constant}
        perms = {None if h is None else h.perm for h in held.values()}
        perm = next(iter(perms))
        found = rule(op, perm) if rule is not None and len(perms) == 1 and perm is not None else None
        if perm is None or found is None:
            return False
        made_perm, changes = found
        sources = {t: h.base for t, h in held.items() if h is not None}
        sources |= {t: self._turned(t, perm) for t in op.inputs if t.is_constant}
        inner = {
            y: dataclasses.replace(
                y, name=self.names.fresh(f"{y.name}/last"), shape=_picked(y.shape, _inverse(made_perm))
            )
            for y in op.outputs
        }
        self.operators.append(dataclasses.replace(op.with_tensors({**sources, **inner}), **changes))
        for y in op.outputs:
            self.hold(y, inner[y], made_perm)
        return True

    def _turned(self, constant: Tensor, perm: Perm) -> Tensor:
        """Return a constant operand that broadcasts to the rank of `perm`, in the order of the sources."""
        wide = constant.values.reshape((*[1] * (len(perm) - constant.values.ndim), *constant.shape))
        data = np.ascontiguousarray(wide.transpose(_inverse(perm)))
        return dataclasses.replace(
            constant, name=self.names.fresh(f"{constant.name}/last"), shape=data.shape, data=data
        )

    def need(self, tensor: Tensor) -> Tensor:
        """Make a tensor that is held back."""
        held = self.held.pop(tensor, None)
        if held is not None:
            self.operators.append(held.op.with_tensors({t: self.need(t) for t in held.op.inputs}))
        return tensor

    def hold(self, y: Tensor, base: Tensor, perm: Perm, op: Transpose | None = None) -> None:
        """Hold back y = base transposed, by `op`; where nothing moves, base stands for it."""
        if perm == tuple(range(len(perm))):
            self.made[y] = base
            return
        if op is None:
            op = Transpose(name=self.names.fresh(f"{y.name}/transpose"), x=base, y=y, perm=perm)
        self.held[y] = _Held(base=base, perm=perm, op=op)


def _inverse(perm: Perm) -> Perm:
    return tuple(int(i) for i in np.argsort(perm))


def _picked(values: Sequence[_T], order: Perm) -> tuple[_T, ...]:
    return tuple(values[i] for i in order)


_Moved = tuple[Perm, Mapping[str, Any]] | None
"""The permutation that makes an operator's results, and its changed fields; None where it can't work on sources."""


def _same(_: Operator, perm: Perm) -> _Moved:
    return perm, {}


def _binary(op: Add | Sub | Mul | Elementwise, perm: Perm) -> _Moved:
    return (perm, {}) if len(perm) == len(op.y.shape) else None


def _along(op: Concatenation | Split, perm: Perm) -> _Moved:
    return perm, {"axis": perm[op.axis]}


def _pad(op: Pad, perm: Perm) -> _Moved:
    return perm, {"paddings": _picked(op.paddings, _inverse(perm))}


def _slice(op: StridedSlice, perm: Perm) -> _Moved:
    order = _inverse(perm)
    return None if op.shrink else (perm, {"begin": _picked(op.begin, order), "strides": _picked(op.strides, order)})


def _mean(op: Mean | Reduction, perm: Perm) -> _Moved:
    axes = tuple(sorted(perm[axis] for axis in op.axes))
    if len(op.y.shape) == len(op.x.shape):
        return perm, {"axes": axes}
    kept = [axis for axis in range(len(perm)) if axis not in axes]
    return tuple(kept.index(axis) for axis in perm if axis not in axes), {"axes": axes}


def _softmax(_: Softmax, perm: Perm) -> _Moved:
    return (perm, {}) if perm[-1] == len(perm) - 1 else None


_RULES: Mapping[type[Operator], Callable[[Any, Perm], _Moved]] = {
    **dict.fromkeys((Relu, Relu6, LeakyRelu, Logistic, Tanh, Quantize, Dequantize), _same),
    **dict.fromkeys((Add, Sub, Mul, Elementwise), _binary),
    Concatenation: _along,
    Split: _along,
    Pad: _pad,
    StridedSlice: _slice,
    **dict.fromkeys((Mean, Reduction), _mean),
    Softmax: _softmax,
}
"""How an operator works on what its operands are a transposition of."""


def _no(_: _Sinking, __: Operator) -> bool:
    return False


def _transpose(s: _Sinking, op: Transpose) -> bool:
    held = s.held[op.x]
    if held.perm is None:
        return False
    s.hold(op.y, held.base, _picked(held.perm, op.perm))
    return True


def _reshape(s: _Sinking, op: Reshape) -> bool:
    held = s.held[op.x]
    if held.perm is None:
        return False
    moved = [axis for axis in held.perm if held.base.shape[axis] != 1]
    if moved == sorted(moved):
        s.operators.append(dataclasses.replace(op, x=held.base))
        return True
    if op.y.shape[-1] != op.y.elements:
        return False
    order = np.arange(held.base.elements).reshape(held.base.shape).transpose(held.perm).reshape(-1)
    s.held[op.y] = _Held(base=held.base, perm=None, order=order, op=op)
    return True


def _fully_connected(s: _Sinking, op: FullyConnected) -> bool:
    """A layer on a flattened image reads it in the order in which it is made: its weights move instead."""
    held = s.held.get(op.x)
    if held is None or held.order is None or not op.weights.is_constant or op.weights.shape[1] != len(held.order):
        return False
    weights = np.empty_like(op.weights.values)
    weights[:, held.order] = op.weights.values
    moved = dataclasses.replace(op.weights, name=s.names.fresh(f"{op.weights.name}/last"), data=weights)
    flat = dataclasses.replace(op.x, name=s.names.fresh(f"{op.x.name}/last"))
    s.operators.append(Reshape(name=s.names.fresh(f"{op.name}/flatten"), x=held.base, y=flat))
    s.operators.append(dataclasses.replace(op, x=flat, weights=moved))
    return True


_HELD_TOO: Mapping[type[Operator], Callable[[_Sinking, Any], bool]] = {
    Transpose: _transpose,
    Reshape: _reshape,
    FullyConnected: _fully_connected,
}
"""What else an operator does with an operand that is held back; False where it needs that made."""
