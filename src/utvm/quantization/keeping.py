"""Which operators are int16 or stay float32 so that accuracy is kept: the cheapest of the choices measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from utvm.graph import (
    AveragePool2D,
    BatchMatMul,
    DType,
    Elementwise,
    Gather,
    GatherNd,
    Graph,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Relu,
    Relu6,
    Softmax,
    Tanh,
)
from utvm.quantization.batches import Runner
from utvm.quantization.dataset import Dataset
from utvm.quantization.judging import lost_points
from utvm.quantization.kept_types import CLAMPING, float_alone, fused_activations, has_int16
from utvm.quantization.noise import by_noise
from utvm.quantization.together import chosen_together

_KINDS = (
    *(CLAMPING, BatchMatMul, Mean, Softmax, Logistic, Tanh),
    *(Relu, Relu6, LeakyRelu, MaxPool2D, AveragePool2D, Elementwise, Gather, GatherNd),
)
"""Operators that may be int16 or float32 for accuracy's sake."""
_ONE_BY_ONE = 8
"""Choices that join one at a time; then as many more as there are already."""
_MOST_TRIED = 48
"""Networks that one walk measures."""
_MOST = 2 + 3 * _MOST_TRIED
"""Networks that are measured in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardCost:
    """What a network costs on a board.

    Attributes:
        cycles: modelled; None on a core without a model.
        arena_bytes, flash_bytes: RAM of activations; code and constants, about.
        fits: whether the board has that much.
    """

    cycles: int | None
    arena_bytes: int
    flash_bytes: int
    fits: bool


Types = Mapping[str, DType]
"""Operator → int16 or float32; the others are int8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One choice.

    Attributes:
        wide: operators in int16, with int8 weights.
        real: operators in float32.
        lost: points of accuracy lost against the float network; negative where accuracy is gained.
        cost: on the board that was named, None where none was.
    """

    wide: tuple[str, ...] = ()
    real: tuple[str, ...] = ()
    lost: float
    cost: BoardCost | None

    @property
    def fits(self) -> bool:
        """Whether the board has room for it, where one was named."""
        return self.cost is None or self.cost.fits

    @property
    def types(self) -> dict[str, DType]:
        """The operators that are not int8, with their types."""
        return dict.fromkeys(self.wide, DType.INT16) | dict.fromkeys(self.real, DType.FLOAT32)

    @property
    def _price(self) -> tuple[int, int, int]:
        """What is to be least: cycles where they are known, operators, those in float32."""
        cycles = 0 if self.cost is None or self.cost.cycles is None else self.cost.cycles
        return cycles, len(self.wide) + len(self.real), len(self.real)


def keep_accuracy(
    graph: Graph,
    make: Callable[[Types], Graph],
    data: Dataset,
    points: float,
    cost: Callable[[Graph], BoardCost] | None,
    progress: Callable[[str], None],
) -> tuple[Kept, ...]:
    """Return the choices that were measured, and once more, as the last, the one to take.

    Steps of a loop that is written out, and layers that share weights, change together: as one operator. Operators
    join in the order of how much noise each brings to the output where it alone is int8, until no more than `points`
    are lost. Then those that are not needed leave again. That is done in int16, where int16 throughout loses little
    enough. It is done in float32 too where int16 does not keep accuracy, or where costs are known. At last operators go
    from float32 to int16 where accuracy allows it. The choice with the fewest cycles is taken, without a board the one
    with the fewest operators; none that does not fit the board. At most some 150 choices are measured.

    Args:
        graph: float.
        make: returns the network with the operators named in the types given.
        data: what to judge by.
        points: of accuracy, or of agreement without labels, that may be lost.
        cost: what a network costs on the user's board.
        progress: called with one line of text now and then.
    """
    real = next(iter(Runner(graph).joined(data.inputs).values()))
    measured: list[Kept] = []
    began = time.monotonic()

    def tried(types: Types) -> Kept:
        made = make(types)
        wide, kept = (tuple(n for n, t in types.items() if t is each) for each in (DType.INT16, DType.FLOAT32))
        price = None if cost is None else cost(made)
        found = Kept(wide=wide, real=kept, lost=lost_points(made, data, real), cost=price)
        measured.append(found)
        seconds = (time.monotonic() - began) / len(measured)
        progress(
            f"keeping accuracy: choice {len(measured)} of at most {_MOST}, {seconds:.1f} s each: {len(wide)} in int16, "
            f"{len(kept)} in float32 lose {found.lost:.2f} points"
        )
        return found

    if tried({}).lost <= points:
        return tuple(measured * 2)
    search = _Search(tried, points, measured[0])
    fused, always = set(fused_activations(graph).values()), float_alone(graph)
    candidates = [op for op in graph.operators if isinstance(op, _KINDS) and op not in fused and op.name not in always]
    order = by_noise(graph, make, chosen_together(graph, candidates), data, progress)
    wide = [{op.name: DType.INT16 if has_int16(op) else DType.FLOAT32 for op in each} for each in order]
    if search.keeps(tried(_joined(wide)), fitting=False):
        search.walk(wide)
    if cost is not None or not search.kept:
        search.walk([{op.name: DType.FLOAT32 for op in each} for each in order])
        search.narrow(wide)
    return (*measured, search.best)


def _joined(choices: Sequence[Types]) -> dict[str, DType]:
    return {name: dtype for each in choices for name, dtype in each.items()}


class _Search:
    """Which operators are not int8; `tried` measures a choice."""

    def __init__(self, tried: Callable[[Types], Kept], points: float, first: Kept) -> None:
        self._tried = tried
        self._points = points
        self._least = first
        self._left = 0
        """Choices that this walk may still measure."""
        self.kept: list[Kept] = []
        """Choices that keep accuracy and fit."""

    @property
    def best(self) -> Kept:
        """The cheapest choice that keeps accuracy, or the one that loses least."""
        return min(self.kept, key=lambda each: each._price) if self.kept else self._least

    def keeps(self, found: Kept, *, fitting: bool = True) -> bool:
        """Whether a choice keeps accuracy, and fits where that is asked; it is remembered."""
        good = found.lost <= self._points
        if found.fits:
            if good:
                self.kept.append(found)
            if found.lost < self._least.lost:
                self._least = found
        return good and (found.fits or not fitting)

    def walk(self, choices: Sequence[Types]) -> None:
        """Let choices join until accuracy is kept, then those leave that are not needed.

        The first join one by one, then as many as there are already. Where these keep accuracy, half of them are
        tried, and so on.
        """
        self._left = _MOST_TRIED
        chosen, place = self._enough(choices)
        if chosen is None:
            return
        # What joined last is needed, unless it came with others.
        alone = place <= _ONE_BY_ONE
        self._leave(chosen[:-1] if alone else chosen, chosen[-1:] if alone else [])

    def _enough(self, choices: Sequence[Types]) -> tuple[list[Types] | None, int]:
        """Return as many of the first choices as keep accuracy, None where none do; and how many were looked at."""
        chosen: list[Types] = []
        place = 0
        while place < len(choices) and self._left > 0:
            count = 1 if place < _ONE_BY_ONE else place
            more = list(choices[place : place + count])
            found = self._measured([*chosen, *more])
            if self.keeps(found):
                return self._shortest(chosen, more), place + count
            # What does not fit alone is left out.
            chosen += more if found.fits else []
            place += count
        return None, place

    def _shortest(self, chosen: list[Types], more: list[Types]) -> list[Types]:
        """Return the choices with as few of `more`, which keep accuracy, as halving finds."""
        low, high = 0, len(more)
        while high - low > 1 and self._left > 0:
            middle = (low + high) // 2
            if self.keeps(self._measured([*chosen, *more[:middle]])):
                high = middle
            else:
                low = middle
        return [*chosen, *more[:high]]

    def _leave(self, chosen: list[Types], needed: list[Types]) -> None:
        """Let choices leave that accuracy does not need: many at once first where there are many."""
        size = max(1, len(chosen) // _ONE_BY_ONE)
        while chosen and self._left > 0:
            start = 0
            while start < len(chosen) and self._left > 0:
                fewer = chosen[:start] + chosen[start + size :]
                if self.keeps(self._measured([*fewer, *needed])):
                    chosen = fewer
                else:
                    start += size
            if size == 1:
                return
            size //= 2

    def narrow(self, wide: Sequence[Types]) -> None:
        """Let operators of the best choice go from float32 to int16 where that keeps accuracy and costs no more."""
        if not self.kept:
            return
        best, self._left = self.best, _MOST_TRIED
        for each in wide:
            if self._left <= 0 or set(each) - set(best.real) or DType.INT16 not in each.values():
                continue
            found = self._measured([best.types, each])
            if self.keeps(found) and found._price <= best._price:
                best = found

    def _measured(self, choices: Sequence[Types]) -> Kept:
        self._left -= 1
        return self._tried(_joined(choices))
