"""Kernels for the vector extension: drawn operators, configs, clamps, scales and roundings, bit-exact on the board."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.kernels.support import LONG_ROWS, Case, check, long_softmax
from tests.kernels.vector_cases import cases, with_int16
from tests.support.cases import drawn
from tests.support.draw_weighted import depthwise_of
from tests.support.drawer import Drawer
from tests.support.guarded import run_guarded, with_free_ends
from utvm.boards import load_board
from utvm.cores import get_core
from utvm.device import GdbRemoteLink, Session
from utvm.emulators import QemuTarget
from utvm.graph import Graph
from utvm.graph.reference import evaluate
from utvm.kernels import KernelFamily
from utvm.kernels.helium import (
    HeliumBatchMatMul,
    HeliumBinary,
    HeliumConvert,
    HeliumConvolution,
    HeliumDepthwise,
    HeliumLookup,
    HeliumMean,
    HeliumMove,
    HeliumPool2D,
    HeliumResizeBilinear,
    HeliumSoftmax,
    HeliumWideBinary,
    HeliumWideConvolution,
    HeliumWideDepthwise,
    HeliumWideElements,
    HeliumWideMean,
    HeliumWidePool2D,
)
from utvm.lowering import Options, lower
from utvm.toolchain import default_cache_directory

CORE = get_core("cortex-m55")
WIDE = [
    ("Conv2D", HeliumConvolution()),
    ("FullyConnected", HeliumConvolution()),
    ("DepthwiseConv2D", HeliumDepthwise()),
    ("MaxPool2D", HeliumPool2D()),
    ("AveragePool2D", HeliumPool2D()),
    ("ResizeBilinear", HeliumResizeBilinear()),
    *((kind, HeliumBinary()) for kind in ("Add", "Sub", "Mul")),
]
INT16_WIDE = [
    ("Conv2D", HeliumWideConvolution()),
    ("FullyConnected", HeliumWideConvolution()),
    ("DepthwiseConv2D", HeliumWideDepthwise()),
    *((kind, HeliumWideBinary()) for kind in ("Add", "Sub", "Mul")),
    *((kind, HeliumWidePool2D()) for kind in ("MaxPool2D", "AveragePool2D")),
]
INT16 = [
    *((*each, wide) for each in INT16_WIDE for wide in (False, True)),
    ("Mean", HeliumWideMean(), False),
    *((kind, HeliumWideElements(), False) for kind in ("Logistic", "Tanh", "Relu", "Quantize")),
]
DRAWN = [
    *WIDE,
    *((kind, HeliumLookup()) for kind in ("Logistic", "LeakyRelu", "Relu", "Relu6", "Add")),
    ("Softmax", HeliumSoftmax()),
    ("Mean", HeliumMean()),
    ("Quantize", HeliumConvert()),
    ("Dequantize", HeliumConvert()),
]


LARGE = [
    *((kind, HeliumMean()) for kind in ("Mean", "Sum", "ReduceMax", "ReduceMin")),
    ("BatchMatMul", HeliumBatchMatMul()),
    *(
        (kind, HeliumMove())
        for kind in ("Transpose", "StridedSlice", "Pad", "Concatenation", "SpaceToBatch", "ResizeNearestNeighbor")
    ),
]
"""What pays only where there is enough of it."""
BOARD = with_free_ends(load_board("qemu-cortex-m55"))


@pytest.fixture(scope="module")
def target() -> QemuTarget:
    return QemuTarget(BOARD, cache_directory=default_cache_directory())


@pytest.fixture(scope="module")
def helium(target: QemuTarget) -> Iterator[Session]:
    with Session(BOARD, target, GdbRemoteLink) as session:
        yield session


@pytest.mark.parametrize(("kind", "family"), DRAWN)
def test_bit_exact_on_drawn_layers(helium: Session, kind: str, family: KernelFamily) -> None:
    check(helium, drawn(cases(kind, family, CORE)))


def test_softmax_of_long_rows(helium: Session) -> None:
    cases = [long_softmax(size) for size in LONG_ROWS]
    check(helium, [Case(graph, HeliumSoftmax(), {}, inputs) for graph, inputs in cases])


@pytest.mark.parametrize("kernel", [(9, 9), (1, 65), (65, 1)])
def test_depthwise_kernels_of_many_taps_are_refused_by_their_taps(kernel: tuple[int, int]) -> None:
    d = Drawer(np.random.default_rng(1), tflite=False, largest=12)
    op = depthwise_of(d, (1, 70, 70, 4), (1, *kernel, 4))
    (wide,) = with_int16(d, Graph(name="op", operators=(op,), inputs=op.activations, outputs=op.outputs))[0].operators
    many = None if 1 not in kernel else "its kernel has more than 16 patches of 4 x 4 taps"
    assert HeliumDepthwise().refusal(op, CORE) == many
    assert HeliumWideDepthwise().refusal(wide, CORE) == "its kernel has more than 64 taps"


@pytest.mark.parametrize(("kind", "family"), [*WIDE, *LARGE])
def test_bit_exact_on_drawn_wide_layers(helium: Session, target: QemuTarget, kind: str, family: KernelFamily) -> None:
    found = drawn(cases(kind, family, CORE, wide=True), times=0.3)
    check(helium, found)
    check_guarded(helium, target, found)


@pytest.mark.parametrize(("kind", "family", "wide"), INT16)
def test_int16_on_drawn_layers(
    helium: Session, target: QemuTarget, kind: str, family: KernelFamily, *, wide: bool
) -> None:
    found = drawn(cases(kind, family, CORE, wide=wide, int16=True), times=0.3 if wide else 0.7)
    check(helium, found, everywhere=not wide)
    check_guarded(helium, target, found[: len(found) // 2])


@pytest.mark.parametrize(("kind", "family"), DRAWN)
def test_nothing_outside_of_operands_is_touched(
    helium: Session, target: QemuTarget, kind: str, family: KernelFamily
) -> None:
    check_guarded(helium, target, drawn(cases(kind, family, CORE), times=0.3))


def check_guarded(session: Session, target: QemuTarget, found: list[Case]) -> None:
    """Run all cases with each operand at both ends of memory: an access outside it faults; outputs are exact."""
    programs = [lower(case.graph, CORE, Options(choices={"op": (case.family, case.config)})) for case in found]
    outputs = run_guarded(session, target, programs, [case.inputs for case in found])
    for case, got in zip(found, outputs, strict=True):
        (wanted,) = evaluate(case.graph, case.inputs).values()
        np.testing.assert_array_equal(got, wanted, err_msg=f"{case.family.name} {case.config}\n{case.graph}")
