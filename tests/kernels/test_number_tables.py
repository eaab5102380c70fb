"""Sums and products with a constant number, whatever shape the constant has: one table."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.host import run_on_host
from utvm.cores import get_core
from utvm.graph import Add, DType, Graph, Mul, Quantization, Sub, Tensor
from utvm.graph.reference import evaluate
from utvm.lowering import lower
from utvm.passes import run_passes


@pytest.mark.parametrize("kind", [Add, Sub, Mul])
def test_numbers_of_any_shape(kind: type[Add] | type[Sub] | type[Mul]) -> None:
    rng = np.random.default_rng(0)
    graphs = []
    for shape in ((), (1,), (1, 1), (5,), (3, 5), (1, 5)):
        for first in (False, True):
            x = Tensor(name="x", shape=(3, 5), dtype=DType.INT8, quant=Quantization.per_tensor(0.1, 3))
            number = Tensor(
                name="number",
                shape=shape,
                dtype=DType.INT8,
                quant=Quantization.per_tensor(0.02, -7),
                data=np.full(shape, rng.integers(-128, 128), np.int8),
            )
            y = Tensor(name="y", shape=(3, 5), dtype=DType.INT8, quant=Quantization.per_tensor(0.15, 1))
            a, b = (number, x) if first else (x, number)
            op = kind(name="op", a=a, b=b, y=y)
            graphs.append(Graph(name="number", operators=(op,), inputs=(x,), outputs=(y,)))
    programs = [lower(run_passes(graph), get_core("cortex-m3")) for graph in graphs]
    inputs = [[rng.integers(-128, 128, (3, 5)).astype(np.int8)] for _ in graphs]
    for graph, xs, (got,) in zip(graphs, inputs, run_on_host(programs, inputs), strict=True):
        (want,) = evaluate(graph, xs).values()
        np.testing.assert_array_equal(got, want)
