"""A directory of build results by content. Writes are atomic, so any number of processes may share it."""

from __future__ import annotations

import contextlib
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
_DIGEST_LENGTH = 16


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

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Return a temporary directory on the cache's file system."""
        try:
            return tempfile.TemporaryDirectory(prefix="build-", dir=self.directory)
        except OSError as error:
            raise self._unusable(error) from error

    def prune(self, limit: int = MAX_BYTES) -> None:
        """Delete the least recently used files until at most `limit` bytes are left, and what dead builds left."""
        for folder in self.directory.glob("build-*"):
            with contextlib.suppress(OSError):
                if time.time() - folder.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
        entries = []
        for path in self.directory.glob("??/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= limit:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size

    def _held(self, key: str, suffix: str) -> list[Path]:
        folder = self._folder(key)
        with contextlib.suppress(OSError):
            return [p for p in folder.iterdir() if p.name.startswith(key) and p.name.endswith(suffix)]
        return []

    def _folder(self, key: str) -> Path:
        return self.directory / key[:2]

    def _unusable(self, error: OSError) -> CacheError:
        return CacheError(
            f"the cache {self.directory} can't be written ({error.strerror}): set UTVM_CACHE to a directory that can"
        )


def _name(key: str, suffix: str, content: Path) -> str:
    return f"{key}-{hashlib.sha256(content.read_bytes()).hexdigest()[:_DIGEST_LENGTH]}{suffix}"
