"""Sums, products and pools of int16 and float32: any shape, scale, clamp, window and place, the reference's bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import utvm
from tests.kernels.support import Case, check
from tests.operators.test_types import values
from tests.support.host import run_on_host
from tests.support.oracle import Oracle
from utvm.cores import Core, get_core
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import (
    FULL_INT8,
    Add,
    AveragePool2D,
    DType,
    Graph,
    LeakyRelu,
    MaxPool2D,
    Mul,
    Operator,
    Padding,
    Quantization,
    Quantize,
    Relu,
    Sub,
    Tensor,
)
from utvm.graph.reference import evaluate
from utvm.kernels import FAMILIES
from utvm.lowering import lower

RNG = np.random.default_rng(5)
_CLAMPS = ((-32768, 32767), (-32768, 32767), (0, 32767), (0, 120), (-300, 32767), (-21000, -5))
_SHAPES = (
    ((2, 3, 5), (2, 3, 5)),
    ((4,), (4,)),
    ((3, 4, 6), (6,)),
    ((5, 1, 7), (5, 3, 7)),
    ((2, 8), (1,)),
    ((3, 5, 9), (3, 1, 1)),
    ((1, 1, 13), (7, 2, 13)),
)


def tensor(name: str, shape: tuple[int, ...], scale: float, dtype: DType = DType.INT16) -> Tensor:
    """A tensor of int16 with a scale, or of float32."""
    quant = Quantization.per_tensor(float(np.float32(scale))) if dtype is DType.INT16 else None
    return Tensor(name=name, shape=shape, dtype=dtype, quant=quant)


def graph_of(op: Operator) -> Graph:
    """The graph of one operator."""
    return Graph(name="g", operators=(op,), inputs=tuple(dict.fromkeys(op.activations)), outputs=op.outputs)


def pairs(count: int) -> Iterator[Graph]:
    """Sums, differences and products of drawn shapes, scales and clamps."""
    for index in range(count):
        shapes = _SHAPES[index % len(_SHAPES)]
        first, second = shapes if RNG.integers(2) else shapes[::-1]
        near = (0.001 * 2.0 ** RNG.uniform(-3, 3, 3)) if RNG.integers(4) else (2.0 ** RNG.uniform(-30, 4, 3))
        if RNG.integers(3) == 0:
            near[1] = near[0]
        kind = (Add, Sub, Mul)[index % 3]
        result = near[2] if kind is not Mul else near[0] * near[1] * 2.0 ** RNG.choice([14, 15, 15.5, 16, 0, 30])
        y = tensor("y", np.broadcast_shapes(first, second), result)
        clamp = _CLAMPS[int(RNG.integers(len(_CLAMPS)))]
        yield graph_of(kind(name="op", a=tensor("a", first, near[0]), b=tensor("b", second, near[1]), y=y, clamp=clamp))


def pools(count: int, dtype: DType) -> Iterator[Graph]:
    """Pools of drawn windows."""
    for index in range(count):
        channels = int(RNG.choice([1, 2, 3, 4, 5, 8, 11]))
        height, width = (int(n) for n in RNG.integers(1, 8, 2) + 2)
        size = int(RNG.integers(1, min(height, width) + 1)), int(RNG.integers(1, min(height, width) + 1))
        down, right = (int(n) for n in RNG.integers(1, 4, 2))
        top, left = (int(RNG.integers(0, n)) if RNG.integers(2) else 0 for n in size)
        rows, columns = (height + 2 * top - size[0]) // down + 1, (width + 2 * left - size[1]) // right + 1
        x = tensor("x", (2, height, width, channels), 0.01, dtype)
        y = tensor("y", (2, rows, columns, channels), 0.01, dtype)
        clamp = _CLAMPS[int(RNG.integers(len(_CLAMPS)))] if dtype is DType.INT16 else FULL_INT8
        kind = (MaxPool2D, AveragePool2D)[index % 2]
        padding = Padding(top=top, bottom=top, left=left, right=left)
        op = kind(name="op", x=x, y=y, filter=size, stride=(down, right), padding=padding, clamp=clamp)
        yield graph_of(op)


def scaled(count: int) -> Iterator[Graph]:
    """Operators that bring elements to another scale, nearly the same, or far away."""
    for index in range(count):
        scales = 0.001, 0.001 * 2.0 ** float(RNG.choice([0, 0, RNG.uniform(-2, 2), RNG.uniform(-14, 14)]))
        x, y = tensor("x", (37,), scales[0]), tensor("y", (37,), scales[1])
        kind = index % 3
        if kind == 0:
            yield graph_of(Relu(name="op", x=x, y=y))
        elif kind == 1:
            yield graph_of(LeakyRelu(name="op", x=x, y=y, alpha=float(np.float32(RNG.choice([0.1, 0.7, 3.0])))))
        else:
            yield graph_of(Quantize(name="op", x=x, y=y))


def inputs_of(graph: Graph) -> list[np.ndarray]:
    """Elements of the whole range, or of its ends."""
    return [values(t.dtype, t.shape, RNG) for t in graph.inputs]


def cases(graphs: Iterator[Graph], core: Core) -> Iterator[Case]:
    """Each graph by every family that computes it."""
    for graph in graphs:
        (op,) = graph.operators
        takers = [family for family in FAMILIES if family.applies(op, core)]
        assert takers, f"nothing computes {op} on {core.name}"
        x = inputs_of(graph)
        yield from (Case(graph, family, family.default(op, core), x) for family in takers)


@pytest.mark.parametrize(
    ("board", "count"), [("qemu-cortex-m7", 35), ("qemu-cortex-m4", 10), ("qemu-cortex-m0", 10), ("qemu-riscv32", 10)]
)
def test_elements_on_a_core(board: str, count: int) -> None:
    with utvm.connect(board) as session:
        core = session.board.core
        graphs = [*pairs(count), *scaled(count // 4), *pools(count, DType.INT16), *pools(count // 2, DType.FLOAT32)]
        every = list(cases(iter(graphs), core))
        check(session, every, everywhere=core.dsp)
    families = {type(case.family).__name__ for case in every}
    assert {"TypedPool2D", "PortableDefined"} <= families
    assert not core.dsp or {"WordBinary", "WordMaxPool2D"} <= families


def test_the_least_values_have_the_largest_product() -> None:
    """Their product doubled needs a bit more than int32 has."""
    least = np.full(8, -32768, np.int16)
    found = []
    with utvm.connect("qemu-cortex-m7") as session:
        for power in np.linspace(-32, -12, 21):
            a, b, y = tensor("a", (8,), 1.0), tensor("b", (8,), 1.0), tensor("y", (8,), 2.0**-power * 1.03)
            graph = graph_of(Mul(name="op", a=a, b=b, y=y, clamp=(-32768, 32767)))
            core = session.board.core
            takers = [f for f in FAMILIES if f.applies(graph.operators[0], core)]
            found += [Case(graph, f, f.default(graph.operators[0], core), [least, least]) for f in takers]
        check(session, found)


def is_for_tflite_micro(op: Operator) -> bool:
    """Whether the interpreter takes an operator: other clamps are no activations, and scales far apart end it."""
    if isinstance(op, MaxPool2D | AveragePool2D) or getattr(op, "clamp", _CLAMPS[0]) != _CLAMPS[0]:
        return False
    scales = [t.scale for t in (*op.inputs, *op.outputs)]
    return max(scales) < 256 * min(scales) or isinstance(op, Mul)


def test_elements_here_and_in_tflite_micro() -> None:
    graphs = [*pairs(42), *scaled(12), *pools(30, DType.INT16), *pools(16, DType.FLOAT32)]
    inputs = [inputs_of(graph) for graph in graphs]
    core = get_core("cortex-m3")
    ran = run_on_host([lower(graph, core) for graph in graphs], inputs)
    for graph, x, (got,) in zip(graphs, inputs, ran, strict=True):
        (want,) = evaluate(graph, x).values()
        np.testing.assert_array_equal(got, want, err_msg=str(graph))
        if is_for_tflite_micro(graph.operators[0]):
            (theirs,) = Oracle(write_tflite(graph)).run(*x)
            np.testing.assert_array_equal(got, theirs.reshape(got.shape), err_msg=str(graph))
