"""Instructions of the vector extension: kinds, registers, and the pipeline of the Cortex-M55."""

import pytest

from utvm.cores import get_core
from utvm.cores.cortex_m55_timing import CORTEX_M55_TIMING
from utvm.cores.instruction import Kind, UnknownInstructionError
from utvm.cores.thumb import parse

CASES = {
    "vldrb.u8 q0, [r1], #16": (Kind.VECTOR_LOAD, ("q0", "r1"), ("r1",)),
    "vldrw.u32 q4, [r1, q7]": (Kind.GATHER, ("q4",), ("r1", "q7")),
    "vstrh.32 q6, [r5]": (Kind.VECTOR_STORE, (), ("q6", "r5")),
    "vstrw.32 q0, [r1, q2]": (Kind.SCATTER, (), ("q0", "r1", "q2")),
    "vmladava.s8 lr, q0, q2": (Kind.VECTOR_SUM, ("lr",), ("q0", "q2", "lr")),
    "vmlav.s8 r0, q0, q2": (Kind.VECTOR_SUM, ("r0",), ("q0", "q2")),
    "vmov q0[2], q0[0], r0, r4": (Kind.VECTOR_MOVE, ("q0",), ("q0", "r0", "r4")),
    "vmov r0, r4, q0[2], q0[0]": (Kind.VECTOR_MOVE, ("r0", "r4"), ("q0",)),
    "vrshl.s32 q0, r1": (Kind.VECTOR_SHIFT, ("q0",), ("r1", "q0")),
    "vqmovnt.s16 q0, q1": (Kind.VECTOR_SHIFT, ("q0",), ("q1", "q0")),
    "vqrdmulh.s32 q0, q0, r1": (Kind.VECTOR_MULTIPLY, ("q0",), ("q0", "r1")),
    "vaddt.i32 q0, q1, r2": (Kind.VECTOR, ("q0",), ("q1", "r2", "vpr", "q0")),
    "vidup.u32 q0, r2, #4": (Kind.VECTOR, ("q0", "r2"), ("r2",)),
    "vld41.8 {q0, q1, q2, q3}, [r1]": (
        Kind.VECTOR_LOAD,
        ("q0", "q1", "q2", "q3"),
        ("q0", "q1", "q2", "q3", "r1"),
    ),
    "vctp.8 r2": (Kind.PREDICATE, ("vpr",), ("r2",)),
}


@pytest.mark.parametrize("text", CASES)
def test_kinds_and_registers(text: str) -> None:
    kind, writes, uses = CASES[text]
    found = parse(text)
    assert (found.kind, found.writes, set(found.uses)) == (kind, writes, set(uses))


def test_vector_instructions_that_are_not_known_are_refused() -> None:
    with pytest.raises(UnknownInstructionError, match="vnone"):
        parse("vnone.s8 q0, q1")


def turn(*lines: str) -> float:
    code = [parse(line) for line in lines]
    return CORTEX_M55_TIMING.cost(code, code)


def test_units_are_held_for_two_beats_and_overlap() -> None:
    assert turn("vmladava.s8 r0, q0, q1") == 2
    assert turn("vmladava.s8 r0, q0, q1", "vldrb.u8 q2, [r1], #16") == 2
    assert turn("vldrb.u8 q2, [r1]", "vldrb.u8 q3, [r3]") == 4
    assert turn("vadd.i32 q0, q1, q2", "vmul.i32 q3, q4, q5") == 2
    assert turn("vldrw.u32 q4, [r1, q7]") == 4
    assert turn("vstrb.8 q0, [r1]", "vldrb.u8 q1, [r3]") == 5


def test_a_loop_end_takes_no_cycle() -> None:
    assert turn("vldrb.u8 q2, [r1]", "vmladava.s8 r0, q0, q1", "le lr, 0") == 2


def test_the_m85_is_priced_as_an_m55() -> None:
    timing = get_core("cortex-m85").timing
    assert timing is not None
    assert "priced as a cortex-m55" in timing.name
