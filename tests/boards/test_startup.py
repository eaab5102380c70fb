"""Start-up code runs, on Unicorn with stubbed registers: every step in order, every wait ends, and the clock that comes
out of the written registers by the manuals' formulas is the one that the board's file promises.

Nothing here is silicon: that a part behaves as its stub does is what no one has seen.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

pytest.importorskip("unicorn", reason="Unicorn comes with the extra 'test'")

from tests.support.boards import PHYSICAL
from tests.support.peripherals import Access, Registers, Status, follows, run_start
from utvm.boards import Board, Placement
from utvm.cores import get_core
from utvm.device import startup
from utvm.device.firmware import build_image
from utvm.device.startup import StartupError, startup_failure
from utvm.toolchain import Image

ONE_OF_A_PART = {board.part: board for board in PHYSICAL.values()}
EVERY_PART = pytest.mark.parametrize("part", ONE_OF_A_PART)
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


def runnable(part: str) -> Board:
    """The board; Unicorn knows no core of Armv8.1-M: the same start-up code is compiled for a Cortex-M33."""
    board = ONE_OF_A_PART[part]
    return replace(board, core=get_core("cortex-m33")) if board.core.architecture == "armv8.1-m.main" else board


def image_of(board: Board, placement: Placement | None = None) -> Image:
    placements = board.placements if placement is None else (placement,)
    return build_image(replace(board, placements=placements), [], entries=[])


def steps(log: list[Access]) -> list[Access]:
    """Accesses to peripherals."""
    return [access for access in log if access.address < 0xE0000000]


def test_every_part_has_its_stub() -> None:
    assert set(PARTS) == set(ONE_OF_A_PART)


@EVERY_PART
def test_the_clock_that_is_set_up_is_the_one_promised(part: str) -> None:
    make, hertz = PARTS[part]
    registers, board = make(), runnable(part)
    assert run_start(board, image_of(board), registers) == 0
    assert hertz(registers) == board.clock_hz


@EVERY_PART
def test_a_second_start_without_a_reset_ends_at_the_same_clock(part: str) -> None:
    make, hertz = PARTS[part]
    registers, board = make(), runnable(part)
    assert [run_start(board, image_of(board), registers) for _ in range(2)] == [0, 0]
    assert hertz(registers) == board.clock_hz


@EVERY_PART
def test_every_step_arrives_in_order(part: str) -> None:
    registers, board = PARTS[part][0](), runnable(part)
    run_start(board, image_of(board), registers)
    left = steps(registers.log)
    for operation in board.clock:
        if operation.kind == "pause":
            continue
        size = operation.bits // 8
        while left and operation.kind == "wait" and left[0].value & operation.mask != operation.value:
            assert (left[0].kind, left.pop(0).address) == ("read", operation.address)
        first = left.pop(0)
        assert (first.address, first.size) == (operation.address, size), str(operation)
        if operation.kind == "write":
            assert first == Access("write", operation.address, size, operation.value)
            continue
        assert first.kind == "read"
        if operation.kind == "modify":
            expected = first.value & ~operation.mask | operation.value
            assert left.pop(0) == Access("write", operation.address, size, expected)
    assert not left


@EVERY_PART
def test_a_wait_that_does_not_end_is_given_up_and_named(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "WAIT_TURNS", 50)
    board = runnable(part)
    image = image_of(board)
    waits = [operation for operation in board.clock if operation.kind == "wait"]
    given_up = set()
    for wait in waits:
        registers = PARTS[part][0]()
        registers.stuck = frozenset({wait.address})
        status = run_start(board, image, registers)
        if status:
            failed = waits[status - 1]
            assert failed.address == wait.address
            assert registers.log[-1].address == wait.address
            with pytest.raises(StartupError, match=f"{failed.register} .*never showed"):
                raise startup_failure(board, status)
            given_up.add(wait.address)
    # A flash latency is read back from where it was written: the stub always shows it.
    assert {wait.address for wait in waits} - given_up <= {0x40023C00, 0x52002000, 0x40022000}


def test_a_status_that_no_wait_has_is_told() -> None:
    assert "which means nothing" in str(startup_failure(ONE_OF_A_PART["rp2040"], 99))


def order(registers: Registers, address: int, accept: Callable[[int], bool]) -> int:
    """The position of the first write to an address that is accepted."""
    return next(
        position
        for position, access in enumerate(registers.log)
        if access.kind == "write" and access.address == address and accept(access.value)
    )


@pytest.mark.parametrize(
    ("part", "latency", "wait_states", "switch", "fast"),
    [
        ("stm32f746", 0x40023C00, 7, 0x40023808, 2),
        ("stm32h743", 0x52002000, 4, 0x58024410, 3),
        ("stm32l4r5", 0x40022000, 5, 0x40021008, 3),
        ("stm32u575", 0x40022000, 4, 0x46020C1C, 3),
        ("ra8d1", 0x4001C11C, 4, 0x4001E026, 5),
    ],
)
def test_flash_waits_before_the_clock_rises(part: str, latency: int, wait_states: int, switch: int, fast: int) -> None:
    registers, board = PARTS[part][0](), runnable(part)
    run_start(board, image_of(board), registers)
    slowed = order(registers, latency, lambda value: value & 0xF == wait_states)
    assert slowed < order(registers, switch, lambda value: value & 7 == fast)
    flash = next(memory for memory in board.memories if memory.kind == "flash")
    assert flash.wait_states == wait_states


CCR, ICIALLU, CCSIDR, DCISW = 0xE000ED14, 0xE000EF50, 0xE000ED80, 0xE000EF60
DWT_LAR, DWT_CTRL, DEMCR, VTOR = 0xE0001FB0, 0xE0001000, 0xE000EDFC, 0xE000ED08


@pytest.mark.parametrize(
    ("part", "sets", "ways", "shift"), [("stm32f746", 32, 4, 30), ("stm32h743", 128, 4, 30), ("ra8d1", 128, 4, 30)]
)
def test_caches_are_invalidated_whole_before_they_are_turned_on(part: str, sets: int, ways: int, shift: int) -> None:
    registers, board = PARTS[part][0](), runnable(part)
    registers.initial[CCSIDR] = (sets - 1) << 13 | (ways - 1) << 3 | 1
    run_start(board, image_of(board), registers)
    invalidated = [access.value for access in registers.log if access.address == DCISW]
    assert sorted(invalidated) == sorted(way << shift | index << 5 for way in range(ways) for index in range(sets))
    last = max(position for position, access in enumerate(registers.log) if access.address == DCISW)
    assert order(registers, ICIALLU, lambda _: True) < order(registers, CCR, lambda value: bool(value & 1 << 17))
    assert last < order(registers, CCR, lambda value: bool(value & 1 << 16))


def test_the_data_cache_stays_off_where_data_are_behind_it() -> None:
    registers, board = PARTS["stm32h743"][0](), ONE_OF_A_PART["stm32h743"]
    large = next(placement for placement in board.placements if placement.data.cached)
    assert run_start(board, image_of(board, large), registers) == 0
    assert registers[CCR] >> 16 & 3 == 2


@EVERY_PART
def test_the_cycle_counter_runs_and_vectors_are_the_image_s(part: str) -> None:
    registers, board = PARTS[part][0](), runnable(part)
    image = image_of(board)
    run_start(board, image, registers)
    assert registers[VTOR] == image.symbol("utvm_vectors").address
    if board.cycle_counter == "systick":
        assert (registers[0xE000E014], registers[0xE000E010]) == (0xFFFFFF, 7)
        assert DWT_CTRL not in registers.written
        return
    assert registers[DWT_CTRL] & 1
    assert registers[DEMCR] >> 24 & 1
    if board.core.architecture == "armv7e-m":
        assert order(registers, DWT_LAR, lambda value: value == 0xC5ACCE55) < order(registers, DWT_CTRL, bool)
