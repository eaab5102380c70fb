"""A private PostgreSQL server: its own data, a Unix socket in its own directory, no port; it ends with us."""

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
_START_SECONDS = 60
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class PostgresServer:
    """A cluster in a new directory. `start` runs it, `stop` and `kill` end it, `close` removes it too."""

    def __init__(self) -> None:
        assert _PROGRAMS, "PostgreSQL is not installed: `utvm doctor` says how"
        self.directory = Path(tempfile.mkdtemp(prefix="utvm-pg-"))
        self._user: str | None = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root; its package has made this user
            self._user = "postgres"
            account = pwd.getpwnam(self._user)
            os.chown(self.directory, account.pw_uid, account.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._run("initdb", "--no-sync", "--auth=trust", "--username=utvm", "--encoding=UTF8", self._data)

    @property
    def url(self) -> str:
        return f"postgresql://utvm@/postgres?host={self.directory}"

    @property
    def process_id(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server said."""
        return (self.directory / "log").read_text()

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Run the server and wait until it takes connections; after a kill its processes may still be ending."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            assert time.monotonic() < deadline, self.log
            if self._process is None or self._process.poll() is not None:
                self._process = self._launch()
            if self._run("pg_isready", "--host", str(self.directory), check=False) == 0:
                return
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop at once, without a checkpoint, as `pg_ctl stop -m immediate` does."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """Kill it as the kernel does when memory is short."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        if self._process is not None:
            self._end(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(how)
        self._process.wait(timeout=_START_SECONDS)
        self._process = None

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [_PROGRAMS[-1] / "postgres", "-D", self._data, "-k", str(self.directory), "-c", "listen_addresses="]
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_die_with_parent, **self._account)

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        command = [_PROGRAMS[-1] / program, *arguments]
        return subprocess.run(command, capture_output=True, check=check, **self._account).returncode

    @property
    def _account(self) -> dict[str, object]:
        if self._user is None:
            return {"cwd": "/"}
        return {"cwd": "/", "user": self._user, "group": pwd.getpwnam(self._user).pw_gid, "extra_groups": []}


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
