"""What the emulated boards count: instructions against another way of executing, cycles against sums done by hand."""

from dataclasses import replace

import pytest

from utvm import api
from utvm.boards import load_board
from utvm.cores import get_core
from utvm.device import Count, Session, build_image
from utvm.emulators.cycles import CycleModel
from utvm.errors import UtvmError
from utvm.toolchain import Image, Source

PROGRAM = """\
#include <stdint.h>
void straight(void);
void alternating(int32_t n);
uint32_t unaligned(const uint8_t *p, int32_t n);
int32_t table(int32_t n);
__attribute__((naked)) void straight(void) {
  __asm__ volatile(".rept 50\\n add r0, r0, #1\\n add r1, r1, #1\\n .endr\\n bx lr");
}
__attribute__((noinline)) void alternating(int32_t n) {
  for (int32_t i = 0; i < n; i++) __asm__ volatile("tst %0, #1\\n bne 1f\\n nop\\n1: nop" : : "l"(i) : "cc");
}
__attribute__((noinline)) uint32_t unaligned(const uint8_t *p, int32_t n) {
  uint32_t sum = 0;
  for (int32_t i = 0; i < n; i++) { uint32_t v; __asm__ volatile("ldr %0, [%1, #1]" : "=r"(v) : "r"(p)); sum += v; }
  return sum;
}
static const int32_t numbers[4096] = {1};
__attribute__((noinline)) int32_t table(int32_t n) {
  int32_t sum = 0;
  for (int32_t i = 0; i < n; i += 8) sum += ((const volatile int32_t *)numbers)[i & 4095];
  return sum;
}
"""
ENTRIES = ("straight", "alternating", "unaligned", "table")
ARM = ("qemu-cortex-m3", "qemu-cortex-m4", "qemu-cortex-m7", "qemu-cortex-m33")


def image_for(board: str) -> Image:
    return build_image(load_board(board), [Source(name="program.c", text=PROGRAM)], entries=ENTRIES)


def open_session(board: str, **options: str) -> Session:
    session = api.connect(board, **options)
    session.load(image_for(board))
    return session


@pytest.mark.parametrize("board", ARM)
def test_two_runs_count_the_same(board: str) -> None:
    counts = []
    for _ in range(2):
        with open_session(board) as session:
            measured = session.call("alternating", 1000)
            counts.append((measured.instructions, measured.cycles, measured.cycles_source))
    assert counts[0] == counts[1]
    assert counts[0][0] > 4000
    assert counts[0][1] > 2000
    assert counts[0][2].startswith("model: measured cortex-m")


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-riscv32"])
def test_single_stepping_confirms_the_instructions(board: str) -> None:
    described = load_board(board)
    stepping = replace(
        described, emulator=replace(described.emulator, arguments=(*described.emulator.arguments, "-singlestep"))
    )
    program = "int work(int n); int work(int n) { int s = 0; for (int i = 0; i < n; i++) s += i % 7; return s; }"
    image = build_image(described, [Source(name="program.c", text=program)], entries=["work"])
    found = []
    for variant in (described, stepping):
        with api.connect(variant) as session:
            session.load(image)
            found.append(session.call("work", 500).instructions)
    assert found[0] == found[1] > 1000


def test_straight_code_issues_two_a_cycle_on_m7_and_one_on_m4() -> None:
    for board, cycles in (("qemu-cortex-m7", 50), ("qemu-cortex-m4", 100)):
        with open_session(board) as session:
            measured = session.call("straight")
        assert measured.instructions == 101
        assert cycles <= measured.cycles <= cycles + 8


def test_branches_that_alternate_are_mispredicted_on_m7() -> None:
    with open_session("qemu-cortex-m7") as session:
        measured = session.call("alternating", 1000)
    assert measured.cycles > 500 * 6


def test_unaligned_words_cost_what_the_table_says() -> None:
    for board, extra in (("qemu-cortex-m7", 4), ("qemu-cortex-m4", 2)):
        with open_session(board) as session:
            at = session.image.symbol("straight").address & ~3
            unaligned = session.call("unaligned", at, 1000).cycles
            aligned = session.call("unaligned", at + 3, 1000).cycles
        assert unaligned - aligned == 1000 * extra


