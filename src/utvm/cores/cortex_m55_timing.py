"""Timing of the Cortex-M55 on zero-wait memory: one instruction a cycle, vector operations in two beats.

A vector operation of 128 bits holds its unit for two cycles; the next one of another unit may issue in the second.
Units are loads and stores (`ls`), integer (`vi`) and multiplication (`vm`).

Sources: S, SLOTHY's table (github.com/slothy-optimizer/slothy, slothy/targets/arm_v81m/cortex_m55r1.py, made with the
Arm Cortex-M55 Software Optimization Guide, 102692): units, latencies, the stall of a load two cycles behind a store. L,
LLVM 19's scheduling model of the Cortex-M55 (ARMScheduleM55.td): scalar latencies. The Cortex-M85 manual (Arm 107950)
for gathers, which do not overlap: a lane a cycle here. Where all are silent: a branch that is taken costs a cycle more,
one that was not predicted three; LE costs nothing once its loop is known. Validation: docs/helium.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from utvm.cores.instruction import Instruction, Kind
from utvm.cores.timing import InOrderPipeline, Timetable

_TAKEN = 1
_BEATS = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CortexM55Timing(InOrderPipeline):
    """One instruction a cycle; LE takes none."""

    def cost(self, context: Sequence[Instruction], block: Sequence[Instruction], *, jumped: bool = False) -> float:
        """Return the cycles that `block` adds after `context`; see `Timing`."""
        taken = _TAKEN if jumped and context and not _is_loop_end(context[-1]) else 0
        before = [each for each in context if not _is_loop_end(each)]
        return taken + InOrderPipeline.cost(self, before, [each for each in block if not _is_loop_end(each)])


def _is_loop_end(instruction: Instruction) -> bool:
    return instruction.kind is Kind.LOOP and instruction.text.startswith("le")


def _m55(name: str) -> CortexM55Timing:
    one = Timetable(address_lead=0, early_lead=0)
    access = replace(one, after=("ls",), holds=(("ls", 1),))
    # A load that begins two cycles after a vector store waits for a third.
    load = replace(access, latency=2, after=("ls", "stored"))
    store = replace(access, late_slack=1)
    integer = replace(one, after=("vi",), holds=(("vi", _BEATS),))
    multiply = replace(one, latency=2, after=("vm",), holds=(("vm", _BEATS),))
    vector_load = replace(one, after=("ls", "stored"), holds=(("ls", _BEATS),))
    product = replace(one, latency=2)
    fp = replace(one, latency=3)
    return CortexM55Timing(
        name=name,
        width=1,
        units={},
        multiple_per_cycle=2,
        mispredict_cycles=3,
        unaligned_cycles={"crosses_word": 1},
        kinds={
            **dict.fromkeys(Kind, one),
            Kind.MULTIPLY: product,
            Kind.MULTIPLY_LONG: product,
            Kind.MAC: product,
            Kind.MAC_LONG: product,
            Kind.DIVIDE: replace(one, busy=6),
            Kind.LOAD: load,
            Kind.LOAD_NARROW: load,
            Kind.LOAD_DOUBLE: load,
            Kind.LOAD_MULTIPLE: load,
            Kind.FP_LOAD: load,
            Kind.STORE: store,
            Kind.STORE_DOUBLE: store,
            Kind.STORE_MULTIPLE: store,
            Kind.FP_STORE: store,
            Kind.TABLE_BRANCH: replace(one, busy=2),
            Kind.FP: fp,
            Kind.FP_MULTIPLY: fp,
            Kind.FP_MAC: replace(fp, latency=4, chain_slack=2),
            Kind.FP_DIVIDE: replace(fp, latency=13, busy=13),
            Kind.VECTOR: integer,
            Kind.VECTOR_SHIFT: replace(integer, latency=2),
            Kind.VECTOR_MULTIPLY: multiply,
            Kind.VECTOR_SUM: replace(multiply, latency=3, chain_slack=1),
            Kind.VECTOR_MOVE: replace(one, latency=2),
            Kind.VECTOR_LOAD: vector_load,
            Kind.VECTOR_STORE: replace(one, after=("ls",), holds=(("ls", _BEATS), ("stored", _BEATS + 1))),
            Kind.GATHER: replace(vector_load, latency=3, holds=(("ls", 4),)),
            Kind.GATHER_HALVES: replace(vector_load, latency=3, holds=(("ls", 8),)),
            Kind.GATHER_BYTES: replace(vector_load, latency=3, holds=(("ls", 16),)),
            Kind.SCATTER: replace(one, after=("ls",), holds=(("ls", 4), ("stored", 5))),
        },
    )


CORTEX_M55_TIMING = _m55("model: cortex-m55 (unvalidated)")
CORTEX_M85_TIMING = _m55("model: cortex-m85 (priced as a cortex-m55)")
"""The same table, as a ranking of kernels: the Cortex-M85 issues two instructions a cycle in places."""
