"""Where boards' files are: in the package, in the user's directory, or at a path."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from utvm.boards.board import Board, BoardError
from utvm.boards.load import parse_board

_SHIPPED_FOLDER = Path(str(files("utvm.boards")))


def user_directory() -> Path:
    """Return $UTVM_BOARDS, or `utvm/boards` below the user's configuration directory."""
    chosen = os.environ.get("UTVM_BOARDS")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "utvm" / "boards"


def load_board(name: str | Path, *, trust: bool = False) -> Board:
    """Return a board by name, or from the TOML file at a path.

    A name is one of the package's boards, or of a file in `user_directory`.

    Args:
        name: the name or the path.
        trust: whether a file that lies elsewhere may name programs, which connecting to its board runs.

    Raises:
        BoardError: there is no such board, or its file has problems; all are listed.
    """
    text = str(name)
    if isinstance(name, Path) or text.endswith(".toml"):
        path = Path(name)
        board = _read(path)
        return board if trust or _is_ours(path) else replace(board, untrusted=path)
    shipped, own = _names(_SHIPPED_FOLDER), _names(user_directory())
    found = shipped.get(text) or own.get(text)
    if found is None:
        known = ", ".join([*shipped, *own])
        raise BoardError(
            f"no board is named '{text}'; known: {known} (or give the path of a file: `utvm boards add` writes one)"
        )
    return _read(found)


def list_boards() -> tuple[Board, ...]:
    """Return all boards that come with the package, by name."""
    return tuple(_read(path) for path in _names(_SHIPPED_FOLDER).values())


def user_boards() -> tuple[Board, ...]:
    """Return the boards in the user's directory, by name.

    Raises:
        BoardError: the first file with problems.
    """
    return tuple(_read(path) for path in _names(user_directory()).values())


def _is_ours(path: Path) -> bool:
    """Tell whether a file lies among the package's boards or in `user_directory`."""
    return path.resolve().parent in (_SHIPPED_FOLDER.resolve(), user_directory().resolve())


def _names(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.toml"), key=lambda path: path.name)}


def _read(path: Path) -> Board:
    try:
        return parse_board(path.stem, path.read_text(encoding="utf-8"), folder=path.resolve().parent)
    except OSError as error:
        raise BoardError(f"the board file {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BoardError(f"the board file {path} is not UTF-8 text") from error
