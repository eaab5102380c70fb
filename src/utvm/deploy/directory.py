"""Writing a directory that may exist: nothing of others is touched, and what is there stays whole until all is written.

`.utvm-export.json` in the directory says which files were written, with their SHA-256. By it a later export knows what
it may replace, and which files of another format it has to remove.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from utvm.deploy.manifest import MANIFEST_FILE
from utvm.deploy.replacing import UNFINISHED, DirectoryError, replace_files

RECORD = ".utvm-export.json"
COMPILED = ".utvm-compile.json"
_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """What an earlier export wrote: whose files, and the SHA-256 of each by its path in the directory."""

    owner: str
    files: Mapping[str, str]


def write_directory(
    directory: Path, contents: Mapping[str, bytes], *, owner: str, force: bool = False
) -> tuple[Path, ...]:
    """Write files into a directory, made if missing, and return their paths.

    All files are replaced in one step, see `replace_files`. Then those are removed that an earlier export of `owner`
    left and this one does not have.

    Args:
        directory: where to.
        contents: files by their paths in the directory.
        owner: the name of what is exported.
        force: whether to replace files that are not known to be ours, or that were edited.

    Raises:
        DirectoryError: there are files that no export of `owner` wrote, or one can't be written or removed. The message
            says what has changed.
    """
    check_directory(directory, contents, owner=owner, force=force)
    record = _read_record(directory)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    every = {**contents, RECORD: _record_text(owner, digests)}
    replace_files(directory, every)
    if record is not None and record.owner == owner:
        _remove_leftovers(directory, record, set(every))
    return tuple(directory / file for file in contents)


def write_beside(directory: Path, contents: Mapping[str, bytes], *, force: bool = False) -> tuple[Path, ...]:
    """Write files into a directory, made if missing, beside those of others, and return their paths.

    `.utvm-compile.json` says which files were written so; no others are replaced, unless they hold the same bytes.

    Args:
        directory: where to.
        contents: files by their paths in the directory.
        force: whether to replace files that were not written so, or that were edited.

    Raises:
        DirectoryError: files that are in the way are not ours, or one can't be written; nothing has changed.
    """
    _check_names(directory, contents)
    record = _read_record(directory, COMPILED)
    own = {} if record is None else dict(record.files)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    taken = [
        name
        for name, digest in digests.items()
        if os.path.lexists(directory / name) and _digest(directory / name) not in (digest, own.get(name))
    ]
    if taken and not force:
        raise DirectoryError(
            f"{directory} has files of these names that were not compiled or were changed since: {_listed(taken)}. "
            "Name another directory, or say --force to replace them"
        )
    replace_files(directory, {**contents, COMPILED: _record_text("", own | digests)})
    return tuple(directory / name for name in contents)


def check_directory(directory: Path, names: Mapping[str, bytes], *, owner: str, force: bool = False) -> None:
    """Refuse a directory that `write_directory` would refuse, before anything is built.

    Raises:
        DirectoryError: as `write_directory`. With `force`, only where a directory stands in a file's place.
    """
    _check_names(directory, names)
    if force or not directory.is_dir():
        return
    record = _read_record(directory)
    own = record.files if record is not None and record.owner == owner else {}
    present = _files(directory)
    foreign = [name for name in present if name not in own]
    edited = [name for name in present if name in own and _digest(directory / name) != own[name]]
    whose = "" if record is None or record.owner == owner else f" (the export of {record.owner})"
    if foreign and record is None and _is_old_export(directory):
        raise DirectoryError(
            f"{directory} has an export by an earlier version of µTVM, which kept no list: {_listed(foreign)}. "
            "Name an empty or new directory, or say --force to replace those of the same names and keep the others"
        )
    if foreign:
        raise DirectoryError(
            f"{directory} has files that are no export of {owner}{whose}: {_listed(foreign)}. "
            "Name an empty or new directory, or say --force to keep them and replace those of the same names"
        )
    if edited:
        raise DirectoryError(
            f"{directory} has files that were changed since their export: {_listed(edited)}. "
            "Keep your changes elsewhere and say --force to replace the files"
        )


def changed_files(directory: Path, sources: str) -> tuple[str, ...]:
    """Return the files of an export that are not as it wrote them, by their paths in it; none where it has no record.

    A model in a firmware of several has its folder; the record lies above it.

    Args:
        directory: the export's.
        sources: a pattern of further files, which a build would take; those that no export wrote are named too.
    """
    record, prefix = _read_record(directory), ""
    if record is None:
        record, prefix = _read_record(directory.resolve().parent), f"{directory.resolve().name}/"
    own = {} if record is None else {n.removeprefix(prefix): d for n, d in record.files.items() if n.startswith(prefix)}
    if not own:
        return ()
    changed = [n if (directory / n).exists() else f"{n} (missing)" for n in own if _digest(directory / n) != own[n]]
    found = [
        path.relative_to(directory).as_posix() for place in (".", "src") for path in (directory / place).glob(sources)
    ]
    return (*changed, *(f"{name} (added)" for name in sorted(found) if name not in own))


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _files(directory: Path) -> list[str]:
    """Return all files in a directory, by their paths in it, without our record and what an export left unfinished."""
    found = []
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        ours = name.parts[0].startswith(UNFINISHED) or name == Path(RECORD)
        if not ours and (path.is_symlink() or not path.is_dir()):
            found.append(name.as_posix())
    return found


def _check_names(directory: Path, names: Iterable[str]) -> None:
    if directory.exists() and not directory.is_dir():
        raise DirectoryError(f"{directory} is no directory: name another")
    for name in names:
        if (directory / name).is_dir():
            raise DirectoryError(f"{directory / name} is a directory: remove it, or name another place")


def _record_text(owner: str, files: Mapping[str, str]) -> bytes:
    return (json.dumps({"owner": owner, "files": files}, indent=2) + "\n").encode()


def _read_record(directory: Path, name: str = RECORD) -> _Record | None:
    try:
        values = json.loads((directory / name).read_text(encoding="utf-8"))
        owner, files = values["owner"], dict(values["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _Record(owner=str(owner), files=files)


def _is_old_export(directory: Path) -> bool:
    """Say whether a directory without a record has the manifest of an export."""
    try:
        values = json.loads((directory / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"format", "utvm", "model_sha256"} <= values.keys()


def _digest(path: Path) -> str | None:
    try:
        return None if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _remove_leftovers(directory: Path, record: _Record, kept: set[str]) -> None:
    """Remove files of an earlier export as they were written, the directories they leave empty, and unfinished ones."""
    root = directory.resolve()
    for name, digest in record.files.items():
        path = directory / name
        if name in kept or root not in path.resolve().parents or _digest(path) != digest:
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DirectoryError(
                f"all files are written, but {path} of the earlier export can't be removed: {error.strerror}; remove it"
            ) from error
        for parent in path.parents:
            if parent == directory or any(parent.iterdir()):
                break
            parent.rmdir()
    for left in directory.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)
