"""What others measured on silicon, line by line: a few instructions of our own, and what the tables say of them.

A title begins with its source: J is jnk0le/random, "pipeline cycle test", S is slothy-optimizer/slothy. "J, not S" says
that S measured less. Where nothing stands before the colon, no source says it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from utvm.cores.measured import MEASURED
from utvm.cores.thumb import parse
from utvm.cores.timing import Timing

NOPS = ("nop.w",) * 4
_USES: Mapping[str, tuple[float, tuple[str, ...], tuple[str, ...]]] = {
    "J: a word load to an ALU operand: next cycle": (1, ("ldr.w r0, [r10]", "nop.w"), ("add.w r1, r0, r2", "nop.w")),
    "J, S: a word load to a factor: the cycle after": (
        2,
        ("ldr.w r0, [r10]", "nop.w"),
        ("smlad r1, r0, r2, r1", "nop.w"),
    ),
    "J: a word load to both operands of a shifted addition": (
        2,
        ("ldr.w r0, [r10]", "nop.w"),
        ("add.w r1, r0, r2, lsl #3", "nop.w"),
    ),
    "J: a word load to an addend: nothing to wait for": (
        1,
        ("ldr.w r0, [r10]", "nop.w"),
        ("smlad r1, r2, r3, r0", "nop.w"),
    ),
    "J: a byte load to an ALU operand": (2, ("ldrb.w r0, [r10]", "nop.w"), ("add.w r1, r0, r2", "nop.w")),
    "J: a halfword load to an ALU operand": (2, ("ldrh.w r0, [r10]", "nop.w"), ("add.w r1, r0, r2", "nop.w")),
    "J: a byte load to a shifted operand": (3, ("ldrb.w r0, [r10]", "nop.w"), ("add.w r1, r2, r0, lsl #3", "nop.w")),
    "J: a byte load to an addend": (1, ("ldrb.w r0, [r10]", "nop.w"), ("smlad r1, r2, r3, r0", "nop.w")),
    "J: a product to an ALU operand": (2, ("mul r0, r1, r2", "nop.w"), ("add.w r3, r0, r4", "nop.w")),
    "J: SIMD to an address": (2, ("uadd8 r0, r1, r2", "nop.w"), ("ldr.w r3, [r0]", "nop.w")),
    "J: a logical operation to a bit field": (2, ("eor.w r0, r1, r2", "nop.w"), ("ubfx r3, r0, #1, #2", "nop.w")),
    "J: a logical operation to REV": (2, ("eor.w r0, r1, r2", "nop.w"), ("rev.w r3, r0", "nop.w")),
    "J: a logical operation to RBIT": (2, ("eor.w r0, r1, r2", "nop.w"), ("rbit r3, r0", "nop.w")),
    "J: a logical operation to the extended operand": (2, ("eor.w r0, r1, r2", "nop.w"), ("uxtab r3, r4, r0", "nop.w")),
    "J: a logical operation to the other operand of an extension": (
        1,
        ("eor.w r0, r1, r2", "nop.w"),
        ("uxtab r3, r0, r4", "nop.w"),
    ),
    "J: a logical operation to what PKH shifts": (2, ("eor.w r0, r1, r2", "nop.w"), ("pkhbt r3, r4, r0", "nop.w")),
    "J: a logical operation to what BFI inserts": (2, ("eor.w r0, r1, r2", "nop.w"), ("bfi r3, r0, #1, #2", "nop.w")),
    "J: a logical operation to a shifted operand": (
        2,
        ("eor.w r0, r1, r2", "nop.w"),
        ("add.w r3, r4, r0, lsl #3", "nop.w"),
    ),
    "J: a product to its addend": (1, ("mul r0, r1, r2", "nop.w"), ("smlad r0, r3, r4, r0", "nop.w")),
    "J: a word load to what UXTAB adds": (2, ("ldr.w r0, [r10]", "nop.w"), ("uxtab r3, r0, r4", "nop.w")),
    "a word load to what UXTAB extends (unclear in J: the worse)": (
        3,
        ("ldr.w r0, [r10]", "nop.w"),
        ("uxtab r3, r4, r0", "nop.w"),
    ),
    "J: an addition whose operands came early to an address": (
        1,
        ("add.w r0, r1, r2", "nop.w"),
        ("ldr.w r3, [r0]", "nop.w"),
    ),
}
"""Title → cycles from the first pair on the Cortex-M7 to the second; each pair is a cycle of its own."""

_PAIRS: Mapping[str, tuple[float, str, str]] = {
    "J: loads of an even and an odd word": (1, "ldr.w r0, [r10]", "ldr.w r1, [r10, #4]"),
    "J: loads of two even words": (2, "ldr.w r0, [r10]", "ldr.w r1, [r10, #8]"),
    "J: a load whose base the one before has moved by a word": (2, "ldr.w r0, [r10], #8", "ldr.w r1, [r10]"),
    "J, S: a multiplication beside a store": (2, "smlad r0, r1, r2, r0", "str.w r3, [r10]"),
    "J, S: a store beside a multiplication": (2, "str.w r3, [r10]", "smlad r0, r1, r2, r0"),
    "J, S: two multiplications": (2, "smlad r0, r1, r2, r0", "smlad r3, r1, r2, r3"),
    "J: a load beside a store": (1, "str.w r3, [r10]", "ldr.w r0, [r11]"),
    "J: two stores": (2, "str.w r3, [r10]", "str.w r4, [r10, #4]"),
    "J: the result of a load, stored in its cycle": (1, "ldr.w r3, [r10]", "str.w r3, [r11]"),
    "J: the result of a product, stored": (2, "mul r3, r1, r2", "str.w r3, [r11]"),
    "J: SIMD, then a product": (1, "sadd16 r0, r1, r2", "smlad r3, r4, r5, r3"),
    "J, not S: a product, then SIMD (disagree: the worse)": (2, "smlad r3, r4, r5, r3", "sadd16 r0, r1, r2"),
    "J: a branch that is not taken, and what follows": (1, "bne.w 1b", "add.w r0, r1, r2"),
    "J: SIMD as the younger": (2, "add.w r3, r4, r5", "sadd16 r0, r1, r2"),
    "J: two of SIMD and bit fields": (2, "sadd16 r0, r1, r2", "ubfx r3, r4, #1, #2"),
    "J: two shifted operands": (2, "add.w r0, r1, r2, lsl #2", "eor.w r3, r4, r5, ror #2"),
    "J: a shifted operand and a shifted constant": (2, "add.w r0, r1, r2, lsl #2", "eor.w r3, r4, #0x1fc0"),
    "J: a shifted operand and a pattern": (1, "add.w r0, r1, r2, lsl #2", "eor.w r3, r4, #0x1b1b1b1b"),
    "J: two plain shifts": (1, "lsl.w r0, r1, #2", "ror.w r3, r4, r5"),
    "J: a shifted operand, then a plain shift": (1, "add.w r0, r1, r2, lsl #2", "ror.w r3, r4, r5"),
    "J: a plain shift, then a shifted operand (unclear: the worse)": (
        2,
        "ror.w r3, r4, r5",
        "add.w r0, r1, r2, lsl #2",
    ),
    "J: a bit field and a shifted operand": (2, "ubfx r3, r4, #1, #2", "add.w r0, r1, r2, lsl #2"),
    "J: SIMD without a shifter and a shifted operand": (1, "sadd16 r3, r4, r5", "add.w r0, r1, r2, lsl #2"),
    "S: a product beside a load, as published schedules rely on": (1, "smlad r0, r1, r2, r0", "ldr.w r3, [r10]"),
    "S: a load beside a product": (1, "ldr.w r3, [r10]", "smlad r0, r1, r2, r0"),
    "J: an addition forwards within its cycle": (1, "add.w r0, r1, r2", "eor.w r3, r0, r4"),
    "J: a logical operation does not forward within its cycle": (2, "orr.w r0, r1, r2", "eor.w r3, r0, r4"),
}
"""Title → cycles of two instructions on the Cortex-M7."""

_M7: tuple[tuple[str, float, list[str]], ...] = (
    ("J: SMLAD chains through its addend", 1, ["smlad r0, r1, r2, r0"]),
    ("J: SMLAL chains through both", 1, ["smlal r0, r1, r2, r3"]),
    ("J: FMA chains in 3 cycles", 3, ["vfma.f32 s0, s1, s2"]),
    ("J: post-indexed loads go one a cycle", 1, ["ldr.w r0, [r10], #4"]),
    ("J: LDM of 8 registers, fetched beside 16-bit instructions", 5, ["movs r0, r0"] * 2 + ["ldm.w r10, {r1-r8}"]),
    (
        "J: STM of 5 registers, rounded up, beside 16-bit instructions",
        4,
        ["movs r0, r0"] * 2 + ["stmia.w r10, {r1-r5}"],
    ),
    ("J: LDRD among 32-bit instructions waits for fetching", 3, ["ldrd r0, r1, [r10]", "nop.w", "nop.w"]),
    ("J: LDRD beside two of 16 bits", 2, ["ldrd r0, r1, [r10]", "nop", "nop"]),
    ("J: byte stores to one bank", 4, ["strb.w r0, [r10]"]),
    ("J: halfword stores to one bank", 8, ["strh.w r0, [r10]", "nop.w", "strh.w r0, [r10, #8]", "nop.w"]),
    ("J: byte stores to both banks", 4, ["strb.w r0, [r10]", "nop.w", "strb.w r0, [r10, #4]", "nop.w"]),
    ("J: byte stores in sequence", 2.4, ["strb.w r0, [r10], #1"]),
    ("byte stores of two bases: the worse", 8, ["strb.w r0, [r10], #1", "strb.w r0, [r11], #1"]),
    ("J: word stores in a row", 1, ["str.w r0, [r10]"]),
    ("J: 32-bit instructions go two a cycle", 1, ["add.w r0, r1, r2", "add.w r3, r4, r5"]),
)
_M4: tuple[tuple[str, float, list[str]], ...] = (
    ("J: loads pipeline", 5, ["ldr r0, [r4]", "ldr r1, [r4, #4]", "ldr r2, [r4, #8]", "add.w r3, r5, r6"]),
    ("J: a store right after a load has no stall", 5, ["ldr r0, [r4]", "str r1, [r5]", "nop", "nop", "nop"]),
    (
        "J: a base that was made just before waits",
        5,
        ["add.w r4, r5, r6", "ldr r0, [r4]", "add.w r1, r2, r3"],
    ),
    ("J: a base that was made a cycle earlier does not", 4, ["add.w r4, r5, r6", "add.w r1, r2, r3", "ldr r0, [r4]"]),
    ("J: an offset waits likewise", 5, ["add.w r4, r5, r6", "ldr r0, [r7, r4]", "add.w r1, r2, r3"]),
    ("J: the base of a store waits likewise", 4, ["add.w r4, r5, r6", "str r0, [r4]", "add.w r1, r2, r3"]),
    ("J: a NOP behind a load is free", 2, ["ldr r0, [r4]", "nop"]),
    ("J: a store before a load costs one", 5, ["str r1, [r5]", "ldr r0, [r4]", "add.w r3, r5, r6"]),
    ("J: a store with an immediate takes one", 2, ["str.w r1, [r5, #4]", "add.w r3, r5, r6"]),
    ("J: a store with a register offset takes two", 3, ["str.w r1, [r5, r6]", "add.w r3, r5, r6"]),
    ("J: post-indexed loads of two bases pipeline", 2, ["ldr.w r0, [r4], #4", "ldr.w r1, [r5], #4"]),
    ("J: post-indexed loads of one base do not", 2, ["ldr.w r0, [r4], #4"]),
)
_M33: tuple[tuple[str, float, list[str]], ...] = (
    ("J: load to use", 4, ["ldr r0, [r4]", "add.w r1, r0, r2", "add.w r5, r6, r7"]),
    ("J: load to an addend", 2, ["ldr r0, [r4]", "smlad r1, r2, r3, r0"]),
    ("J: load to a store", 2, ["ldr r0, [r4]", "str r0, [r5]"]),
    ("J: loads go one a cycle", 3, ["ldr r0, [r4]", "add.w r1, r2, r3", "ldr r6, [r4]"]),
    ("J: a product to a use", 3, ["mul r0, r1, r2", "add.w r3, r0, r5"]),
    ("J: SMLAD chains", 1, ["smlad r0, r1, r2, r0"]),
    ("J: SIMD to a use", 3, ["sadd16 r0, r1, r2", "add.w r3, r0, r5"]),
    ("J: packing to a use", 3, ["pkhbt r0, r1, r2", "add.w r3, r0, r5"]),
    ("J: a shifted operand to a use", 3, ["add.w r0, r1, r2, lsl #3", "add.w r3, r0, r5"]),
    ("J: ANDS of a shifted constant takes two", 3, ["ands.w r0, r1, #0x1fc0", "nop.w"]),
    ("J: MOVS of a shifted constant does not", 2, ["movs.w r0, #0x1fc0", "nop.w"]),
    ("J: a shifted constant to a use", 3, ["and.w r0, r1, #0x1fc0", "add.w r3, r0, r5"]),
    ("J: MULS takes two", 2, ["muls r0, r1, r0"]),
    ("J: LDRD takes two", 2, ["ldrd r0, r1, [r4]"]),
    ("J: STRD takes two", 2, ["strd r0, r1, [r4]"]),
    ("J: LDM, one a register", 4, ["ldmia.w r4, {r0-r3}"]),
    ("J: STM, one a register", 4, ["stmia.w r4, {r0-r3}"]),
    ("J: a NOP beside a 16-bit instruction", 1, ["adds r0, r1, r2", "nop"]),
    ("J: bit fields are simple", 2, ["bfi r0, r1, #2, #3", "add.w r3, r0, r5"]),
)
"""Title, cycles and instructions of a turn."""

_M33_TAKEN: tuple[tuple[str, float, list[str]], ...] = (
    ("J: a taken branch after flags: 2", 3, ["subs r7, #1", "bne.n 1b"]),
    (
        "J: a taken branch after something else of 16 bits: 1",
        4,
        ["subs r7, #1", "adds r0, r1", "mov r2, r3", "bne.n 1b"],
    ),
    ("a taken branch after 32 bits, as the branch alone", 4, ["subs.w r7, r7, #1", "add.w r0, r0, r1", "bne.w 1b"]),
)
"""The same of a loop."""

_UNALIGNED: Mapping[str, tuple[float, str]] = {
    "J: an unaligned load as the younger of a pair": (4, "unaligned_load"),
    "J: an unaligned load as the older": (3, "unaligned_load"),
    "J: an unaligned load beside an aligned one of the bank that it reads first": (2, "unaligned_load"),
    "J: unaligned stores in a row": (3, "unaligned_store"),
    "J: unaligned stores while the buffer has room": (0, "unaligned_store"),
}
"""Title → cycles more than an aligned access on the Cortex-M7, and what counts call it. Counts tell no more."""

_LESS: Mapping[str, Mapping[str, float]] = {
    "J, not S: a product, then SIMD (disagree: the worse)": {"S": 1},
    "byte stores of two bases: the worse": {"J": 4},
}
"""Title → cycles by source that the table exceeds knowingly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A line of a source.

    Attributes:
        core: whose pipeline.
        what: the title.
        expected: cycles that the core's table must say.
        table: cycles that it says.
        measured: cycles on silicon by source.
    """

    core: str
    what: str
    expected: float
    table: float
    measured: Mapping[str, float]


def silicon_facts(tables: Mapping[str, Timing] = MEASURED) -> Iterator[Fact]:
    """Yield all facts that instructions show, priced by the tables of their cores: core → pipeline."""
    m7, m4, m33 = (tables[core] for core in ("cortex-m7", "cortex-m4", "cortex-m33"))
    for what, (expected, made, used) in _USES.items():
        context = [parse(line) for line in (*NOPS, *made)]
        yield _fact("cortex-m7", what, expected, m7.cost(context, [parse(line) for line in used]))
    for what, (expected, older, younger) in _PAIRS.items():
        # A SIMD instruction behind a full cycle begins one: the pair starts at a cycle's first slot.
        cycles = m7.cost([parse(line) for line in NOPS], [parse(older), parse(younger)])
        yield _fact("cortex-m7", what, expected, math.ceil(cycles))
    for what, (more, counted) in _UNALIGNED.items():
        table = 1 + m7.unaligned_cycles.get(counted, m7.unaligned_cycles.get("crosses_word", 0))
        yield Fact(core="cortex-m7", what=what, expected=table, table=table, measured={"J": 1 + more})
    for core, timing, turns, rows in (
        ("cortex-m7", m7, 60, _M7),
        ("cortex-m4", m4, 40, _M4),
        ("cortex-m33", m33, 30, _M33),
    ):
        for what, expected, turn in rows:
            yield _fact(core, what, expected, steady(timing, *turn, turns=turns))
    for what, expected, turn in _M33_TAKEN:
        code = [parse(line) for line in turn]
        yield _fact("cortex-m33", what, expected, m33.cost(code, code, jumped=True))


def steady(timing: Timing, *lines: str, turns: int = 12) -> float:
    """Return the cycles of one turn of a sequence that is executed again and again."""
    code = [parse(line) for line in lines] * turns
    return timing.cost(code, code) / turns


def _fact(core: str, what: str, expected: float, table: float) -> Fact:
    """Return a fact whose sources stand in its title."""
    said, colon, _ = what.partition(":")
    agree = said.partition(", not ")[0].split(", ") if colon else []
    measured = {source: expected for source in agree if source in ("J", "S") and "unclear" not in what}
    return Fact(core=core, what=what, expected=expected, table=table, measured=measured | dict(_LESS.get(what, {})))
