"""Kernels for the vector extension: drawn operators, configs, clamps, scales and roundings, bit-exact on the board."""

from collections.abc import Iterator

import pytest
from hypothesis import assume
from hypothesis import strategies as st

import utvm
from tests.kernels.support import Case, check
from tests.support.cases import drawn
from tests.support.draw import case_with
from utvm.cores import get_core
from utvm.device import Session
from utvm.kernels import KernelFamily
from utvm.kernels.helium import HeliumBinary, HeliumConvolution, HeliumDepthwise, HeliumMaxPool2D

CORE = get_core("cortex-m55")
DRAWN = [
    ("Conv2D", HeliumConvolution()),
    ("FullyConnected", HeliumConvolution()),
    ("DepthwiseConv2D", HeliumDepthwise()),
    *((kind, HeliumBinary()) for kind in ("Add", "Sub", "Mul")),
    ("MaxPool2D", HeliumMaxPool2D()),
]


@pytest.fixture(scope="module")
def helium() -> Iterator[Session]:
    with utvm.connect("qemu-cortex-m55") as session:
        yield session


@st.composite
def cases(draw: st.DrawFn, kind: str, family: KernelFamily) -> Case:
    graph, inputs = draw(case_with(kind))
    (op,) = graph.operators
    assume(family.applies(op, CORE))
    config = {knob: draw(st.sampled_from(choices)) for knob, choices in family.space(op, CORE).items()}
    assume(family.legal(op, CORE, config))
    return Case(graph, family, config, inputs)


@pytest.mark.parametrize(("kind", "family"), DRAWN)
def test_bit_exact_on_drawn_layers(helium: Session, kind: str, family: KernelFamily) -> None:
    check(helium, drawn(cases(kind, family)))
