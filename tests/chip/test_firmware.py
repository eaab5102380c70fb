"""From a model to a firmware that stock OpenOCD programs into a simulated STM32L4R5, where it boots and answers.

The chip has the part's flash controller, a UART, and oscillators that are stubs: see `tests/support/chip`.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.exports import EVERYWHERE
from tests.support.chip import probe as _registers_the_probes  # noqa: F401
from tests.support.chip.bench import plugged
from tests.support.chip.chip import Chip
from tests.support.chip.damage import Plan
from tests.support.chip.memory import BusError
from tests.support.chip.parts import FLASH, PARTS
from tests.support.chip.process import PINS_VARIABLE, ChipProcess, board_file
from utvm.boards import Board, LinkSettings, PyOcdSettings, load_board
from utvm.cli import main
from utvm.deploy import Export, Firmware, export, flash, shell_firmware
from utvm.deploy.firmware import build_firmware
from utvm.device import link_opener
from utvm.frontends import load
from utvm.graph.reference import evaluate
from utvm.toolchain import Source

CNN = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
BOARD = board_file("stm32l4r5")
PAGE = 4096
SECONDS = 120.0


@cache
def exported() -> Export:
    """In plain C: 100 KB instead of 290 KB to program."""
    return export(CNN, BOARD, portable=("all",))


GREETING = """\
#include "utvm_console.h"

int main(void);

int main(void) {
  console_text("hello\\r\\n");
  for (;;) {
  }
}
"""


def greeting_for(board: Board) -> Firmware:
    made = replace(exported(), board=board)
    return build_firmware([made], [Source(name="greeting.c", text=GREETING)], name="greeting")


@cache
def greeting() -> Firmware:
    return greeting_for(exported().board)


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    shell_firmware([exported()]).write(tmp_path)
    return tmp_path / "cifar10_cnn.elf"


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChipProcess]:
    with ChipProcess("stm32l4r5") as started:
        monkeypatch.setenv(PINS_VARIABLE, str(started.pins))
        yield started


def hear(chip: ChipProcess, end: str, after: int = 0) -> str:
    """Return what the UART said from a position on, as soon as that ends so."""
    deadline = time.monotonic() + SECONDS
    while not (said := chip.control()["said"][after:]).endswith(end):
        assert time.monotonic() < deadline, said
        time.sleep(0.02)
    return str(said)


def ask(chip: ChipProcess, line: str) -> str:
    after = len(chip.control()["said"])
    chip.control(type=line + "\n")
    return hear(chip, "ok\r\n", after)


def test_a_model_is_programmed_boots_from_flash_and_is_exact(
    part: ChipProcess, firmware: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flash", str(firmware), "--trust-board", "--board", str(BOARD), "--yes"]) == 0
    shown = capsys.readouterr().out
    assert "erases the sectors under 0x08000000 to" in shown
    assert "programmed, read back, started" in shown
    assert hear(part, "ready\r\n") == "utvm cifar10_cnn ready\r\n"
    assert not part.control()["connected"]
    x = np.random.default_rng(5).integers(-128, 128, (1, 32, 32, 3)).astype(np.int8)
    raw = x.tobytes()
    for start in range(0, len(raw), 512):
        assert ask(part, f"input 0 {start} {raw[start : start + 512].hex()}") == "ok\r\n"
    (wanted,) = evaluate(load(CNN), [x]).values()
    answer = ask(part, "infer").splitlines()[0].split()
    assert [int(value) for value in answer[2:]] == wanted.reshape(-1).tolist()


@pytest.mark.parametrize("name", ["stm32f746", "stm32u575"])
def test_other_families_are_programmed_and_boot(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Cortex-M7 with sectors and its caches on, OpenOCD's stm32f2x; a Cortex-M33 programmed by four words.

    `UTVM_EVERY_BOARD`: the network too.
    """
    path = board_file(name)
    firmware = shell_firmware([export(CNN, path)]) if EVERYWHERE else greeting_for(load_board(path, trust=True))
    elf, *_ = firmware.write(tmp_path)
    with ChipProcess(name) as chip:
        monkeypatch.setenv(PINS_VARIABLE, str(chip.pins))
        assert main(["flash", str(elf), "--trust-board", "--board", str(path), "--yes"]) == 0
        assert hear(chip, "\r\n") == ("utvm cifar10_cnn ready\r\n" if EVERYWHERE else "hello\r\n")
        if EVERYWHERE:
            (wanted,) = evaluate(load(CNN), [np.zeros((1, 32, 32, 3), np.int8)]).values()
            answer = ask(chip, "infer").splitlines()[0].split()  # of an arena that holds zeros
            assert [int(value) for value in answer[2:]] == wanted.reshape(-1).tolist()


