"""Every operator: the reference equals tflite-micro bit for bit on drawn shapes, scales, paddings and clamps.

tflite-micro runs its reference kernels in this wheel. It requires of Softmax and Logistic an output of scale 1/256 and
zero point -128, and of pooling and Concatenation one quantisation throughout. It crashes on a DepthwiseConv2D without
bias, so that one gets a bias of zeros in the file.
"""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.support.draw import KINDS, Array, case_with
from tests.support.oracle import Oracle
from utvm.frontends import load_tflite
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import (
    Add,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    LeakyRelu,
    Logistic,
    Quantization,
    Quantize,
    Relu,
    Softmax,
    Sub,
    Tensor,
)
from utvm.graph.reference import evaluate


@pytest.mark.parametrize("kind", KINDS)
def test_reference_equals_tflite_micro(kind: str) -> None:
    @settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case_with(kind, tflite=True))
    def check(case: tuple[Graph, list[Array]]) -> None:
        graph, inputs = case
        expected = Oracle(write_tflite(_with_bias(graph))).run(*inputs)
        got = evaluate(graph, inputs)
        for tensor, want in zip(graph.outputs, expected, strict=True):
            np.testing.assert_array_equal(got[tensor.name], want.reshape(tensor.shape), err_msg=str(graph))

    check()


def _with_bias(graph: Graph) -> Graph:
    """Return the graph with a bias of zeros where a depthwise convolution has none."""
    (op,) = graph.operators
    if not isinstance(op, DepthwiseConv2D) or op.bias is not None:
        return graph
    zeros = np.zeros(op.y.shape[3], np.int32)
    bias = Tensor(name="bias", shape=zeros.shape, dtype=DType.INT32, data=zeros)
    return graph.rewrite([dataclasses.replace(op, bias=bias)])


