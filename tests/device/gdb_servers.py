"""Stock GDB servers in front of simulated chips: OpenOCD's and pyOCD's, as targets of the GDB remote link."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from tests.support.chip.process import OPENOCD_CONFIG, ChipProcess
from utvm.device import ChildProcess, Count, DebugLink
from utvm.toolchain import Image

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0
_LISTENING = re.compile(r"(?:Listening on port (\d+) for gdb|GDB server listening on port (\d+))")

PYOCD_SERVER = """\
import logging, os, sys, time
sys.path.insert(0, {root!r})
from pyocd.core.helpers import ConnectHelper
from pyocd.gdbserver import GDBServer
from tests.support.chip import probe
from tests.support.chip.bench import plugged
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
options = {{"target_override": "cortex_m", "connect_mode": "halt", "gdbserver_port": 0, "telnet_port": 0,
           "persist": True, "serve_local_only": True, "warning.cortex_m_default": False}}
with plugged({core!r}) as bench:
    with ConnectHelper.session_with_chosen_probe(unique_id=bench.serial, blocking=False, options=options) as session:
        server = GDBServer(session, core=0)
        session.gdbservers[0] = server
        server.start()
        time.sleep(1e6)
"""


class GdbServer:
    """A server as a `Target`: `start` returns where it listens."""

    def __init__(self, kind: str, core: str) -> None:
        self._kind = kind
        self._core = core
        self._chip: ChipProcess | None = None
        self._server: ChildProcess | None = None

    def start(self) -> str:
        """See `Target`."""
        self.stop()
        server = self._server = ChildProcess(f"{self._kind}'s GDB server", prefix=f"gdb-{self._kind}-")
        if self._kind == "openocd":
            self._chip = ChipProcess(self._core)
            server.start(_openocd_command(str(self._chip.pins)))
        else:
            server.start([sys.executable, "-u", "-c", PYOCD_SERVER.format(root=str(_ROOT), core=self._core)])
        deadline = time.monotonic() + _START_SECONDS
        while (found := _LISTENING.search("\n".join(server.said()))) is None:
            death = server.describe_death(0)
            if death is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{death or 'the server does not start'}: {server.said()[-8:]}")
            time.sleep(0.01)
        return f"127.0.0.1:{found.group(1) or found.group(2)}"

    @property
    def process_id(self) -> int | None:
        """The server's process."""
        return None if self._server is None else self._server.process_id

    def describe_death(self) -> str | None:
        """See `Target`."""
        return None if self._server is None else self._server.describe_death()

    def begin_count(self, image: Image, link: DebugLink) -> None:
        """See `Target`."""

    def count(self, image: Image, link: DebugLink) -> Count:
        """See `Target`."""
        return Count()

    def stop(self) -> None:
        """See `Target`."""
        if self._server is not None:
            self._server.stop()
        if self._chip is not None:
            self._chip.stop()
        self._server = self._chip = None


def _openocd_command(pins: str) -> list[str]:
    lines = (
        "bindto 127.0.0.1; tcl_port disabled; telnet_port disabled; gdb_port 0; gdb_report_data_abort enable",
        "poll_period 1",
    )
    command = ["openocd", "-c", f"set UTVM_PORT {pins}", "-f", str(OPENOCD_CONFIG)]
    return [*command, *(part for line in lines for part in ("-c", line))]
