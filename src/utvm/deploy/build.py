"""Building an export's files as its user will: warnings are errors, and what the model adds to a program is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from utvm.boards import Board
from utvm.codegen import RESET_MODEL_SYMBOL, RUN_SYMBOL
from utvm.deploy.manifest import LinkedSize
from utvm.device import build_image
from utvm.toolchain import Image, Source

PEDANTIC = ("-pedantic",)
_NOTHING = Source(
    name="utvm_nothing.c",
    text=f"#include <stdint.h>\n\nint32_t {RUN_SYMBOL}(void);\n\nint32_t {RUN_SYMBOL}(void) {{\n  return 0;\n}}\n",
)


def shipping(board: Board) -> Board:
    """Return the board as a product uses it: kernels are chosen for caches in front of what its firmware is in, and the
    memories of firmware are further places for images that RAM does not hold."""
    further = tuple(place for place in board.firmware if place not in board.placements)
    if not further:
        return board
    core = board.core
    if board.memory_model is not None:
        core = replace(core, caches=board.memory_model.caches(further[0].code.kind))
    return replace(board, core=core, placements=(*board.placements, *further))


def library_flags(board: Board) -> tuple[str, ...]:
    """Return the options, beside the core's, that a library is built with."""
    return (*PEDANTIC, *board.core.feature_flags)


def library_image(
    board: Board,
    files: Mapping[str, str],
    harness: str,
    *,
    optimize: str = "-O3",
    flags: Sequence[str] = (),
    states: bool = False,
) -> Image:
    """Return the image of a board with the library and a harness that calls it, with `states` to reset it too.

    Raises:
        ToolchainError: the compiler is missing or refuses a file, or the image does not fit the board.
    """
    sources = [Source(name=name, text=text) for name, text in files.items() if name.endswith((".c", ".h"))]
    sources.append(Source(name="utvm_harness.c", text=harness))
    return build_image(
        board,
        sources,
        entries=[RUN_SYMBOL, *([RESET_MODEL_SYMBOL] if states else [])],
        optimize=optimize,
        extra_flags=(*library_flags(board), *flags),
    )


def empty_image(board: Board, optimize: str) -> Image:
    """Return an image that has nothing but our start-up."""
    return build_image(board, [_NOTHING], entries=[RUN_SYMBOL], optimize=optimize, extra_flags=PEDANTIC)


def count_build(board: Board, name: str, image: Image, *, optimize: str) -> LinkedSize:
    """Return what the library adds to a program: an image with it against one without."""
    empty = empty_image(board, optimize)
    bound = image.worst_stack(f"{name}_run")
    return LinkedSize(
        optimize=optimize,
        code_bytes=image.code_bytes - empty.code_bytes,
        constant_bytes=image.constant_bytes - empty.constant_bytes,
        data_bytes=image.data_bytes - empty.data_bytes,
        stack_bytes=bound.bytes,
        stack_chain=bound.chain,
    )
