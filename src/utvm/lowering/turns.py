"""Requests that are alike in all turns of a network that repeats itself, so that their places can be too.

The writer of C makes a loop of turns whose places are the same, or move by a constant stride.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Sequence

from utvm.codegen import Turns, rolled
from utvm.graph import Operator, Tensor
from utvm.kernels import workload
from utvm.lowering.plan import Request


class RepeatedTurns:
    """Where the operators of a network repeat themselves: equal layers with equal constants."""

    def __init__(self, operators: Sequence[Operator]) -> None:
        contents: dict[Tensor, Hashable] = {}

        def content(tensor: Tensor) -> Hashable:
            if tensor not in contents:
                contents[tensor] = tensor.values.tobytes()
            return contents[tensor]

        keys = [(workload(op), *(content(t) for t in op.inputs if t.is_constant)) for op in operators]
        self._loops = [turns for turns in rolled(keys, [()] * len(keys)) if turns.turns > 1]

    def alike(self, requests: Sequence[Request]) -> list[int] | None:
        """Return a number for each request, equal for those that begin at the same call of each turn.

        None where nothing repeats itself. A turn before the loop and one behind it, which mostly lack a call or differ
        in a constant, count too.
        """
        if not self._loops:
            return None
        numbers: dict[Hashable, int] = {}
        begun: Counter[int] = Counter()
        found = []
        for request in requests:
            loop = self._loop_of(request.first)
            key: Hashable = request
            if loop is not None:
                key = loop, (request.first - loop.first) % loop.period, begun[request.first]
                begun[request.first] += 1
            found.append(numbers.setdefault(key, len(numbers)))
        return found

    def _loop_of(self, call: int) -> Turns | None:
        """Return the loop that a call is part of, or a turn away from."""
        after = bisect_right(self._loops, call, key=lambda loop: loop.first)
        near = self._loops[max(after - 1, 0) : after + 1]
        return next((loop for loop in near if loop.first - loop.period <= call < loop.stop + loop.period), None)
