"""Fewer loops for the same computation."""

import numpy as np
import pytest

from tests.support.encoded import MAKERS, encoded
from utvm.compute import evaluate
from utvm.compute.collapse import collapsed
from utvm.frontends import load_tflite
from utvm.graph import DType, Elementwise, Operator, Quantization, Reduction, Tensor
from utvm.graph.definitions import definition
from utvm.graph.functions import function, reducer

QUANT = Quantization.per_tensor(0.1, 3)


def tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=QUANT)


def larger(shape: tuple[int, ...], other: tuple[int, ...]) -> Operator:
    xs = tensor("a", *shape), tensor("b", *other)
    return Elementwise(name="op", function=function("Maximum"), xs=xs, y=tensor("y", *shape))


def total(shape: tuple[int, ...], axes: tuple[int, ...]) -> Operator:
    kept = tuple(size for d, size in enumerate(shape) if d not in axes)
    return Reduction(name="op", reducer=reducer("Sum"), x=tensor("x", *shape), y=tensor("y", *kept), axes=axes)


@pytest.mark.parametrize(
    ("op", "space", "reduce"),
    [
        (larger((2, 3, 4, 5), (2, 3, 4, 5)), [120], []),
        (larger((2, 3, 4, 5), (5,)), [24, 5], []),
        (larger((2, 3, 4, 5), (2, 1, 1, 5)), [2, 12, 5], []),
        (larger((2, 1, 3, 1, 5), (2, 1, 3, 1, 5)), [30], []),
        (larger((1, 1), (1,)), [1], []),
        (larger((), ()), [], []),
        (total((2, 3, 4, 5), (0, 1, 2, 3)), [], [120]),
        (total((2, 3, 4, 5), (1, 2)), [2, 5], [12]),
        (total((1, 4, 1, 5), (0, 2)), [20], [1]),
    ],
)
def test_neighbours_that_walk_through_memory_as_one_are_one(op: Operator, space: list[int], reduce: list[int]) -> None:
    defined = definition(op)
    assert defined is not None
    assert defined.only is not None
    fewer = collapsed(defined.only)
    assert (list(fewer.space.values()), list(fewer.reduce.values())) == (space, reduce)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_computation_is_the_same(kind: str) -> None:
    for seed in range(6):
        case = encoded(kind, seed)
        graph = load_tflite(case.model)
        values = dict(zip(graph.inputs, case.inputs, strict=True))
        for op in graph.operators:
            found = definition(op)
            if found is None or not all(t.is_constant or t in values for t in op.inputs):
                continue
            arrays = {n: t.values if t.is_constant else values[t] for n, t in found.inputs.items()}
            known = {**found.constants, **arrays}
            for stage in found.stages:
                known[stage.output.name] = evaluate(stage, known)
                got = evaluate(collapsed(stage), known)
                np.testing.assert_array_equal(got, known[stage.output.name].reshape(-1), err_msg=str(op))
