"""The memory plan: which bytes of the arena each activation and scratch buffer has, and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from utvm.graph import Tensor
from utvm.lowering.placement import Shape, placed_shapes

BUFFER_ALIGNMENT = 4


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
    _starts: dict[Tensor, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def offset_of(self, tensor: Tensor) -> int:
        """Return where `tensor` starts.

        Raises:
            KeyError: the tensor is not in the arena.
        """
        if not self._starts:
            for request, offset in self.offsets.items():
                for held in request.tensors:
                    self._starts.setdefault(held, offset + request.places.get(held, 0))
        return self._starts[tensor]


def plan_memory(requests: Sequence[Request], *, enough: int = 0, alike: Sequence[int] | None = None) -> MemoryPlan:
    """Place all requests so that no two live ones overlap, in as few bytes as can be found.

    First fit over several orders (large first, long-lived first, …), then over all orders of few requests or a seeded
    local search over those of many; it ends as soon as the lower bound is reached, which for chains and residual
    networks is at once, or `enough` bytes. Deterministic. States come first, each for itself.

    Args:
        requests: what memory is needed when.
        enough: the bytes that suffice.
        alike: a number for each request; equal numbers get equal places where that takes no more bytes.
    """
    bound = lower_bound(requests)
    states = [request for request in requests if request.is_state]
    kept = {state: sum(s.aligned_bytes for s in states[:index]) for index, state in enumerate(states)}
    state_bytes = sum(state.aligned_bytes for state in states)
    groups = None if alike is None else tuple(n for n, r in zip(alike, requests, strict=True) if not r.is_state)
    requests = [request for request in requests if not request.is_state]
    places = {request: place for place, request in enumerate(requests)}
    shapes = tuple(
        Shape(
            label=r.label,
            nbytes=r.aligned_bytes,
            first=r.first,
            last=r.last,
            over=None if r.over is None else places.get(r.over),
            ahead=r.aligned_ahead,
        )
        for r in requests
    )
    placed = placed_shapes(shapes, max(bound, enough) - state_bytes, groups)
    offsets = kept | {request: state_bytes + place for request, place in zip(requests, placed, strict=True)}
    arena = max((offset + request.aligned_bytes for request, offset in offsets.items()), default=0)
    return MemoryPlan(offsets=offsets, arena_bytes=arena, lower_bound=bound, state_bytes=state_bytes)


def lower_bound(requests: Iterable[Request]) -> int:
    """Return the most bytes that what is live at one time needs, outputs lying over inputs where they may.

    No plan can need less.
    """
    begun: Counter[int] = Counter()
    ended: Counter[int] = Counter()
    saved: Counter[int] = Counter()
    for request in requests:
        begun[request.first] += request.aligned_bytes
        ended[request.last] += request.aligned_bytes
        if request.over is not None:
            under = request.over.aligned_bytes
            together = max(request.aligned_bytes, under + max(request.aligned_ahead, 0))
            saved[request.first] += max(request.aligned_bytes + under - together, 0)
    most = live = 0
    for time in sorted({*begun, *ended}):
        live += begun[time]
        if time in begun:
            most = max(most, live - saved[time])
        live -= ended[time]
    return most
