"""The LPUART1 of an STM32L4R5 on the pins of a NUCLEO-L4R5ZI (RM0432, 50.7; UM2179, 6.9), and whether it is wired up.

What is sent arrives as text only if clocks, supply, pins and rate are right by the manual's words; else as '?'.
"""

from __future__ import annotations

from tests.support.oscillators import hertz_l4r5
from tests.support.peripherals import Registers

BASE, BYTES = 0x40008000, 0x400
_CR1, _BRR, _ISR, _RDR, _TDR = 0x00, 0x0C, 0x1C, 0x24, 0x28
_ENABLED, _RECEIVES, _SENDS = 1 << 0, 1 << 2, 1 << 3
_RXNE, _TC, _TXE = 1 << 5, 1 << 6, 1 << 7
_PWR_CR2, _AHB2ENR, _APB1ENR2, _CCIPR = 0x40007004, 0x4002104C, 0x4002105C, 0x40021088
_MODER, _AFRL, _AFRH = 0x48001800, 0x48001820, 0x48001824
_BAUD, _TOLERANCE = 115200, 0.02


class Uart:
    """Registers, and the wire.

    Args:
        others: the registers of the rest of the part.
    """

    def __init__(self, others: Registers) -> None:
        self._others = others
        self.sent = bytearray()
        self._waiting = bytearray()
        self.reset()

    def reset(self) -> None:
        """Set the registers as a system reset does."""
        self._words = dict.fromkeys((_CR1, _BRR), 0)

    def receive(self, data: bytes) -> None:
        """Have bytes come in on the wire; they wait for each other."""
        self._waiting += data

    def read(self, offset: int) -> int:
        """Return a register."""
        if offset == _ISR:
            receives = self._words[_CR1] & (_ENABLED | _RECEIVES) == _ENABLED | _RECEIVES and self._is_wired()
            return _TC | _TXE | (_RXNE if receives and self._waiting else 0)
        if offset == _RDR:
            return self._waiting.pop(0) if self._waiting else 0
        return self._words.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Set a register."""
        if offset == _TDR and self._words[_CR1] & (_ENABLED | _SENDS) == _ENABLED | _SENDS:
            self.sent.append(value & 0xFF if self._is_wired() else ord("?"))
        elif offset in self._words:
            self._words[offset] = value

    def _is_wired(self) -> bool:
        r = self._others
        clocked = r.bit(_AHB2ENR, 6) and r.bit(_APB1ENR2, 0) and not r[_CCIPR] >> 10 & 3
        alternate = r[_MODER] >> 14 & 0xF == 0b1010 and r[_AFRL] >> 28 == 8 and r[_AFRH] & 0xF == 8
        if not (clocked and alternate and r.bit(_PWR_CR2, 9)):
            return False
        divider = self._words[_BRR]
        try:
            rate = 256 * hertz_l4r5(r) / divider if 0x300 <= divider <= 0xFFFFF else 0.0
        except AssertionError:  # the clock is not one that the formula is for
            return False
        return abs(rate / _BAUD - 1) < _TOLERANCE
