"""Chips that are plugged into this process, for pyOCD: each has a probe on it, with the serial number `sim-CORE`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tests.support.chip.chip import Chip
from tests.support.chip.damage import ConnectionCutError, Damage, Plan
from tests.support.chip.debug_port import Ack, DebugPort
from tests.support.chip.parts import PARTS

_Result = TypeVar("_Result")
_POLL_INSTRUCTIONS = 100_000
_WIRE_BITS = b"01" * 23  # of an SWD transfer
_WAIT_RETRIES = 80


class NoAnswerError(Exception):
    """The chip does not acknowledge."""


class StillWaitingError(Exception):
    """The chip answers WAIT again and again."""


class GarbledError(Exception):
    """The parity of a transfer is wrong."""


class UnpluggedError(Exception):
    """The probe is gone from the bus."""


class Bench:
    """A chip with a probe on it.

    Attributes:
        plugged: whether the probe is on its bus.
    """

    def __init__(self, core: str) -> None:
        self.serial = f"sim-{core}"
        self.plugged = True
        self._lock = threading.RLock()
        self._damage = Damage()
        self.chip = Chip(PARTS[core], poll_instructions=_POLL_INSTRUCTIONS)
        self._port = DebugPort(self.chip, self._damage)

    @property
    def done(self) -> dict[str, int]:
        """What went wrong so far, by kind."""
        return dict(self._damage.done)

    def follow(self, plan: Plan) -> None:
        """Carry out a plan of damage from here on."""
        with self._lock:
            self._damage.follow(plan)

    def lose_power(self) -> None:
        """Take the power from the chip, not from the probe."""
        with self._lock:
            self.chip.lose_power(self._damage.plan.seed)

    def return_power(self) -> None:
        """Give it back."""
        with self._lock:
            self.chip.return_power()
            self._port.reset()

    def reset_pin(self, asserted: bool) -> None:
        """Drive the reset pin."""
        with self._lock:
            self.chip.core.hold_in_reset(asserted)

    def transfer(self, action: Callable[[DebugPort], _Result]) -> _Result:
        """Make a transfer over SWD; an access that waits is tried again, as probes do.

        Raises:
            UnpluggedError, NoAnswerError, StillWaitingError, GarbledError: as they say.
        """
        with self._lock:
            self._transmit()
            for _ in range(_WAIT_RETRIES):
                ack = self._port.poll()
                if ack is Ack.NONE:
                    if not self._damage.power_returns(1):
                        raise NoAnswerError
                    self.return_power()
                    raise NoAnswerError
                if ack is Ack.OK:
                    return action(self._port)
            raise StillWaitingError

    def _transmit(self) -> None:
        """Take a transfer's bits over the wires."""
        if not self.plugged:
            raise UnpluggedError
        if not self._damage.at_pins:
            return
        levels = bytearray(_WIRE_BITS)
        try:
            self._damage.samples(levels)
        except ConnectionCutError:
            self.plugged = False
            raise UnpluggedError from None
        wrong = sum(a != b for a, b in zip(levels, _WIRE_BITS, strict=True))
        if wrong == 1:
            raise GarbledError
        if wrong:
            raise NoAnswerError


BENCHES: dict[str, Bench] = {}
"""What is plugged in, by serial number."""


@contextmanager
def plugged(core: str) -> Iterator[Bench]:
    """Have a chip on the bench."""
    bench = Bench(core)
    BENCHES[bench.serial] = bench
    try:
        yield bench
    finally:
        del BENCHES[bench.serial]
