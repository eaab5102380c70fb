"""Networks drawn of views: slices, splits, joins, reshapes and picked rows, in any order, with arithmetic between."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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
    State,
    StridedSlice,
    Sub,
    Tensor,
)
from utvm.graph.functions import function
from utvm.graph.reference import evaluate
from utvm.lowering import Program, lower
from utvm.passes import run_passes

_QUANTS = {DType.INT8: Quantization.per_tensor(0.1, 3), DType.INT16: Quantization.per_tensor(0.1)}
_MOST = 96


class _Drawn:
    """A network of matrices [1,R,C], drawn operator by operator. States are as the input, or rows of words."""

    def __init__(self, seed: int, dtype: DType = DType.INT8, states: int = 0) -> None:
        self.rng, self.dtype = np.random.default_rng(seed), dtype
        self.x = self._tensor("x", (1, int(self.rng.integers(2, 7)), int(self.rng.integers(2, 9))))
        shapes = [self.x.shape if self.rng.integers(2) else (1, int(self.rng.integers(1, 7)), 4) for _ in range(states)]
        self.remembered = [self._tensor(f"s{place}", shape) for place, shape in enumerate(shapes)]
        self.pool: list[Tensor] = [self.x, *self.remembered]
        self.operators: list[Operator] = []
        for place in range(int(self.rng.integers(3, 10))):
            kind = self.rng.integers(7)
            (self._binary, self._slice, self._join, self._turn, self._abs, self._split, self._pick)[kind](f"t{place}")

    def graph(self) -> Graph | None:
        """Return the network of which the last tensor and another are outputs; None where nothing was made."""
        made = self.pool[1 + len(self.remembered) :]
        if not made:
            return None
        outputs = dict.fromkeys((made[-1], made[self.rng.integers(len(made))]))
        return Graph(
            name="drawn",
            operators=tuple(self.operators),
            inputs=(self.x,),
            outputs=tuple(outputs),
            states=tuple(map(self._state, self.remembered)),
        )

    def values(self, tensor: Tensor) -> NDArray[Any]:
        """Return drawn values of a tensor."""
        if tensor.dtype is DType.FLOAT32:
            return self.rng.normal(size=tensor.shape).astype(np.float32)
        limits = np.iinfo(tensor.dtype.value)
        return self.rng.integers(limits.min, limits.max + 1, tensor.shape).astype(tensor.dtype.value)

    def _state(self, before: Tensor) -> State:
        others = [t for t in self.pool[1:] if t.shape == before.shape and t is not before]
        after = self._any(others or [before])
        return State(before=before, after=after, initial=self.values(before))

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return Tensor(name=name, shape=shape, dtype=self.dtype, quant=_QUANTS.get(self.dtype))

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


@pytest.mark.parametrize(
    ("first", "count", "dtype", "states"),
    [
        (0, 60, DType.INT8, 0),
        (60, 60, DType.INT8, 0),
        (0, 40, DType.INT8, 1),
        (0, 20, DType.INT16, 2),
        (0, 20, DType.FLOAT32, 1),
    ],
)
def test_drawn_networks_of_views_are_their_references(first: int, count: int, dtype: DType, states: int) -> None:
    cases = []
    for drawn in (_Drawn(seed, dtype, states) for seed in range(first, first + count)):
        graph = drawn.graph()
        if graph is not None:
            xs = [drawn.values(drawn.x)]
            left: dict[str, NDArray[Any]] = {}
            wanted = [*evaluate(graph, xs, memory=left).values()]
            cases.append((graph, lower(run_passes(graph), get_core("cortex-m3")), xs, wanted, left))
    skipped = sum(len(program.calls) < len(graph.operators) + states for graph, program, *_ in cases)
    assert skipped > len(cases) // 3
    inputs = [[*xs, *(s.initial for s in p.graph.states)] for _, p, xs, *_ in cases]
    found = run_on_host([_with_open_states(p) for _, p, *_ in cases], inputs)
    for (graph, program, _, wanted, left), got in zip(cases, found, strict=True):
        for want, y in zip([*wanted, *(left[s.name] for s in program.graph.states)], got, strict=True):
            np.testing.assert_array_equal(y, want, err_msg=str(graph))


def _with_open_states(program: Program) -> Program:
    """Return a program whose states are inputs before its calls, and outputs after them."""
    graph = program.graph
    opened = dataclasses.replace(
        graph,
        inputs=(*graph.inputs, *(state.before for state in graph.states)),
        outputs=(*graph.outputs, *(state.after for state in graph.states)),
        states=(),
    )
    return dataclasses.replace(program, graph=opened)
