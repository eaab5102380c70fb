"""The chip as a process: its pins on one Unix socket, and on another what happens to it."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from pathlib import Path
from typing import Any

from tests.support.chip.chip import Chip
from tests.support.chip.damage import ConnectionCutError, Damage, Plan
from tests.support.chip.pins import Pins

_RECEIVE_BYTES = 1 << 16
_FIRST_SLICE, _LONGEST_SLICE = 10_000, 400_000


class Server:
    """Serves one connection to the pins at a time, and lets the core run in between.

    Args:
        chip: the chip.
        pins_path, control_path: sockets to be made.
    """

    def __init__(self, chip: Chip, pins_path: Path, control_path: Path) -> None:
        self._chip = chip
        self._damage = Damage()
        self._pins = Pins(chip, self._damage)
        self._pins_listener = _listen(pins_path)
        self._control_listener = _listen(control_path)
        self._connection: socket.socket | None = None
        self._controls: list[socket.socket] = []
        self._slice = _FIRST_SLICE

    def serve(self) -> None:
        """Serve for ever."""
        while True:
            runs = self._chip.powered and self._chip.core.runs
            waiting = [self._control_listener, *self._controls, self._connection or self._pins_listener]
            ready, _, _ = select.select(waiting, [], [], 0 if runs else None)
            for which in ready:
                self._attend(which)
            if runs and not ready:
                self._chip.advance(self._slice)
                self._slice = min(2 * self._slice, _LONGEST_SLICE)

    def _attend(self, which: socket.socket) -> None:
        if which is self._pins_listener:
            self._connection, _ = which.accept()
        elif which is self._control_listener:
            self._controls.append(which.accept()[0])
        elif which is self._connection:
            self._slice = _FIRST_SLICE
            self._change_pins(which)
        else:
            self._obey(which)

    def _change_pins(self, connection: socket.socket) -> None:
        try:
            changes = connection.recv(_RECEIVE_BYTES)
            samples = self._pins.feed(changes)
            if samples:
                connection.sendall(samples)
        except (ConnectionError, ConnectionCutError):
            changes = b""
        if not changes or self._pins.left:
            self._pins.left = False
            connection.close()
            self._connection = None

    def _obey(self, control: socket.socket) -> None:
        request = b""
        with contextlib.suppress(ConnectionError):
            request = control.recv(_RECEIVE_BYTES)
        if not request:
            control.close()
            self._controls.remove(control)
            return
        control.sendall(json.dumps(self._answer(json.loads(request))).encode() + b"\n")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "plan" in request:
            self._damage.follow(Plan(**request["plan"]))
        if request.get("power") is False and self._chip.powered:
            self._chip.lose_power(self._damage.plan.seed)
        if request.get("power") is True and not self._chip.powered:
            self._pins.return_power()
        if "type" in request and self._chip.peripherals is not None:
            self._chip.peripherals.uart.waiting += request["type"].encode()
        if request.get("cut") and self._connection is not None:
            self._connection.close()
            self._connection = None
        held = self._chip.memory.read(*request["read"]).hex() if "read" in request else ""
        return {
            "held": held,
            "done": dict(self._damage.done),
            "powered": self._chip.powered,
            "instructions": self._chip.core.engine.instructions,
            "connected": self._connection is not None,
            "programmed": 0 if self._chip.peripherals is None else self._chip.peripherals.flash.programmed,
            "said": "" if self._chip.peripherals is None else self._chip.peripherals.uart.sent.decode("latin-1"),
        }


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(4)
    return listener
