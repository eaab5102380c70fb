"""OpenOCD's remote_bitbang protocol: characters that set and sample pins.

Source: OpenOCD, doc/manual/jtag/drivers/remote_bitbang.txt.

`0` to `7` set TCK (4), TMS (2) and TDI (1); `R` samples TDO; `r` to `u` set the resets; `Q` ends the connection.
"""

from __future__ import annotations

import re

from tests.support.chip.chip import Chip
from tests.support.chip.damage import Damage
from tests.support.chip.debug_port import DebugPort
from tests.support.chip.tap import IDLE, SHIFT_DR, SHIFT_IR, Tap

_SAMPLED_SHIFT = re.compile(rb"(?:[01]R[45])+")
_SHIFT = re.compile(rb"(?:[01][45])+")
_FLOATING = b"1"
_CHARACTERS_OF_AN_ACCESS = 130


class Pins:
    """The pins of a chip. `left` tells that the other side has said goodbye."""

    def __init__(self, chip: Chip, damage: Damage) -> None:
        self._chip = chip
        self._damage = damage
        self._port = DebugPort(chip, damage)
        self._tap = Tap(self._port, chip.part.idcode)
        self._clock = 0
        self.left = False

    def feed(self, changes: bytes) -> bytes:
        """Change the pins and return the samples.

        Raises:
            ConnectionCutError: the plan of damage says so.
        """
        if self._damage.at_inputs:
            changes = self._damage.inputs(changes)
        samples = self._follow(changes) if self._chip.powered else self._float(changes)
        if self._damage.at_pins:
            self._damage.samples(samples)
        return bytes(samples)

    def _float(self, changes: bytes) -> bytearray:
        """Without power TDO floats, and nothing happens until power is back."""
        self.left = b"Q" in changes
        if self._damage.power_returns(len(changes) // _CHARACTERS_OF_AN_ACCESS + 1):
            self.return_power()
        return bytearray(_FLOATING * changes.count(b"R"))

    def return_power(self) -> None:
        """Give the chip its power back."""
        self._chip.return_power()
        self._port.reset()
        self._tap.reset()

    def _follow(self, changes: bytes) -> bytearray:
        tap, samples = self._tap, bytearray()
        position, end = 0, len(changes)
        while position < end:
            character = changes[position]
            if self._clock and character in b"01" and tap.state in (SHIFT_DR, SHIFT_IR, IDLE):
                after = self._run(changes, position, samples)
                if after > position:
                    position = after
                    continue
            if 48 <= character <= 55:
                clock = character >> 2 & 1
                if clock and not self._clock:
                    tap.clock(character >> 1 & 1, character & 1)
                self._clock = clock
            elif character == 82:  # R
                samples.append(48 + tap.tdo)
            elif character == 81:  # Q
                self.left = True
            elif 114 <= character <= 117:  # r to u
                if character - 114 & 2:
                    tap.reset()
                self._chip.core.hold_in_reset(bool(character - 114 & 1))
            position += 1
        return samples

    def _run(self, changes: bytes, position: int, samples: bytearray) -> int:
        """Take clocks with TMS low at once, if there are some; return the position behind them."""
        tap = self._tap
        if tap.state == IDLE:
            match = _SHIFT.match(changes, position)
            return match.end() if match else position
        match, step = _SAMPLED_SHIFT.match(changes, position), 3
        if match is None:
            match, step = _SHIFT.match(changes, position), 2
        if match is None:
            return position
        bits = changes[position : match.end() : step]
        shifted = tap.shift(int(bits[::-1], 2), len(bits))
        if step == 3:
            samples += format(shifted, f"0{len(bits)}b").encode()[::-1]
        return match.end()
