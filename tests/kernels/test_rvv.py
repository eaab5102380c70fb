"""Kernels for the vector extension of RISC-V: drawn operators and configs, exact for registers of every size."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.support import LONG_ROWS, Case, check, long_softmax
from tests.kernels.vector_cases import cases
from tests.support.cases import drawn
from tests.support.guarded import run_guarded, with_free_ends
from tests.support.target import FIRST_SYMBOL, run_programs
from utvm.bench import layer_graph
from utvm.boards import Board, load_board
from utvm.device import GdbRemoteLink, Session
from utvm.emulators import QemuTarget
from utvm.graph import DepthwiseConv2D, Graph, Padding
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.kernels import KernelFamily
from utvm.kernels.rvv import (
    RvvAcross,
    RvvAveragePool2D,
    RvvBatchMatMul,
    RvvBinary,
    RvvDepthwise,
    RvvLookup,
    RvvMaxPool2D,
    RvvMean,
    RvvMove,
    RvvProduct,
    RvvResizeBilinear,
    RvvSoftmax,
)
from utvm.lowering import Options, lower
from utvm.toolchain import Source, default_cache_directory

WEIGHTED = [("Conv2D", RvvProduct()), ("FullyConnected", RvvProduct()), ("DepthwiseConv2D", RvvDepthwise())]
DRAWN = [
    *WEIGHTED,
    ("Conv2D", RvvAcross()),
    *((kind, RvvBinary()) for kind in ("Add", "Sub", "Mul")),
    ("MaxPool2D", RvvMaxPool2D()),
    ("AveragePool2D", RvvAveragePool2D()),
    ("Mean", RvvMean()),
    ("Logistic", RvvLookup()),
    ("Softmax", RvvSoftmax()),
    ("ResizeBilinear", RvvResizeBilinear()),
]
MOVED = [
    (kind, RvvMove())
    for kind in ("Transpose", "StridedSlice", "Pad", "Concatenation", "SpaceToBatch", "ResizeNearestNeighbor")
]
WIDE = [*MOVED, ("BatchMatMul", RvvBatchMatMul()), ("ResizeBilinear", RvvResizeBilinear())]
CORE = load_board("qemu-riscv32v").core
SIZES = (64, 128, 256, 512)


def board_of(bits: int) -> Board:
    """Return the emulated board with vector registers of so many bits."""
    board = load_board("qemu-riscv32v")
    assert board.emulator is not None
    arguments = tuple(argument.replace("vlen=128", f"vlen={bits}") for argument in board.emulator.arguments)
    return replace(board, emulator=replace(board.emulator, arguments=arguments))


@pytest.fixture(scope="module", params=SIZES)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    board = board_of(request.param)
    with Session(board, QemuTarget(board, cache_directory=default_cache_directory()), GdbRemoteLink) as opened:
        yield opened


@pytest.mark.parametrize(("kind", "family"), DRAWN)
def test_bit_exact_on_drawn_layers(session: Session, kind: str, family: KernelFamily) -> None:
    check(session, drawn(cases(kind, family, CORE), 1 / 2), everywhere=True)


@pytest.mark.parametrize(("kind", "family"), [*WEIGHTED, *WIDE])
def test_bit_exact_on_drawn_wide_layers(session: Session, kind: str, family: KernelFamily) -> None:
    check(session, drawn(cases(kind, family, CORE, wide=True), 1 / 4), everywhere=True)


def test_softmax_of_long_rows(session: Session) -> None:
    check(session, [Case(graph, RvvSoftmax(), {}, inputs) for graph, inputs in map(long_softmax, LONG_ROWS)])


def test_one_macro_beside_the_base_set_compiles_vectors(tmp_path: Path) -> None:
    """As docs say: the compiler need not know the extension, nor control registers."""
    graph = layer_graph("conv_5x3x36_40_k1")
    assert graph is not None
    for name, text in lower(graph, CORE).render().items():
        (tmp_path / name).write_text(text)
    for unit in sorted(path.name for path in tmp_path.glob("*.c")):
        flags = ["-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs", "-DUTVM_ZVE32X"]
        flags += ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-c", unit, "-o", f"{unit}.o"]
        subprocess.run([f"{CORE.tool_prefix}gcc", *flags], cwd=tmp_path, check=True)


@pytest.mark.parametrize("layer", ["conv_9x1x20_20_k1", "conv_7x2x40_36_k1", "conv_5x3x36_40_k1"])
def test_blocks_of_pixels_over_several_rows_may_overwrite_their_input(session: Session, layer: str) -> None:
    graph = layer_graph(layer)
    assert graph is not None
    (op,) = graph.operators
    family, core = RvvProduct(), session.board.core
    inputs = [random_input(graph.inputs[0], 0)]
    configs = [{"m": m, "group": size} for m in range(1, 7) for size in (4, 8)]
    check(
        session,
        [Case(graph, family, config, inputs) for config in configs if family.legal(op, core, config)],
        everywhere=True,
    )


def test_windows_without_a_tap_inside_are_biases(session: Session) -> None:
    graph = layer_graph("dw_5x4x10")
    assert graph is not None
    (op,) = graph.operators
    assert isinstance(op, DepthwiseConv2D)
    shape = (1, 5 + 13 - 2, 4 + 12 - 2, 10)
    op = replace(op, padding=Padding(top=6, bottom=7, left=7, right=5), y=replace(op.y, shape=shape))
    graph = Graph(name="far", operators=(op,), inputs=graph.inputs, outputs=op.outputs)
    inputs = [random_input(graph.inputs[0], 0)]
    check(session, [Case(graph, RvvDepthwise(), {"m": m}, inputs) for m in (1, 3)], everywhere=True)


@pytest.mark.parametrize(("kind", "family"), [*DRAWN, *WIDE])
def test_nothing_behind_operands_is_touched(
    guarded: tuple[Session, QemuTarget], kind: str, family: KernelFamily
) -> None:
    """With each operand at the very end of memory: an access behind it faults."""
    session, target = guarded
    found = drawn(cases(kind, family, CORE, wide=(kind, family) in WIDE), 1 / 4)
    programs = [
        lower(case.graph, session.board.core, Options(choices={"op": (case.family, case.config)})) for case in found
    ]
    outputs = run_guarded(session, target, programs, [case.inputs for case in found])
    for case, got in zip(found, outputs, strict=True):
        (wanted,) = evaluate(case.graph, case.inputs).values()
        np.testing.assert_array_equal(got, wanted, err_msg=f"{case.config}\n{case.graph}")


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[Session, QemuTarget]]:
    """A session whose data memory ends where the machine's memory does."""
    board = board_of(128)
    (memory,) = board.memories
    (placement,) = board.placements
    code = replace(memory, name="code")
    data = replace(memory, name="data", origin=memory.origin + memory.length)
    placement = replace(placement, code=code, constants=data, data=data)
    board = with_free_ends(replace(board, memories=(code, data), placements=(placement,)))
    target = QemuTarget(board, cache_directory=default_cache_directory())
    with Session(board, target, GdbRemoteLink) as opened:
        yield opened, target


