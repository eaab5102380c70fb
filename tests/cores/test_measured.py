"""What others measured on silicon, line by line, priced by the tables made from it. See `silicon_facts`."""

from dataclasses import replace

import pytest

from tests.cores.silicon_facts import Fact, silicon_facts, steady
from utvm.cores.cortex_m0_timing import CORTEX_M0_TIMING
from utvm.cores.cortex_m4_measured import MEASURED_CORTEX_M3_TIMING, MEASURED_CORTEX_M4_TIMING
from utvm.cores.cortex_m7_measured import MEASURED_CORTEX_M7_TIMING
from utvm.cores.cortex_m33_measured import MEASURED_CORTEX_M33_TIMING
from utvm.cores.instruction import Form, Kind
from utvm.cores.thumb import parse

FACTS = tuple(silicon_facts())


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.core}: {fact.what}")
def test_a_fact(fact: Fact) -> None:
    assert fact.table == pytest.approx(fact.expected, abs=0.05)


def test_no_table_is_faster_than_a_source():
    assert [fact.what for fact in FACTS for value in fact.measured.values() if fact.table < value - 0.05] == []


def test_cortex_m7_byte_stores_far_apart_fill_no_buffer():
    assert steady(MEASURED_CORTEX_M7_TIMING, "strb.w r0, [r10]", *["nop.w"] * 7) == 4


def test_cortex_m7_mispredictions():
    early = [parse(line) for line in ["subs.w r0, r0, #1", *["nop.w"] * 6, "bne.w 1b"]]
    late = [parse(line) for line in ["subs.w r0, r0, #1", *["nop.w"] * 4, "bne.w 1b"]]
    timing = MEASURED_CORTEX_M7_TIMING
    assert (timing.misprediction(early), timing.misprediction(late)) == (6, 8)
    assert timing.misprediction([parse("cbz r0, 1b")]) == 8


def test_cortex_m7_unaligned_accesses():
    """J: a load 4 more as the younger of a pair, stores one every 4 in a row. Counts tell no more."""
    assert MEASURED_CORTEX_M7_TIMING.unaligned_cycles == {"unaligned_load": 4, "unaligned_store": 3}


def test_cortex_m3_post_indexed_loads_do_not_pipeline():
    turn = ["ldr.w r0, [r4], #4", "ldr.w r1, [r5], #4"]
    assert steady(MEASURED_CORTEX_M3_TIMING, *turn) == pytest.approx(4, abs=0.1)


def test_cortex_m4_loads_of_32_bits_off_a_word_do_not_pipeline():
    loads = [parse("ldr.w r8, [r4]"), parse("ldr.w r9, [r4, #4]")]
    off = [replace(load, off_word=True) for load in loads]
    assert MEASURED_CORTEX_M4_TIMING.cost((), loads) == 3
    assert MEASURED_CORTEX_M4_TIMING.cost((), off) == 4


def test_cortex_m33_branches_that_are_not_taken_are_free_behind_16_bits():
    before, branch = parse("subs r7, #1"), parse("bne.n 1b")
    assert MEASURED_CORTEX_M33_TIMING.cost((), [before, branch]) == MEASURED_CORTEX_M33_TIMING.cost((), [before])


def test_cortex_m0_loads_have_no_delay_to_their_use():
    used = CORTEX_M0_TIMING.cost((), [parse("ldr r0, [r1]"), parse("adds r0, r0, #1")])
    unused = CORTEX_M0_TIMING.cost((), [parse("ldr r0, [r1]"), parse("adds r2, r2, #1")])
    assert used == unused == 3


def test_forms():
    assert parse("add.w r0, r1, #0xff9").form is Form.SIMPLE
    assert parse("add.w r0, r1, #0x1fc0").form is Form.SHIFTED_CONSTANT
    assert parse("eor.w r0, r1, #0x001b001b").form is Form.OTHER
    assert parse("strb r0, [r1]").form is Form.NARROW_STORE
    assert parse("strb r0, [r1]").kind is Kind.STORE
