"""UARTs of boards that people own, and whether they are wired up: by the manuals' words, not by the boards' files.

What is sent arrives as text only if clocks, pins and rate are right; else each byte arrives as '?'.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.support import oscillators
from tests.support.peripherals import Registers

BYTES = 0x1000
_BAUD, _TOLERANCE = 115200, 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Where a board has its UART, and what must hold for it to work; `clock` is what its rate is divided from."""

    base: int
    make: Callable[[Wiring, Registers], Uart]
    wired: Callable[[Registers], bool]
    clock: Callable[[Registers], float]


class Uart(ABC):
    """Registers, and the wire.

    Args:
        wiring: where it is.
        others: the registers of the rest of the part.
    """

    def __init__(self, wiring: Wiring, others: Registers) -> None:
        self.wiring = wiring
        self.sent = bytearray()
        self.waiting = bytearray()
        self._others = others
        self.reset()

    def reset(self) -> None:
        """Set the registers as a system reset does."""
        self._words: dict[int, int] = {}

    def holds(self, address: int) -> bool:
        """Return whether an address is one of its registers."""
        return self.wiring.base <= address < self.wiring.base + BYTES

    def read(self, offset: int) -> int:
        """Return a register."""
        return self._words.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Set a register."""
        self._words[offset] = value

    @property
    @abstractmethod
    def rate(self) -> float:
        """Bits in a second that its registers ask for."""

    @property
    def works(self) -> bool:
        """Whether bytes get through."""
        if not self.wiring.wired(self._others):
            return False
        try:
            return abs(self.rate / _BAUD - 1) < _TOLERANCE
        except (AssertionError, ZeroDivisionError):  # the core's clock is not one that its formula is for
            return False

    def _send(self, byte: int) -> None:
        self.sent.append(byte & 0xFF if self.works else ord("?"))

    def _word(self, offset: int) -> int:
        return self._words.get(offset, 0)


class Stm32(Uart):
    """RM0385, 31.8; RM0432, 49.8 and 50.7: `STEPS` of a bit are what the divider counts."""

    STEPS = 1

    @property
    def rate(self) -> float:
        """See `Uart`."""
        divider = self._word(0x0C)
        assert 16 <= divider <= 0xFFFF if self.STEPS == 1 else 0x300 <= divider <= 0xFFFFF
        return self.STEPS * self.wiring.clock(self._others) / divider

    def read(self, offset: int) -> int:
        """See `Uart`."""
        receives = self._word(0) & 5 == 5 and self.works
        if offset == 0x1C:
            return 0xC0 | (0x20 if receives and self.waiting else 0)
        if offset == 0x24:
            return self.waiting.pop(0) if self.waiting else 0
        return super().read(offset)

    def write(self, offset: int, value: int) -> None:
        """See `Uart`."""
        if offset == 0x28 and self._word(0) & 9 == 9:
            self._send(value)
        assert not (offset == 0x08 and self._word(0) & 1), "OVRDIS can be written while the UART is off only"
        super().write(offset, value)


class Stm32LowPower(Stm32):
    """An LPUART."""

    STEPS = 256


class NordicPins(Uart):
    """What Nordic's two kinds share: they choose their pins, and the port drives the sender's high until then."""

    PORT, SENDS, RECEIVES = 0, 0, 0

    @property
    def works(self) -> bool:
        """See `Uart`."""
        port = self._others
        driven = port.bit(self.PORT + 0x08, self.SENDS) and port.bit(self.PORT + 0x18, self.SENDS)
        chosen = self._words.get(0x50C) == self.SENDS and self._words.get(0x514) == self.RECEIVES
        return bool(driven) and chosen and super().works


class Nordic(NordicPins):
    """nRF52840 Product Specification, UART; nRF52840 DK hardware guide: P0.06 and P0.08."""

    PORT, SENDS, RECEIVES = 0x50000500, 6, 8

    @property
    def rate(self) -> float:
        """See `Uart`."""
        return 115200 if self._word(0x524) == 0x01D7E000 and self._word(0x500) == 4 else 0.0

    def read(self, offset: int) -> int:
        """See `Uart`."""
        if offset == 0x108:
            return int(bool(self.waiting and self._word(0x000) and self.works))
        if offset == 0x518:
            return self.waiting.pop(0)
        return super().read(offset)

    def write(self, offset: int, value: int) -> None:
        """See `Uart`."""
        super().write(offset, value)
        if offset == 0x51C and self._word(0x008):
            self._send(value)
            self._words[0x11C] = 1


class NordicDma(NordicPins):
    """nRF5340 Product Specification, UARTE; the DK's hardware guide: P0.20 and P0.22. `load`, `store` reach RAM."""

    PORT, SENDS, RECEIVES = 0x50842500, 20, 22

    load: Callable[[int], int]
    store: Callable[[int, int], None]

    @property
    def rate(self) -> float:
        """See `Uart`."""
        return 115200 if self._word(0x524) == 0x01D60000 and self._word(0x500) == 8 else 0.0

    def read(self, offset: int) -> int:
        """See `Uart`."""
        if offset == 0x110 and self._words.get(0x000) and self.waiting and self.works:
            self.store(self._word(0x534), self.waiting.pop(0))
            self._words[0x000], self._words[0x110] = 0, 1
        return super().read(offset)

    def write(self, offset: int, value: int) -> None:
        """See `Uart`."""
        super().write(offset, value)
        if offset == 0x008:
            assert self._word(0x548) == 1
            self._send(self.load(self._word(0x544)))
            self._words[0x120] = 1


