"""The memory plan: which bytes of the arena each activation and scratch buffer has, and when."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from utvm.graph import Tensor

BUFFER_ALIGNMENT = 4
SEARCH_ROUNDS = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """Memory that is needed from call `first` to call `last` (inclusive; -1 is before the first call).

    `tensors` share the memory: views of each other, or values computed in place; `places` says where those start
    that do not start at 0. Scratch has none. `over` is a request that ends in the call in which this one begins,
    and over which it may lie where it starts at least `ahead` bytes before it. Sizes in bytes.
    """

    label: str
    nbytes: int
    first: int
    last: int
    tensors: tuple[Tensor, ...] = ()
    places: Mapping[Tensor, int] = field(default_factory=dict)
    over: Request | None = None
    ahead: int = 0

    @property
    def aligned_bytes(self) -> int:
        """Size rounded up to the alignment of buffers."""
        return -(-self.nbytes // BUFFER_ALIGNMENT) * BUFFER_ALIGNMENT

    @property
    def aligned_ahead(self) -> int:
        """`ahead` rounded up to the alignment of buffers."""
        return -(-self.ahead // BUFFER_ALIGNMENT) * BUFFER_ALIGNMENT

    def overlaps(self, other: Request) -> bool:
        """Whether the two are needed at the same time."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Byte offsets in the arena. `lower_bound` is the most that what is live at any one call needs."""

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
                return offset + request.places.get(tensor, 0)
        raise KeyError(tensor.name)

    def needed_at(self, call: int) -> int:
        """Return the bytes that what is live during a call needs."""
        return live_bytes(self.offsets, call)


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
        sorted(requests, key=lambda r: (-r.first, -r.aligned_bytes, r.label)),
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
    """Return the most bytes that what is live at one time needs; no plan can need less."""
    every = list(requests)
    return max((live_bytes(every, time) for time in {r.first for r in every}), default=0)


def live_bytes(requests: Iterable[Request], call: int) -> int:
    """Return the bytes that what is live during a call needs, outputs lying over inputs where they may."""
    total = 0
    for request in requests:
        if not request.first <= call <= request.last:
            continue
        total += request.aligned_bytes
        if request.over is not None and request.first == call:
            under = request.over.aligned_bytes
            together = max(request.aligned_bytes, under + max(request.aligned_ahead, 0))
            total -= max(request.aligned_bytes + under - together, 0)
    return total


def _first_fit(order: Sequence[Request]) -> dict[Request, int]:
    placed: dict[Request, int] = {}
    for request in order:
        offset = 0
        taken = sorted(_taken(request, other, start) for other, start in placed.items() if request.overlaps(other))
        for start, stop in taken:
            if start < offset < stop:
                offset = stop
        placed[request] = offset
    return placed


def _taken(request: Request, other: Request, at: int) -> tuple[int, int]:
    """Return between which offsets, themselves allowed, `request` can't start because `other` starts `at`."""
    start, stop = at - request.aligned_bytes, at + other.aligned_bytes
    if request.over is other:
        return max(start, at - request.aligned_ahead), stop
    if other.over is request:
        return start, min(stop, at + other.aligned_ahead)
    return start, stop


def _peak(offsets: Mapping[Request, int]) -> int:
    return max((offset + request.aligned_bytes for request, offset in offsets.items()), default=0)
