"""C of one's own on a board, without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from utvm.api.assembling import as_board
from utvm.arguments import checked_arguments
from utvm.boards import Board, require_trust
from utvm.device import build_image
from utvm.errors import UtvmError
from utvm.toolchain import Image, Source

_FLAGS = ("-std=gnu11", "-w", "-Wno-error", "-I.")
LIBRARIES = ("-lm", "-lc")
"""What code of others may call."""

Sources = str | Path | Sequence[str | Path] | Mapping[str, str]
"""Paths of files and of folders of headers, or texts by file name."""


@checked_arguments
def build_c(
    board: str | Path | Board,
    sources: Sources,
    *,
    entry: str | Sequence[str],
    optimize: str = "-O3",
    flags: Sequence[str] = (),
) -> Image:
    """Compile and link C of one's own for a board; `session.load` and `session.measure` take the image.

    Code may use the C library's functions that need no operating system, such as `expf`.

    Args:
        board: a board's name, the path of its TOML, or the board.
        sources: paths of .c, .S and .h files and of folders, all headers of which are known by their paths within;
            or texts by file name.
        entry: the functions that are to be called; what they don't reach is left out.
        optimize: GCC's level.
        flags: further compiler options, such as "-DFAST=1". Folders of headers belong to `sources`.

    Raises:
        UtvmError: a file can't be read or compiled, a function is not there, or the image does not fit the board.

    Example:
        image = utvm.build_c("qemu-cortex-m7", {"twice.c": "int twice(int x) { return 2 * x; }"}, entry="twice")
    """
    target = as_board(board)
    require_trust(target)
    entries = [entry] if isinstance(entry, str) else list(entry)
    if not entries:
        raise UtvmError("no function is to be called: give entry='its name'")
    files = _files(sources)
    image = build_image(
        target, files, entries=entries, optimize=optimize, extra_flags=(*_FLAGS, *flags), libraries=LIBRARIES
    )
    # The linker lists a function that it was asked for, there or not.
    absent = [name for name in entries if name not in image.symbols or not image.symbols[name].is_function]
    if absent:
        names = ", ".join(source.name for source in files if not source.is_header)
        if not names:
            raise UtvmError("there is no C to compile: name .c or .S files; of a folder only its headers are taken")
        raise UtvmError(f"no function '{absent[0]}' in {names}: it is misspelt, or static")
    return image


def _files(sources: Sources) -> list[Source]:
    if isinstance(sources, Mapping):
        return [Source(name=str(name), text=text) for name, text in sources.items()]
    if isinstance(sources, str | Path):
        sources = [sources]
    if not isinstance(sources, Sequence):
        raise UtvmError(f"a {type(sources).__name__} is no source: give paths of C files, or texts by file name")
    found: list[Source] = []
    for path in map(Path, sources):
        if path.is_dir():
            headers = sorted(path.rglob("*.h"))
            found += [Source(name=header.relative_to(path).as_posix(), text=_text(header)) for header in headers]
        else:
            found.append(Source(name=path.name, text=_text(path)))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UtvmError(f"{path} can't be read: {error.strerror}") from error
