"""Calls, memory, counts: what a session promises on every emulated board."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import utvm
from tests.device.conftest import test_image as image_for
from tests.support.boards import EMULATED
from utvm.boards import load_board
from utvm.device import DeviceError, Session, build_image
from utvm.device.gdb_packets import PacketStream
from utvm.emulators import EmulatorError, QemuTarget
from utvm.toolchain import Source

EVERY_BOARD = pytest.mark.parametrize("board", EMULATED)


@EVERY_BOARD
def test_calls_with_arguments_in_registers_and_on_the_stack(session: Session) -> None:
    assert session.call("add9", 1, 2, 3, 4, 5, 6, 7, 8, 9).value == sum(i * i for i in range(1, 10))
    assert session.call("add9", -1, 0, 0, 0, 0, 0, 0, 0, 0).value == 0xFFFFFFFF


@EVERY_BOARD
def test_floating_point(session: Session) -> None:
    assert session.call("halves", 100).value == 50


@EVERY_BOARD
def test_memory_by_symbol_and_address(session: Session) -> None:
    data = bytes(range(64))
    session.write("buffer", data)
    assert session.read("buffer", 64) == data
    assert session.read(session.call("place").value, 8) == data[:8]
    session.write("buffer", b"\x7d\x23\x24\x2a", offset=60)
    assert session.read("buffer", 8, offset=56) == data[56:60] + b"\x7d\x23\x24\x2a"


@EVERY_BOARD
def test_instruction_counts_are_exact(session: Session) -> None:
    """The loop is two instructions a turn, whatever stands around it."""
    counts = [session.call("counted", n).instructions for n in (10, 20, 20, 1020)]
    assert counts[1] is not None
    assert counts[1] - counts[0] == 20
    assert counts[1] == counts[2]
    assert counts[3] - counts[2] == 2000


@EVERY_BOARD
def test_stack_use_is_measured(session: Session) -> None:
    session.call("answer")
    before = session.stack_used()
    session.call("deep", 5)
    assert before + 5 * 64 <= session.stack_used() < 1024


@EVERY_BOARD
def test_one_image_after_the_other(session: Session, board: str) -> None:
    for _ in range(2):
        session.load(image_for(board))
        assert session.call("answer").value == 42


def test_interrupts_that_a_program_enabled_are_off_after_a_load() -> None:
    text = """#include <stdint.h>
#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
void enable(void);
uint32_t enabled(void);
void enable(void) { SYST_CSR = 2; }
uint32_t enabled(void) { return SYST_CSR & 2; }
"""
    with utvm.connect("qemu-cortex-m4") as session:
        image = build_image(session.board, [Source(name="ticks.c", text=text)], entries=["enable", "enabled"])
        session.load(image)
        session.call("enable")
        assert session.call("enabled").value
        session.load(image)
        assert not session.call("enabled").value


def test_the_overhead_of_a_call_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loose bound of packets, so that a change that makes calls slow is noticed; its time is measured elsewhere."""
    sent = []
    send = PacketStream.send

    def counted(stream: PacketStream, payload: bytes) -> None:
        sent.append(payload)
        send(stream, payload)

    with utvm.connect("qemu-cortex-m7") as session:
        session.load(image_for("qemu-cortex-m7"))
        session.call("answer")
        monkeypatch.setattr(PacketStream, "send", counted)
        session.call("answer")
    assert 0 < len(sent) <= 15, sent


def test_nothing_is_left_after_close() -> None:
    session = utvm.connect("qemu-cortex-m7")
    target = session._target
    assert isinstance(target, QemuTarget)
    pid, directory = target.process_id, target._child.directory
    assert pid is not None
    assert directory is not None
    session.close()
    session.close()
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(DeviceError, match="closed"):
        session.read(0, 4)


def test_the_emulator_dies_with_us(tmp_path: Path) -> None:
    script = (
        "import os, utvm\n"
        "session = utvm.connect('qemu-cortex-m7')\n"
        "print(session._target.process_id, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    pid = int(done.stdout)
    for _ in range(6000):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} still runs")


def test_a_missing_emulator_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmulatorError, match="apt-get install qemu-system-arm"):
        QemuTarget(load_board("qemu-cortex-m7"), cache_directory=tmp_path).start()


def test_calls_need_an_image() -> None:
    with utvm.connect("qemu-cortex-m7") as session, pytest.raises(DeviceError, match="no image is loaded"):
        session.call("answer")
