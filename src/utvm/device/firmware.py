"""Image of a board: on-target start-up and somebody's sources, laid out in the board's memories."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from utvm.boards import Board, Memory
from utvm.toolchain import Image, Layout, Region, Source, Toolchain

START_SYMBOL = "utvm_start"
RETURN_SYMBOL = "utvm_return"
TRAP_SYMBOL = "utvm_trap"
CHECKSUM_SYMBOL = "utvm_checksum"


_ENTRIES = (START_SYMBOL, RETURN_SYMBOL, TRAP_SYMBOL, CHECKSUM_SYMBOL)


def build_image(
    board: Board,
    sources: Sequence[Source],
    *,
    entries: Sequence[str],
    optimize: str = "-O3",
    extra_flags: tuple[str, ...] = (),
) -> Image:
    """Build sources together with the start-up code for a board's RAM. `entries` are the functions to be called.

    Raises:
        MemoryOverflowError: they do not fit; the message says by how many bytes.
        ToolchainError: the compiler is missing or refused a file.
    """
    toolchain = Toolchain(
        prefix=board.core.tool_prefix, machine_flags=board.core.cflags, optimize=optimize, extra_flags=extra_flags
    )
    return toolchain.build([*runtime_sources(board), *sources], board_layout(board), entries=[*_ENTRIES, *entries])


def board_layout(board: Board) -> Layout:
    """Return where the linker puts what on a board."""
    return Layout(
        code=_region(board.code),
        constants=_region(board.constants),
        data=_region(board.data),
        stack_bytes=board.stack_bytes,
    )


def runtime_sources(board: Board) -> tuple[Source, ...]:
    """Return the on-target start-up of a board's core."""
    folder = files("utvm.device") / "runtime"
    names = (f"{board.core.isa}.c", "memory.c")
    return tuple(Source(name=f"utvm_{name}", text=(folder / name).read_text(encoding="utf-8")) for name in names)


def _region(memory: Memory) -> Region:
    return Region(name=memory.name, origin=memory.origin, length=memory.length)
