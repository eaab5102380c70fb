"""What goes wrong on purpose: a seeded plan of faults, and the dice that carry it out.

A plan gives a rate to each kind of fault, per opportunity. The same plan on the same traffic gives the same faults.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

KINDS = {
    "read_flip": "one bit of a word that the access port reads, per word",
    "write_flip": "one bit of a word that the access port writes, per word",
    "fault": "the bus answers with an error and the sticky flag is set, per access",
    "wait": "the debug port answers WAIT for a while, per access",
    "power": "power is lost for a while, per access",
    "sample_flip": "one sample of TDO is wrong, per sample",
    "input_flip": "one TDI or TMS is wrong, per change of the pins",
    "stuck": "TDO stays at one level for a while, per sample",
    "cut": "the connection to the pins is closed, per sample",
}
"""The kinds, and what their rates count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which faults, how often, how long.

    Attributes:
        seed: of the dice.
        rates: probability per opportunity, by kind.
        limit: how many faults there are at most.
        wait_accesses, power_accesses, stuck_samples: how long these last; 0 is for ever.
    """

    seed: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)
    limit: int | None = None
    wait_accesses: int = 20
    power_accesses: int = 50
    stuck_samples: int = 2000

    def __post_init__(self) -> None:
        unknown = set(self.rates) - set(KINDS)
        if unknown:
            raise ValueError(f"no fault is named {', '.join(sorted(unknown))}; known: {', '.join(KINDS)}")


class ConnectionCutError(Exception):
    """The plan closes the connection."""


class Damage:
    """The dice. `done` counts the faults by kind."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self.follow(Plan())

    def follow(self, plan: Plan) -> None:
        """Carry out a plan from here on, in place of the last."""
        self.plan = plan
        self._dice = random.Random(plan.seed)
        self._left = {kind: self._distance(rate) for kind, rate in plan.rates.items() if rate > 0}
        self._wait_left = 0
        self._power_left = 0
        self._stuck_left = 0
        self._stuck_level = 0
        self._remaining = math.inf if plan.limit is None else plan.limit
        self.at_words = bool(self._left.keys() & {"read_flip", "write_flip", "fault", "wait", "power"})
        self.at_pins = bool(self._left.keys() & {"sample_flip", "stuck", "cut"})
        self.at_inputs = "input_flip" in self._left

    def read(self, word: int) -> int:
        """Return what becomes of a word read."""
        return word ^ 1 << self._dice.randrange(32) if self._strikes("read_flip") is not None else word

    def write(self, word: int) -> int:
        """Return what becomes of a word written."""
        return word ^ 1 << self._dice.randrange(32) if self._strikes("write_flip") is not None else word

    def fault(self) -> bool:
        """Return whether an access fails."""
        return self._strikes("fault") is not None

    def waits(self) -> bool:
        """Return whether an access is answered with WAIT."""
        if not self._wait_left and self._strikes("wait") is not None:
            self._wait_left = self.plan.wait_accesses or math.inf
        if self._wait_left:
            self._wait_left -= 1
            return True
        return False

    def cuts_power(self) -> bool:
        """Return whether power goes at this access."""
        if self._strikes("power") is None:
            return False
        self._power_left = self.plan.power_accesses or math.inf
        return True

    def power_returns(self, accesses: int) -> bool:
        """Return whether power is back after some accesses in vain; it is not if it was not a plan that took it."""
        if not self._power_left:
            return False
        self._power_left = max(self._power_left - accesses, 0)
        return not self._power_left

    def samples(self, levels: bytearray) -> None:
        """Change samples of TDO ('0' and '1') in place.

        Raises:
            ConnectionCutError: the connection is to be closed.
        """
        if self._strikes("cut", len(levels)) is not None:
            raise ConnectionCutError
        at = self._strikes("sample_flip", len(levels))
        if at is not None:
            levels[at] ^= 1
        begin = 0
        if not self._stuck_left:
            struck = self._strikes("stuck", len(levels))
            if struck is None:
                return
            begin = struck
            self._stuck_left = self.plan.stuck_samples or math.inf
            self._stuck_level = ord("0") + self._dice.randrange(2)
        count = int(min(self._stuck_left, len(levels) - begin))
        levels[begin : begin + count] = bytes([self._stuck_level]) * count
        self._stuck_left -= count

    def inputs(self, changes: bytes) -> bytes:
        """Return changes of the pins with what goes wrong in them."""
        at = self._strikes("input_flip", len(changes))
        if at is None or not ord("0") <= changes[at] <= ord("7"):
            return changes
        return changes[:at] + bytes([changes[at] ^ 1 << self._dice.randrange(2)]) + changes[at + 1 :]

    def _strikes(self, kind: str, opportunities: int = 1) -> int | None:
        """Return at which of the next opportunities a fault happens, None if it does not."""
        left = self._left.get(kind)
        if left is None or not self._remaining or not opportunities:
            return None
        if left >= opportunities:
            self._left[kind] = left - opportunities
            return None
        self._left[kind] = self._distance(self.plan.rates[kind])
        self._remaining -= 1
        self.done[kind] += 1
        return left

    def _distance(self, rate: float) -> int:
        """Return how many opportunities pass before the next fault (geometric distribution)."""
        return 0 if rate >= 1 else int(math.log(1 - self._dice.random()) / math.log(1 - rate))
