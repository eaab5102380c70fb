"""A chip in a process of its own, as a target behind OpenOCD."""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.chip.parts import PARTS
from utvm.device import Count, DebugLink
from utvm.device.process import ChildProcess
from utvm.toolchain import Image

FOLDER = Path(__file__).parent
OPENOCD_CONFIG = FOLDER / "openocd.cfg"
PINS_VARIABLE = "SIMULATED_CHIP_PINS"
"""Where OpenOCD finds the pins of a chip that µTVM did not start."""

_ROOT = FOLDER.parents[2]
_PROGRAM = (
    f"import sys; sys.path.insert(0, {str(_ROOT)!r})\n"  # whatever directory we run in
    "from tests.support.chip.__main__ import main; main(*sys.argv[1:])"
)
_START_SECONDS = 60.0
_ANSWER_SECONDS = 30.0


def board_file(core: str) -> Path:
    """Return the TOML of the simulated board with a core."""
    return FOLDER / f"sim-{core}.toml"


class ChipProcess:
    """A chip with the core of a name in `PARTS`, from its making until `stop`; also a `utvm.device.Target`.

    Attributes:
        pins: the Unix socket of its remote_bitbang server.
    """

    def __init__(self, core: str) -> None:
        assert core in PARTS
        self.core = core
        self._child: ChildProcess | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> str:
        """Start the chip, unless it runs, and return where its pins are."""
        if self._child is None or self._child.describe_death(0) is not None:
            self.stop()
            child = self._child = ChildProcess("the simulated chip", prefix="chip-")
            self.pins, self._control = child.directory / "pins", child.directory / "control"
            child.start([sys.executable, "-u", "-c", _PROGRAM, self.core, str(self.pins), str(self._control)])
            deadline = time.monotonic() + _START_SECONDS
            while "ready" not in child.said():
                death = child.describe_death(0)
                if death is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{death or 'the simulated chip does not start'}: {child.said()[-5:]}")
                time.sleep(0.01)
        return str(self.pins)

    @property
    def process_id(self) -> int | None:
        """The process."""
        return None if self._child is None else self._child.process_id

    def describe_death(self) -> str | None:
        """See `Target`."""
        return "the simulated chip was not started" if self._child is None else self._child.describe_death()

    def begin_count(self, image: Image, link: DebugLink) -> None:
        """See `Target`."""

    def count(self, image: Image, link: DebugLink) -> Count:
        """See `Target`. What the chip calls cycles are instructions."""
        return Count()

    def stop(self) -> None:
        """See `Target`."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def control(self, **request: Any) -> dict[str, Any]:
        """Do something to the chip and return how it is: `plan`, `power`, `cut`, `type`, `read`; see `Server`."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(str(self._control))
            connection.sendall(json.dumps(request).encode())
            return dict(json.loads(connection.makefile().readline()))
