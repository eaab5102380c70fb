"""Which operators are int16 or stay float32 so that accuracy is kept: the cheapest of the choices measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from utvm.graph import (
    AveragePool2D,
    BatchMatMul,
    DType,
    Elementwise,
    Gather,
    Graph,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Operator,
    Relu,
    Relu6,
    Softmax,
    Tanh,
)
from utvm.quantization.batches import Runner
from utvm.quantization.dataset import Dataset
from utvm.quantization.judging import lost_points, quantised_inputs, real_values
from utvm.quantization.kept_types import CLAMPING, float_alone, fused_activations, has_int16

_KINDS = (
    *(CLAMPING, BatchMatMul, Mean, Softmax, Logistic, Tanh),
    *(Relu, Relu6, LeakyRelu, MaxPool2D, AveragePool2D, Elementwise, Gather),
)
"""Operators that may be int16 or float32 for accuracy's sake."""
_SAMPLES = 48


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

    Operators join in the order of how much noise each brings to the output where it alone is int8, until no more than
    `points` are lost. Then those that are not needed leave again. That is done in int16, where int16 throughout loses
    little enough. It is done in float32 too where int16 does not keep accuracy, or where costs are known. At last
    operators go from float32 to int16 where accuracy allows it. The choice with the fewest cycles is taken, without a
    board the one with the fewest operators; none that does not fit the board.

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

    def tried(types: Types) -> Kept:
        made = make(types)
        wide, kept = (tuple(n for n, t in types.items() if t is each) for each in (DType.INT16, DType.FLOAT32))
        price = None if cost is None else cost(made)
        found = Kept(wide=wide, real=kept, lost=lost_points(made, data, real), cost=price)
        progress(
            f"keeping accuracy: {len(wide)} operators in int16, {len(kept)} in float32 lose {found.lost:.2f} points"
        )
        measured.append(found)
        return found

    if tried({}).lost <= points:
        return tuple(measured * 2)
    search = _Search(tried, points, measured[0])
    order = _by_noise(graph, make, data.sample(_SAMPLES), progress)
    wide = {op.name: DType.INT16 if has_int16(op) else DType.FLOAT32 for op in order}
    if search.keeps(tried(wide), fitting=False):
        search.walk(wide)
    if cost is not None or not search.kept:
        search.walk({op.name: DType.FLOAT32 for op in order})
        search.narrow(wide)
    return (*measured, search.best)


class _Search:
    """Which operators are not int8; `tried` measures a choice."""

    def __init__(self, tried: Callable[[Types], Kept], points: float, first: Kept) -> None:
        self._tried = tried
        self._points = points
        self._least = first
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

    def walk(self, types: Types) -> None:
        """Let operators join one by one until accuracy is kept, then those leave that are not needed."""
        chosen: dict[str, DType] = {}
        found = None
        for name, dtype in types.items():
            found = self._tried({**chosen, name: dtype})
            kept = self.keeps(found)
            if found.fits:
                chosen[name] = dtype
            if kept:
                break
        else:
            return
        for name in tuple(chosen)[:-1]:
            fewer = {each: dtype for each, dtype in chosen.items() if each != name}
            if self.keeps(self._tried(fewer)):
                chosen = fewer

    def narrow(self, wide: Types) -> None:
        """Let operators of the best choice go from float32 to int16 where that keeps accuracy and costs no more."""
        if not self.kept:
            return
        best = self.best
        for name in best.real:
            if wide[name] is not DType.INT16:
                continue
            found = self._tried({**best.types, name: DType.INT16})
            if self.keeps(found) and found._price <= best._price:
                best = found


def _by_noise(
    graph: Graph, make: Callable[[Types], Graph], data: Dataset, progress: Callable[[str], None]
) -> list[Operator]:
    """Return operators, that first which brings most noise to the outputs when it alone is int8."""
    real = Runner(graph).joined(data.inputs)
    fused, always = set(fused_activations(graph).values()), float_alone(graph)
    candidates: list[Operator] = [
        op for op in graph.operators if isinstance(op, _KINDS) and op not in fused and op.name not in always
    ]
    noise: dict[Operator, float] = {}
    for index, op in enumerate(candidates):
        progress(f"keeping accuracy: trying operator {index + 1} of {len(candidates)}")
        made = make({other.name: DType.FLOAT32 for other in candidates if other is not op})
        stored = Runner(made).joined(quantised_inputs(made, data))
        noise[op] = sum(float(((real_values(stored[t.name], t) - real[t.name]) ** 2).sum()) for t in made.outputs)
    return sorted(candidates, key=lambda op: (-noise[op], op.name))
