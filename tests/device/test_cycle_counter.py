"""Cycles read through a link, from counters that are simulated here after the architecture manuals' words."""

from dataclasses import replace

import pytest

from tests.support.boards import PHYSICAL
from utvm.device import build_image
from utvm.device.cycle_counter import CycleCounter
from utvm.device.firmware import SYSTICK_TURNS_SYMBOL
from utvm.toolchain import Image, Source

CYCCNT, CVR, ICSR = 0xE0001004, 0xE000E018, 0xE000ED04
PICO = PHYSICAL["raspberry-pi-pico"]


@pytest.fixture(scope="module")
def image() -> Image:
    return build_image(PICO, [Source(name="f.c", text="void f(void);\nvoid f(void) {}\n")], entries=["f"])


class Board:
    """A debug link to counters that run `cycles` between begin and count."""

    def __init__(self, image: Image, *, late: bool = False, left: int = 99) -> None:
        self.turns_at = image.symbol(SYSTICK_TURNS_SYMBOL).address
        self.words = {CYCCNT: 77, CVR: left, ICSR: 0, self.turns_at: 5}
        self.late = late

    def read_memory(self, address: int, length: int) -> bytes:
        return self.words[address].to_bytes(length, "little")

    def run(self, cycles: int) -> None:
        """SysTick reloads 0xffffff in the cycle after 0; counting to 0 makes its exception pending."""
        self.words[CYCCNT] = (self.words[CYCCNT] + cycles) & 0xFFFFFFFF
        first = self.words[CVR] or 1 << 24
        turns = 0 if cycles < first else 1 + (cycles - first) // (1 << 24)
        self.words[CVR] = (self.words[CVR] - cycles) % (1 << 24)
        pending = int(self.late and turns > 0)
        self.words[self.turns_at] += turns - pending
        self.words[ICSR] = pending << 26


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("left", [0, 1, 99, 0xFFFFFF])
@pytest.mark.parametrize("cycles", [1, 2, 99, 1000, (1 << 24) - 1, 1 << 24, (1 << 24) + 1, 3 * (1 << 24) + 12345])
def test_systick_counts_over_its_24_bits(image: Image, cycles: int, left: int, late: bool) -> None:
    board, counter = Board(image, late=late, left=left), CycleCounter(PICO)
    counter.begin(image, board)  # type: ignore[arg-type]
    board.run(cycles)
    count = counter.count(image, board)  # type: ignore[arg-type]
    assert (count.cycles, count.cycles_source, count.instructions) == (cycles, "SysTick", None)


def test_dwt_counts_and_a_run_longer_than_its_turn_is_unknown(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("utvm.device.cycle_counter.time.monotonic", lambda: now)
    board, counter = Board(image), CycleCounter(replace(PICO, cycle_counter="dwt", clock_hz=480_000_000))
    counter.begin(image, board)  # type: ignore[arg-type]
    board.run(123_456)
    now += 8.9
    assert counter.count(image, board).cycles == 123_456  # type: ignore[arg-type]
    now += 0.1
    assert counter.count(image, board).cycles is None  # type: ignore[arg-type]
