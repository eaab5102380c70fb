"""Whatever goes wrong on the target is told, and the next call works."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import utvm
from tests.device.conftest import test_image as image_for
from tests.support.interrupts import heard_interrupts
from utvm.device import (
    CallTimeoutError,
    DeviceError,
    LinkLostError,
    Session,
    StackOverflowError,
    TargetFaultError,
    VerificationError,
)
from utvm.emulators import QemuTarget

pytestmark = pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m0", "qemu-riscv32"])


@contextmanager
def told_as(error: type[DeviceError], session: Session, *words: str) -> Iterator[None]:
    """What is inside fails with `error`, whose message has `words`; afterwards the session works."""
    with pytest.raises(error) as caught:
        yield
    for word in words:
        assert word in str(caught.value)
    assert session.call("answer").value == 42


def process_of(session: Session) -> int:
    target = session._target
    assert isinstance(target, QemuTarget)
    assert target.process_id is not None
    return target.process_id


def test_undefined_instruction(session: Session, board: str) -> None:
    words = {
        "qemu-cortex-m7": ("UsageFault while undefined ran: undefined instruction",),
        "qemu-cortex-m0": ("HardFault while undefined ran",),
        "qemu-riscv32": ("exception while undefined ran: illegal instruction",),
    }
    with told_as(TargetFaultError, session, *words[board], "in undefined at program.c:", "pc 0x", "reset"):
        session.call("undefined")


def test_bad_address(session: Session, board: str) -> None:
    address = 0x50000001 if board == "qemu-cortex-m0" else 0xF0000000
    words = {
        "qemu-cortex-m7": ("BusFault while peek ran: bus error on a data access", "address 0xf0000000"),
        "qemu-cortex-m0": ("HardFault while peek ran",),
        "qemu-riscv32": ("exception while peek ran: load access fault", "address 0xf0000000"),
    }
    with told_as(TargetFaultError, session, *words[board], "in peek at program.c:"):
        session.call("peek", address)


def test_division_by_zero(session: Session, board: str) -> None:
    if board != "qemu-cortex-m7":
        # These cores do not trap it: Armv6-M has no division, RISC-V defines the result.
        assert session.call("divide", 7, 0).value in (0, 7, 0xFFFFFFFF)
        return
    with told_as(TargetFaultError, session, "UsageFault while divide ran: division by zero", "in divide"):
        session.call("divide", 1, 0)


def test_breakpoint_in_the_code(session: Session) -> None:
    with told_as(DeviceError, session, "breakpoint"):
        session.call("breakpoint")


def test_stack_overflow(session: Session) -> None:
    with told_as(StackOverflowError, session, "deep overran the stack of", "stack_bytes"):
        session.call("deep", 4000)


def test_endless_loop(session: Session) -> None:
    with told_as(CallTimeoutError, session, "forever did not return within 0.2 s", "in forever at program.c:"):
        session.call("forever", timeout=0.2)


def test_emulator_killed_between_calls(session: Session) -> None:
    os.kill(process_of(session), signal.SIGKILL)
    with told_as(LinkLostError, session, "the board was started again and the image reloaded"):
        session.call("answer")


def test_emulator_killed_during_a_call(session: Session) -> None:
    victim = process_of(session)
    killer = threading.Timer(0.2, os.kill, (victim, signal.SIGKILL))
    killer.start()
    with told_as(LinkLostError, session, "QEMU ended with signal SIGKILL"):
        session.call("forever", timeout=20)
    killer.join()
    assert process_of(session) != victim


def test_socket_cut(session: Session) -> None:
    session._live._packets.close()
    with told_as(LinkLostError, session, "started again"):
        session.call("answer")


def test_emulator_that_does_not_answer(session: Session) -> None:
    session._live._timeout = 0.2
    os.kill(process_of(session), signal.SIGSTOP)
    with told_as(DeviceError, session):
        session.read("buffer", 4)


def test_interrupted_from_the_keyboard(session: Session) -> None:
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with heard_interrupts():
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            session.call("forever", timeout=20)
        timer.join()
    assert session.call("answer").value == 42


def test_a_load_that_goes_wrong_is_found_out(board: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_for(board)
    text = next(s for s in image.sections if s.name == ".text")
    with utvm.connect(board) as session:
        link = type(session._live)
        write = link.write_memory
        spoil = [True]

        def broken(self: object, address: int, data: bytes) -> None:
            if address == text.address and spoil:
                spoil.clear()
                data = data[:-1] + bytes([data[-1] ^ 1])
            write(self, address, data)

        monkeypatch.setattr(link, "write_memory", broken)
        with told_as(VerificationError, session, "section .text", "does not hold what was written"):
            session.load(image)
