"""Addition and subtraction of equal shapes, for cores with the DSP extension: two tables and a scheduled loop.

Each operand is a byte, so its rescaled int32 value is one of 256: a table for each operand replaces two
requantisations an element.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.graph import FULL_INT8, Add, Operator, Sub, Tensor
from utvm.graph.arithmetic import Requantization, addition_parameters
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.dsp.assembly import assembler_function
from utvm.kernels.dsp.stream import to_words
from utvm.kernels.workload import dims, workload
from utvm.numerics import multiply_by_quantized_multiplier

_SYMBOL = "utvm_add_tables"
_TABLE_BYTES = 1024


class TableAdd(KernelFamily):
    """Add and Sub of two activations of equal shape; 2 KB of tables a call."""

    name = "tables"

    def applies(self, op: Operator, core: Core) -> bool:
        """Whether the shapes are equal, fill words, and the sum has the short exact requantisation."""
        if not (core.dsp and core.timing is not None) or not isinstance(op, Add | Sub):
            return False
        if not op.a.shape == op.b.shape == op.y.shape or op.y.elements % 4 or op.clamp != FULL_INT8:
            return False
        factor = addition_parameters(op).y
        return (
            not op.a.is_constant and not op.b.is_constant and factor.multiplier >= 1 << 30 and 2 <= -factor.shift <= 31
        )

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an addition."""
        assert isinstance(op, Add | Sub)
        assert core.timing is not None
        w = CWriter()
        w(f"{_SYMBOL}(a, b, y, {op.y.elements // 4}, tables);")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.y.shape)}_tables",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="a", c_type="int8_t", role="input"),
                    CParameter(name="b", c_type="int8_t", role="input"),
                    CParameter(name="tables", c_type="int32_t", role="constant"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                support=(_loop(core.timing),),
            ),
            constants={"tables": CArray(c_type="int32_t", values=_tables(op))},
            in_place=(0, 1),
        )


def _tables(op: Add | Sub) -> NDArray[np.int32]:
    """Return both operands' tables, indexed by the byte as unsigned, then the requantisation's words."""
    factors = addition_parameters(op)
    left = _rescaled(op.a, factors.a, factors.left_shift)
    right = _rescaled(op.b, factors.b, factors.left_shift)
    if isinstance(op, Sub):
        right = -right
    finish = [2 * factors.y.multiplier - (1 << 32), 1 << (32 + factors.y.shift), op.y.zero_point]
    return to_words(np.concatenate([left, right, np.array(finish, np.int64)]))


def _rescaled(tensor: Tensor, factor: Requantization, left_shift: int) -> NDArray[np.int64]:
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64) - tensor.zero_point
    return multiply_by_quantized_multiplier(values * (1 << left_shift), factor.multiplier, factor.shift)


def _loop(timing: Timing) -> CSupport:
    """Return `void NAME(const int8_t *a, const int8_t *b, int8_t *y, int32_t words, const int32_t *tables)`."""
    block = Block(["ldr %wa, [%a, #0]", "ldr %wb, [%b, #0]"])
    for lane in range(4):
        turn = f", ror #{8 * lane}" if lane else ""
        block(
            f"uxtb %i{lane}, %wa{turn}",
            f"ldr %p{lane}, [%left, %i{lane}, lsl #2]",
            f"uxtb %j{lane}, %wb{turn}",
            f"ldr %q{lane}, [%right, %j{lane}, lsl #2]",
            f"add %s{lane}, %p{lane}, %q{lane}",
            f"smmlar %h{lane}, %s{lane}, %first, %s{lane}",
            f"add %g{lane}, %h{lane}, %h{lane}, asr #31",
            f"smmlar %k{lane}, %g{lane}, %second, %zero",
            f"ssat %o{lane}, #8, %k{lane}",
            f"strb %o{lane}, [%y, #{lane}]",
        )
    block("add %a, %a, #4", "add %b, %b, #4", "add %y, %y, #4", "subs %n, %n, #1")
    fixed = {
        "%a": "r0", "%b": "r1", "%y": "r2", "%n": "r3", "%left": "r4", "%right": "r5",
        "%first": "r6", "%second": "r7", "%zero": "r8",
    }  # fmt: skip
    body = schedule(block, timing, pool=("r9", "r10", "r11", "r12", "lr"), fixed=fixed)
    entry = [
        "push {r4-r11, lr}",
        "ldr r4, [sp, #36]",
        f"add r5, r4, #{_TABLE_BYTES}",
        f"ldr r6, [r4, #{2 * _TABLE_BYTES}]",
        f"ldr r7, [r4, #{2 * _TABLE_BYTES + 4}]",
        f"ldr r8, [r4, #{2 * _TABLE_BYTES + 8}]",
    ]
    return assembler_function(
        _SYMBOL,
        f"void {_SYMBOL}(const int8_t *a, const int8_t *b, int8_t *y, int32_t words, const int32_t *tables)",
        [*entry, ".balign 8", "1:", *body.lines, "bne.w 1b", "pop {r4-r11, pc}"],
        "y = requantised left[a] + right[b], four elements a turn",
    )
