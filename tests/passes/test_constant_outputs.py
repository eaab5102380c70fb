"""Outputs that do not depend on the inputs are copied from constants; what else reads these goes on doing so."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.host import run_on_host
from tests.support.streams import CODES, activation, constant, encoded
from utvm.cores import get_core
from utvm.frontends import load_tflite
from utvm.frontends.tflite_writer import Subgraph, write_subgraphs
from utvm.graph import Add, DType, Graph, Tensor
from utvm.lowering import lower
from utvm.passes import run_passes


@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT32, DType.FLOAT32])
def test_an_output_that_is_a_constant(dtype: DType) -> None:
    x, y = (Tensor(name=name, shape=(1, 3), dtype=DType.FLOAT32) for name in "xy")
    numbers = np.array([[1, -2, 3]], dtype.value)
    table = Tensor(name="table", shape=(1, 3), dtype=dtype, data=numbers)
    other = table if dtype is DType.FLOAT32 else x
    graph = Graph(name="g", inputs=(x,), outputs=(y, table, table), operators=(Add(name="a", a=x, b=other, y=y),))
    prepared = run_passes(graph)
    assert [t.name for t in prepared.outputs] == ["y", "table", "table"]
    ((sums, first, second),) = run_on_host([lower(prepared, get_core("cortex-m0"))], [[np.ones((1, 3), np.float32)]])
    np.testing.assert_array_equal(sums, 1 + (numbers if other is table else np.ones((1, 3))))
    for made in (first, second):
        assert made.dtype == numbers.dtype
        np.testing.assert_array_equal(made, numbers)


def test_an_output_that_is_computed_of_constants() -> None:
    x, y = activation("x", 1, 4), activation("y", 1, 4)
    total = activation("sum", dtype=DType.INT32, quant=None)
    operators = [
        encoded(CODES.ADD, [x, x], [y], "AddOptions"),
        encoded(CODES.ADD, [constant("two", 2), constant("three", 3)], [total], "AddOptions"),
    ]
    data = write_subgraphs([Subgraph(name="main", inputs=[x], outputs=[total, y], operators=operators)])
    program = lower(run_passes(load_tflite(data)), get_core("cortex-m0"))
    ((known, _),) = run_on_host([program], [[np.zeros((1, 4), np.int8)]])
    assert known == 5


def test_a_number_without_dimensions_is_an_output() -> None:
    # A converter writes reshape(x, []) with a shape of no elements.
    x, y = activation("x", 1, 1), activation("y")
    empty = Tensor(name="shape", shape=(0,), dtype=DType.INT32, data=np.zeros(0, np.int32))
    reshape = encoded(CODES.RESHAPE, [x, empty], [y], "ReshapeOptions")
    graph = load_tflite(write_subgraphs([Subgraph(name="main", inputs=[x], outputs=[y], operators=[reshape])]))
    assert graph.outputs[0].shape == ()
    ((made,),) = run_on_host([lower(run_passes(graph), get_core("cortex-m0"))], [[np.int8([[7]])]])
    assert made == 7
