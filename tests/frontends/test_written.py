"""Operators that other forms stand for in a file: what is written is what is read."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.oracle import Oracle
from utvm.frontends import load_tflite
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import DType, Elementwise, Graph, Quantization, Split, Tensor
from utvm.graph.functions import FUNCTIONS
from utvm.graph.reference import evaluate

UNITS = Quantization.per_tensor(1 / 40, 3)


def tensor(name: str, *shape: int, dtype: DType = DType.INT8) -> Tensor:
    """Return an activation."""
    return Tensor(name=name, shape=shape, dtype=dtype, quant=UNITS if dtype is DType.INT8 else None)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
def test_unequal_parts(dtype: DType) -> None:
    x, ys = tensor("x", 1, 6, 2, dtype=dtype), tuple(tensor(f"y{n}", 1, n, 2, dtype=dtype) for n in (1, 3, 2))
    graph = Graph(name="g", inputs=(x,), outputs=ys, operators=(Split(name="s", x=x, ys=ys, axis=1),))
    data = write_tflite(graph)
    assert [t.shape for t in load_tflite(data).outputs] == [y.shape for y in ys]
    values = np.arange(12).reshape(1, 6, 2).astype(dtype.value)
    for made, part in zip(Oracle(data).run(values), np.split(values, [1, 4], axis=1), strict=True):
        np.testing.assert_array_equal(made, part)


@pytest.mark.parametrize(("name", "low"), [("ReluN1To1", 3 - 40), ("Relu0To1", 3)])
def test_a_clamp_at_one(name: str, low: int) -> None:
    x, y = tensor("x", 1, 8), tensor("y", 1, 8)
    (function,) = (each for each in FUNCTIONS if each.name == name)
    graph = Graph(
        name="g", inputs=(x,), outputs=(y,), operators=(Elementwise(name="r", xs=(x,), y=y, function=function),)
    )
    values = np.linspace(-128, 127, 8).astype(np.int8)[None]
    again = load_tflite(write_tflite(graph))
    np.testing.assert_array_equal(evaluate(again, [values])["y"], np.clip(values, low, 3 + 40))
