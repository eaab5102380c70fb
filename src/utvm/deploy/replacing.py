"""Replacing several files of a directory in one step: all of them are new, or all are as they were."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from utvm.errors import UtvmError

UNFINISHED = ".utvm-new-"
"""How the names of folders begin that hold files before they replace old ones."""


class DirectoryError(UtvmError):
    """A directory that an export may not write to, or can't."""


def replace_files(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a directory, made if missing; where one can't be written, all are put back.

    New files are written to a folder on the same file system first. Old ones are kept there until the last rename
    succeeded. A file is replaced by a rename, so that its name never leads to half of a file.

    Args:
        directory: where to.
        contents: files by their paths in the directory.

    Raises:
        DirectoryError: one can't be written. The message says whether all is as it was.
    """
    made = _missing([directory])
    try:
        directory.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=directory))
    except OSError as error:
        _remove_empty(made)
        raise _unchanged(directory, error) from error
    try:
        _replace(directory, contents, work)
    except BaseException:
        # What could not be put back is still in that folder.
        if not (work / "old").is_dir():
            shutil.rmtree(work, ignore_errors=True)
            _remove_empty(made)
        raise
    shutil.rmtree(work, ignore_errors=True)


def _replace(directory: Path, contents: Mapping[str, bytes], work: Path) -> None:
    made = _missing([(directory / name).parent for name in contents])
    begun: list[str] = []
    try:
        for name, data in contents.items():
            _parent_of(work / "new" / name).write_bytes(data)
        for name in contents:
            if os.path.lexists(directory / name):
                _keep(directory / name, _parent_of(work / "old" / name))
        for name in contents:
            begun.append(name)
            (work / "new" / name).replace(_parent_of(directory / name))
    except BaseException as error:
        _put_back(directory, begun, work, error)
        shutil.rmtree(work / "old", ignore_errors=True)
        _remove_empty(made)
        if isinstance(error, OSError):
            raise _unchanged(directory, error) from error
        raise


def _put_back(directory: Path, begun: Sequence[str], work: Path, cause: BaseException) -> None:
    """Undo renames, the last first.

    Raises:
        DirectoryError: a file can't be put back; the message names those that are new and where the old ones are.
    """
    lost = []
    for name in reversed(begun):
        if (work / "new" / name).exists():
            continue
        try:
            if os.path.lexists(work / "old" / name):
                (work / "old" / name).replace(directory / name)
            else:
                (directory / name).unlink(missing_ok=True)
        except OSError:
            lost.append(name)
    if lost:
        why = cause.strerror if isinstance(cause, OSError) else "interrupted"
        kept = work / "old"
        where = f"The old ones are in {kept}: move them back, or export" if kept.is_dir() else "Remove them, or export"
        raise DirectoryError(
            f"{directory} can't be written: {why}; {', '.join(lost)} could not be put back, all others are as they "
            f"were. {where} again with --force"
        ) from cause


def _keep(path: Path, copy: Path) -> None:
    """Keep a file under a second name; file systems without hard links take a copy."""
    try:
        os.link(path, copy, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(path, copy, follow_symlinks=False)


def _parent_of(path: Path) -> Path:
    """Make the directory that a path lies in; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _unchanged(directory: Path, error: OSError) -> DirectoryError:
    return DirectoryError(f"{directory} can't be written: {error.strerror}; what was there is unchanged")


def _missing(directories: Iterable[Path]) -> list[Path]:
    """Return the directories and those above them that do not exist, the deepest first."""
    every = {above for path in directories for above in (path, *path.parents) if not above.exists()}
    return sorted(every, key=lambda path: len(path.parts), reverse=True)


def _remove_empty(directories: Iterable[Path]) -> None:
    for path in directories:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
