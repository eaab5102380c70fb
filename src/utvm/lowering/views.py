"""Tensors that cost no call: reshapes, runs of rows of a tensor, and parts that together are one tensor."""

from __future__ import annotations

from math import prod

from utvm.graph import Concatenation, Graph, Operator, Reshape, Split, Store, StridedSlice, Tensor
from utvm.kernels import workload

READ_IN_PLACE = (Reshape, Split, StridedSlice)
"""What may be no operator at all but its input's memory, read later."""
WORD = 4


class Views:
    """Which tensors of a graph lie inside of others, and where. Bytes. What is stored lies where the next run reads it.

    `operators` are those that are left to do, `last_use` says which of them reads or writes a root last; their number
    where it is kept. A part of a concatenation is written where it belongs; a run of rows and the parts of a split are
    read where they lie. All only at multiples of a word, since kernels load words.
    """

    def __init__(self, graph: Graph) -> None:
        self._inside: dict[Tensor, tuple[Tensor, int]] = {}
        self._makers = graph.producers
        self._kept = set(graph.kept)
        skipped = {op for op in graph.operators if self._note(graph, op)}
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
        if isinstance(op, StridedSlice) and op.y not in self._kept:
            start = run_start(op)
            if start is not None and start % WORD == 0:
                self._inside[op.y] = op.x, start
                return True
        if isinstance(op, Split) and not any(y in self._kept for y in op.ys):
            starts = _runs_of_parts(op)
            if starts is not None:
                self._inside.update({y: (op.x, start) for y, start in zip(op.ys, starts, strict=True)})
                return True
        if isinstance(op, Concatenation) and self._can_be_written_in_place(op):
            start = 0
            for part in op.xs:
                self._inside[self.root(part)] = op.y, start
                start += part.nbytes
            return True
        return False

    def _can_be_written_in_place(self, op: Concatenation) -> bool:
        if prod(op.y.shape[: op.axis]) != 1 or len(set(op.xs)) < len(op.xs):
            return False
        if any(part.nbytes % WORD for part in op.xs[:-1]):
            return False
        owners = [self.root(part) for part in op.xs]
        if len(set(owners)) < len(owners) or any(owner not in self._makers for owner in owners):
            return False
        if any(tensor in self._kept for tensor in (*op.xs, *owners)):
            return False
        if any(owner is not part for owner, part in zip(owners, op.xs, strict=True)):
            # What layers of one kind make, such as the steps of a recurrent one, lives until then anyhow.
            makers = {workload(self._makers[owner]) for owner in owners}
            return len(makers) == 1 and all(map(self.is_whole, op.xs))
        return True


def _state_of(graph: Graph, stored: Tensor) -> Tensor:
    """Return what the next run reads where a tensor is stored."""
    return next(state.before for state in graph.states if state.after is stored)


def run_start(op: StridedSlice) -> int | None:
    """Return the byte of x at which the slice starts if it is one run of memory, else None."""
    if op.x.is_constant:
        return None
    sizes = iter(op.y.shape)
    taken = [1 if axis in op.shrink else next(sizes) for axis in range(len(op.x.shape))]
    steps = [step for step, size in zip(op.strides, taken, strict=True) if size > 1]
    # Dimensions of one element in front of the first that is longer do not part the run.
    longest = next((axis for axis, size in enumerate(taken) if size > 1), len(taken))
    if set(steps) - {1} or any(t != w for t, w in zip(taken[longest + 1 :], op.x.shape[longest + 1 :], strict=True)):
        return None
    return sum(b * prod(op.x.shape[axis + 1 :]) for axis, b in enumerate(op.begin)) * op.x.dtype.itemsize


def _runs_of_parts(op: Split) -> tuple[int, ...] | None:
    """Return where in x each part starts if all are runs of memory at multiples of a word, else None."""
    if op.x.is_constant or prod(op.x.shape[: op.axis]) != 1:
        return None
    starts = tuple(sum(y.nbytes for y in op.ys[:place]) for place in range(len(op.ys)))
    return None if any(start % WORD for start in starts) else starts
