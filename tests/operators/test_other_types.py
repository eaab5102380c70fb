"""Types of few operators that tflite-micro has: int32 quotients and squares, casts, sizes of int64, no operator."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tflite

import utvm
from tests.support.drawer import Array, Drawer
from tests.support.encoded import MAKERS
from tests.support.host import run_on_host
from tests.support.oracle import Oracle
from tests.support.target import run_programs
from tests.support.typed import values
from utvm.cores import get_core
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded
from utvm.graph import DType, Graph, Quantization, Tensor
from utvm.graph.reference import evaluate
from utvm.lowering import lower

_CODES = tflite.BuiltinOperator
_ROUND_OF_ONES = tflite.ActivationFunctionType.RELU_N1_TO_1
Case = tuple[bytes, list[Array]]


def _plain(name: str, shape: tuple[int, ...], dtype: DType) -> Tensor:
    quant = Quantization.per_tensor(0.1) if dtype in (DType.INT8, DType.INT16) else None
    return Tensor(name=name, shape=shape, dtype=dtype, quant=quant)


def _whole(kind: str, options: str, seed: int) -> Case:
    """An operator on int32, whose operands are any, but for a divisor of 0 and the least number over -1."""
    rng = np.random.default_rng(seed)
    op = MAKERS[kind](Drawer(rng, True, 8))
    known: dict[Tensor, Tensor] = {}

    def made(tensor: Tensor | None) -> Tensor:
        assert tensor is not None
        data = values(DType.INT32, tensor.shape, rng) | 1 if tensor.is_constant else None
        plain = dataclasses.replace(tensor, dtype=DType.INT32, quant=None, data=data)
        return known.setdefault(tensor, plain)

    inputs, outputs = tuple(made(t) for t in op.inputs), tuple(made(t) for t in op.outputs)
    op = dataclasses.replace(op, inputs=inputs, outputs=outputs, options=options)
    xs = [t for t in op.inputs if t is not None and not t.is_constant]
    arrays = [values(DType.INT32, x.shape, rng) for x in xs]
    return write_encoded("whole", xs, op.outputs, [op]), [arrays[0] // 2, *(array | 1 for array in arrays[1:])]


def _to_bool(dtype: DType) -> Case:
    x, y = _plain("x", (3, 5), dtype), _plain("y", (3, 5), DType.BOOL)
    op = EncodedOperator(code=_CODES.CAST, version=1, inputs=(x,), outputs=(y,), options="CastOptions")
    return write_encoded("cast", [x], [y], [op]), [np.arange(-7, 8).reshape(3, 5).astype(dtype.value)]


def _sliced() -> Case:
    x, y = _plain("x", (3, 4), DType.INT8), _plain("y", (2, 3), DType.INT8)
    bounds = [
        Tensor(name=n, shape=(2,), dtype=DType.INT64, data=np.array(v)) for n, v in (("b", (1, 0)), ("s", (2, 3)))
    ]
    op = EncodedOperator(code=_CODES.SLICE, version=2, inputs=(x, *bounds), outputs=(y,), options="SliceOptions")
    return write_encoded("sliced", [x], [y], [op]), [np.arange(12, dtype=np.int8).reshape(3, 4)]


def _limited() -> Case:
    a, b, y = (_plain(n, (4, 5), DType.FLOAT32) for n in "aby")
    fields = {"FusedActivationFunction": _ROUND_OF_ONES}
    op = EncodedOperator(code=_CODES.ADD, version=2, inputs=(a, b), outputs=(y,), options="AddOptions", fields=fields)
    rng = np.random.default_rng(3)
    return write_encoded("limited", [a, b], [y], [op]), [rng.standard_normal((4, 5)).astype(np.float32) for _ in "ab"]


def _nothing() -> Case:
    """A file without an operator, which gives its inputs back in another order."""
    a, b = _plain("a", (4,), DType.INT8), _plain("b", (3,), DType.INT8)
    return write_encoded("same", [a, b], [b, a, b], []), [np.arange(4, dtype=np.int8), np.arange(3, dtype=np.int8)]


@pytest.fixture(scope="module")
def every() -> list[tuple[bytes, Graph, list[Array]]]:
    kinds = (("DIV", "DivOptions"), ("SQUARED_DIFFERENCE", "SquaredDifferenceOptions"))
    cases = [_whole(*each, seed) for each in kinds for seed in range(8)]
    cases += [_to_bool(dtype) for dtype in (DType.INT8, DType.INT16, DType.INT32)]
    cases += [_sliced(), _limited(), _nothing()]
    return [(file, load_tflite(file), inputs) for file, inputs in cases]


def _check(every: list[tuple[bytes, Graph, list[Array]]], outputs: list[list[Array] | None]) -> None:
    for (_, graph, inputs), got in zip(every, outputs, strict=True):
        wanted = evaluate(graph, inputs)
        assert got is not None
        for tensor, value in zip(graph.outputs, got, strict=True):
            np.testing.assert_array_equal(value, wanted[tensor.name], err_msg=str(graph))


def test_the_reference_is_tflite_micro(every: list[tuple[bytes, Graph, list[Array]]]) -> None:
    for file, graph, inputs in every:
        found = evaluate(graph, inputs)
        for tensor, want in zip(graph.outputs, Oracle(file).run(*inputs), strict=True):
            np.testing.assert_array_equal(found[tensor.name], want.reshape(tensor.shape), err_msg=str(graph))


def test_kernels_here_and_on_a_core(every: list[tuple[bytes, Graph, list[Array]]]) -> None:
    given = [inputs for _, _, inputs in every]
    _check(every, list(run_on_host([lower(graph, get_core("cortex-m3")) for _, graph, _ in every], given)))
    with utvm.connect("qemu-riscv32") as session:
        programs = [lower(graph, session.board.core) for _, graph, _ in every]
        _check(every, list(run_programs(session, programs, given)))


def test_a_whole_quotient_by_0_is_0_and_the_least_wraps() -> None:
    """Both end tflite-micro."""
    a, b, y = (_plain(n, (3,), DType.INT32) for n in "aby")
    op = EncodedOperator(code=_CODES.DIV, version=2, inputs=(a, b), outputs=(y,), options="DivOptions")
    graph = load_tflite(write_encoded("ends", [a, b], [y], [op]))
    inputs = [np.array([7, -(2**31), -7], np.int32), np.array([0, -1, 2], np.int32)]
    ((got,),) = run_on_host([lower(graph, get_core("cortex-m3"))], [inputs])
    np.testing.assert_array_equal(got, [0, -(2**31), -3])
    np.testing.assert_array_equal(evaluate(graph, inputs)["y"], got)


def test_squares_of_int16_that_leave_32_bits_are_refused() -> None:
    a, b, y = (_plain(n, (3,), DType.INT16) for n in "aby")
    y = dataclasses.replace(y, quant=Quantization.per_tensor(0.03))
    op = EncodedOperator(
        code=_CODES.SQUARED_DIFFERENCE,
        version=1,
        inputs=(a, b),
        outputs=(y,),
        options="SquaredDifferenceOptions",
    )
    with pytest.raises(FrontendError, match="do not fit 32 bits"):
        load_tflite(write_encoded("loud", [a, b], [y], [op]))
