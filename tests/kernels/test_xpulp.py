"""Kernels of the Xpulp extension, on the core that has it: exact for drawn shapes, and several times as fast."""

from collections.abc import Iterator

import numpy as np
import pytest

import utvm
from tests.support.cases import drawn
from tests.support.draw import case_with
from tests.support.target import run_programs
from utvm.bench import layer_graph
from utvm.cores import get_core
from utvm.device import Session
from utvm.graph.reference import evaluate
from utvm.kernels import PORTABLE_FAMILIES
from utvm.lowering import Options, lower
from utvm.profiling import profile

BOARD = "rtl-cv32e40p-xpulp"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with utvm.connect(BOARD) as opened:
        yield opened


@pytest.mark.parametrize("kind", ["Conv2D", "FullyConnected"])
def test_exact(session: Session, kind: str) -> None:
    """By the core's dot products wherever the sum is long enough; words are rarely aligned."""
    cases = drawn(case_with(kind), 1 / 2)
    programs = [lower(graph, session.board.core) for graph, _ in cases]
    used = [str(call.kernel.config.get("use")) for program in programs for call in program.calls]
    assert used.count("sdot4") > len(used) / 2
    outputs = run_programs(session, programs, [inputs for _, inputs in cases])
    for (graph, inputs), got in zip(cases, outputs, strict=True):
        assert got is not None
        wanted = evaluate(graph, inputs)
        for tensor, value in zip(graph.outputs, got, strict=True):
            np.testing.assert_array_equal(value, wanted[tensor.name], err_msg=str(graph))


def test_a_core_without_the_extension_has_blocks() -> None:
    (graph, _), *_ = drawn(case_with("Conv2D"), 1 / 16)
    assert [call.kernel.family for call in lower(graph, get_core("cv32e40p")).calls] == ["blocked"]


def test_cycles_of_a_convolution() -> None:
    """Four pixels and four channels share loads: 24 instructions for 64 products, and the way to int8."""
    graph = layer_graph("conv_8x8x32_16_k3")
    assert graph is not None
    report, compiled = profile(graph, BOARD)
    assert compiled.program.calls[0].kernel.config["use"] == "sdot4"
    portable = lower(graph, compiled.board.core, Options(families=PORTABLE_FAMILIES))
    assert [call.kernel.family for call in portable.calls] == ["portable"]
    assert report.cycles is not None
    assert report.cycles < 0.8 * report.macs
