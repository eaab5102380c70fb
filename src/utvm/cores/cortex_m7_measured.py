"""Timing of the Cortex-M7 as others measured it on silicon, zero-wait memory.

Sources, named at each number:
J: github.com/jnk0le/random, "pipeline cycle test/doc/cortex_m7.md", commit 3dfc2ab: an STM32H743 (rev Y).
S: github.com/slothy-optimizer/slothy, slothy/targets/arm_v7m/cortex_m7.py, commit ede5131, with eprint 2025/366.
L: LLVM's scheduling model of the Cortex-M7, for what nobody measured.
Where two disagree the worse is taken, and said.

Not modelled: single 16-bit instructions among 32-bit ones that cost a cycle "in places" (J; no rule is known), REV's
forwarding to the same cycle (J; it takes 1 here), and the instructions that may not follow a floating-point FMA for 3
cycles (J). What counts do not tell is taken as it is worst: which load an unaligned one shares its cycle with, whether
unaligned stores come in a row, and whether byte and halfword stores through different bases are of one bank.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from utvm.cores.instruction import Form, Kind
from utvm.cores.timing import InOrderPipeline, Timetable


@dataclass(frozen=True, slots=True, kw_only=True)
class CortexM7Facts:
    """What a board can settle, in cycles unless it says otherwise.

    Attributes:
        multiply_waits: whether a factor that a word load made comes a cycle later than an ALU operand (J; S: 2 cycles).
        shifter_waits: whether all operands of an instruction with a shifted operand do (J).
        narrow_load: from a byte or halfword load to an ALU operand (J, L).
        double_load: from LDRD to a use (S; L has 2).
        banks: whether two loads of one cycle must be of different banks (J).
        multiply_beside_store: whether a multiplication and a store share a cycle (J: no; S: no).
        early_alu: whether additions, moves and plain shifts whose operands came early forward within their cycle (J).
        shift_beside_shifted: whether a plain shift may follow a shifted operand in its cycle (J: yes; the other order
            is unclear there, so no).
        unaligned_load: what a load that is not aligned costs more as the younger of a pair (J: 4; 3 as the older, one
            less beside an aligned load of the bank that it reads first).
        unaligned_store: what a store that is not aligned costs more in a row of them (J: one every 4 cycles; nothing
            as long as the buffer has room).
        narrow_store: from one byte or halfword store to the next in the same bank once the buffer is full (J).
        spread_store: the same in the other bank (J).
        adjacent_store: the same beside it (J: bytes in sequence; halfwords take 2).
        store_buffer: stores that it holds (J: the fifth in a row waits).
        misprediction: with flags made early (J: 6).
        late_flags: what it costs more with flags made within 3 cycles of the branch (J: 2).
        fetch_stall: whether LDRD, LDM and STM wait a cycle unless two 16-bit instructions came before (J; those that
            come up to 7 cycles later help too, which is not counted), and whether a taken branch ends its cycle (J).
    """

    multiply_waits: bool = True
    shifter_waits: bool = True
    narrow_load: int = 2
    double_load: int = 3
    banks: bool = True
    multiply_beside_store: bool = False
    early_alu: bool = True
    shift_beside_shifted: bool = True
    unaligned_load: int = 4
    unaligned_store: int = 3
    narrow_store: float = 4.0
    spread_store: float = 2.0
    adjacent_store: float = 2.4
    store_buffer: int = 4
    misprediction: int = 6
    late_flags: int = 2
    fetch_stall: bool = True


def measured_cortex_m7(facts: CortexM7Facts, name: str = "model: measured cortex-m7") -> InOrderPipeline:
    """Return the pipeline that facts describe."""
    older, either = ("older", "any") if facts.early_alu else ("", "")
    alu = Timetable(units=("alu",))
    shifted = Timetable(units=("alu", "shift", "shifted"), waits=facts.shifter_waits)
    # A plain shift needs no shifter of the late stage, but an instruction that does cannot follow it (J).
    shift = Timetable(units=("alu",), blocks=("shifted",), ahead=either)  # type: ignore[arg-type]
    if not facts.shift_beside_shifted:
        shift = replace(shift, units=("alu", "shift", "shifted"), blocks=())
    # Bit fields, SIMD, saturation: the older of a cycle, one a cycle (J, L).
    simd = Timetable(units=("simd", "alu"), first=True)
    early_simd = replace(simd, units=("simd", "alu", "shift", "shifted"))
    load = Timetable(units=("load",), latency=1, late_latency=2, banked=facts.banks)
    narrow = replace(load, latency=facts.narrow_load, late_latency=facts.narrow_load)
    multiply = Timetable(units=("mac",), latency=2, waits=facts.multiply_waits)
    # Data of a store can be any result of the same cycle (J).
    store = Timetable(units=("store",) if facts.multiply_beside_store else ("store", "mac"), latency=1, late_slack=2)
    several = replace(load, alone=True, wide_fetch=facts.fetch_stall, latency=facts.double_load, late_latency=None)
    stores = replace(store, alone=True, wide_fetch=facts.fetch_stall)
    branch = Timetable(units=("branch",), latency=2)
    fp = Timetable(units=("fp",), latency=3)
    return InOrderPipeline(
        name=name,
        width=2,
        units={
            **{"load": 2, "store": 1, "alu": 2, "shift": 1, "shifted": 1},
            **{"mac": 1, "simd": 1, "branch": 1, "fp": 1},
        },
        mispredict_cycles=facts.misprediction,
        late_flags_cycles=facts.late_flags,
        late_flags_within=5,
        unaligned_cycles={"unaligned_load": facts.unaligned_load, "unaligned_store": facts.unaligned_store},
        multiple_per_cycle=2,
        store_buffer=facts.store_buffer,
        narrow_store_cycles=facts.narrow_store,
        spread_store_cycles=facts.spread_store,
        adjacent_store_cycles=facts.adjacent_store,
        jump_ends_cycle=facts.fetch_stall,
        kinds={
            Kind.ALU: alu,
            Kind.ALU_SHIFTED: shifted,
            Kind.SHIFT: shift,
            Kind.COMPARE: alu,
            Kind.EXTEND: simd,
            Kind.SIMD: simd,
            Kind.SIMD_SATURATING: replace(simd, latency=2),
            Kind.BITFIELD: replace(early_simd, operand_lead=1),
            Kind.PACK: replace(early_simd, waits=facts.shifter_waits),
            Kind.REVERSE: replace(early_simd, operand_lead=1),
            Kind.SATURATE: replace(early_simd, latency=2),
            Kind.COUNT: simd,
            Kind.MULTIPLY: multiply,
            Kind.MULTIPLY_LONG: multiply,
            Kind.MAC: multiply,
            Kind.MAC_LONG: multiply,
            Kind.DIVIDE: Timetable(units=("alu",), alone=True, busy=7),
            Kind.LOAD: load,
            Kind.LOAD_NARROW: narrow,
            Kind.LOAD_DOUBLE: several,
            Kind.LOAD_MULTIPLE: several,
            Kind.STORE: store,
            Kind.STORE_DOUBLE: stores,
            Kind.STORE_MULTIPLE: stores,
            Kind.BRANCH: branch,
            Kind.CALL: branch,
            Kind.RETURN: branch,
            Kind.TABLE_BRANCH: Timetable(units=("load",), alone=True, busy=2),
            Kind.IT: alu,
            Kind.NOP: Timetable(latency=0),
            Kind.SYSTEM: Timetable(alone=True, latency=3),
            Kind.FP: fp,
            Kind.FP_MULTIPLY: fp,
            # As a factor after 5, through the addend after 3 (J).
            Kind.FP_MAC: replace(fp, latency=5, chain_slack=2),
            Kind.FP_DIVIDE: Timetable(units=("fp",), latency=16),
            Kind.FP_MOVE: Timetable(latency=3),
            Kind.FP_LOAD: replace(load, late_latency=None),
            Kind.FP_STORE: store,
        },
        forms={
            (Kind.ALU_SHIFTED, Form.MOVED_SHIFT): replace(shift, early_lead=0),
            (Kind.ALU, Form.SIMPLE): replace(alu, ahead=older),  # type: ignore[arg-type]
            (Kind.ALU, Form.SHIFTED_CONSTANT): replace(alu, units=("alu", "shift", "shifted")),
            (Kind.COMPARE, Form.SHIFTED_CONSTANT): replace(alu, units=("alu", "shift", "shifted")),
        },
    )


MEASURED_CORTEX_M7_TIMING = measured_cortex_m7(CortexM7Facts())
PESSIMISTIC_CORTEX_M7_TIMING = replace(
    MEASURED_CORTEX_M7_TIMING,
    name="model: pessimistic cortex-m7",
    units={**MEASURED_CORTEX_M7_TIMING.units, "load": 1},
    kinds={
        kind: replace(
            table,
            latency=table.latency + 1,
            late_latency=None if table.late_latency is None else table.late_latency + 1,
        )
        if "load" in table.units
        else table
        for kind, table in MEASURED_CORTEX_M7_TIMING.kinds.items()
    },
)
"""The same core with one load a cycle and one cycle more from a load to its use."""
