"""Every DSP family with random legal configs against the reference, executed on emulated M4, M7 and M33."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import utvm
from tests.support.cases import drawn_cases
from tests.support.draw import case_with
from tests.support.target import run_program
from utvm.cores import get_core
from utvm.cores.microkernel import ScheduleError
from utvm.device import Session
from utvm.graph import FULL_INT8, Conv2D, DType, FullyConnected, Graph, Quantization, Tensor
from utvm.graph.reference import evaluate
from utvm.kernels import FAMILIES, PORTABLE_FAMILIES
from utvm.kernels.dsp.direct import DirectConvolution
from utvm.lowering import LoweringError, lower

FAST = [family for family in FAMILIES if family not in PORTABLE_FAMILIES]
KINDS = ("Conv2D", "DepthwiseConv2D", "FullyConnected", "MaxPool2D", "AveragePool2D", "Add", "Sub")


@pytest.fixture(scope="module", params=["qemu-cortex-m4", "qemu-cortex-m7", "qemu-cortex-m33", "qemu-cortex-m55"])
def board(request: pytest.FixtureRequest) -> Iterator[Session]:
    with utvm.connect(request.param) as session:
        yield session


@st.composite
def applicable(draw: st.DrawFn, kind: str) -> tuple[Graph, list[np.ndarray]]:
    """A case of one operator that some fast family takes: its clamp opened, its channels rounded to words."""
    graph, inputs = draw(case_with(kind))
    (op,) = graph.operators
    if hasattr(op, "clamp"):
        graph = dataclasses.replace(graph, operators=(dataclasses.replace(op, clamp=FULL_INT8),))
    (op,) = graph.operators
    assume(any(family.applies(op, get_core("cortex-m7")) for family in FAST))
    return graph, inputs


@pytest.mark.parametrize("kind", KINDS)
def test_bit_exact_with_any_config(kind: str, board: Session) -> None:
    core = board.board.core

    @drawn_cases()
    @given(st.data())
    def property_holds(data: st.DataObject) -> None:
        graph, inputs = data.draw(applicable(kind))
        (op,) = graph.operators
        family = data.draw(st.sampled_from([f for f in FAST if f.applies(op, core)]))
        config = {knob: data.draw(st.sampled_from(choices)) for knob, choices in family.space(op, core).items()}
        assume(family.legal(op, core, config))
        try:
            program = lower(graph, core, choices={op.name: (family, config)})
        except LoweringError:
            assume(False)
        wanted = evaluate(graph, inputs)
        for tensor, value in zip(graph.outputs, run_program(board, program, inputs), strict=True):
            np.testing.assert_array_equal(value, wanted[tensor.name], err_msg=f"{family.name} {config}\n{graph}")

    property_holds()


def extreme(kind: str, channels: int, weight: int) -> Graph:
    """All weights at one end, so that accumulators reach as far as they can."""
    generator = np.random.default_rng(3)
    shape = (1, 4, 4, channels) if kind == "Conv2D" else (1, channels)
    x = Tensor(name="x", shape=shape, dtype=DType.INT8, quant=Quantization.per_tensor(0.1, -128))
    weights_shape = (4, 3, 3, channels) if kind == "Conv2D" else (4, channels)
    weights = Tensor(
        name="w",
        shape=weights_shape,
        dtype=DType.INT8,
        quant=Quantization.per_tensor(1e-4),
        data=np.full(weights_shape, weight, np.int8),
    )
    bias = Tensor(name="b", shape=(4,), dtype=DType.INT32, data=generator.integers(-(10**5), 10**5, 4).astype(np.int32))
    out = (1, 2, 2, 4) if kind == "Conv2D" else (1, 4)
    y = Tensor(name="y", shape=out, dtype=DType.INT8, quant=Quantization.per_tensor(0.3, 5))
    op = (Conv2D if kind == "Conv2D" else FullyConnected)(name="op", x=x, weights=weights, bias=bias, y=y)
    return Graph(name="extreme", operators=(op,), inputs=(x,), outputs=(y,))


@pytest.mark.parametrize("kind", ["Conv2D", "FullyConnected"])
@pytest.mark.parametrize("weight", [-127, 127, -128])
@pytest.mark.parametrize("channels", [32, 512])
def test_extreme_accumulators(kind: str, weight: int, channels: int, board: Session) -> None:
    """Sums beyond the bound of paired weights must take another form, and be right all the same."""
    graph = extreme(kind, channels, weight)
    for value in (-128, 127):
        inputs = [np.full(graph.inputs[0].shape, value, np.int8)]
        (got,) = run_program(board, lower(graph, board.board.core), inputs)
        np.testing.assert_array_equal(got, evaluate(graph, inputs)["y"])


def test_a_block_that_does_not_fit_is_refused() -> None:
    graph = extreme("Conv2D", 32, 1)
    (op,) = graph.operators
    family = DirectConvolution()
    core = get_core("cortex-m7")
    assert not family.legal(op, core, {"m": 4, "n": 8, "form": "int16", "unroll": 1})
    with pytest.raises((LoweringError, ScheduleError)):
        lower(graph, core, choices={"op": (family, {"m": 4, "n": 8, "form": "int16", "unroll": 1})})
