"""About how many cycles the compiler's C of an operator takes, for reports: families with micro-kernels know it well.

Measured under -O3 on the Cortex-M4 (modelled cycles of MLPerf Tiny's networks and the example, portable kernels and
those on words), as a line through work and outputs. Other cores by what their timing says of a typical inner loop.
Single layers are off by up to 50 %, whole networks by 5 to 10 %.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from utvm.cores import Core
from utvm.cores.cortex_m4_timing import CORTEX_M4_TIMING
from utvm.cores.isa import ARM_M
from utvm.cores.timing import Timing
from utvm.graph import AveragePool2D, MaxPool2D, Operator
from utvm.graph.cost import macs_of

_CALL_CYCLES = 30
_WORK, _OUTPUT = 0, 1
_PORTABLE = {
    "Conv2D": (5.2, 50.0),
    "DepthwiseConv2D": (6.0, 56.0),
    "FullyConnected": (5.9, 22.0),
    "AveragePool2D": (3.0, 19.0),
    "MaxPool2D": (5.7, 1.0),
    "Add": (0.0, 46.0),
    "Sub": (0.0, 46.0),
    "Mul": (0.0, 30.0),
    "Softmax": (0.0, 70.0),
    "Lstm": (6.0, 200.0),
    "Mean": (3.0, 30.0),
}
_WORDS = {"AveragePool2D": (1.0, 12.0), "MaxPool2D": (1.2, 0.0), "Add": (0.0, 14.0), "Sub": (0.0, 14.0)}
_ANY = (0.0, 10.0)
"""Cycles for each multiply-accumulate or tap, and for each output element, on the Cortex-M4."""


def rough_cycles(op: Operator, core: Core, *, words: bool = False) -> float | None:
    """Return about how many cycles C takes for an operator; None on a core without a timing.

    Args:
        op: the operator.
        core: where it runs.
        words: whether the C handles four bytes at a time.
    """
    if core.timing is None:
        return None
    costs = (_WORDS if words else _PORTABLE).get(op.kind) or _PORTABLE.get(op.kind, _ANY)
    work = macs_of(op)
    if isinstance(op, AveragePool2D | MaxPool2D):
        work = op.y.elements * prod(op.filter)
    elif op.kind == "Mean":
        work = op.activations[0].elements
    outputs = sum(tensor.elements for tensor in op.outputs)
    return _CALL_CYCLES + _slowness(core.timing, core.isa.inner_loop) * (costs[_WORK] * work + costs[_OUTPUT] * outputs)


@lru_cache(maxsize=64)
def _slowness(timing: Timing, turn: tuple[str, ...]) -> float:
    """Return how much longer a core takes for an inner loop of C than a Cortex-M4."""
    return _loop_cycles(timing, turn) / _loop_cycles(CORTEX_M4_TIMING, ARM_M.inner_loop)


def _loop_cycles(timing: Timing, turn: tuple[str, ...]) -> float:
    code = [timing.parse(line) for line in turn]
    return timing.cost(code, code, jumped=True)
