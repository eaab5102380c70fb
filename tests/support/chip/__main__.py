"""`python -m tests.support.chip CORE PINS CONTROL`: a chip that serves its pins and its control socket."""

import sys
from pathlib import Path

from tests.support.chip.chip import Chip
from tests.support.chip.parts import PARTS
from tests.support.chip.server import Server


def main(core: str, pins: str, control: str) -> None:
    """Serve for ever."""
    server = Server(Chip(PARTS[core]), Path(pins), Path(control))
    print("ready", flush=True)
    server.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
