"""Every operator's portable kernel on a core whose `int` has 16 bits."""

import shutil

import pytest

from tests.kernels.test_portable import check_all, portable
from tests.support.avr import TOOLS, run_on_avr
from tests.support.cases import drawn
from tests.support.draw import KINDS, case_with
from utvm.cores import get_core

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