def test_nothing_is_programmed_before_somebody_said_yes(
    part: ChipProcess, firmware: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flash", str(firmware), "--trust-board", "--board", str(BOARD)]) == 2
    assert "nothing was programmed: say --yes" in capsys.readouterr().err
    assert part.control()["programmed"] == 0
    assert not part.control()["connected"]


def test_a_board_that_vanishes_while_it_is_programmed_is_one_message(
    part: ChipProcess, firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def pull() -> None:
        while part.control()["programmed"] < 500:
            time.sleep(0.01)
        part.control(power=False)

    puller = threading.Thread(target=pull)
    puller.start()
    status = main(["flash", str(firmware), "--trust-board", "--board", str(BOARD), "--yes"])
    puller.join()
    said = capsys.readouterr().err
    assert status == 2
    assert said.count("utvm: ") == 1
    assert "in part: run `utvm flash` again" in said
    part.control(power=True)
    after = len(part.control()["said"])  # what is there of it may have said something
    small, *_ = greeting().write(tmp_path)
    assert main(["flash", str(small), "--trust-board", "--board", str(BOARD), "--yes"]) == 0
    assert hear(part, "hello\r\n", after)


@pytest.mark.parametrize("seed", range(3))
def test_a_link_that_garbles_never_passes_for_programmed(seed: int, part: ChipProcess, tmp_path: Path) -> None:
    elf, *_ = greeting().write(tmp_path)
    (segment,) = greeting().segments
    part.control(plan=asdict(Plan(seed=seed, rates={"write_flip": 1 / 100}, limit=1)))
    status = main(["flash", str(elf), "--trust-board", "--board", str(BOARD), "--yes"])
    done = part.control(plan={})["done"]
    print(f"exit status {status} after {done}")
    assert done
    if status == 0:
        held = part.control(read=[FLASH, len(segment.data)])["held"]
        assert bytes.fromhex(held) == segment.data
    else:
        assert status == 2
    assert main(["flash", str(elf), "--trust-board", "--board", str(BOARD), "--yes"]) == 0
    assert hear(part, "hello\r\n").endswith("hello\r\n")


def test_only_the_pages_under_a_range_are_erased(part: ChipProcess) -> None:
    board = load_board(BOARD, trust=True)
    link = link_opener(board)(str(part.pins))
    bank_2 = FLASH + (1 << 20)
    try:
        for where, byte in ((FLASH + 8 * PAGE, 1), (FLASH + 9 * PAGE, 2), (bank_2, 3)):
            link.program_flash(where, bytes([byte]) * PAGE)
        link.program_flash(FLASH + 9 * PAGE, bytes([4]) * 100)
        held = [link.read_memory(FLASH + 8 * PAGE, 2 * PAGE), link.read_memory(bank_2, PAGE)]
    finally:
        link.close()
    assert held[0] == b"\x01" * PAGE + (b"\x04" * 100).ljust(104, b"\xff") + b"\xff" * (PAGE - 104)
    assert held[1] == b"\x03" * PAGE


def test_the_controller_takes_what_the_manual_allows_and_nothing_else() -> None:
    chip = Chip(PARTS["stm32l4r5"])
    keyr, sr, cr = 0x40022008, 0x40022010, 0x40022014
    place = FLASH + 0x10000
    with pytest.raises(BusError):
        chip.write(place, 4, 1)  # locked
    assert chip.read(sr, 4) == 1 << 7
    chip.write(sr, 4, 1 << 7)
    chip.write(cr, 4, 1)
    assert chip.read(cr, 4) == 3 << 30
    for key in (0x45670123, 0xCDEF89AB):
        chip.write(keyr, 4, key)
    chip.write(cr, 4, 1)
    for word in (0, 4):
        chip.write(place + word, 4, 0x1000 + word)
    assert (chip.read(place, 4), chip.read(place + 4, 4)) == (0x1000, 0x1004)
    chip.write(place, 4, 5)
    with pytest.raises(BusError):
        chip.write(place + 4, 4, 5)  # not erased
    assert chip.read(sr, 4) == 1 << 3 | 1
    with pytest.raises(BusError):
        chip.write(place + 8, 2, 5)
    assert chip.read(place, 4) == 0x1000
    chip.write(cr, 4, 1 << 16 | 16 << 3 | 2)
    assert chip.read(place, 4) == 0xFFFFFFFF
    chip.core.reset()
    assert chip.read(cr, 4) == 3 << 30
    chip.write(keyr, 4, 0x45670123)
    with pytest.raises(BusError):
        chip.write(keyr, 4, 1)


def test_sectors_are_erased_and_programmed_as_wide_as_the_controller_was_told() -> None:
    chip = Chip(PARTS["stm32f746"])
    keyr, sr, cr = 0x40023C04, 0x40023C0C, 0x40023C10
    for key in (0x45670123, 0xCDEF89AB):
        chip.write(keyr, 4, key)
    place = FLASH + 0x20000  # sector 4
    chip.write(cr, 4, 1 | 1 << 8)
    chip.write(place, 2, 0x1234)
    assert chip.read(place, 4) == 0xFFFF1234
    with pytest.raises(BusError):
        chip.write(place + 2, 1, 0x12)
    assert chip.read(sr, 4) == 1 << 6 | 1
    with pytest.raises(BusError):
        chip.write(place, 2, 0x4321)  # would set bits
    chip.write(FLASH + 0x18000, 2, 0x5678)  # sector 3
    chip.write(cr, 4, 1 << 16 | 4 << 3 | 2)
    assert chip.read(place, 2) == 0xFFFF
    assert chip.read(FLASH + 0x18000, 2) == chip.read(0x00218000, 2) == 0x5678


def test_pyocd_programs_with_its_own_algorithm_and_leaves_the_board_running(tmp_path: Path) -> None:
    """pyOCD has the STM32L475 built in: the chip has the flash of that one, and is an STM32L4R5 otherwise."""
    made = exported()
    settings = PyOcdSettings(target="stm32l475xg", probe="sim-flash-of-l475")
    board = replace(made.board, link=LinkSettings(kind="pyocd", pyocd=settings))
    (segment,) = greeting().segments
    elf, *_ = greeting().write(tmp_path)
    with plugged("flash-of-l475") as bench:
        assert flash(elf, board).nbytes == len(segment.data) > 1024
        assert bench.chip.memory.read(FLASH, len(segment.data)) == segment.data
        assert not bench.chip.core.halted
        assert bench.chip.peripherals is not None
        for _ in range(100):
            bench.chip.advance(10_000)
        assert bench.chip.peripherals.uart.sent == b"hello\r\n"
