"""Kernels for the vector extension: drawn operators, configs, clamps, scales and roundings, bit-exact on the board."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st

from tests.kernels.support import Case, check
from tests.support.cases import drawn
from tests.support.draw import case_with
from tests.support.draw_weighted import conv2d_of, depthwise_of, fully_connected_of
from tests.support.drawer import Drawer
from tests.support.guarded import run_guarded, with_free_ends
from utvm.boards import load_board
from utvm.cores import get_core
from utvm.device import GdbRemoteLink, Session
from utvm.emulators import QemuTarget
from utvm.graph import Graph, Operator
from utvm.graph.reference import evaluate
from utvm.kernels import KernelFamily
from utvm.kernels.helium import HeliumBinary, HeliumConvolution, HeliumDepthwise, HeliumMaxPool2D
from utvm.lowering import Options, lower
from utvm.toolchain import default_cache_directory

CORE = get_core("cortex-m55")
WEIGHTED = [
    ("Conv2D", HeliumConvolution()),
    ("FullyConnected", HeliumConvolution()),
    ("DepthwiseConv2D", HeliumDepthwise()),
]
DRAWN = [
    *WEIGHTED,
    *((kind, HeliumBinary()) for kind in ("Add", "Sub", "Mul")),
    ("MaxPool2D", HeliumMaxPool2D()),
]


BOARD = with_free_ends(load_board("qemu-cortex-m55"))


@pytest.fixture(scope="module")
def target() -> QemuTarget:
    return QemuTarget(BOARD, cache_directory=default_cache_directory())


@pytest.fixture(scope="module")
def helium(target: QemuTarget) -> Iterator[Session]:
    with Session(BOARD, target, GdbRemoteLink) as session:
        yield session


@st.composite
def cases(draw: st.DrawFn, kind: str, family: KernelFamily) -> Case:
    graph, inputs = draw(case_with(kind))
    return case_of(draw, graph, inputs, family)


@st.composite
def wide_cases(draw: st.DrawFn, kind: str, family: KernelFamily) -> Case:
    """Layers of many channels and taps, whose blocks have loops."""
    d = Drawer(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), tflite=False, largest=12)
    op = wide_operator(d, kind)
    graph = Graph(name="wide", operators=(op,), inputs=(op.x,), outputs=op.outputs)
    return case_of(draw, graph, [d.bytes(op.x)], family)


def wide_operator(d: Drawer, kind: str) -> Operator:
    def many(most: int) -> int:
        return min(most, d.pick(d.integer(1, most), 16 * d.integer(1, 6), 16 * d.integer(1, 6) + 1))

    batch, height, width = d.integer(1, 2), d.size(12), d.size(12)
    match kind:
        case "Conv2D":
            groups = d.pick(1, 1, 1, 2, 3)
            depth, channels = many(100 // groups), groups * many(40)
            window = (d.integer(1, 5), d.integer(1, 5)) if d.integer(0, 3) else (1, 1)
            return conv2d_of(d, (batch, height, width, groups * depth), (channels, *window, depth))
        case "DepthwiseConv2D":
            channels, window = many(40), (d.integer(1, 16), d.integer(1, 16))
            return depthwise_of(d, (batch, height, width, channels), (1, *window, channels * d.pick(1, 1, 2)))
        case _:
            return fully_connected_of(d, (batch, d.pick(many(100), d.integer(1, 700))), many(70))


def case_of(draw: st.DrawFn, graph: Graph, inputs: list[np.ndarray], family: KernelFamily) -> Case:
    (op,) = graph.operators
    assume(family.applies(op, CORE))
    config = {knob: draw(st.sampled_from(choices)) for knob, choices in family.space(op, CORE).items()}
    assume(family.legal(op, CORE, config))
    return Case(graph, family, config, inputs)


@pytest.mark.parametrize(("kind", "family"), DRAWN)
def test_bit_exact_on_drawn_layers(helium: Session, kind: str, family: KernelFamily) -> None:
    check(helium, drawn(cases(kind, family)))


@pytest.mark.parametrize(("kind", "family"), WEIGHTED)
def test_bit_exact_on_drawn_wide_layers(helium: Session, target: QemuTarget, kind: str, family: KernelFamily) -> None:
    found = drawn(wide_cases(kind, family), times=0.3)
    check(helium, found)
    check_guarded(helium, target, found)


@pytest.mark.parametrize(("kind", "family"), DRAWN)
def test_nothing_outside_of_operands_is_touched(
    helium: Session, target: QemuTarget, kind: str, family: KernelFamily
) -> None:
    check_guarded(helium, target, drawn(cases(kind, family), times=0.3))


def check_guarded(session: Session, target: QemuTarget, found: list[Case]) -> None:
    """Run all cases with each operand at both ends of memory: an access outside it faults; outputs are exact."""
    programs = [lower(case.graph, CORE, Options(choices={"op": (case.family, case.config)})) for case in found]
    outputs = run_guarded(session, target, programs, [case.inputs for case in found])
    for case, got in zip(found, outputs, strict=True):
        (wanted,) = evaluate(case.graph, case.inputs).values()
        np.testing.assert_array_equal(got, wanted, err_msg=f"{case.family.name} {case.config}\n{case.graph}")
