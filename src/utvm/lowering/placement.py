"""Where requests lie in the arena: first fit over several orders, then a search over more of them."""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

SEARCH_ROUNDS = 400
MOST_PLACED = 20_000
_MOST_PERMUTED = 5
_SHUFFLED = 8
_FEW_TURNS = 3
"""Turns with places of their own that are tried: more freedom, for a loop of longer turns."""
_MOST_TURNS = 4
"""Turns after which what is alike must be dead to share a place; what lives longer has places of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of a request decides on its place. `over` is the place of another in the list."""

    label: str
    nbytes: int
    first: int
    last: int
    over: int | None
    ahead: int


_Conflicts = Sequence[Sequence[tuple[int, int, int]]]
"""For each item, those that live at the same time, and between which distances from their start it can't start."""


@lru_cache(maxsize=2048)
def placed_shapes(shapes: tuple[Shape, ...], bound: int, groups: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Return an offset for each shape; `bound` bytes suffice.

    Shapes of one group get few places that alternate, where no other way takes fewer bytes.
    Budgets ask for the same plans again and again, while the flash of a model is found.
    """
    each = tuple(range(len(shapes)))
    ways = [each]
    if groups is not None and len(set(groups)) < len(shapes):
        ways = [*(_alternating(shapes, groups, turns) for turns in range(1, _FEW_TURNS + 1)), each]
    best: tuple[int, ...] | None = None
    for items in ways:
        if best is None or _peak(shapes, best) > bound:
            found = _placed(shapes, bound, items)
            best = found if best is None or _peak(shapes, found) < _peak(shapes, best) else best
    assert best is not None
    return best


def _peak(shapes: Sequence[Shape], offsets: Sequence[int]) -> int:
    return max((offset + shape.nbytes for offset, shape in zip(offsets, shapes, strict=True)), default=0)


def _alternating(shapes: Sequence[Shape], groups: Sequence[int], least: int) -> tuple[int, ...]:
    """Return the item of each shape: shapes of one item are never live together, and equally long.

    Those of a group alternate between at least so many items.
    """
    members: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        members[group, shapes[place].nbytes].append(place)
    items = [0] * len(shapes)
    count = 0
    for places in members.values():
        places.sort(key=lambda place: shapes[place].first)
        turns = next((n for n in range(least, _MOST_TURNS + 1) if _can_alternate(shapes, places, n)), len(places))
        for index, place in enumerate(places):
            items[place] = count + index % turns
        count += min(turns, len(places))
    return tuple(items)


def _can_alternate(shapes: Sequence[Shape], places: Sequence[int], turns: int) -> bool:
    """Whether every so-many-th is dead before the next of them lives."""
    pairs = zip(places, places[turns:], strict=False)
    return all(shapes[before].last < shapes[after].first for before, after in pairs)


def _placed(shapes: tuple[Shape, ...], bound: int, items: tuple[int, ...]) -> tuple[int, ...]:
    """Return an offset for each shape, one for all shapes of an item."""
    conflicts = _conflicts(shapes, items)
    firsts = dict(reversed([(item, shape) for item, shape in zip(items, shapes, strict=True)]))
    parts = [firsts[item] for item in range(len(firsts))]

    def peak(offsets: Mapping[int, int]) -> int:
        return max((offset + parts[place].nbytes for place, offset in offsets.items()), default=0)

    def by(key: Callable[[Shape], tuple[int | str, ...]]) -> list[int]:
        return sorted(range(len(parts)), key=lambda place: key(parts[place]))

    orders = [
        by(lambda s: (-s.nbytes, s.first, s.label)),
        by(lambda s: (s.first - s.last, -s.nbytes, s.label)),
        by(lambda s: (-s.nbytes * (s.last - s.first + 1), s.first, s.label)),
        list(range(len(parts))),
        by(lambda s: (-s.first, -s.nbytes, s.label)),
    ]
    sizes = [part.nbytes for part in parts]
    least, best_order, best = min(
        ((peak(found), order, found) for order in orders if (found := _first_fit(order, conflicts, sizes))),
        key=lambda tried: tried[0],
        default=(0, [], {}),
    )
    generator = random.Random(0)
    permutations = itertools.permutations(range(len(parts))) if len(parts) <= _MOST_PERMUTED else None
    for turn in range(min(SEARCH_ROUNDS, MOST_PLACED // max(len(parts), 1))):
        if least <= bound:
            break
        if permutations is None:
            highest = max(best, key=lambda place: best[place] + parts[place].nbytes)
            order = _varied(best_order, highest, turn, generator)
        else:
            order = list(next(permutations, best_order))
        found = _first_fit(order, conflicts, sizes, most=least)
        if found is not None:
            least, best_order, best = peak(found), order, found
    return tuple(best[item] for item in items)


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


def _conflicts(shapes: Sequence[Shape], items: Sequence[int]) -> _Conflicts:
    found: list[dict[int, tuple[int, int]]] = [{} for _ in range(max(items, default=-1) + 1)]
    live: list[int] = []
    for place in sorted(range(len(shapes)), key=lambda place: shapes[place].first):
        shape = shapes[place]
        live = [other for other in live if shapes[other].last >= shape.first]
        for other in live:
            low, high = _between(shape, place, shapes[other], other)
            own, others = found[items[place]], found[items[other]]
            least, most = own.get(items[other], (low, high))
            low, high = min(low, least), max(high, most)
            own[items[other]], others[items[place]] = (low, high), (-high, -low)
        live.append(place)
    return [[(other, low, high) for other, (low, high) in held.items()] for held in found]


def _between(shape: Shape, place: int, other: Shape, index: int) -> tuple[int, int]:
    """Return between which distances from the start of `other`, themselves allowed, `shape` can't start."""
    low, high = -shape.nbytes, other.nbytes
    if shape.over == index:
        return max(low, -shape.ahead), high
    if other.over == place:
        return low, min(high, other.ahead)
    return low, high
