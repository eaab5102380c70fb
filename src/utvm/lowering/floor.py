"""How much of the arena an operator needs at least, whatever the others do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from utvm.graph import Graph, Operator, Tensor
from utvm.kernels import Outline
from utvm.lowering.plan import BUFFER_ALIGNMENT


class ArenaFloor:
    """Lower bounds of the arena while one operator runs: what is live then, and its scratch.

    An output in the place of an input, or lying over it, saves what its kernel allows; what earlier operators do in
    place can only make storages larger.
    """

    def __init__(self, graph: Graph, operators: Sequence[Operator], root: Callable[[Tensor], Tensor]) -> None:
        self._operators, self._root = operators, root
        self._last: dict[Tensor, int] = {}
        first: dict[Tensor, int] = dict.fromkeys(graph.sources, -1)
        for position, op in enumerate(operators):
            for tensor in (*op.activations, *op.outputs):
                self._last[root(tensor)] = position
            for tensor in op.outputs:
                first.setdefault(root(tensor), position)
        for tensor in (*graph.kept, *(state.before for state in graph.states)):
            self._last[root(tensor)] = len(operators)
        # What begins at each position, and of it what has ended before: sums of both are live.
        change = [0] * (len(operators) + 2)
        for tensor, start in first.items():
            last = self._last.get(tensor, -1)
            if max(start, 0) <= last:
                change[max(start, 0)] += _aligned(tensor.nbytes)
                change[last + 1] -= _aligned(tensor.nbytes)
        self._live = list(accumulate(change))

    def __call__(self, index: int, kernel: Outline) -> int:
        """Return the bytes that operator `index` needs at least by a kernel."""
        return self._live[index] + _aligned(kernel.scratch_bytes) - self._saved(index, kernel)

    def _saved(self, index: int, kernel: Outline) -> int:
        op = self._operators[index]
        if len(op.outputs) != 1:
            return 0
        output = op.outputs[0].nbytes
        for place in kernel.in_place:
            if self._dies(op.activations[place], index) and op.activations[place].nbytes >= output:
                return _aligned(output)
        if kernel.ahead is None or not op.activations or not self._dies(op.activations[0], index):
            return 0
        under, over = _aligned(op.activations[0].nbytes), _aligned(output)
        return max(under + over - max(over, under + max(_aligned(kernel.ahead), 0)), 0)

    def _dies(self, tensor: Tensor, index: int) -> bool:
        return self._last[self._root(tensor)] == index


def _aligned(nbytes: int) -> int:
    return -(-nbytes // BUFFER_ALIGNMENT) * BUFFER_ALIGNMENT
