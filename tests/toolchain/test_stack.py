"""Worst-case stack from call graphs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.boards import EMULATED
from utvm.api import connect
from utvm.device import build_image
from utvm.toolchain import CallGraph, Frame, LinkLayout, Region, Source, ToolchainError
from utvm.toolchain.disassembly import parse_frame

GRAPHS = st.integers(1, 8).flatmap(
    lambda n: st.lists(st.tuples(st.integers(0, 200), st.sets(st.integers(0, n - 1))), min_size=n, max_size=n)
)


def refuse(name):
    raise ToolchainError(f"'{name}' is not described")


def longest(graph, i):
    size, callees = graph[i]
    return size + max((longest(graph, j) for j in callees if j > i), default=0)


@given(GRAPHS)
def test_the_bound_is_the_deepest_chain(graph):
    """Calls go to higher numbers only, so the graph has no cycle."""
    frames = {
        f"f{i}": Frame(size=size, callees=tuple(f"f{j}" for j in sorted(callees) if j > i))
        for i, (size, callees) in enumerate(graph)
    }
    bound = CallGraph(frames=frames).bound("f0", refuse)
    assert bound.bytes == longest(graph, 0)
    assert bound.bytes == sum(frames[name].size for name in bound.chain)
    assert CallGraph.loads(CallGraph(frames=frames).dumps()) == CallGraph(frames=frames)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ({"f": Frame(size=8, callees=("g",)), "g": Frame(size=8, callees=("f",))}, r"recursion \(f → g → f\)"),
        ({"f": Frame(size=8, callees=("__indirect_call",))}, "f calls through a pointer"),
        ({"f": Frame(size=8, bounded=False)}, "frame of f has no fixed size"),
        ({"f": Frame(size=8, callees=("g",))}, "'g' is not described"),
    ],
)
def test_what_has_no_bound_says_why(frames, reason):
    with pytest.raises(ToolchainError, match=reason):
        CallGraph(frames=frames).bound("f", refuse)


def test_what_the_compiler_writes_is_read(arm):
    text = """\
#include <stdint.h>
static __attribute__((noinline)) int32_t pad(int32_t i) {
  volatile int8_t room[100];
  room[i] = 1;
  return room[0];
}
void utvm_start(void);
int64_t divide(int64_t a, int64_t b);
int32_t sized(int32_t n);
int32_t again(int32_t n);
void utvm_start(void) { (void)pad(3); }
int64_t divide(int64_t a, int64_t b) { return a / b; }
int32_t sized(int32_t n) { volatile int32_t v[n]; v[0] = n; return v[n - 1]; }
int32_t again(int32_t n) { return n < 2 ? pad(n) : again(n - 1) * pad(n) + again(n - 3); }
"""
    region = Region(name="ram", origin=0x20000000, length=0x10000)
    layout = LinkLayout(code=region, constants=region, data=region, stack_bytes=1024)
    image = arm.build([Source(name="calls.c", text=text)], layout, entries=["divide", "sized", "again"])
    graph = image.call_graph
    own = graph.frames["calls.c:pad"].size
    assert 100 <= own < 150
    assert image.worst_stack("utvm_start").chain == ("utvm_start", "calls.c:pad")
    assert image.worst_stack("utvm_start").bytes == graph.frames["utvm_start"].size + own
    divide = image.worst_stack("divide")
    assert divide.chain[1] == "__aeabi_ldivmod"
    assert graph.frames["divide"].size + 24 <= divide.bytes <= graph.frames["divide"].size + 128
    with pytest.raises(ToolchainError, match="no fixed size"):
        image.worst_stack("sized")
    with pytest.raises(ToolchainError, match="recursion"):
        image.worst_stack("again")


ARM_TEXT = """
image.elf:     file format elf32-littlearm


Disassembly of section .text:

