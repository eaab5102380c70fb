"""Addition and subtraction of equal shapes, for cores with the DSP extension: a table and a scheduled loop.

The operand with the larger scale is rescaled by exactly one half, so its int32 value is its byte shifted. The other's
is one of 256: a table replaces its requantisation, and holds both zero points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.graph import FULL_INT8, Add, Operator, Sub, Tensor
from utvm.graph.arithmetic import Requantization, addition_parameters
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.dsp.assembly import assembler_loop, frame_cycles, loop_cycles
from utvm.kernels.dsp.finish import INT8, Finish, UniformFinish
from utvm.kernels.dsp.stream import to_words
from utvm.kernels.workload import dims, workload
from utvm.numerics import multiply_by_quantized_multiplier

_HALF = Requantization(multiplier=1 << 30, shift=0)
_TABLE_BYTES = 1024
_MOST_SUM = 1 << 29


class TableAdd(KernelFamily):
    """Add and Sub of two activations of equal shape; 1 KB of table a call."""

    name = "tables"

    def applies(self, op: Operator, core: Core) -> bool:
        """Whether the shapes are equal, fill words, and the sum has the short exact requantisation."""
        if not (core.dsp and core.timing is not None) or not isinstance(op, Add | Sub):
            return False
        if not op.a.shape == op.b.shape == op.y.shape or op.y.elements % 4 or op.clamp != FULL_INT8:
            return False
        return not op.a.is_constant and not op.b.is_constant and _plan(op) is not None

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all turns of the loop."""
        assert isinstance(op, Add | Sub)
        assert core.timing is not None
        plan = _plan(op)
        assert plan is not None
        turn = loop_cycles(_loop(plan.finish, plan.shift, plan.subtracts, core.timing), core.timing)
        return frame_cycles(core.timing) + op.y.elements // 4 * turn

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an addition."""
        assert isinstance(op, Add | Sub)
        assert core.timing is not None
        plan = _plan(op)
        assert plan is not None
        loop = _loop(plan.finish, plan.shift, plan.subtracts, core.timing)
        w = CWriter()
        w(f"{loop.name}({'b, a' if plan.swapped else 'a, b'}, y, {op.y.elements // 4}, table);")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.y.shape)}_tables",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="a", c_type="int8_t", role="input"),
                    CParameter(name="b", c_type="int8_t", role="input"),
                    CParameter(name="table", c_type="int32_t", role="constant"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                support=(loop,),
            ),
            constants={"table": CArray(c_type="int32_t", values=plan.table)},
            in_place=(0, 1),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _AddPlan:
    """What the loop computes: twice the sum is `table[looked up] ± (shifted operand << 20)`, then a uniform finish.

    `swapped` says that b is the operand that is shifted, `subtracts` that it is subtracted. The table ends with the
    finish's multiplier and offset.
    """

    swapped: bool
    subtracts: bool
    finish: Finish
    shift: int
    table: NDArray[np.int32]


def _plan(op: Add | Sub) -> _AddPlan | None:
    """Return how to compute an addition, or None where the short requantisation is not exact."""
    factors = addition_parameters(op)
    swapped = factors.a != _HALF
    shifted, looked, factor = (op.b, op.a, factors.a) if swapped else (op.a, op.b, factors.b)
    if (factors.b if swapped else factors.a) != _HALF:
        return None
    values = _rescaled(looked, factor, factors.left_shift)
    if isinstance(op, Sub) and not swapped:
        values = -values
    subtracts = isinstance(op, Sub) and swapped
    multiplier, shift = factors.y.multiplier, -factors.y.shift
    finish = Finish.POSITIVE if op.clamp[0] >= op.y.zero_point else Finish.DOUBLE
    if multiplier < 1 << 30 or not 2 <= shift <= 31:
        return None
    # A negative sum has to stay negative when it is multiplied: with one half, -1 does not, if there can be such a sum.
    unit = 1 << (factors.left_shift - 1)
    if finish is Finish.DOUBLE and multiplier == 1 << 30 and (values % unit == unit - 1).any():
        return None
    offset = (1 << (shift - 1)) + (op.y.zero_point << shift)
    if _MOST_SUM + abs(offset) >= 1 << 31:
        return None
    zero = shifted.zero_point << factors.left_shift
    table = np.concatenate([2 * values + (zero if subtracts else -zero), np.array([multiplier, offset], np.int64)])
    return _AddPlan(swapped=swapped, subtracts=subtracts, finish=finish, shift=shift, table=to_words(table))


def _rescaled(tensor: Tensor, factor: Requantization, left_shift: int) -> NDArray[np.int64]:
    """Return the int32 value of each byte, the byte taken as unsigned."""
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64) - tensor.zero_point
    return multiply_by_quantized_multiplier(values * (1 << left_shift), factor.multiplier, factor.shift).astype(
        np.int64
    )


@lru_cache(maxsize=256)
def _loop(finish: Finish, shift: int, subtracts: bool, timing: Timing) -> CSupport:
    """Return `void NAME(const int8_t *shifted, const int8_t *looked_up, int8_t *y, int32_t words, table)`."""
    operation = "sub" if subtracts else "add"
    name = f"utvm_{operation}_table_{finish}_{shift}"
    block = Block(["ldr %ws, [%shifted, #0]", "ldr %wl, [%looked, #0]"])
    for lane in range(4):
        turn = f", ror #{8 * lane}" if lane else ""
        block(
            f"uxtb %i{lane}, %wl{turn}",
            f"ldr %p{lane}, [%table, %i{lane}, lsl #2]",
            f"sxtb %v{lane}, %ws{turn}",
            f"{operation} %s{lane}, %p{lane}, %v{lane}, lsl #20",
            *UniformFinish.lines(f"%s{lane}", finish, INT8, shift),
            f"strb %s{lane}, [%y, #{lane}]",
        )
    block("add %shifted, %shifted, #4", "add %looked, %looked, #4", "add %y, %y, #4", "subs %n, %n, #1")
    fixed = {
        "%shifted": "r0", "%looked": "r1", "%y": "r2", "%n": "r3", "%table": "r4", "%first": "r5", "%offset": "r6",
    }  # fmt: skip
    body = schedule(block, timing, pool=("r7", "r8", "r9", "r10", "r11", "r12", "lr"), fixed=fixed)
    entry = [
        "ldr r4, [sp, #36]",
        f"ldr r5, [r4, #{_TABLE_BYTES}]",
        f"ldr r6, [r4, #{_TABLE_BYTES + 4}]",
    ]
    return assembler_loop(
        name,
        "const int8_t *shifted, const int8_t *looked, int8_t *y, int32_t words, const int32_t *table",
        body.lines,
        f"y = requantised table[looked] {'-' if subtracts else '+'} (shifted << 20), four elements a turn",
        entry=entry,
    )
