"""Converted Keras networks of ../shared/models/made: each is imported, and equal to tflite-micro where that runs it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tflite
from numpy.typing import NDArray

from tests.support.host import run_on_host
from tests.support.oracle import Oracle
from tests.support.shared import SHARED
from utvm.cores import get_core
from utvm.frontends import load_tflite
from utvm.graph import Graph
from utvm.graph.reference import evaluate
from utvm.lowering import lower
from utvm.passes import run_passes

pytestmark = pytest.mark.skipif(SHARED is None, reason="the shared models are not here")


def model(name: str) -> bytes:
    assert SHARED is not None
    return (SHARED / "models" / "made" / f"{name}.tflite").read_bytes()


def with_batches(data: bytes, graph: Graph) -> bytes:
    """Return a file whose tensors have the batches that operators give them: tflite-micro takes what the file says."""
    changed = bytearray(data)
    shapes = {tensor.name: tensor.shape for tensor in graph.tensors}
    subgraph = tflite.Model.GetRootAs(changed, 0).Subgraphs(0)
    for index in range(subgraph.TensorsLength()):
        tensor = subgraph.Tensors(index)
        shape = shapes.get(tensor.Name().decode(), ())
        if len(shape) == tensor.ShapeLength() > 0:
            tensor.ShapeAsNumpy()[:] = shape
    return bytes(changed)


def drawn(graph: Graph) -> list[NDArray[Any]]:
    rng = np.random.default_rng(0)
    return [rng.integers(-128, 128, t.shape).astype(t.dtype.value) for t in graph.inputs]


@pytest.mark.parametrize("name", ["misc_tf", "tcn_tf", "gru_tf"])
def test_c_is_the_reference(name: str) -> None:
    graph = load_tflite(model(name))
    inputs = drawn(graph)
    (got,) = run_on_host([lower(run_passes(graph), get_core("cortex-m3"))], [inputs])
    for one, other in zip(got, evaluate(graph, inputs).values(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["misc_tf", "tcn_tf"])
def test_the_reference_is_tflite_micro(name: str) -> None:
    """A dilated convolution makes its batch larger for a while, which the converter leaves open in its file."""
    data = model(name)
    graph = load_tflite(data)
    inputs = drawn(graph)
    wanted = Oracle(with_batches(data, graph)).run(*inputs)
    for one, other in zip(evaluate(graph, inputs).values(), wanted, strict=True):
        np.testing.assert_array_equal(one, other.reshape(one.shape))