def test_a_table_behind_a_small_cache_costs_its_misses() -> None:
    with open_session("qemu-cortex-m7") as session:
        plain = session.call("table", 65536)
    with open_session("qemu-cortex-m7", assume="stm32f746") as session:
        assumed = session.call("table", 65536)
    assert assumed.instructions == plain.instructions
    assert assumed.cycles_source == "model: measured cortex-m7, memory of stm32f746"
    # 16 KB of numbers do not stay in 4 KB: every line of 32 bytes is read from flash anew.
    assert 0 <= assumed.cycles - plain.cycles - 65536 // 8 * 16 < 200


@pytest.mark.parametrize(
    ("board", "body", "each"),
    [
        # subtraction 1, taken branch 3
        ("qemu-cortex-m0", "1: sub r0, #1\\n bne 1b\\n bx lr", 4),
        # addition 1, load 1, hazard 1, addition 1, jump 2, taken branch 3
        ("qemu-riscv32", "1: addi a0,a0,-1\\n lw t0,0(sp)\\n add t1,t0,a0\\n j 2f\\n2: bnez a0,1b\\n ret", 9),
    ],
)
def test_a_loop_costs_what_the_manual_says(board: str, body: str, each: int) -> None:
    program = f'void loop(int n);\n__attribute__((naked)) void loop(int n) {{ (void)n; __asm__ volatile("{body}"); }}\n'
    with api.connect(board) as session:
        session.load(build_image(session.board, [Source(name="p.c", text=program)], entries=["loop"]))
        few, many = (session.call("loop", count) for count in (100, 1100))
    assert many.cycles - few.cycles == 1000 * each
    assert few.cycles_source.startswith("model: ")


def test_conditional_selects_are_known_whatever_the_disassembler_says() -> None:
    program = (
        "int bump(int a);\n"
        "__attribute__((noinline)) int bump(int a) {\n"
        '  __asm__ volatile("cmp %0, #5\\n cinc %0, %0, le" : "+r"(a) : : "cc");\n'
        "  return a;\n}\n"
    )
    with api.connect("qemu-cortex-m55") as session:
        session.load(build_image(session.board, [Source(name="p.c", text=program)], entries=["bump"]))
        for given, expected in ((5, 6), (6, 6)):
            measured = session.call("bump", given)
            assert (measured.value, measured.instructions) == (expected, 3)
            assert measured.cycles is not None
            assert measured.cycles_source == "model: cortex-m55 (unvalidated)"


def test_the_pessimistic_pipeline_is_slower() -> None:
    with open_session("qemu-cortex-m7") as session:
        plain = session.call("table", 4096)
    with open_session("qemu-cortex-m7", assume="pessimistic-m7") as session:
        assumed = session.call("table", 4096)
    assert assumed.cycles > plain.cycles
    assert "pessimistic" in assumed.cycles_source


def test_an_assumption_for_another_core_is_refused() -> None:
    with pytest.raises(UtvmError, match="known: stm32l4r5"):
        api.connect("qemu-cortex-m4", assume="stm32f746")


def test_an_instruction_without_timing_leaves_cycles_unknown() -> None:
    with open_session("qemu-cortex-m7") as session:
        session.call("straight")
        counts = session._target.counts()
    timing = get_core("cortex-m7").timing
    listing = {int(address): "frobnicate r0, r1" for address in range(0, 4096, 2)}
    assert CycleModel(listing, timing).cycles(counts) is None


def test_a_board_without_a_model_still_counts_instructions() -> None:
    board = load_board("qemu-cortex-m0")
    with api.connect(replace(board, core=replace(board.core, timing=None))) as session:
        image = build_image(
            session.board, [Source(name="p.c", text="int f(void); int f(void) { return 1; }")], entries=["f"]
        )
        session.load(image)
        measured = session.call("f")
    assert measured.instructions == 2
    assert measured.cycles is None
    assert Count().cycles is None
