"""Many samples at once give what each gives alone, whatever operators do with their first dimension."""

from __future__ import annotations

import numpy as np
import pytest

import utvm
from tests.quantization.test_loops import SAMPLES, recurrent
from utvm.frontends.inputs import quantised_values
from utvm.graph import (
    Add,
    CumulativeSum,
    DType,
    FullyConnected,
    Gather,
    Graph,
    Mean,
    Mul,
    Operator,
    Reshape,
    StridedSlice,
    Tensor,
    Transpose,
)
from utvm.graph.reference import evaluate
from utvm.quantization.batches import Runner


def across() -> Graph:
    """Return operators of one sample that no batch along the first dimension has, or not as they are."""
    shapes = {
        "x": (1, 4, 6),
        "turned": (4, 1, 6),
        "scaled": (4, 1, 6),
        "rows": (24,),
        "odd": (3, 1, 6),
        "mean": (1, 1, 6),
    }
    t = {name: Tensor(name=name, shape=shape, dtype=DType.FLOAT32) for name, shape in shapes.items()}
    t["y"] = Tensor(name="y", shape=(1, 5), dtype=DType.FLOAT32)
    rng = np.random.default_rng(0)
    factors = Tensor(name="f", shape=(4, 1, 1), dtype=DType.FLOAT32, data=rng.normal(size=(4, 1, 1)).astype(np.float32))
    weights = Tensor(name="w", shape=(5, 24), dtype=DType.FLOAT32, data=rng.normal(size=(5, 24)).astype(np.float32))
    operators = (
        Transpose(name="1", x=t["x"], y=t["turned"], perm=(1, 0, 2)),
        Mul(name="2", a=t["turned"], b=factors, y=t["scaled"]),
        StridedSlice(name="3", x=t["scaled"], y=t["odd"], begin=(3, 0, 0), strides=(-1, 1, 1)),
        Mean(name="4", x=t["odd"], y=t["mean"], axes=(0,)),
        Reshape(name="5", x=t["scaled"], y=t["rows"]),
        FullyConnected(name="6", x=t["rows"], y=t["y"], weights=weights, bias=None),
    )
    return Graph(name="across", operators=operators, inputs=(t["x"],), outputs=(t["y"], t["mean"]))


@pytest.mark.parametrize("of_integers", [False, True])
def test_a_batch_gives_what_each_sample_gives(of_integers: bool) -> None:
    """A loop over time, whose steps come first, and operators across the first dimension."""
    samples = np.random.default_rng(2).normal(size=(7, 4, 6)).astype(np.float32)
    for graph, data in ((across(), samples), (recurrent("GRU", ["y"]), SAMPLES[:7])):
        if of_integers:
            graph = utvm.quantize(graph, data).graph
            data = quantised_values(data, graph.inputs[0])
        ((count, found),) = Runner(graph).run({graph.inputs[0].name: data}, keep=True)
        assert count == len(data)
        alone = [evaluate(graph, [each[None]], keep=True, rough=True) for each in data]
        for name, values in found.items():
            wanted = np.concatenate([each[name] for each in alone])
            if values.dtype == np.float32:
                np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-5)
            else:
                np.testing.assert_array_equal(values, wanted)


def test_equal_samples_at_first_hide_nothing() -> None:
    """Operators mix what lies along the first dimension; the first samples are silence."""
    x, y, last = (
        Tensor(name=n, shape=s, dtype=DType.FLOAT32) for n, s in (("x", (2, 6)), ("y", (2, 6)), ("last", (1, 6)))
    )
    places = Tensor(name="places", shape=(2,), dtype=DType.INT32)
    operators: tuple[Operator, ...] = (
        CumulativeSum(name="1", x=x, y=y, axis=0, exclusive=False, reverse=False),
        Gather(name="1", x=x, indices=places, y=y, axis=0),
        Mean(name="1", x=x, y=last, axes=(0,)),
    )
    samples = np.random.default_rng(0).normal(size=(9, 2, 6)).astype(np.float32)
    samples[:3] = 0
    chosen = np.array([[1, 0]] * 9, np.int32)
    for op in operators:
        graph = Graph(name="g", operators=(op,), inputs=tuple(op.activations), outputs=op.outputs)
        given = {t.name: {"x": samples, "places": chosen}[t.name] for t in graph.inputs}
        (found,) = Runner(graph).joined(given).values()
        alone = [evaluate(graph, {n: v[i] for n, v in given.items()}, rough=True)[op.outputs[0].name] for i in range(9)]
        np.testing.assert_allclose(found, np.concatenate(alone), rtol=1e-6)


def test_operands_that_differ_are_tried() -> None:
    """An operator reads two tensors of one shape, and one twice."""
    a, b, y, z = (Tensor(name=n, shape=(1, 4), dtype=DType.FLOAT32) for n in "abyz")
    operators = (Add(name="1", a=a, b=b, y=y), Mul(name="2", a=y, b=y, y=z))
    graph = Graph(name="g", operators=operators, inputs=(a, b), outputs=(z,))
    values = np.random.default_rng(0).normal(size=(2, 9, 4)).astype(np.float32)
    found = Runner(graph).joined({"a": values[0], "b": values[1]})
    np.testing.assert_allclose(found["z"], values.sum(axis=0) ** 2, rtol=1e-5)
