"""Quantize from float32 at every limit of rounding, with an FPU and without: as a float32 division rounds."""

from collections.abc import Iterator

import numpy as np
import pytest

import utvm
from tests.support.target import run_programs
from utvm.device import Session
from utvm.graph import DType, Graph, Quantization, Quantize, Tensor
from utvm.graph.reference import evaluate
from utvm.kernels.portable.quantize import rounding_limits, two_factors
from utvm.lowering import lower

SCALES = tuple(float(np.float32(s)) for s in (1 / 255, 0.5, 0.1, 3.0, 0.0078125, 0.02362204, 1e-6, 123456.7))
HUGE = np.array([0.0, -0.0, 1e30, -1e30, 3.4e38, -3.4e38, 1e-40, -1e-40, np.inf, -np.inf], np.float32)


@pytest.fixture(scope="module", params=["qemu-cortex-m7", "qemu-cortex-m4", "qemu-cortex-m3", "qemu-riscv32"])
def board(request: pytest.FixtureRequest) -> Iterator[Session]:
    with utvm.connect(request.param) as session:
        yield session


def quantize(scale: float, zero_point: int, count: int) -> Graph:
    x = Tensor(name="x", shape=(count,), dtype=DType.FLOAT32)
    y = Tensor(name="y", shape=(count,), dtype=DType.INT8, quant=Quantization.per_tensor(scale, zero_point))
    op = Quantize(name="op", x=x, y=y)
    return Graph(name="quantize", operators=(op,), inputs=(x,), outputs=(y,))


def test_limits_are_where_the_quotient_crosses_a_half() -> None:
    for scale in SCALES:
        limits = rounding_limits(scale)
        assert limits is not None
        halves = np.arange(1, 257) - np.float32(0.5)
        assert (limits / np.float32(scale) >= halves).all()
        assert (np.nextafter(limits, np.float32(0)) / np.float32(scale) < halves).all()


def test_scales_at_the_ends_of_float32_are_left_to_divisions() -> None:
    assert rounding_limits(1e-30) is None
    assert two_factors(1e30) is None


def test_every_limit_and_the_number_below_it(board: Session) -> None:
    graphs, inputs = [], []
    for number, scale in enumerate((*SCALES, 1e-30)):
        limits = rounding_limits(scale)
        if limits is None:
            limits = (np.float32(scale) * (np.arange(1, 257) - np.float32(0.5))).astype(np.float32)
        near = np.concatenate([limits, np.nextafter(limits, np.float32(0)), np.nextafter(limits, np.float32(np.inf))])
        x = np.concatenate([near, -near, HUGE]).astype(np.float32)
        graphs.append(quantize(scale, (-128, 0, 127, 5)[number % 4], x.size))
        inputs.append([x])
    programs = [lower(graph, board.board.core) for graph in graphs]
    for graph, given, got in zip(graphs, inputs, run_programs(board, programs, inputs), strict=True):
        assert got is not None
        np.testing.assert_array_equal(got[0], evaluate(graph, given)["y"], err_msg=str(graph))