def _table(make: type[Relu | LeakyRelu | Quantize], x_scale: float, y_scale: float, **options: float) -> None:
    """Compare all 256 values of an elementwise operator: those below zero of LeakyRelu, those above it of others."""
    zero = 127 if make is LeakyRelu else -128
    x = Tensor(name="x", shape=(256,), dtype=DType.INT8, quant=Quantization.per_tensor(x_scale, zero))
    y = Tensor(name="y", shape=(256,), dtype=DType.INT8, quant=Quantization.per_tensor(y_scale, -zero // 2))
    op = make(name="op", x=x, y=y, **options)
    graph = Graph(name="table", operators=(op,), inputs=(x,), outputs=(y,))
    values = np.arange(-128, 128).astype(np.int8)
    (want,) = Oracle(write_tflite(graph)).run(values)
    np.testing.assert_array_equal(evaluate(graph, [values])["y"], want, err_msg=str(graph))


@pytest.mark.parametrize("make", [Relu, LeakyRelu, Quantize])
@pytest.mark.parametrize("seed", range(20))
def test_scales_whose_ratio_falls_on_ties(make: type[Relu | LeakyRelu | Quantize], seed: int) -> None:
    """Here it shows whether quotients of scales are taken in float32 or in double precision."""
    rng = np.random.default_rng(seed)
    options = {"alpha": float(np.float32(0.3))} if make is LeakyRelu else {}
    y_scale = 2.0 ** rng.uniform(-9, -1)
    ratio = (rng.integers(0, 60) + 0.5) / rng.integers(1, 200)
    _table(make, ratio * y_scale / options.get("alpha", 1.0), y_scale, **options)


@pytest.mark.parametrize("make", [Add, Sub])
def test_sums_of_all_pairs_at_scales_of_simple_ratio(make: type[Add | Sub]) -> None:
    rng = np.random.default_rng(0)
    a_values, b_values = (v.reshape(-1).astype(np.int8) for v in np.meshgrid(*[np.arange(-128, 128)] * 2))
    for _ in range(40):
        b_scale = 2.0 ** rng.uniform(-9, -1)
        scales = (b_scale * rng.integers(1, 9) / rng.integers(1, 9), b_scale, b_scale / rng.choice([1, 1.5, 2, 4]))
        a, b, y = (
            Tensor(name=name, shape=(65536,), dtype=DType.INT8, quant=Quantization.per_tensor(scale, zero))
            for name, scale, zero in zip("aby", scales, rng.integers(-128, 128, 3), strict=True)
        )
        graph = Graph(name="sums", operators=(make(name="op", a=a, b=b, y=y),), inputs=(a, b), outputs=(y,))
        (want,) = Oracle(write_tflite(graph), arena_size=1 << 20).run(a_values, b_values)
        np.testing.assert_array_equal(evaluate(graph, [a_values, b_values])["y"], want)


def test_scales_of_a_layer_whose_products_fall_on_ties() -> None:
    """As above for a FullyConnected quantised per tensor: x [63,1] by weights [255,1], all products."""
    rng = np.random.default_rng(0)
    x_values = np.arange(1, 64).astype(np.int8).reshape(63, 1)
    w_values = np.arange(-127, 128).astype(np.int8).reshape(255, 1)
    for _ in range(40):
        x_scale, y_scale = 2.0 ** rng.uniform(-9, -1, 2)
        ratio = (rng.integers(0, 60) + 0.5) / rng.integers(1, 4000)
        x = Tensor(name="x", shape=(63, 1), dtype=DType.INT8, quant=Quantization.per_tensor(x_scale))
        y = Tensor(name="y", shape=(63, 255), dtype=DType.INT8, quant=Quantization.per_tensor(y_scale))
        quant = Quantization.per_tensor(ratio * y_scale / x_scale)
        weights = Tensor(name="w", shape=(255, 1), dtype=DType.INT8, quant=quant, data=w_values)
        op = FullyConnected(name="op", x=x, weights=weights, bias=None, y=y)
        graph = Graph(name="layer", operators=(op,), inputs=(x,), outputs=(y,))
        (want,) = Oracle(write_tflite(graph)).run(x_values)
        np.testing.assert_array_equal(evaluate(graph, [x_values])["y"], want)


def test_logistic_and_softmax_over_many_scales() -> None:
    values = np.arange(-128, 128).astype(np.int8)
    rows = np.stack([values, np.full_like(values, 127), np.roll(values, 100)], axis=1)
    probability = Quantization.per_tensor(1 / 256, -128)
    for scale in 2.0 ** np.random.default_rng(0).uniform(-14, 5, 200):
        for make, x_values in ((Logistic, values), (Softmax, rows)):
            shape = x_values.shape
            x = Tensor(name="x", shape=shape, dtype=DType.INT8, quant=Quantization.per_tensor(scale, -7))
            y = Tensor(name="y", shape=shape, dtype=DType.INT8, quant=probability)
            graph = Graph(name="g", operators=(make(name="op", x=x, y=y),), inputs=(x,), outputs=(y,))
            (want,) = Oracle(write_tflite(graph)).run(x_values)
            np.testing.assert_array_equal(evaluate(graph, [x_values])["y"], want)


@pytest.mark.parametrize(("size", "equal"), [(511, 511), (8192, 8192), (8200, 8200), (20000, 8500)])
def test_sums_of_softmax_up_to_and_beyond_32_bits(size: int, equal: int) -> None:
    """Between the two tflite-micro shifts by 32 bits and more, which it leaves undefined."""
    x = Tensor(name="x", shape=(1, size), dtype=DType.INT8, quant=Quantization.per_tensor(0.1))
    y = Tensor(name="y", shape=x.shape, dtype=DType.INT8, quant=Quantization.per_tensor(1 / 256, -128))
    graph = Graph(name="g", operators=(Softmax(name="op", x=x, y=y),), inputs=(x,), outputs=(y,))
    values = np.where(np.arange(size) < equal, 100, -128).astype(np.int8).reshape(x.shape)
    (want,) = Oracle(write_tflite(graph)).run(values)
    np.testing.assert_array_equal(evaluate(graph, [values])["y"], want)


@pytest.mark.parametrize("kind", KINDS)
def test_a_written_file_means_the_same_graph(kind: str) -> None:
    """Through a file and back through the frontend nothing changes."""

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case_with(kind, tflite=True))
    def check(case: tuple[Graph, list[Array]]) -> None:
        graph, inputs = case
        again = load_tflite(write_tflite(graph))
        assert [op.kind for op in again.operators] == [kind]
        for got, want in zip(evaluate(again, inputs).values(), evaluate(graph, inputs).values(), strict=True):
            np.testing.assert_array_equal(got, want)

    check()
