"""A directory of build results by content. Writes are atomic, so any number of processes may share it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

MAX_BYTES = 512 * 1024 * 1024


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


class Cache:
    """Files by key. The least recently used go when the total exceeds `MAX_BYTES`."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or default_cache_directory()
        self.directory.mkdir(parents=True, exist_ok=True)

    def path(self, key: str, suffix: str) -> Path:
        """Return where the result of a key is or will be."""
        return self.directory / key[:2] / f"{key}{suffix}"

    def find(self, key: str, suffix: str) -> Path | None:
        """Return the file of a key if it is there, and mark it as used."""
        path = self.path(key, suffix)
        try:
            if path.stat().st_size == 0:
                return None
            os.utime(path)
        except OSError:
            return None
        return path

    def store(self, key: str, suffix: str, made: Path) -> Path:
        """Move a finished file into the cache and return its place."""
        target = self.path(key, suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)
        return target

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Return a temporary directory on the cache's file system."""
        return tempfile.TemporaryDirectory(prefix="build-", dir=self.directory)

    def prune(self, limit: int = MAX_BYTES) -> None:
        """Delete the least recently used files until at most `limit` bytes are left."""
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
