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
    "Mean": (3.0, 30.0),
}
_WORDS = {"AveragePool2D": (1.0, 12.0), "MaxPool2D": (1.2, 0.0), "Add": (0.0, 14.0), "Sub": (0.0, 14.0)}
_ANY = (0.0, 10.0)
"""Cycles for each multiply-accumulate or tap, and for each output element, on the Cortex-M4."""
_LOOPS = {
    "arm": ("ldrsb r4, [r0, r6]", "ldrsb r5, [r1, r6]", "ldrsb r8, [r2, r6]", "muls r5, r4, r5", "muls r8, r4, r8",
            "adds r3, r3, r5", "adds r9, r9, r8", "adds r6, r6, #1", "cmp r6, r7", "bne 1b"),
    "riscv": ("lb a4, 0(a0)", "lb a5, 0(a1)", "lb a6, 0(a7)", "mul a5, a4, a5", "mul a6, a4, a6", "add a3, a3, a5",
              "add t1, t1, a6", "addi a0, a0, 1", "addi a1, a1, 1", "addi a7, a7, 1", "bne a0, a2, 1b"),
}  # fmt: skip


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
    return _CALL_CYCLES + _slowness(core.timing, core.isa) * (costs[_WORK] * work + costs[_OUTPUT] * outputs)


@lru_cache(maxsize=64)
def _slowness(timing: Timing, isa: str) -> float:
    """Return how much longer a core takes for an inner loop of C than a Cortex-M4."""
    return _loop_cycles(timing, isa) / _loop_cycles(CORTEX_M4_TIMING, "arm")


def _loop_cycles(timing: Timing, isa: str) -> float:
    turn = [timing.parse(line) for line in _LOOPS[isa]]
    return timing.cost(turn, turn, jumped=True)