_INTERRUPTS = Source(
    name="interrupts.c",
    text=rf"""#include <stdint.h>
void {FIRST_SYMBOL}(void);
void test_handler(void);
volatile uint32_t test_ticks;
uint8_t test_vectors[32 * 64];
/* SiFive's CLINT, as QEMU's virt machine has it: mtimecmp at 0x2004000, mtime at 0x200bff8, 10 MHz. */
void {FIRST_SYMBOL}(void) {{
  __asm__ volatile("csrw mtvec, %0" : : "r"(test_handler));
  *(volatile uint32_t *)0x02004004u = 0;
  *(volatile uint32_t *)0x02004000u = 0;
  __asm__ volatile("csrs mie, %0" : : "r"(1u << 7));
  __asm__ volatile("csrsi mstatus, 8");
}}
/* Keeps what a handler that uses vectors must keep, overwrites all of it, and asks for the next interrupt in 20 us. */
__asm__(
  ".text\n.balign 4\n.globl test_handler\n.type test_handler, @function\ntest_handler:\n"
  ".option push\n.option arch, +zve32x\n"
  "addi sp, sp, -32\nsw t0, 0(sp)\nsw t1, 4(sp)\nsw t2, 8(sp)\n"
  "csrr t0, vstart\nsw t0, 12(sp)\ncsrr t0, vl\nsw t0, 16(sp)\n"
  "csrr t0, vtype\nsw t0, 20(sp)\ncsrr t0, vcsr\nsw t0, 24(sp)\n"
  "la t0, test_vectors\ncsrr t1, vlenb\nslli t1, t1, 3\n"
  "vs8r.v v0, (t0)\nadd t0, t0, t1\nvs8r.v v8, (t0)\nadd t0, t0, t1\n"
  "vs8r.v v16, (t0)\nadd t0, t0, t1\nvs8r.v v24, (t0)\n"
  "vsetvli t2, x0, e8, m8, ta, ma\ncsrwi vcsr, 5\n"
  "vmv.v.i v0, -1\nvmv.v.i v8, -1\nvmv.v.i v16, -1\nvmv.v.i v24, -1\n"
  "la t0, test_ticks\nlw t1, 0(t0)\naddi t1, t1, 1\nsw t1, 0(t0)\n"
  "li t0, 0x0200bff8\nlw t1, 0(t0)\naddi t1, t1, 200\nli t0, 0x02004000\nsw t1, 0(t0)\n"
  "la t0, test_vectors\ncsrr t1, vlenb\nslli t1, t1, 3\n"
  "vl8re8.v v0, (t0)\nadd t0, t0, t1\nvl8re8.v v8, (t0)\nadd t0, t0, t1\n"
  "vl8re8.v v16, (t0)\nadd t0, t0, t1\nvl8re8.v v24, (t0)\n"
  "lw t0, 16(sp)\nlw t1, 20(sp)\nvsetvl x0, t0, t1\n"
  "lw t0, 24(sp)\ncsrw vcsr, t0\nlw t0, 12(sp)\ncsrw vstart, t0\n"
  "lw t0, 0(sp)\nlw t1, 4(sp)\nlw t2, 8(sp)\naddi sp, sp, 32\nmret\n"
  ".option pop\n");
""",
)


