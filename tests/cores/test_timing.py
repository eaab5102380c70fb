"""Cycles of short sequences, against sums done by hand from the manuals' tables."""

import pytest

from utvm.cores import get_core
from utvm.cores.instruction import Kind, UnknownInstructionError
from utvm.cores.riscv import parse


def cycles(core, context, block, *, jumped=False):
    timing = get_core(core).timing
    assert timing is not None
    return timing.cost([timing.parse(i) for i in context], [timing.parse(i) for i in block], jumped=jumped)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (["add a0,a1,a2", "mul a0,a0,a1", "sw a0,4(sp)"], 3),
        (["lw a0,0(a1)", "add a2,a3,a4"], 2),
        (["lw a0,0(a1)", "add a2,a0,a4"], 3),
        (["lw a0,0(a1)", "lw a2,0(a0)"], 3),
        (["lb a0,0(a1)", "sb a0,0(a2)"], 3),
        (["lw a0,0(a1)", "beqz a0,80000000"], 3),
        (["mulh a0,a1,a2"], 5),
        (["div a0,a1,a2"], 31),
        (["j 80000000"], 2),
        (["add a0,a1,a2", "jr a0"], 4),
        (["add a0,a1,a2", "jr a5"], 3),
        (["lw ra,12(sp)", "ret"], 4),
        (["bne a0,a1,80000000"], 1),
        (["csrr a0,mcycle"], 4),
    ],
)
def test_cv32e40p(block, expected):
    assert cycles("rv32imc", [], block) == expected


def test_a_taken_branch_is_charged_to_where_it_leads():
    assert cycles("rv32imc", ["bne a0,a1,80000000"], ["nop"], jumped=True) == 3
    assert cycles("rv32imc", ["bne a0,a1,80000000"], ["nop"]) == 1
    assert cycles("rv32imc", ["j 80000000"], ["nop"], jumped=True) == 1
    assert cycles("cortex-m0", ["bne.n 100"], ["nop"], jumped=True) == 3
    assert cycles("cortex-m0", ["b.n 100"], ["nop"], jumped=True) == 1


def test_a_load_before_the_block_delays_its_first_instruction():
    assert cycles("rv32imc", ["lw a0,0(a1)"], ["add a2,a0,a0"]) == 2


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (["adds r0, r1, r2", "muls r0, r1", "lsls r0, r0, #2"], 3),
        (["ldr r0, [r1, #4]"], 2),
        (["strb r0, [r1, r2]"], 2),
        (["ldmia r0!, {r1, r2, r3}"], 4),
        (["push {r4, r5, lr}"], 4),
        (["pop {r4, r5, pc}"], 7),
        (["pop {r4, r5}"], 3),
        (["b.n 100"], 3),
        (["beq.n 100"], 1),
        (["bl 100"], 4),
        (["blx r3"], 3),
        (["bx lr"], 3),
        (["mrs r0, PRIMASK"], 4),
    ],
)
def test_cortex_m0(block, expected):
    assert cycles("cortex-m0", [], block) == expected


def test_registers_of_riscv_instructions():
    store = parse("sw a4,16(sp)")
    assert (store.kind, store.reads, store.address, store.writes) == (Kind.STORE, ("a4",), ("sp",), ())
    assert parse("sw zero,0(a0)").reads == ()
    assert parse("sw zero,0(a0)").address == ("a0",)
    load = parse("lbu t0,-1(s11)")
    assert (load.kind, load.writes, load.address) == (Kind.LOAD, ("t0",), ("s11",))
    assert parse("bge t6,t2,800000a8").reads == ("t6", "t2")
    assert parse("ret").reads == ("ra",)


def test_an_unknown_instruction_is_an_error():
    with pytest.raises(UnknownInstructionError, match="frobnicate"):
        parse("frobnicate a0,a1")
