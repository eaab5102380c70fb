"""Which operators stay float32 so that accuracy is kept: the fewest that the order of their gains finds."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from utvm.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Relu,
    Relu6,
    Softmax,
    Sub,
    Tanh,
)
from utvm.quantization.batches import Runner
from utvm.quantization.dataset import Dataset
from utvm.quantization.judging import lost_points, quantised_inputs, real_values

_KINDS = (
    *(Conv2D, DepthwiseConv2D, FullyConnected, Add, Sub, Mul, Mean, Softmax, Logistic, Tanh),
    *(Relu, Relu6, LeakyRelu, MaxPool2D, AveragePool2D),
)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One choice.

    Attributes:
        names: operators that stay float32.
        lost: points of accuracy lost against the float network; negative where accuracy is gained.
        cost: on the board that was named, None where none was.
    """

    names: tuple[str, ...]
    lost: float
    cost: BoardCost | None

    @property
    def fits(self) -> bool:
        """Whether the board has room for it, where one was named."""
        return self.cost is None or self.cost.fits


def keep_accuracy(
    graph: Graph,
    make: Callable[[Collection[str]], Graph],
    data: Dataset,
    points: float,
    cost: Callable[[Graph], BoardCost] | None,
    progress: Callable[[str], None],
) -> tuple[Kept, ...]:
    """Return the choices that were measured, and once more, as the last, the one to take.

    Operators join in the order of how much noise each brings to the output where it alone is int8, until no more than
    `points` are lost. Then those that are not needed leave again. Choices that do not fit the board are not taken.

    Args:
        graph: float.
        make: returns the network with the operators named in float32.
        data: what to judge by.
        points: of accuracy, or of agreement without labels, that may be lost.
        cost: what a network costs on the user's board.
        progress: called with one line of text now and then.
    """
    real = next(iter(Runner(graph).joined(data.inputs).values()))

    def tried(names: tuple[str, ...]) -> Kept:
        made = make(names)
        found = Kept(names=names, lost=lost_points(made, data, real), cost=None if cost is None else cost(made))
        progress(f"keeping accuracy: {len(names)} operators in float32 lose {found.lost:.2f} points")
        return found

    measured = [tried(())]
    if measured[0].lost <= points:
        return tuple(measured)
    order = _by_noise(graph, make, data.sample(_SAMPLES), progress)
    chosen: tuple[str, ...] = ()
    best = measured[0]
    for name in order:
        found = tried((*chosen, name))
        measured.append(found)
        if not found.fits:
            continue
        chosen = found.names
        if found.lost < best.lost:
            best = found
        if found.lost <= points:
            break
    if best.lost <= points:
        for name in best.names[:-1]:
            found = tried(tuple(each for each in best.names if each != name))
            measured.append(found)
            if found.lost <= points and found.fits:
                best = found
    return (*measured, best)


def _by_noise(
    graph: Graph, make: Callable[[Collection[str]], Graph], data: Dataset, progress: Callable[[str], None]
) -> list[str]:
    """Return operators, that first which brings most noise to the outputs when it alone is int8."""
    real = Runner(graph).joined(data.inputs)
    candidates: list[Operator] = [op for op in graph.operators if isinstance(op, _KINDS)]
    noise: dict[str, float] = {}
    for index, op in enumerate(candidates):
        progress(f"keeping accuracy: trying operator {index + 1} of {len(candidates)}")
        made = make([other.name for other in candidates if other is not op])
        stored = Runner(made).joined(quantised_inputs(made, data))
        noise[op.name] = sum(float(((real_values(stored[t.name], t) - real[t.name]) ** 2).sum()) for t in made.outputs)
    return [name for name, _ in sorted(noise.items(), key=lambda item: (-item[1], item[0]))]