class Pl011(Uart):
    """DDI 0183, chapter 3."""

    @property
    def rate(self) -> float:
        """See `Uart`."""
        assert self._word(0x2C) & 0x60 == 0x60, "8 bits"
        return self.wiring.clock(self._others) / (16 * (self._word(0x24) + self._word(0x28) / 64))

    def read(self, offset: int) -> int:
        """See `Uart`."""
        receives = self._word(0x30) & 0x201 == 0x201 and self.works
        if offset == 0x18:
            return 0 if receives and self.waiting else 0x10
        if offset == 0x00:
            return self.waiting.pop(0)
        return super().read(offset)

    def write(self, offset: int, value: int) -> None:
        """See `Uart`."""
        super().write(offset, value)
        if offset == 0x00 and self._word(0x30) & 0x101 == 0x101:
            self._send(value)


def _gpio(r: Registers, base: int, pin: int, function: int) -> bool:
    """STM32: MODER is 2 (alternate function), AFR names it."""
    select = r[base + 0x20 + pin // 8 * 4] >> pin % 8 * 4 & 0xF
    return r[base] >> 2 * pin & 3 == 2 and select == function


def _stm32f746_usart3(r: Registers) -> bool:
    gates = r.bit(0x40023830, 3) and r.bit(0x40023840, 18) and not r[0x40023890] >> 4 & 3
    return bool(gates) and _gpio(r, 0x40020C00, 8, 7) and _gpio(r, 0x40020C00, 9, 7)


def _stm32f746_usart1(r: Registers) -> bool:
    gates = r[0x40023830] & 3 == 3 and r.bit(0x40023844, 4) and not r[0x40023890] & 3
    return bool(gates) and _gpio(r, 0x40020000, 9, 7) and _gpio(r, 0x40020400, 7, 7)


def _stm32h743_usart3(r: Registers) -> bool:
    gates = r.bit(0x580244E0, 3) and r.bit(0x580244E8, 18) and not r[0x58024454] & 7
    return bool(gates) and _gpio(r, 0x58020C00, 8, 7) and _gpio(r, 0x58020C00, 9, 7)


def _stm32l4r5_lpuart1(r: Registers) -> bool:
    gates = r.bit(0x40007004, 9) and r.bit(0x4002104C, 6) and r.bit(0x4002105C, 0) and not r[0x40021088] >> 10 & 3
    return bool(gates) and _gpio(r, 0x48001800, 7, 8) and _gpio(r, 0x48001800, 8, 8)


def _stm32u575_usart1(r: Registers) -> bool:
    gates = r.bit(0x46020C8C, 0) and r.bit(0x46020CA4, 14) and not r[0x46020CE0] & 3
    return bool(gates) and _gpio(r, 0x42020000, 9, 7) and _gpio(r, 0x42020000, 10, 7)


def _raspberry(resets: int, bits: int, pins: int, clocks: int) -> Callable[[Registers], bool]:
    def wired(r: Registers) -> bool:
        released = not r[resets] & bits
        return released and r[pins + 4] & 0x1F == 2 and r[pins + 12] & 0x1F == 2 and r[clocks + 0x48] & 0x8E0 == 0x800

    return wired


def _core(part: str) -> Callable[[Registers], float]:
    return lambda r: oscillators.PARTS[part][1](r)


def _apb_f746(shift: int) -> Callable[[Registers], float]:
    """RCC_CFGR: PPRE1 at bit 10, PPRE2 at bit 13; from 4 on they divide by 2, 4, 8, 16."""
    return lambda r: oscillators.PARTS["stm32f746"][1](r) / 2 ** max((r[0x40023808] >> shift & 7) - 3, 0)


def _apb1_h743(r: Registers) -> float:
    """RCC_D1CFGR: HPRE (8 is / 2); RCC_D2CFGR: D2PPRE1 (4 is / 2)."""
    assert r[0x58024418] & 0xF == 8
    assert r[0x5802441C] >> 4 & 7 == 4
    return oscillators.PARTS["stm32h743"][1](r) / 4


WIRINGS: Mapping[str, Wiring] = {
    "nucleo-f746zg": Wiring(base=0x40004800, make=Stm32, wired=_stm32f746_usart3, clock=_apb_f746(10)),
    "stm32f746g-disco": Wiring(base=0x40011000, make=Stm32, wired=_stm32f746_usart1, clock=_apb_f746(13)),
    "nucleo-h743zi2": Wiring(base=0x40004800, make=Stm32, wired=_stm32h743_usart3, clock=_apb1_h743),
    "nucleo-l4r5zi": Wiring(base=0x40008000, make=Stm32LowPower, wired=_stm32l4r5_lpuart1, clock=_core("stm32l4r5")),
    "nucleo-u575zi-q": Wiring(base=0x40013800, make=Stm32, wired=_stm32u575_usart1, clock=_core("stm32u575")),
    "nrf52840-dk": Wiring(base=0x40002000, make=Nordic, wired=lambda r: True, clock=_core("nrf52840")),
    "nrf5340-dk": Wiring(base=0x50008000, make=NordicDma, wired=lambda r: True, clock=_core("nrf5340")),
    "raspberry-pi-pico": Wiring(
        base=0x40034000,
        make=Pl011,
        wired=_raspberry(0x4000C000, 0x00400120, 0x40014000, 0x40008000),
        clock=_core("rp2040"),
    ),
    "raspberry-pi-pico-2": Wiring(
        base=0x40070000,
        make=Pl011,
        wired=_raspberry(0x40020000, 0x04000240, 0x40028000, 0x40010000),
        clock=_core("rp2350"),
    ),
}
"""By board."""
