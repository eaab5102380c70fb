"""The memory plan: which bytes of the arena each activation and scratch buffer has, and when."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from utvm.graph import Tensor

BUFFER_ALIGNMENT = 4
SEARCH_ROUNDS = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """Memory that is needed from call `first` to call `last` (inclusive; -1 is before the first call).

    `tensors` share the memory: views of each other, or values computed in place. Scratch has none. Sizes in bytes.
    """

    label: str
    nbytes: int
    first: int
    last: int
    tensors: tuple[Tensor, ...] = ()

    @property
    def aligned_bytes(self) -> int:
        """Size rounded up to the alignment of buffers."""
        return -(-self.nbytes // BUFFER_ALIGNMENT) * BUFFER_ALIGNMENT

    def overlaps(self, other: Request) -> bool:
        """Whether the two are needed at the same time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Byte offsets in the arena. `lower_bound` is the largest sum of what is live at any one call."""

    offsets: Mapping[Request, int]
    arena_bytes: int
    lower_bound: int

    def offset_of(self, tensor: Tensor) -> int:
        """Return where `tensor` starts.

        Raises:
            KeyError: the tensor is not in the arena.
        """
        for request, offset in self.offsets.items():
            if tensor in request.tensors:
                return offset
        raise KeyError(tensor.name)

    def live_at(self, call: int) -> tuple[Request, ...]:
        """Return what is live during a call."""
        return tuple(r for r in self.offsets if r.first <= call <= r.last)


def plan_memory(requests: Sequence[Request]) -> MemoryPlan:
    """Place all requests so that no two live ones overlap, in as few bytes as can be found.

    First fit over several orders (large first, long-lived first, …), then a seeded local search over orders; it ends as
    soon as the lower bound is reached, which for chains and residual networks is at once. Deterministic.
    """
    bound = lower_bound(requests)
    orders = [
        sorted(requests, key=lambda r: (-r.aligned_bytes, r.first, r.label)),
        sorted(requests, key=lambda r: (r.first - r.last, -r.aligned_bytes, r.label)),
        sorted(requests, key=lambda r: (-r.aligned_bytes * (r.last - r.first + 1), r.first, r.label)),
        list(requests),
    ]
    best_order, best = min(((o, _first_fit(o)) for o in orders), key=lambda found: _peak(found[1]))
    generator = random.Random(0)
    for _ in range(SEARCH_ROUNDS):
        if _peak(best) <= bound:
            break
        order = list(best_order)
        order.insert(generator.randrange(len(order)), order.pop(generator.randrange(len(order))))
        found = _first_fit(order)
        if _peak(found) <= _peak(best):
            best_order, best = order, found
    placed = {request: best[request] for request in requests}
    return MemoryPlan(offsets=placed, arena_bytes=_peak(placed), lower_bound=bound)


def lower_bound(requests: Iterable[Request]) -> int:
    """Return the largest sum of bytes that are live at one time; no plan can need less."""
    every = list(requests)
    return max((sum(r.aligned_bytes for r in every if r.first <= t <= r.last) for t in _times(every)), default=0)


def _times(requests: Iterable[Request]) -> list[int]:
    return sorted({r.first for r in requests})


def _first_fit(order: Sequence[Request]) -> dict[Request, int]:
    placed: dict[Request, int] = {}
    for request in order:
        offset = 0
        taken = sorted(
            (start, start + other.aligned_bytes) for other, start in placed.items() if request.overlaps(other)
        )
        for start, stop in taken:
            if offset + request.aligned_bytes <= start:
                break
            offset = max(offset, stop)
        placed[request] = offset
    return placed


def _peak(offsets: Mapping[Request, int]) -> int:
    return max((offset + request.aligned_bytes for request, offset in offsets.items()), default=0)
