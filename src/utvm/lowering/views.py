"""Tensors that cost no call: reshapes, runs of rows of a tensor, and parts that together are one tensor."""

from __future__ import annotations

from math import prod

from utvm.graph import Concatenation, Graph, Operator, Reshape, Store, StridedSlice, Tensor

_ALIGNMENT = 4


class Views:
    """Which tensors of a graph lie inside of others, and where. Bytes. What is stored lies where the next run reads it.

    `operators` are those that are left to do, `last_use` says which of them reads or writes a root last; their number
    where it is kept. A part of a concatenation is written where it belongs; a run of rows is
    read where it lies. Both only at multiples of a word, since kernels load words.
    """

    def __init__(self, graph: Graph) -> None:
        self._inside: dict[Tensor, tuple[Tensor, int]] = {}
        skipped = [op for op in graph.operators if self._note(graph, op)]
        self.operators = [op for op in graph.operators if op not in skipped]
        self.last_use: dict[Tensor, int] = {}
        for position, op in enumerate(self.operators):
            for tensor in (*op.activations, *op.outputs):
                self.last_use[self.root(tensor)] = position
        for tensor in graph.kept:
            self.last_use[self.root(tensor)] = len(self.operators)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors that lie inside of another."""
        return tuple(self._inside)

    def root(self, tensor: Tensor) -> Tensor:
        """Return the tensor that owns the memory of `tensor`."""
        while tensor in self._inside:
            tensor = self._inside[tensor][0]
        return tensor

    def offset(self, tensor: Tensor) -> int:
        """Return where in its root a tensor starts."""
        total = 0
        while tensor in self._inside:
            tensor, start = self._inside[tensor]
            total += start
        return total

    def is_whole(self, tensor: Tensor) -> bool:
        """Whether a tensor is all of its root."""
        return tensor.nbytes == self.root(tensor).nbytes

    def _note(self, graph: Graph, op: Operator) -> bool:
        """Note what `op` makes a view; returns whether nothing is left to do for it."""
        if isinstance(op, Store):
            self._inside[op.y] = _state_of(graph, op.y), 0
            return False
        if isinstance(op, Reshape) and not op.x.is_constant:
            self._inside[op.y] = op.x, 0
            return True
        if isinstance(op, StridedSlice) and op.y not in graph.kept:
            start = _run_of_rows(op)
            if start is not None:
                self._inside[op.y] = op.x, start
                return True
        if isinstance(op, Concatenation) and self._can_be_written_in_place(graph, op):
            start = 0
            for part in op.xs:
                self._inside[part] = op.y, start
                start += part.nbytes
            return True
        return False

    def _can_be_written_in_place(self, graph: Graph, op: Concatenation) -> bool:
        if prod(op.y.shape[: op.axis]) != 1 or len(set(op.xs)) < len(op.xs):
            return False
        if any(part.nbytes % _ALIGNMENT for part in op.xs[:-1]):
            return False
        made = {tensor for other in graph.operators for tensor in other.outputs}
        taken = (*self._inside, *graph.kept)
        return all(part in made and part not in taken and self.root(part) is part for part in op.xs)


def _state_of(graph: Graph, stored: Tensor) -> Tensor:
    """Return what the next run reads where a tensor is stored."""
    return next(state.before for state in graph.states if state.after is stored)


def _run_of_rows(op: StridedSlice) -> int | None:
    """Return where in x the slice starts if it is one run of memory at a multiple of a word, else None."""
    if op.x.is_constant or op.shrink or set(op.strides) != {1} or len(op.y.shape) != len(op.x.shape):
        return None
    cut = [axis for axis, (size, whole) in enumerate(zip(op.y.shape, op.x.shape, strict=True)) if size != whole]
    axis = cut[0] if cut else 0
    if len(cut) > 1 or prod(op.x.shape[:axis]) != 1:
        return None
    start = op.begin[axis] * prod(op.x.shape[axis + 1 :]) * op.x.dtype.itemsize
    return start if start % _ALIGNMENT == 0 else None
