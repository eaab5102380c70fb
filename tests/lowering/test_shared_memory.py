"""Operators that read one tensor as a whole and through a view: the output may lie over neither too early."""

from __future__ import annotations

import numpy as np
import pytest

import utvm
from tests.support.target import run_programs
from utvm.graph import (
    Add,
    BatchMatMul,
    DType,
    Elementwise,
    Graph,
    Mul,
    Operator,
    Quantization,
    Reshape,
    StridedSlice,
    Sub,
    Tensor,
)
from utvm.graph.functions import function
from utvm.graph.reference import evaluate
from utvm.lowering import lower
from utvm.passes import run_passes

_QUANT = Quantization.per_tensor(0.1, 3)


def _tensor(name: str, shape: tuple[int, ...], quant: Quantization = _QUANT) -> Tensor:
    return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=quant)


def drawn(seed: int) -> Graph:
    """Return a network of a tensor, a view of it, and an operator of both."""
    rng = np.random.default_rng(seed)
    rows, columns = (int(n) for n in rng.integers(2, 9, 2))
    x = _tensor("x", (1, rows, columns))
    operators: list[Operator] = []
    whole = x
    if rng.integers(2):
        whole = _tensor("other", x.shape)
        operators.append(Elementwise(name="first", function=function("Abs"), xs=(x,), y=whole))
    way = rng.integers(3)
    if way == 0:
        part = _tensor("part", (1, 1, columns))
        begin = (0, int(rng.integers(rows)), 0)
    elif way == 1:
        part = _tensor("part", (1, rows, 1))
        begin = (0, 0, int(rng.integers(columns)))
    else:
        whole, part = _square(whole, columns, operators)
        begin = None
    if begin is not None:
        operators.append(StridedSlice(name="view", x=whole, y=part, begin=begin, strides=(1, 1, 1)))
    a, b = (whole, part) if rng.integers(2) else (part, whole)
    shape = np.broadcast_shapes(a.shape, b.shape)
    kind = rng.integers(4)
    y = _tensor("y", shape, _QUANT if kind == 3 else Quantization.per_tensor(0.2, -4))
    if kind == 3:
        operators.append(Elementwise(name="both", function=function("Maximum"), xs=(a, b), y=y))
    else:
        operators.append((Add, Sub, Mul)[kind](name="both", a=a, b=b, y=y))
    return Graph(name="shared", operators=tuple(operators), inputs=(x,), outputs=(y,))


def twice() -> list[Graph]:
    """Return networks whose operators read one tensor as both operands."""
    x = _tensor("x", (1, 6, 6))
    y = _tensor("y", x.shape, Quantization.per_tensor(0.4, 2))
    return [
        Graph(name="sum", operators=(Add(name="op", a=x, b=x, y=y),), inputs=(x,), outputs=(y,)),
        Graph(name="square", operators=(Mul(name="op", a=x, b=x, y=y),), inputs=(x,), outputs=(y,)),
        Graph(name="product", operators=(BatchMatMul(name="op", a=x, b=x, y=y),), inputs=(x,), outputs=(y,)),
    ]


def _square(whole: Tensor, size: int, operators: list[Operator]) -> tuple[Tensor, Tensor]:
    """Return the first elements of `whole` as a row and as a column: both are views of one memory."""
    row = _tensor("row", (1, 1, size))
    operators.append(StridedSlice(name="cut", x=whole, y=row, begin=(0, 0, 0), strides=(1, 1, 1)))
    column = _tensor("column", (1, size, 1))
    operators.append(Reshape(name="turn", x=row, y=column))
    return row, column


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m3", "qemu-riscv32"])
def test_views_of_an_input_are_read_before_it_is_overwritten(board: str) -> None:
    rng = np.random.default_rng(1)
    graphs = [*(drawn(seed) for seed in range(40)), *twice()]
    inputs = [[rng.integers(-128, 128, g.inputs[0].shape).astype(np.int8)] for g in graphs]
    with utvm.connect(board) as session:
        programs = [lower(run_passes(graph), session.board.core) for graph in graphs]
        outputs = run_programs(session, programs, inputs)
    for graph, xs, got in zip(graphs, inputs, outputs, strict=True):
        (want,) = evaluate(graph, xs).values()
        assert got is not None
        np.testing.assert_array_equal(got[0], want, err_msg=str(graph))
