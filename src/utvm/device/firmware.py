"""Image of a board: on-target start-up and somebody's sources, laid out in the board's memories."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from importlib.resources import files

from utvm.boards import Board, Memory, Placement
from utvm.device.frame import FRAME_SYMBOL, INVOKE_SYMBOL
from utvm.device.startup import startup_sources
from utvm.toolchain import Image, LinkLayout, MemoryOverflowError, Region, Source, Toolchain

START_SYMBOL = "utvm_start"
RETURN_SYMBOL = "utvm_return"
TRAP_SYMBOL = "utvm_trap"
CHECKSUM_SYMBOL = "utvm_checksum"
FILL_SYMBOL = "utvm_fill"
SYSTICK_TURNS_SYMBOL = "utvm_systick_turns"
MEASURED_SYMBOL = "utvm_measured"
"""RISC-V only: calls the function at t0 and counts."""

_ENTRIES = (START_SYMBOL, RETURN_SYMBOL, TRAP_SYMBOL, CHECKSUM_SYMBOL, FILL_SYMBOL)


def build_image(
    board: Board,
    sources: Sequence[Source],
    *,
    entries: Sequence[str],
    optimize: str = "-O3",
    extra_flags: tuple[str, ...] = (),
    libraries: tuple[str, ...] = (),
) -> Image:
    """Build sources together with the start-up code for a board. `entries` are the functions to be called.

    They go to the first of the board's placements that holds them: RAM alone if it is enough, else constants in flash.
    `libraries` are linker options such as "-lm".

    Raises:
        MemoryOverflowError: no placement holds them; the message says by how many bytes the last is too small.
        ToolchainError: the compiler is missing or refused a file.
    """
    toolchain = Toolchain(
        prefix=board.core.tool_prefix,
        machine_flags=board.core.cflags,
        specs=board.core.isa.specs,
        optimize=optimize,
        extra_flags=extra_flags,
        libraries=libraries,
    )
    return first_that_fits(board.placements, lambda placement: _build(toolchain, board, placement, sources, entries))


def first_that_fits(placements: Sequence[Placement], build: Callable[[Placement], Image]) -> Image:
    """Return the image for the first of some placements that holds it.

    Raises:
        MemoryOverflowError: none does; the message is the last one's.
    """
    *others, last = placements
    for placement in others:
        with contextlib.suppress(MemoryOverflowError):
            return build(placement)
    return build(last)


def is_wired(board: Board) -> bool:
    """Return whether the board's debug link has wires that may garble data, unlike an emulator's."""
    return board.emulator is None


def _build(
    toolchain: Toolchain, board: Board, placement: Placement, sources: Sequence[Source], entries: Sequence[str]
) -> Image:
    every = [*runtime_sources(board, placement), *sources]
    ours = (*_ENTRIES, INVOKE_SYMBOL, FRAME_SYMBOL) if is_wired(board) else _ENTRIES
    return toolchain.build(every, board_layout(board, placement), entries=[*ours, *entries])


def board_layout(board: Board, placement: Placement, *, boots: bool = False) -> LinkLayout:
    """Return where the linker puts what on a board; `boots` is for programs that start by themselves."""
    return LinkLayout(
        code=_region(placement.code, boots),
        constants=_region(placement.constants, boots),
        data=_region(placement.data, boots),
        stack_bytes=board.stack_bytes,
        boots=boots,
    )


def runtime_sources(board: Board, placement: Placement, *, boots: bool = False) -> tuple[Source, ...]:
    """Return the on-target start-up of a board's core and clock; `boots` is for programs that start by themselves."""
    folder = files("utvm.device") / "runtime"
    isa = board.core.isa
    call = ("call.c",) if is_wired(board) and not boots else ()
    names = (f"{isa.name}.c", *isa.helpers, "memory.c", *call)
    fixed = tuple(Source(name=f"utvm_{name}", text=(folder / name).read_text(encoding="utf-8")) for name in names)
    return (*startup_sources(board, placement, boots=boots), *fixed)


def _region(memory: Memory, boots: bool) -> Region:
    """Return what of a memory the linker may fill: a program that boots owns all of it."""
    kept = 0 if boots else memory.kept
    return Region(name=memory.name, origin=memory.origin + kept, length=memory.length - kept)
