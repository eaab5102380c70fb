"""An OpenOCD process of our own: it listens on one loopback port, for its Tcl server."""

from __future__ import annotations

import re
import shutil
import time

from utvm.boards import OpenOcdSettings
from utvm.device.link import LinkLostError
from utvm.device.process import ChildProcess

_START_SECONDS = 30.0
_POLL_SECONDS = 0.005
_LISTENING = re.compile(r"Listening on port (\d+) for tcl connections")
_LISTENERS = "bindto 127.0.0.1; gdb_port disabled; telnet_port disabled; tcl_port 0"
_TOLD_LINES = 3


class OpenOcdServer:
    """OpenOCD with a board's configuration.

    Args:
        settings: the board's.
        simulator: host:port of a remote_bitbang server that stands in for the board; empty if there is none.

    Raises:
        LinkLostError: OpenOCD is not installed, or does not find the board; the message has its own words.
    """

    def __init__(self, settings: OpenOcdSettings, *, simulator: str = "") -> None:
        binary = shutil.which("openocd")
        if binary is None:
            raise LinkLostError("openocd is not installed: `apt-get install openocd`")
        command = [binary]
        if simulator:
            command += ["-c", f"set UTVM_PORT {simulator.rpartition(':')[2]}"]
        for file in settings.config:
            command += ["-f", file]
        if settings.probe is not None:
            command += ["-c", f"adapter serial {{{settings.probe}}}"]
        for line in (*settings.commands, _LISTENERS):
            command += ["-c", line]
        self._read_lines = 0
        self._child = ChildProcess("OpenOCD", prefix="utvm-openocd-")
        try:
            self._child.start(command)
            self.endpoint = f"127.0.0.1:{self._await_port()}"
        except BaseException:
            self._child.stop()
            raise

    @property
    def process_id(self) -> int | None:
        """The process."""
        return self._child.process_id

    def describe_death(self, patience: float = 0.5) -> str | None:
        """Return how OpenOCD ended, with its last words, or None if it still runs after `patience` seconds."""
        death = self._child.describe_death(patience)
        if death is None:
            return None
        words = self.errors()
        return f"{death}: {words}" if words else death

    def errors(self) -> str:
        """Return the errors that OpenOCD reported since this was last asked, the last few of them."""
        said = self._child.said()
        fresh, self._read_lines = said[self._read_lines :], len(said)
        lines = [line.removeprefix("Error:").strip() for line in fresh if line.startswith("Error:")]
        return "; ".join(dict.fromkeys(lines[-_TOLD_LINES:]))

    def stop(self, *, patience: float = 0.0) -> None:
        """End OpenOCD, which gets `patience` seconds to end by itself. Never fails."""
        if patience:
            self._child.wait(patience)
        self._child.stop()

    def _await_port(self) -> str:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            death = self._child.describe_death(0)
            if death is not None or time.monotonic() > deadline:
                said = self.errors() or "; ".join(self._child.said()[-_TOLD_LINES:])
                raise LinkLostError(f"OpenOCD does not reach the board: {said or death or 'it does not listen'}")
            found = _LISTENING.search("\n".join(self._child.said()))
            if found is not None:
                return found.group(1)
            time.sleep(_POLL_SECONDS)
