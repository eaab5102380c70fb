"""Programs that we start: each has a private directory, keeps what it said, and never outlives us."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_POLITE_SECONDS = 2.0
_LIBC = ctypes.CDLL(None, use_errno=True)


class ChildProcess:
    """A program that ends with `stop`, with this object, or with Python, even a Python that is killed.

    Args:
        name: what people call it.
        prefix: how its directory's name begins.

    Attributes:
        directory: its private directory, removed with it.
        log: the file that holds what it said.
    """

    def __init__(self, name: str, *, prefix: str) -> None:
        self._name = name
        self.directory = Path(tempfile.mkdtemp(prefix=prefix))
        self.log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer = weakref.finalize(self, _clean_up, None, self.directory)

    def start(self, command: Sequence[str]) -> None:
        """Run a command, once.

        Raises:
            OSError: there is no such program.
        """
        _spawner.submit(self._spawn, command).result()

    @property
    def process_id(self) -> int | None:
        """The process; None before `start`."""
        return None if self._process is None else self._process.pid

    def said(self) -> list[str]:
        """Return the lines that it printed so far."""
        with contextlib.suppress(OSError):
            return self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return []

    def describe_death(self, patience: float = 0.5) -> str | None:
        """Return how it ended, or None if it still runs after `patience` seconds."""
        if self._process is None:
            return f"{self._name} was not started"
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=patience)
        status = self._process.returncode
        if status is None:
            return None
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        return f"{self._name} ended with {how}"

    def wait(self, seconds: float) -> bool:
        """Return whether it ends within `seconds`."""
        return self.describe_death(seconds) is not None

    def stop(self) -> None:
        """End it and remove its directory. Never fails."""
        self._finalizer()

    def _spawn(self, command: Sequence[str]) -> None:
        """In the spawner's thread, so that Ctrl-C of a thread that waits can't leave a process without its object."""
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # the terminal's Ctrl-C is ours alone
                preexec_fn=_die_with_parent,
            )
        self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _clean_up, self._process, self.directory)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _clean_up(process: subprocess.Popen[bytes] | None, directory: Path) -> None:
    if process is not None:
        _end(process)
    shutil.rmtree(directory, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        process.terminate()
        try:
            process.wait(timeout=_POLITE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=_POLITE_SECONDS)


def _new_spawner() -> None:
    """Make the thread that forks: the parent's death signal comes when that thread ends, so it never does.

    One is there before anybody asks. Of two that were made at once, the one that nobody keeps would end, and its
    children with it. A forked child has none of its parent's threads and makes its own.
    """
    global _spawner
    _spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="utvm-spawn")


_spawner: ThreadPoolExecutor
_new_spawner()
os.register_at_fork(after_in_child=_new_spawner)
