"""Timing of the Cortex-M7 on zero-wait memory as compilers have it.

Sources: the pipeline as LLVM's scheduling model of the Cortex-M7 describes it (two issue slots; two load pipes, one
store, two ALU, two shifters of which pure shifts and shifted operands use one, one MAC; addresses and shifted operands
read one stage early, store data and accumulators one stage late; SIMD, extend, saturate and bit-field instructions
issue first in their cycle; double and multiple transfers issue alone) and Arm DDI 0489 (Cortex-M7 TRM) for the 64-bit
memory ports. The cost of an access that crosses a word boundary (2 cycles) is not documented: it is fitted to the one
published layer that has such accesses (docs/cycle-model.md).
"""

from __future__ import annotations

from dataclasses import replace

from utvm.cores.thumb import Kind
from utvm.cores.timing import InOrderPipeline, Timetable

_ALU = Timetable(units=("alu",))
_SHIFTED = Timetable(units=("alu", "shift"))
_LOAD = Timetable(units=("load",), latency=1)
_STORE = Timetable(units=("store",), latency=2, late_slack=1)
_MULTIPLY = Timetable(units=("mac",), latency=2)
_SIMD = Timetable(units=("simd", "alu"), first=True)
_SHIFTING_SIMD = Timetable(units=("simd", "alu", "shift"), first=True)
_BRANCH = Timetable(units=("branch",), latency=2)
_ALONE = Timetable(alone=True, latency=3)

CORTEX_M7_TIMING = InOrderPipeline(
    name="model: cortex-m7 by compilers",
    width=2,
    units={"load": 2, "store": 1, "alu": 2, "shift": 1, "mac": 1, "simd": 1, "branch": 1, "fp": 1},
    mispredict_cycles=6,
    unaligned_cycles={"crosses_word": 2},
    multiple_per_cycle=2,
    ordered_writeback=True,
    kinds={
        Kind.ALU: _ALU,
        Kind.ALU_SHIFTED: _SHIFTED,
        Kind.SHIFT: _SHIFTED,
        Kind.COMPARE: _ALU,
        Kind.EXTEND: _SIMD,
        Kind.SIMD: _SIMD,
        Kind.SIMD_SATURATING: replace(_SIMD, latency=2),
        Kind.BITFIELD: replace(_SHIFTING_SIMD, operand_lead=1),
        Kind.PACK: _SHIFTING_SIMD,
        Kind.REVERSE: replace(_SHIFTING_SIMD, latency=0, operand_lead=1),
        Kind.SATURATE: replace(_SHIFTING_SIMD, latency=2),
        Kind.COUNT: replace(_ALU, first=True),
        Kind.MULTIPLY: _MULTIPLY,
        Kind.MULTIPLY_LONG: _MULTIPLY,
        Kind.MAC: _MULTIPLY,
        Kind.MAC_LONG: replace(_MULTIPLY, chain_slack=0),
        Kind.DIVIDE: Timetable(units=("alu",), alone=True, busy=7),
        Kind.LOAD: _LOAD,
        Kind.LOAD_NARROW: replace(_LOAD, latency=2),
        Kind.LOAD_DOUBLE: replace(_LOAD, alone=True),
        Kind.LOAD_MULTIPLE: replace(_LOAD, alone=True),
        Kind.STORE: _STORE,
        Kind.STORE_DOUBLE: replace(_STORE, alone=True),
        Kind.STORE_MULTIPLE: replace(_STORE, alone=True),
        Kind.BRANCH: _BRANCH,
        Kind.CALL: _BRANCH,
        Kind.RETURN: _BRANCH,
        Kind.TABLE_BRANCH: Timetable(units=("load",), alone=True, busy=2),
        Kind.IT: _ALU,
        Kind.NOP: Timetable(latency=0),
        Kind.SYSTEM: _ALONE,
        Kind.FP: Timetable(units=("fp",), latency=3),
        Kind.FP_MULTIPLY: Timetable(units=("fp",), latency=3),
        Kind.FP_MAC: Timetable(units=("fp",), latency=6, chain_slack=0),
        Kind.FP_DIVIDE: Timetable(units=("fp",), latency=16),
        Kind.FP_MOVE: Timetable(latency=3),
        Kind.FP_LOAD: _LOAD,
        Kind.FP_STORE: replace(_STORE, late_slack=2),
    },
)
