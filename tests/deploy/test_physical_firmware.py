"""Firmware of boards that people own: it links for their flash, and boots on Unicorn as far as its UART's answer.

Oscillators and UARTs are stubs written from the manuals (`tests/support`); nothing here is silicon.
"""

import struct
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("unicorn", reason="Unicorn comes with the extra 'test'")

import unicorn
from unicorn import arm_const

from tests.deploy.exports import EVERYWHERE
from tests.support.boards import PHYSICAL
from tests.support.booted import BootedOnUnicorn
from tests.support.uarts import WIRINGS
from utvm.boards import Console
from utvm.deploy import Export, Firmware, FirmwareError, export, shell_firmware
from utvm.deploy.boot_rom import checksum_rp2040
from utvm.deploy.firmware import build_firmware
from utvm.toolchain import Source

CNN = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
FLASH = {
    "nrf52840": 0x00000000,
    "nrf5340": 0x00000000,
    "ra8d1": 0x02000000,
    "rp2040": 0x10000000,
    "rp2350": 0x10000000,
    **dict.fromkeys(("stm32f746", "stm32h743", "stm32l4r5", "stm32u575"), 0x08000000),
}
"""Where the cores, or the boot ROMs of Raspberry Pi's, look first, by the manuals."""
ECHO = """\
#include "utvm_console.h"

static volatile uint32_t seven = 7, zero; /* copied from flash, and cleared */
int main(void);

int main(void) {
  console_text("hello ");
  console_unsigned(seven * 10 + zero);
  for (;;) {
    console_put((char)(console_get() + 1));
  }
}
"""
WITH_CONSOLE = pytest.mark.parametrize("name", WIRINGS)


@cache
def _plain(core: str) -> Export:
    """The promise on the stack is for one core's compiler options, so that each core has an export of its own."""
    board = next(name for name, board in PHYSICAL.items() if board.core.name == core)
    return export(CNN, board, portable=("all",))


def exported(name: str) -> Export:
    """In plain C, which is the same for all boards of a core: it compiles quickly, and is not counted for each."""
    return replace(_plain(PHYSICAL[name].core.name), board=PHYSICAL[name])


@cache
def echo(name: str) -> Firmware:
    return build_firmware([exported(name)], [Source(name="echo.c", text=ECHO)], name="echo")


def vectors_of(firmware: Firmware) -> int:
    return firmware.image.symbol("utvm_vectors").address


def test_every_board_with_a_console_is_tested() -> None:
    assert set(WIRINGS) == {name for name, board in PHYSICAL.items() if board.console is not None}


@pytest.mark.parametrize(
    ("name", "fast"), [*((name, False) for name in WIRINGS), *((name, True) for name in WIRINGS if EVERYWHERE)]
)
def test_the_shipped_network_links_for_the_board_s_flash(name: str, fast: bool) -> None:
    made = export(CNN, name) if fast else exported(name)
    firmware = shell_firmware([made])
    board = firmware.board
    (segment,) = firmware.segments
    flash = next(memory for memory in board.memories if memory.kind == "flash")
    assert segment.address == FLASH[board.part or ""] == flash.origin
    assert segment.end <= flash.origin + flash.length
    assert len(segment.data) >= max(build.constant_bytes for build in made.manifest.builds)
    offset = vectors_of(firmware) - segment.address
    assert offset == (256 if board.part == "rp2040" else 0)
    top, reset = (int.from_bytes(segment.data[offset + at : offset + at + 4], "little") for at in (0, 4))
    assert top == firmware.image.symbol("utvm_stack_top").address
    assert reset == firmware.image.symbol("utvm_reset").address | 1
    places = {place.data.name: place.data for place in board.firmware}
    (data,) = (memory for memory in places.values() if memory.holds(top - 1))
    for section in firmware.image.sections:
        if section.name in (".data", ".bss", ".stack"):
            assert data.holds(section.address)
        else:
            assert segment.address <= section.address
            assert section.address + section.size <= segment.end


@WITH_CONSOLE
def test_it_boots_and_its_uart_answers_at_the_rate_promised(name: str) -> None:
    firmware = echo(name)
    booted = BootedOnUnicorn(firmware, vectors_of(firmware))
    assert booted.run_until("hello 70") == "hello 70"
    booted.uart.waiting += b"HAL"
    assert booted.run_until("IBM") == "hello 70IBM"


def test_a_wrong_rate_is_noticed_by_the_stub() -> None:
    made = exported("nucleo-l4r5zi")
    assert made.board.console is not None
    wrong = replace(made.board, console=replace(made.board.console, clock_hz=80_000_000))
    firmware = build_firmware([replace(made, board=wrong)], [Source(name="echo.c", text=ECHO)], name="echo")
    assert BootedOnUnicorn(firmware, vectors_of(firmware)).run_until("?" * 8) == "?" * 8


