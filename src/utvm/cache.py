"""A directory of build results by content. Writes are atomic, so any number of processes may share it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from utvm.errors import UtvmError

MAX_BYTES = 512 * 1024 * 1024
_ABANDONED_SECONDS = 3600
_IN_USE_SECONDS = 600
"""So long after its last use another process may still read a file whose path it was given."""
_TIDY_SECONDS = 120
"""So long nobody prunes again: it looks at every file, and a large cache has tens of thousands."""
_DIGEST_LENGTH = 16
_PART = "build-"
"""How the name of what is being written begins: what a killed process left goes with the next `prune`."""
_STAMP = "pruned"
"""The file whose time says when somebody last began to prune."""


def default_cache_directory() -> Path:
    """Return $UTVM_CACHE, or `utvm` below the user's cache directory."""
    chosen = os.environ.get("UTVM_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "utvm"


def digest(parts: Iterable[str | bytes]) -> str:
    """Return a key for a sequence of texts; their borders count."""
    running = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        running.update(len(data).to_bytes(8, "little"))
        running.update(data)
    return running.hexdigest()


class CacheError(UtvmError):
    """The cache directory can't be used."""


class Cache:
    """Files by key. The least recently used go when the total exceeds `MAX_BYTES`.

    Another process may delete a file at any time: read through `take`, or soon after `find` and `store`.
    The name of a file holds the digest of its content, so that one that was cut short or changed is found out.

    Raises:
        CacheError: the directory can't be made or written.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_cache_directory()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def find(self, key: str, suffix: str) -> Path | None:
        """Return the file of a key if it is there and whole, and mark it as used. A damaged one is deleted."""
        for path in self._held(key, suffix):
            with contextlib.suppress(OSError):
                if path.name == _name(key, suffix, path):
                    os.utime(path)
                    return path
                path.unlink()
        return None

    def store(self, key: str, suffix: str, made: Path) -> Path:
        """Move a finished file into the cache and return its place."""
        target = self._folder(key) / _name(key, suffix, made)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.replace(target)
        except OSError as error:
            raise self._unusable(error) from error
        return target

    def store_bytes(self, key: str, suffix: str, content: bytes) -> Path:
        """Write a file of the cache, whole or not at all, and return its place."""
        part = self.directory / f"{_PART}{os.urandom(8).hex()}"
        try:
            part.write_bytes(content)
            return self.store(key, suffix, part)
        except OSError as error:
            raise self._unusable(error) from error
        finally:
            part.unlink(missing_ok=True)

    def take(self, key: str, suffix: str, to: Path) -> bool:
        """Make the file of a key appear in `scratch` at `to`, where nobody deletes it; tell whether it was there."""
        found = self.find(key, suffix)
        return found is not None and _twin(found, to)

    def share(self, key: str, suffix: str, made: Path) -> Path:
        """Store a finished file, leave it where it is too, and return its place in the cache."""
        twin = made.with_name(f"{made.name}.twin")
        if not _twin(made, twin):
            raise self._unusable(FileNotFoundError(errno.ENOENT, "a file of a build vanished"))
        return self.store(key, suffix, twin)

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Return a temporary directory on the cache's file system."""
        try:
            return tempfile.TemporaryDirectory(prefix=_PART, dir=self.directory)
        except OSError as error:
            raise self._unusable(error) from error

    def tidy(self) -> None:
        """Prune, unless somebody began to within the last minutes."""
        stamp = self.directory / _STAMP
        with contextlib.suppress(OSError):
            if abs(time.time() - stamp.stat().st_mtime) <= _TIDY_SECONDS:
                return
        with contextlib.suppress(OSError):
            stamp.touch()
        self.prune()

    def prune(self, limit: int = MAX_BYTES) -> None:
        """Delete the least recently used files until at most `limit` bytes are left, and what dead builds left.

        Files that were used within the last minutes stay: their paths are in use.
        """
        for left in self.directory.glob(f"{_PART}*"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime <= _ABANDONED_SECONDS:
                    continue
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink()
        entries = []
        for path in self.directory.glob("??/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        spared = time.time() - _IN_USE_SECONDS
        for used, size, path in sorted(entries):
            if total <= limit or used > spared:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size

    def _held(self, key: str, suffix: str) -> list[Path]:
        """Return the files of a key, the latest first: what is known of one thing may grow."""
        folder = self._folder(key)
        with contextlib.suppress(OSError):
            held = [p for p in folder.iterdir() if p.name.startswith(key) and p.name.endswith(suffix)]
            return sorted(held, key=lambda p: p.stat().st_mtime_ns, reverse=True) if len(held) > 1 else held
        return []

    def _folder(self, key: str) -> Path:
        return self.directory / key[:2]

    def _unusable(self, error: OSError) -> CacheError:
        return CacheError(
            f"the cache {self.directory} can't be written ({error.strerror}): set UTVM_CACHE to a directory that can"
        )


def _twin(file: Path, to: Path) -> bool:
    """Make a file appear at a second path, and tell whether it was there."""
    to.unlink(missing_ok=True)
    try:
        os.link(file, to)
    except FileNotFoundError:
        return False
    except OSError:  # a file system without hard links
        try:
            shutil.copy2(file, to)
        except FileNotFoundError:
            return False
    return True


def _name(key: str, suffix: str, content: Path) -> str:
    return f"{key}-{hashlib.sha256(content.read_bytes()).hexdigest()[:_DIGEST_LENGTH]}{suffix}"
