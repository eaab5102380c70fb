"""Start-up code runs, on Unicorn with stubbed registers: every step in order, every wait ends, and the clock that comes
out of the written registers by the manuals' formulas is the one that the board's file promises.

Nothing here is silicon: that a part behaves as its stub does is what no one has seen.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

pytest.importorskip("unicorn", reason="Unicorn comes with the extra 'test'")

from tests.support.boards import PHYSICAL
from tests.support.oscillators import PARTS
from tests.support.peripherals import Access, Registers, run_start
from utvm.boards import Board, Placement
from utvm.cores import get_core
from utvm.device import startup
from utvm.device.firmware import build_image
from utvm.device.startup import StartupError, startup_failure
from utvm.toolchain import Image

# Those whose clock our start-up code sets.
ONE_OF_A_PART = {board.part: board for board in PHYSICAL.values() if board.clock}
EVERY_PART = pytest.mark.parametrize("part", ONE_OF_A_PART)


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