def test_large_arenas_go_to_the_next_memory() -> None:
    made = exported("nucleo-f746zg")
    small = replace(made.board, stack_bytes=48 * 1024)
    firmware = shell_firmware([replace(made, board=small)])
    sram = next(memory for memory in small.memories if memory.name == "sram1")
    assert sram.holds(firmware.image.symbol("utvm_stack_top").address - 1)


def test_a_board_without_a_driver_links_with_functions_of_the_user_s(tmp_path: Path) -> None:
    driver = tmp_path / "sci.c"
    driver.write_text(
        '#include "utvm_console.h"\nvoid console_open(void) {}\nvoid console_put(char c) { (void)c; }\n'
        "char console_get(void) { return 0; }\n"
    )
    console = Console(kind="file", base=0, baud=115200, clock_hz=120_000_000, file=str(driver))
    board = replace(PHYSICAL["ek-ra8d1"], console=console)
    firmware = shell_firmware([replace(exported("ek-ra8d1"), board=board)])
    (segment,) = firmware.segments
    assert segment.address == vectors_of(firmware) == FLASH["ra8d1"]


def test_a_board_without_a_console_says_what_is_missing() -> None:
    with pytest.raises(FirmwareError, match=r"board 'ek-ra8d1' has no \[console\]"):
        shell_firmware([exported("ek-ra8d1")])


def test_the_boot_rom_of_an_rp2040_takes_the_second_stage_which_maps_flash_and_starts() -> None:
    assert checksum_rp2040(b"123456789") == 0x0376E6E7  # CRC-32/MPEG-2 of the catalogues of checksums
    firmware = echo("raspberry-pi-pico")
    (segment,) = firmware.segments
    stage = segment.data[:256]
    assert int.from_bytes(stage[252:], "little") == checksum_rp2040(stage[:252])
    ssi: dict[int, int] = {}
    engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
    engine.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M0)
    for origin, length in ((0x10000000, 0x200000), (0x20041000, 0x1000)):
        engine.mem_map(origin, length)
    for base in (0x18000000, 0xE000E000):
        engine.mmio_map(base, 0x1000, None, None, lambda _, at, size, value, base: ssi.update({base + at: value}), base)
    engine.mem_write(0x10000000, segment.data)
    engine.mem_write(0x20041F00, stage)
    reset = firmware.image.symbol("utvm_reset").address
    engine.emu_start(0x20041F01, reset, count=1000)
    assert engine.reg_read(arm_const.UC_ARM_REG_PC) & ~1 == reset
    assert engine.reg_read(arm_const.UC_ARM_REG_SP) == firmware.image.symbol("utvm_stack_top").address
    assert list(ssi.items())[-1] == (0xE000ED08, 0x10000100)
    assert ssi[0x18000008] == 1
    assert ssi[0x18000000] == 0x001F0300
    assert ssi[0x180000F4] == 0x03000218
    assert ssi[0x18000014] % 2 == 0


@pytest.mark.parametrize(("name", "family"), [("raspberry-pi-pico", 0xE48BFF56), ("raspberry-pi-pico-2", 0xE48BFF59)])
def test_a_uf2_file_holds_the_firmware_in_pages_of_flash(name: str, family: int, tmp_path: Path) -> None:
    firmware = echo(name)
    (segment,) = firmware.segments
    (path,) = (path for path in firmware.write(tmp_path) if path.suffix == ".uf2")
    file = path.read_bytes()
    blocks = [file[start : start + 512] for start in range(0, len(file), 512)]
    held = b""
    for number, block in enumerate(blocks):
        assert struct.unpack("<8I", block[:32]) == (
            *(0x0A324655, 0x9E5D5157, 0x2000, 0x10000000 + 256 * number),
            *(256, number, len(blocks), family),
        )
        assert block[-4:] == struct.pack("<I", 0x0AB16F30)
        held += block[32 : 32 + 256]
    assert held.rstrip(b"\xff") == segment.data.rstrip(b"\xff")
    assert len(held) - len(segment.data) < 256


def test_no_other_board_has_a_uf2_file(tmp_path: Path) -> None:
    assert {path.suffix for path in echo("nucleo-l4r5zi").write(tmp_path)} == {".elf", ".hex", ".bin"}


def test_the_boot_rom_of_an_rp2350_finds_its_block_in_the_first_4_kb() -> None:
    (segment,) = echo("raspberry-pi-pico-2").segments
    block = struct.pack("<5I", 0xFFFFDED3, 0x10210142, 0x000001FF, 0, 0xAB123579)
    assert segment.data[:4096].count(block) == 1
    assert segment.data.index(block) % 4 == 0
