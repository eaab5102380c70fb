"""Every operator's portable kernel, and a whole network, on a core whose `int` has 16 bits."""

import shutil

import numpy as np
import pytest

from tests.codegen.test_golden import small_network
from tests.kernels.test_portable import check_all, portable
from tests.support.avr import TOOLS, run_on_avr
from tests.support.cases import drawn
from tests.support.draw import KINDS, case_with
from utvm.cores import get_core
from utvm.lowering import lower
from utvm.passes import run_passes

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in TOOLS), reason=f"{' or '.join(TOOLS)} is not installed"
)


@pytest.mark.parametrize("kind", KINDS)
def test_int_of_16_bits(kind: str) -> None:
    cases = drawn(case_with(kind), 2)
    programs = [portable(graph, get_core("cortex-m3")) for graph, _ in cases]
    outputs = run_on_avr(programs, [inputs for _, inputs in cases])
    assert sum(got is not None for got in outputs) >= len(cases) / 4
    check_all(
        [c for c, got in zip(cases, outputs, strict=True) if got is not None], [o for o in outputs if o is not None]
    )


def test_a_whole_network_by_blocks() -> None:
    """Blocks of words, as a core without extensions gets them, and then plain C."""
    graph = run_passes(small_network())
    rng = np.random.default_rng(7)
    inputs = [rng.integers(-128, 128, tensor.shape, np.int8) for tensor in graph.inputs]
    programs = [lower(graph, get_core("lx106")), portable(graph, get_core("lx106"))]
    assert "blocked" in {call.kernel.family for call in programs[0].calls}
    outputs = run_on_avr(programs, [inputs, inputs])
    check_all([(graph, inputs)] * 2, outputs)