def test_interrupts_that_use_vectors_change_nothing() -> None:
    """A timer interrupts kernels of all families; its handler keeps registers, vl, vtype, vstart and the rounding.

    The programs take several images: each load ends the interrupts of the image before.
    """
    kinds = [*((*each, False) for each in DRAWN), *((*each, True) for each in WIDE)]
    found = [case for kind, family, wide in kinds for case in drawn(cases(kind, family, CORE, wide=wide), 1 / 8)]
    for layer, family in (("conv_16x16x32_32_k3", RvvProduct()), ("dw_16x16x64", RvvDepthwise())):
        graph = layer_graph(layer)
        assert graph is not None
        config = family.default(graph.operators[0], CORE)
        found.append(Case(graph, family, config, [random_input(graph.inputs[0], 0)]))
    programs = [lower(c.graph, CORE, Options(choices={c.graph.operators[0].name: (c.family, c.config)})) for c in found]
    board = board_of(128)
    with Session(board, QemuTarget(board, cache_directory=default_cache_directory()), GdbRemoteLink) as session:
        outputs = run_programs(session, programs, [case.inputs for case in found], first=_INTERRUPTS)
        ticks = int.from_bytes(session.read("test_ticks", 4), "little")
    for case, got in zip(found, outputs, strict=True):
        assert got is not None
        for value, wanted in zip(got, evaluate(case.graph, case.inputs).values(), strict=True):
            np.testing.assert_array_equal(value, wanted)
    assert ticks > len(found)
