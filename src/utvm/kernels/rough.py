"""About how many cycles the compiler's C of an operator takes, for reports: families with micro-kernels know it well.

Measured under -O3 (modelled cycles): layers of int8 on the Cortex-M4, as a line through work and outputs; moves, by
their runs, and tables on the Cortex-M7; what has a definition by its parts (`utvm.kernels.priced`). Other cores by what
their timing says of a typical inner loop. `benchmarks/estimates.py` prints how far single operators are off.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from utvm.cores import Core
from utvm.cores.cortex_m4_timing import CORTEX_M4_TIMING
from utvm.cores.cortex_m7_measured import MEASURED_CORTEX_M7_TIMING
from utvm.cores.isa import ARM_M
from utvm.cores.timing import Timing
from utvm.graph import (
    AveragePool2D,
    Concatenation,
    DType,
    MaxPool2D,
    Operator,
    Pad,
    ResizeNearestNeighbor,
    Split,
    StridedSlice,
    Transpose,
)
from utvm.graph.cost import macs_of
from utvm.graph.definitions import definition
from utvm.kernels.priced import stage_cycles

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
    "ResizeBilinear": (0.0, 30.0),
    "Mean": (3.0, 30.0),
}
_WORDS = {"AveragePool2D": (1.0, 12.0), "MaxPool2D": (1.2, 0.0), "Add": (0.0, 14.0), "Sub": (0.0, 14.0)}
_ANY = (0.0, 10.0)
_TABLE = 3.9
"""Cycles for each multiply-accumulate or tap, and for each output element, on the Cortex-M4."""
_MOVES = (Concatenation, Pad, ResizeNearestNeighbor, Split, StridedSlice, Transpose)
_WORD = 4


def rough_cycles(op: Operator, core: Core, *, words: bool = False) -> float | None:
    """Return about how many cycles C takes for an operator; None on a core without a timing.

    Args:
        op: the operator.
        core: where it runs.
        words: whether the C handles four bytes at a time.
    """
    if core.timing is None:
        return None
    slowness = _slowness(core.timing, core.isa.inner_loop)
    of_m7 = slowness / _slowness(MEASURED_CORTEX_M7_TIMING, ARM_M.inner_loop)
    if isinstance(op, _MOVES):
        return _CALL_CYCLES + of_m7 * _moved(op)
    integers = op.outputs[0].dtype in (DType.INT8, DType.UINT8, DType.INT16)
    defined = None if integers and op.kind in _PORTABLE else definition(op)
    if defined is not None:
        soft = not core.fpu
        return _CALL_CYCLES + of_m7 * sum(stage_cycles(stage, soft_float=soft) for stage in defined.stages)
    costs = (_WORDS if words else _PORTABLE).get(op.kind) or _PORTABLE.get(op.kind, _ANY)
    work = macs_of(op)
    if isinstance(op, AveragePool2D | MaxPool2D):
        work = op.y.elements * prod(op.filter)
    elif op.kind == "Mean":
        work = op.activations[0].elements
    outputs = sum(tensor.elements for tensor in op.outputs)
    return _CALL_CYCLES + slowness * (costs[_WORK] * work + costs[_OUTPUT] * outputs)


def table_cycles(elements: int, core: Core) -> float | None:
    """Return about how many cycles C takes to look up bytes in a table; None on a core without a timing."""
    if core.timing is None:
        return None
    return _CALL_CYCLES + _TABLE * _slowness(core.timing, core.isa.inner_loop) * elements


def _moved(op: Operator) -> float:
    """Return about how many cycles of a Cortex-M7 it takes to move the elements of an operator's outputs."""
    if isinstance(op, Transpose):
        return 2.0 * op.y.elements
    total = 0.0
    for y in op.outputs:
        if isinstance(op, Concatenation | Split):
            sizes = [prod(part.shape[op.axis :]) for part in (op.xs if isinstance(op, Concatenation) else (y,))]
            count = prod(y.shape[: op.axis])
        else:
            # Rows of pixels, or single elements where the last dimension is picked from.
            picked = isinstance(op, StridedSlice) and op.strides[-1] != 1
            sizes = [1 if picked or not y.shape else y.shape[-1]]
            count = y.elements // sizes[0]
        total += count * sum(_run(size * y.dtype.itemsize) for size in sizes)
    # A border is filled before what it goes around is copied.
    return 2 * total if isinstance(op, Pad) else total


def _run(nbytes: int) -> float:
    """Return about how many cycles of a Cortex-M7 it takes to copy a run of bytes."""
    return 5.0 + nbytes / 3 if nbytes % _WORD == 0 else 3.0 + 1.7 * nbytes


@lru_cache(maxsize=64)
def _slowness(timing: Timing, turn: tuple[str, ...]) -> float:
    """Return how much longer a core takes for an inner loop of C than a Cortex-M4."""
    return _loop_cycles(timing, turn) / _loop_cycles(CORTEX_M4_TIMING, ARM_M.inner_loop)


def _loop_cycles(timing: Timing, turn: tuple[str, ...]) -> float:
    code = [timing.parse(line) for line in turn]
    return timing.cost(code, code, jumped=True)
