"""Constants in flash where RAM does not hold them: a QEMU board, part of whose memory only programmers can write."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from utvm import api
from utvm.boards import Board, Memory, Placement, load_board
from utvm.device import (
    DebugLink,
    DeviceError,
    FlashProgrammer,
    GdbRemoteLink,
    Session,
    VerificationError,
    build_image,
)
from utvm.emulators import emulator_target
from utvm.toolchain import Image, MemoryOverflowError, Source

CNN = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
CODE = Memory(name="code", kind="ram", origin=0, length=64 * 1024)
FLASH = Memory(name="flash", kind="flash", origin=0x200000, length=1 << 20)
DATA = Memory(name="data", kind="ram", origin=0x20000000, length=128 * 1024)


def board() -> Board:
    return replace(
        load_board("qemu-cortex-m7"),
        memories=(CODE, FLASH, DATA),
        placements=(
            Placement(code=CODE, constants=CODE, data=DATA),
            Placement(code=CODE, constants=FLASH, data=DATA),
        ),
    )


def image(seed: int = 0, size: int = 100_000) -> Image:
    table = ", ".join(map(str, random.Random(seed).choices(range(256), k=size)))
    text = f"""\
#include <stdint.h>
static const uint8_t table[{size}] = {{{table}}};
uint32_t at(uint32_t index);
uint32_t at(uint32_t index) {{ return ((const volatile uint8_t *)table)[index]; }}
"""
    return build_image(board(), [Source(name="table.c", text=text)], entries=["at"])


class Locked(GdbRemoteLink):
    """A link to which flash is read-only."""

    def write_memory(self, address: int, data: bytes) -> None:
        assert not FLASH.holds(address), "flash is not written like RAM"
        super().write_memory(address, data)


class Programmer(Locked):
    """A link that programs flash by an algorithm in RAM, which spoils it."""

    programmed: list[tuple[int, int]]
    worn_out = False

    def __init__(self, endpoint: str) -> None:
        super().__init__(endpoint)
        self.programmed = []

    def program_flash(self, address: int, data: bytes) -> None:
        assert FLASH.holds(address)
        assert FLASH.holds(address + len(data) - 1)
        GdbRemoteLink.write_memory(self, address, bytes(len(data)) if self.worn_out else data)
        GdbRemoteLink.write_memory(self, DATA.origin, b"\xaa" * 8192)
        GdbRemoteLink.write_memory(self, CODE.origin, b"\xaa" * 8192)
        self.programmed.append((address, len(data)))

    def leave(self) -> None:
        raise AssertionError("a session stays")


@pytest.fixture
def links() -> list[DebugLink]:
    return []


@pytest.fixture
def session(links: list[DebugLink], tmp_path: Path) -> Iterator[Session]:
    def open_link(endpoint: str) -> DebugLink:
        links.append(Programmer(endpoint))
        return links[-1]

    target = emulator_target(board(), cache_directory=tmp_path)
    assert target is not None
    with Session(board(), target, open_link) as opened:
        yield opened


def test_constants_that_ram_holds_stay_there() -> None:
    assert all(not FLASH.holds(section.address) for section in image(size=1000).sections)


def test_others_are_in_flash_and_programmed_once(session: Session, links: list[DebugLink]) -> None:
    first = image()
    in_flash = [section for section in first.sections if FLASH.holds(section.address)]
    assert [section.name for section in in_flash] == [".rodata"]
    for _ in range(2):
        session.load(first)
        expected = random.Random(0).choices(range(256), k=100_000)
        assert [session.call("at", index).value for index in (0, 77, 99_999)] == [expected[i] for i in (0, 77, 99_999)]
    (link,) = links
    assert isinstance(link, FlashProgrammer)
    assert isinstance(link, Programmer)
    assert link.programmed == [(in_flash[0].address, in_flash[0].size)]


def test_another_image_is_programmed_anew(session: Session, links: list[DebugLink]) -> None:
    for seed in (1, 2):
        session.load(image(seed))
        assert session.call("at", 5).value == random.Random(seed).choices(range(256), k=100_000)[5]
    assert isinstance(links[0], Programmer)
    assert len(links[0].programmed) == 2


def test_flash_that_does_not_take_it_is_told(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Programmer, "worn_out", True)
    with pytest.raises(VerificationError, match=r"\.rodata at 0x00200000 .*is there flash"):
        session.load(image())


def test_a_link_that_cannot_program_says_which_can(tmp_path: Path) -> None:
    target = emulator_target(board(), cache_directory=tmp_path)
    assert target is not None
    with (
        Session(board(), target, Locked) as opened,
        pytest.raises(DeviceError, match=r"constants do not fit RAM, .*gdb link of .*: use .*OpenOCD"),
    ):
        opened.load(image())


def test_the_shipped_network_runs_from_flash(session: Session) -> None:
    import numpy as np

    compiled = api.compile(CNN, board())
    assert any(FLASH.holds(section.address) for section in compiled.image.sections)
    picture = np.random.default_rng(0).integers(-128, 127, (1, 32, 32, 3), dtype=np.int8)
    outputs = api.Model(session, compiled).run(picture).outputs
    with api.connect("qemu-cortex-m7") as other:
        wanted = api.Model(other, api.compile(CNN, "qemu-cortex-m7")).run(picture).outputs
    np.testing.assert_array_equal(outputs["logits"], wanted["logits"])


def test_what_fits_nowhere_names_the_bytes() -> None:
    with pytest.raises(MemoryOverflowError, match=r"region flash needs 1,5\d\d,\d\d\d bytes and has 1,048,576"):
        image(size=1_500_000)
