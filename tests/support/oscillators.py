"""What the oscillators of parts show in their registers, and the clock that comes out of what was written there.

Both are written down from the reference manuals, not taken from the boards' files.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.support.peripherals import Registers, Status, follows

SWITCH = (0, 2, 2)
ON_READY = (24, 25, 1)


def stm32f746() -> Registers:
    rcc, pwr = 0x40023800, 0x40007000
    return Registers(
        status={
            rcc: follows(rcc, (0, 1, 1), ON_READY),
            rcc + 8: follows(rcc + 8, SWITCH),
            pwr + 4: Status(0x30000, lambda r: r[pwr]),
        },
        initial={rcc: 0x83, rcc + 4: 0x24003010},
    )


def stm32h743() -> Registers:
    rcc, pwr = 0x58024400, 0x58024800
    return Registers(
        status={
            rcc: follows(rcc, (0, 2, 1), ON_READY),
            rcc + 0x10: follows(rcc + 0x10, (0, 3, 3)),
            pwr + 4: Status(1 << 13, lambda r: 1 << 13),
            pwr + 0x18: Status(1 << 13, lambda r: 1 << 13),
        },
        initial={rcc: 0x25},
    )


def stm32l4r5() -> Registers:
    rcc, pwr = 0x40021000, 0x40007000
    return Registers(
        status={
            rcc: follows(rcc, (0, 1, 1), ON_READY),
            rcc + 8: follows(rcc + 8, SWITCH),
            pwr + 0x14: Status(1 << 10, lambda r: 0),
        },
        initial={rcc: 0x63, pwr + 0x80: 0x100, pwr + 0x14: 1 << 10},
    )


def stm32u575() -> Registers:
    rcc, pwr, icache = 0x46020C00, 0x46020800, 0x40030400
    return Registers(
        status={
            rcc: follows(rcc, (0, 2, 1), ON_READY),
            rcc + 0x1C: follows(rcc + 0x1C, SWITCH),
            pwr + 0xC: Status(0xC000, lambda r: 1 << 15 | r.bit(pwr + 0xC, 18) << 14),
            icache + 4: Status(1, lambda r: 0),
        },
        initial={rcc: 0x5, icache + 4: 1},
    )


def nordic(clock: int) -> Callable[[], Registers]:
    return lambda: Registers(status={clock + 0x100: Status(1, lambda r: r[clock])}, initial={clock + 0x558: 1})


def raspberry(clocks: int, xosc: int, pll: int, resets: int) -> Callable[[], Registers]:
    def make() -> Registers:
        return Registers(
            status={
                xosc + 4: Status(1 << 31, lambda r: (r[xosc] >> 12 == 0xFAB) << 31),
                clocks + 0x44: Status(3, lambda r: 1 << (r[clocks + 0x3C] & 1)),
                clocks + 0x38: Status(0xF, lambda r: 1 << (r[clocks + 0x30] & 3)),
                resets + 8: Status(0x1FFFFFFF, lambda r: ~r[resets]),
                pll: Status(1 << 31, lambda r: (not r[pll + 4] & 0x21) << 31),
            },
            initial={resets: 0x1FFFFFFF, pll: 1, pll + 4: 0x2D, clocks + 0x44: 1, clocks + 0x38: 1},
        )

    return make


def ra8d1() -> Registers:
    system = 0x4001E000
    return Registers(
        status={system + 0x3C: Status(0x28, lambda r: (not r[system + 0x2A]) << 5 | (not r[system + 0x32]) << 3)},
        initial={system + 0x2A: 1, system + 0x32: 1},
    )


def hertz_f746(r: Registers) -> float:
    cr, pll, cfgr = 0x40023800, r[0x40023804], r[0x40023808]
    assert cfgr & 3 == 2
    assert r.bit(cr, 24)
    assert not pll >> 22 & 1
    assert cfgr >> 4 & 0xF == 0
    return 16e6 / (pll & 0x3F) * (pll >> 6 & 0x1FF) / (2 * (pll >> 16 & 3) + 2)


def hertz_h743(r: Registers) -> float:
    rcc = 0x58024400
    select, divide, config = r[rcc + 0x28], r[rcc + 0x30], r[rcc + 0x2C]
    assert r[rcc + 0x10] & 7 == 3
    assert r[rcc + 0x18] >> 8 & 0xF == 0
    assert r[rcc + 0x18] & 0xF == 8
    assert select & 3 == 0
    reference = 64e6 / (select >> 4 & 0x3F)
    lowest, highest = ((1e6, 2e6), (2e6, 4e6), (4e6, 8e6), (8e6, 16e6))[config >> 2 & 3]
    assert lowest <= reference <= highest
    vco = reference * ((divide & 0x1FF) + 1)
    assert 192e6 <= vco <= 960e6
    return vco / ((divide >> 9 & 0x7F) + 1)


def hertz_l4r5(r: Registers) -> float:
    rcc = 0x40021000
    pll, cfgr = r[rcc + 0xC], r[rcc + 8]
    assert cfgr & 3 == 3
    assert cfgr >> 4 & 0xF == 0
    assert r[rcc] & 0xF8 == 0x68, "MSI at 4 MHz, by MSIRANGE"
    assert pll & 3 == 1
    assert pll >> 24 & 1
    return 4e6 / ((pll >> 4 & 0xF) + 1) * (pll >> 8 & 0x7F) / (2 * (pll >> 25 & 3) + 2)


def hertz_u575(r: Registers) -> float:
    rcc = 0x46020C00
    config, divide = r[rcc + 0x28], r[rcc + 0x34]
    assert r[rcc + 0x1C] & 3 == 3
    assert config & 3 == 1
    assert config >> 18 & 1
    assert r[rcc + 8] >> 28 == 4
    assert r.bit(rcc + 8, 23)
    reference = 4e6 / ((config >> 8 & 0xF) + 1)
    return reference * ((divide & 0x1FF) + 1) / ((divide >> 24 & 0x7F) + 1)


def hertz_raspberry(clocks: int, pll: int, divider_bit: int) -> Callable[[Registers], float]:
    def hertz(r: Registers) -> float:
        assert r[clocks + 0x3C] & 0xE1 == 1
        assert not r[pll + 4] & 0x29
        vco = 12e6 / (r[pll] & 0x3F) * r[pll + 8]
        assert 750e6 <= vco <= 1600e6
        prim = r[pll + 0xC]
        return vco / (prim >> 16 & 7) / (prim >> 12 & 7) / (r[clocks + 0x40] >> divider_bit)

    return hertz


def hertz_ra8d1(r: Registers) -> float:
    system = 0x4001E000
    pll, outputs = r[system + 0x28], r[system + 0x4C]
    assert r[system + 0x26] == 5
    assert not pll >> 4 & 1
    vco = 20e6 / ((pll & 3) + 1) * ((pll >> 8) + 1)
    return vco / ((outputs & 0xF) + 1) / (1 << (r[system + 0x24] & 0xF))


PARTS: dict[str, tuple[Callable[[], Registers], Callable[[Registers], float]]] = {
    "stm32f746": (stm32f746, hertz_f746),
    "stm32h743": (stm32h743, hertz_h743),
    "stm32l4r5": (stm32l4r5, hertz_l4r5),
    "stm32u575": (stm32u575, hertz_u575),
    "nrf52840": (nordic(0x40000000), lambda r: 64e6),
    "nrf5340": (nordic(0x50005000), lambda r: 128e6 / (1 << (r[0x50005558] & 3))),
    "rp2040": (raspberry(0x40008000, 0x40024000, 0x40028000, 0x4000C000), hertz_raspberry(0x40008000, 0x40028000, 8)),
    "rp2350": (raspberry(0x40010000, 0x40048000, 0x40050000, 0x40020000), hertz_raspberry(0x40010000, 0x40050000, 16)),
    "ra8d1": (ra8d1, hertz_ra8d1),
}  # fmt: skip
"""By part: makes its registers, and says the hertz of its core."""
