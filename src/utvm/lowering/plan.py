"""The memory plan: which bytes of the arena each activation and scratch buffer has, and when."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from utvm.graph import Tensor

BUFFER_ALIGNMENT = 4
SEARCH_ROUNDS = 400
_MOST_PERMUTED = 5
_SHUFFLED = 8
MOST_PLACED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """Memory that is needed from call `first` to call `last` (inclusive; -1 is before the first call).

    `tensors` share the memory: views of each other, or values computed in place; `places` says where those start
    that do not start at 0. Scratch has none. `over` is a request that ends in the call in which this one begins,
    and over which it may lie where it starts at least `ahead` bytes before it. `is_state` says that it is kept from run
    to run. Sizes in bytes.
    """

    label: str
    nbytes: int
    first: int
    last: int
    tensors: tuple[Tensor, ...] = ()
    places: Mapping[Tensor, int] = field(default_factory=dict)
    over: Request | None = None
    ahead: int = 0
    is_state: bool = False

    @property
    def aligned_bytes(self) -> int:
        """Size rounded up to the alignment of buffers."""
        return -(-self.nbytes // BUFFER_ALIGNMENT) * BUFFER_ALIGNMENT

    @property
    def aligned_ahead(self) -> int:
        """`ahead` rounded up to the alignment of buffers."""
        return -(-self.ahead // BUFFER_ALIGNMENT) * BUFFER_ALIGNMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Byte offsets in the arena. `lower_bound` is the most that what is live at any one call needs.

    The first `state_bytes` are kept from run to run.
    """

    offsets: Mapping[Request, int]
    arena_bytes: int
    lower_bound: int
    state_bytes: int = 0

    def offset_of(self, tensor: Tensor) -> int:
        """Return where `tensor` starts.

        Raises:
            KeyError: the tensor is not in the arena.
        """
        for request, offset in self.offsets.items():
            if tensor in request.tensors:
                return offset + request.places.get(tensor, 0)
        raise KeyError(tensor.name)


def plan_memory(requests: Sequence[Request], *, enough: int = 0) -> MemoryPlan:
    """Place all requests so that no two live ones overlap, in as few bytes as can be found.

    First fit over several orders (large first, long-lived first, …), then over all orders of few requests or a seeded
    local search over those of many; it ends as soon as the lower bound is reached, which for chains and residual
    networks is at once, or `enough` bytes. Deterministic. States come first, each for itself.
    """
    bound = lower_bound(requests)
    states = [request for request in requests if request.is_state]
    kept = {state: sum(s.aligned_bytes for s in states[:index]) for index, state in enumerate(states)}
    state_bytes = sum(state.aligned_bytes for state in states)
    requests = [request for request in requests if not request.is_state]
    places = {request: place for place, request in enumerate(requests)}
    shapes = tuple(
        _Shape(
            label=r.label,
            nbytes=r.aligned_bytes,
            first=r.first,
            last=r.last,
            over=None if r.over is None else places.get(r.over),
            ahead=r.aligned_ahead,
        )
        for r in requests
    )
    placed = _placed(shapes, max(bound, enough) - state_bytes)
    offsets = kept | {request: state_bytes + place for request, place in zip(requests, placed, strict=True)}
    arena = max((offset + request.aligned_bytes for request, offset in offsets.items()), default=0)
    return MemoryPlan(offsets=offsets, arena_bytes=arena, lower_bound=bound, state_bytes=state_bytes)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """What of a request decides on its place. `over` is the place of another in the list."""

    label: str
    nbytes: int
    first: int
    last: int
    over: int | None
    ahead: int


_Conflicts = Sequence[Sequence[tuple[int, int, int]]]
"""For each request, those that live at the same time, and between which distances from their start it can't start."""


@lru_cache(maxsize=2048)
def _placed(shapes: tuple[_Shape, ...], bound: int) -> tuple[int, ...]:
    """Return offsets. Budgets ask for the same plans again and again, while the flash of a model is found."""
    conflicts = _conflicts(shapes)

    def peak(offsets: Mapping[int, int]) -> int:
        return max((offset + shapes[place].nbytes for place, offset in offsets.items()), default=0)

    def by(key: Callable[[_Shape], tuple[int | str, ...]]) -> list[int]:
        return sorted(range(len(shapes)), key=lambda place: key(shapes[place]))

    orders = [
        by(lambda s: (-s.nbytes, s.first, s.label)),
        by(lambda s: (s.first - s.last, -s.nbytes, s.label)),
        by(lambda s: (-s.nbytes * (s.last - s.first + 1), s.first, s.label)),
        list(range(len(shapes))),
        by(lambda s: (-s.first, -s.nbytes, s.label)),
    ]
    sizes = [shape.nbytes for shape in shapes]
    least, best_order, best = min(
        ((peak(found), order, found) for order in orders if (found := _first_fit(order, conflicts, sizes))),
        key=lambda tried: tried[0],
        default=(0, [], {}),
    )
    generator = random.Random(0)
    permutations = itertools.permutations(range(len(shapes))) if len(shapes) <= _MOST_PERMUTED else None
    for turn in range(min(SEARCH_ROUNDS, MOST_PLACED // max(len(shapes), 1))):
        if least <= bound:
            break
        if permutations is None:
            highest = max(best, key=lambda place: best[place] + shapes[place].nbytes)
            order = _varied(best_order, highest, turn, generator)
        else:
            order = list(next(permutations, best_order))
        found = _first_fit(order, conflicts, sizes, most=least)
        if found is not None:
            least, best_order, best = peak(found), order, found
    return tuple(best[place] for place in range(len(shapes)))


def _varied(order: Sequence[int], highest: int, turn: int, generator: random.Random) -> list[int]:
    """Return an order with one request moved, in every other turn the one at the top; in every eighth any order."""
    varied = list(order)
    if turn % _SHUFFLED == 0:
        generator.shuffle(varied)
        return varied
    mover = highest if turn % 2 else generator.choice(varied)
    varied.remove(mover)
    varied.insert(generator.randrange(len(varied) + 1), mover)
    return varied


def _first_fit(
    order: Sequence[int], conflicts: _Conflicts, sizes: Sequence[int], *, most: float = math.inf
) -> dict[int, int] | None:
    """Return where requests lie that are placed one after the other; None as soon as one ends beyond `most`."""
    placed: dict[int, int] = {}
    where = placed.get
    for place in order:
        taken = [(at + low, at + high) for other, low, high in conflicts[place] if (at := where(other)) is not None]
        taken.sort()
        offset = 0
        for start, stop in taken:
            if start < offset < stop:
                offset = stop
        if offset + sizes[place] > most:
            return None
        placed[place] = offset
    return placed


def _conflicts(shapes: Sequence[_Shape]) -> _Conflicts:
    return [
        [
            (index, *_between(shape, place, other, index))
            for index, other in enumerate(shapes)
            if index != place and shape.first <= other.last and other.first <= shape.last
        ]
        for place, shape in enumerate(shapes)
    ]


def _between(shape: _Shape, place: int, other: _Shape, index: int) -> tuple[int, int]:
    """Return between which distances from the start of `other`, themselves allowed, `shape` can't start."""
    low, high = -shape.nbytes, other.nbytes
    if shape.over == index:
        return max(low, -shape.ahead), high
    if other.over == place:
        return low, min(high, other.ahead)
    return low, high