00000104 <kernel>:
 104:\tpush\t{r4, r5, r6, lr}
 106:\tvpush\t{d8-d15}
 10a:\tsub\tsp, #24
 10c:\tsub.w\tsp, sp, #256\t; 0x100
 110:\tstr.w\tlr, [sp, #-8]!
 114:\tstmdb\tsp!, {r0, r1}
 116:\tsub\tr0, r1, #8
 118:\tbne.n\t104 <kernel>
 11a:\tcbz\tr0, 120 <kernel+0x1c>
 11c:\tbl\t200 <__aeabi_idiv>
 120:\tldr\tr0, [pc, #8]\t; (12c <other>)
 122:\tbx\tlr
"""

RISCV_TEXT = """
80000100 <kernel>:
80000100:\tadd\tsp,sp,-32
80000102:\tsw\tra,28(sp)
80000104:\tjal\tra,80000200 <__mulsi3>
80000108:\tbnez\ta0,80000104 <kernel+0x4>
8000010a:\taddi\tsp,sp,32
8000010c:\tret
"""


RISCV_SWITCH = """
 104:\tli\ta4,14
 106:\tbltu\ta4,a5,808 <kernel+0x174>
 10a:\tauipc\ta4,0x1
 10e:\tadd\ta4,a4,-1276 # 240 <table>
 112:\tsll\ta5,a5,0x2
 114:\tadd\ta5,a5,a4
 116:\tlw\ta5,0(a5)
 118:\tadd\ta5,a5,a4
 11a:\tjr\ta5
"""


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        (ARM_TEXT, Frame(size=16 + 64 + 24 + 256 + 8 + 8, callees=("__aeabi_idiv",))),
        (RISCV_TEXT, Frame(size=32, callees=("__mulsi3",))),
        (" 104:\tmov\tsp, r7\n", Frame(size=0, bounded=False)),
        (" 104:\tsub\tsp, r7\n", Frame(size=0, bounded=False)),
        (" 104:\tadd\tsp, #24\n 106:\tadd.w\tsp, sp, #260\n", Frame(size=0)),
        (" 104:\tadd\tsp, r3\n", Frame(size=0, bounded=False)),
        ("80000104:\taddi\tsp,sp,-16\n", Frame(size=16)),
        ("80000104:\tsub\tsp,sp,a0\n", Frame(size=0, bounded=False)),
        (" 104:\tblx\tr3\n", Frame(size=0, callees=("__indirect_call",))),
        (" 104:\tjalr\ta5\n", Frame(size=0, callees=("__indirect_call",))),
        (" 104:\tlw\ta5,4(a0)\n 108:\tjr\ta5\n", Frame(size=0, callees=("__indirect_call",))),
        (RISCV_SWITCH, Frame(size=0)),
    ],
)
def test_instructions_that_take_stack(text, frame):
    assert parse_frame("kernel", text) == frame


@pytest.mark.parametrize("board", EMULATED.values(), ids=EMULATED)
def test_the_bound_is_at_least_what_a_call_takes(board):
    """C, assembler that pushes, and the library's division of 64 bits, deepest in the middle of the chain."""
    arm = board.core.isa.name == "arm"
    pointer = board.core.isa.convention.stack_pointer
    lowering = f"addi {pointer}, {pointer}, -48\\n\taddi {pointer}, {pointer}, 48\\n\tret"
    pushing = "push {r4-r7, lr}\\n\tpop {r4-r7, pc}" if arm else lowering
    kind = ".thumb_func\\n" if arm else ""
    text = f"""\
#include <stdint.h>
#include <string.h>
__asm__(".pushsection .text.pushing, \\"ax\\"\\n.balign 4\\n.syntax unified\\n"
        ".global pushing\\n{kind}.type pushing, %function\\npushing:\\n\t{pushing}\\n"
        ".size pushing, . - pushing\\n.popsection");
void pushing(void);
volatile int64_t divisor = -7;
static __attribute__((noinline)) int64_t deep(int64_t a) {{
  volatile uint8_t room[80];
  memset((void *)room, 3, sizeof room);
  pushing();
  return a / divisor + room[5];
}}
int32_t run(void);
int32_t run(void) {{ return (int32_t)(deep(-700000000000) + deep(9)); }}
"""
    if not arm:
        text = text.replace(".syntax unified\\n", "")
    image = build_image(board, [Source(name="run.c", text=text)], entries=["run"])
    with connect(board) as session:
        session.load(image)
        session.call("run")
        used = session.stack_used()
    assert image.worst_stack("pushing").bytes == (20 if arm else 48)
    assert 80 < used <= image.worst_stack("run").bytes < used + 150
