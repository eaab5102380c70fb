"""Networks drawn of views: slices, splits, joins, reshapes and picked rows, in any order, with arithmetic between."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.host import run_on_host
from utvm.cores import get_core
from utvm.graph import (
    Add,
    Concatenation,
    DType,
    Elementwise,
    Gather,
    Graph,
    Mul,
    Operator,
    Quantization,
    Reshape,
    Split,
    StridedSlice,
    Sub,
    Tensor,
)
from utvm.graph.functions import function
from utvm.graph.reference import evaluate
from utvm.lowering import lower
from utvm.passes import run_passes

_QUANT = Quantization.per_tensor(0.1, 3)
_MOST = 96


class _Drawn:
    """A network of matrices [1,R,C], drawn operator by operator."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.x = self._tensor("x", (1, int(self.rng.integers(2, 7)), int(self.rng.integers(2, 9))))
        self.pool: list[Tensor] = [self.x]
        self.operators: list[Operator] = []
        for place in range(int(self.rng.integers(3, 10))):
            kind = self.rng.integers(7)
            (self._binary, self._slice, self._join, self._turn, self._abs, self._split, self._pick)[kind](f"t{place}")

    def graph(self) -> Graph | None:
        """Return the network of which the last tensor and another are outputs; None where nothing was made."""
        made = self.pool[1:]
        if not made:
            return None
        outputs = dict.fromkeys((made[-1], made[self.rng.integers(len(made))]))
        return Graph(name="drawn", operators=tuple(self.operators), inputs=(self.x,), outputs=tuple(outputs))

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=_QUANT)

    def _any(self, fits: list[Tensor] | None = None) -> Tensor:
        fits = self.pool if fits is None else fits
        return fits[self.rng.integers(len(fits))]

    def _add(self, op: Operator) -> None:
        self.operators.append(op)
        self.pool.extend(op.outputs)

    def _binary(self, name: str) -> None:
        a = self._any()
        b = self._any(
            [t for t in self.pool if all(p == q or 1 in (p, q) for p, q in zip(a.shape, t.shape, strict=True))]
        )
        y = self._tensor(name, np.broadcast_shapes(a.shape, b.shape))
        self._add((Add, Sub, Mul)[self.rng.integers(3)](name=name, a=a, b=b, y=y))

    def _slice(self, name: str) -> None:
        x, axis = self._any(), int(self.rng.integers(1, 3))
        size = int(self.rng.integers(1, x.shape[axis] + 1))
        begin = int(self.rng.integers(0, x.shape[axis] - size + 1))
        shape, first = list(x.shape), [0, 0, 0]
        shape[axis], first[axis] = size, begin
        y = self._tensor(name, tuple(shape))
        self._add(StridedSlice(name=name, x=x, y=y, begin=tuple(first), strides=(1, 1, 1)))

    def _join(self, name: str) -> None:
        axis = int(self.rng.integers(1, 3))
        a = self._any()
        b = self._any([t for t in self.pool if t.shape[3 - axis] == a.shape[3 - axis]])
        shape = list(a.shape)
        shape[axis] += b.shape[axis]
        if shape[1] * shape[2] <= _MOST:
            self._add(Concatenation(name=name, xs=(a, b), y=self._tensor(name, tuple(shape)), axis=axis))

    def _turn(self, name: str) -> None:
        x = self._any()
        self._add(Reshape(name=name, x=x, y=self._tensor(name, (1, x.shape[2], x.shape[1]))))

    def _abs(self, name: str) -> None:
        x = self._any()
        self._add(Elementwise(name=name, function=function("Abs"), xs=(x,), y=self._tensor(name, x.shape)))

    def _split(self, name: str) -> None:
        x, axis = self._any(), int(self.rng.integers(1, 3))
        if x.shape[axis] == 1:
            return
        cut = int(self.rng.integers(1, x.shape[axis]))
        ys = []
        for part, size in enumerate((cut, x.shape[axis] - cut)):
            shape = list(x.shape)
            shape[axis] = size
            ys.append(self._tensor(f"{name}/{part}", tuple(shape)))
        self._add(Split(name=name, x=x, ys=tuple(ys), axis=axis))

    def _pick(self, name: str) -> None:
        x, axis = self._any(), int(self.rng.integers(1, 3))
        last = x.shape[axis] - 1
        steps = int(self.rng.integers(1, 3)) * (1 if self.rng.integers(2) else -1)
        places = np.arange(0, last + 1, steps) if steps > 0 else np.arange(last, -1, steps)
        scalar = bool(self.rng.integers(2))
        index = np.array(places[self.rng.integers(len(places))] if scalar else places, np.int32)
        indices = Tensor(name=f"{name}/places", shape=index.shape, dtype=DType.INT32, data=index)
        shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
        y = self._tensor(f"{name}/picked" if scalar else name, shape)
        self.operators.append(Gather(name=f"{name}/gather", x=x, indices=indices, y=y, axis=axis))
        if scalar:
            kept = list(x.shape)
            kept[axis] = 1
            self.operators.append(Reshape(name=name, x=y, y=self._tensor(name, tuple(kept))))
        self.pool.append(self.operators[-1].outputs[0])


@pytest.mark.parametrize("first", [0, 60])
def test_drawn_networks_of_views_are_their_references(first: int) -> None:
    graphs = [g for seed in range(first, first + 60) if (g := _Drawn(seed).graph()) is not None]
    programs = [lower(run_passes(graph), get_core("cortex-m3")) for graph in graphs]
    inputs = [[np.random.default_rng(0).integers(-128, 128, g.inputs[0].shape).astype(np.int8)] for g in graphs]
    skipped = sum(len(p.calls) < len(g.operators) for p, g in zip(programs, graphs, strict=True))
    assert skipped > len(graphs) // 3
    for graph, xs, got in zip(graphs, inputs, run_on_host(programs, inputs), strict=True):
        for want, y in zip(evaluate(graph, xs).values(), got, strict=True):
            np.testing.assert_array_equal(y, want, err_msg=str(graph))
