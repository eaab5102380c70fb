"""Servers that are killed, cables that are pulled, keyboards: told or mended, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import utvm
from tests.device.conftest import ENTRIES, PROGRAM
from tests.device.rigs import Rig, rig_named
from tests.support.chip.process import ChipProcess
from tests.support.interrupts import heard_interrupts
from utvm.boards import Board
from utvm.cli import main
from utvm.device import (
    CallInterruptedError,
    DeviceError,
    GdbRemoteLink,
    LinkGarbledError,
    LinkLostError,
    OpenOcdLink,
    Session,
    VerifiedLink,
    build_image,
)
from utvm.emulators import QemuTarget
from utvm.toolchain import Image, Source

_LISTEN = "0A"
_NETWORK = Path(__file__).parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
_OPENOCD, _PYOCD = "openocd-cortex-m7", "pyocd-cortex-m7"


@cache
def image_for(board: Board, table_bytes: int = 0) -> Image:
    text = PROGRAM + (f"\nconst uint8_t table[{table_bytes}] = {{1}};\n" if table_bytes else "")
    entries = [*ENTRIES, *(["table"] if table_bytes else [])]
    return build_image(board, [Source(name="program.c", text=text)], entries=entries, optimize="-O1")


def children() -> set[int]:
    """The processes that we started and that still run."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if parent == str(os.getpid()) and state != "Z":
            found.add(int(entry.name))
    return found


def listening(process: int) -> list[str]:
    """The addresses, in hex, at which a process listens by TCP."""
    inodes = set()
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the directory itself
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN and fields[9] in inodes:
                found.append(fields[1].rpartition(":")[0])
    return found


@contextmanager
def nothing_left() -> Iterator[None]:
    """Whatever is started inside has ended behind it, and we listen nowhere that we did not before."""
    before, ports = children(), listening(os.getpid())
    yield
    assert children() <= before
    assert listening(os.getpid()) == ports


@contextmanager
def session_on(name: str) -> Iterator[tuple[Session, Rig]]:
    rig = rig_named(name)
    with nothing_left(), rig.session() as session:
        session.load(image_for(rig.board))
        yield session, rig


def openocd_of(session: Session) -> int:
    link = session._live
    assert isinstance(link, VerifiedLink)
    assert isinstance(link.unverified, OpenOcdLink)
    assert link.unverified.server is not None
    assert link.unverified.server.process_id is not None
    return link.unverified.server.process_id


@contextmanager
def soon(seconds: float, action: Callable[[], None]) -> Iterator[None]:
    timer = threading.Timer(seconds, action)
    timer.start()
    yield
    timer.join()


def test_openocd_listens_on_one_loopback_port() -> None:
    with session_on(_OPENOCD) as (session, _):
        assert listening(openocd_of(session)) == ["0100007F"]


def test_openocd_killed_during_a_load() -> None:
    with session_on(_OPENOCD) as (session, rig):
        victim = openocd_of(session)
        with (
            soon(0.5, lambda: os.kill(victim, signal.SIGKILL)),
            pytest.raises(LinkLostError, match=r"OpenOCD ended with signal SIGKILL.* started again.* reloaded"),
        ):
            session.load(image_for(rig.board, 200_000))
        assert openocd_of(session) != victim
        assert session.call("answer").value == 42
        assert session.read("table", 2) == b"\x01\x00"


def test_openocd_killed_during_a_call() -> None:
    with session_on(_OPENOCD) as (session, _):
        victim = openocd_of(session)
        with (
            soon(0.3, lambda: os.kill(victim, signal.SIGKILL)),
            pytest.raises(LinkLostError, match="OpenOCD ended with signal SIGKILL"),
        ):
            session.call("forever", timeout=20)
        assert session.call("answer").value == 42


def test_the_connection_to_openocd_cut() -> None:
    with session_on(_OPENOCD) as (session, _):
        link = session._live
        assert isinstance(link, VerifiedLink)
        assert isinstance(link.unverified, OpenOcdLink)
        link.unverified._rpc.close()
        with pytest.raises(LinkLostError, match=r"connection to OpenOCD is gone.* reloaded"):
            session.call("answer")
        assert session.call("answer").value == 42


def test_the_simulator_killed_during_a_call() -> None:
    with session_on(_OPENOCD) as (session, _):
        chip = session._target
        assert isinstance(chip, ChipProcess)
        assert chip.process_id is not None
        victim = chip.process_id
        with (
            soon(0.3, lambda: os.kill(victim, signal.SIGKILL)),
            pytest.raises(DeviceError, match="the simulated chip ended with signal SIGKILL"),
        ):
            session.call("forever", timeout=20)
        assert chip.process_id != victim
        assert session.call("answer").value == 42


def test_the_pins_cut_during_a_call() -> None:
    with session_on(_OPENOCD) as (session, _):
        chip = session._target
        assert isinstance(chip, ChipProcess)
        with soon(0.3, lambda: chip.control(cut=True)), pytest.raises(DeviceError):
            session.call("forever", timeout=5)
        assert session.call("answer").value == 42


@pytest.mark.parametrize("name", [_OPENOCD, _PYOCD, "gdb-openocd-cortex-m7", "gdb-pyocd-cortex-m7"])
def test_ctrl_c_halts_the_core_and_the_session_goes_on(name: str) -> None:
    with session_on(name) as (session, _):
        interrupt = soon(0.4, lambda: os.kill(os.getpid(), signal.SIGINT))
        with heard_interrupts(), interrupt, pytest.raises(KeyboardInterrupt):
            session.call("forever", timeout=20)
        assert session._live.wait(0)
        assert session.call("answer").value == 42


@pytest.mark.parametrize(
    "command", [["run", str(_NETWORK), "--input", "zeros.npy"], ["profile", str(_NETWORK)], ["bench", "layers"]]
)
def test_ctrl_c_in_a_command_is_status_130(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("zeros.npy", np.zeros((1, 32, 32, 3), np.int8))
    resume, calls = GdbRemoteLink.resume, []

    def resume_and_interrupt(link: GdbRemoteLink) -> None:
        resume(link)
        calls.append(link)
        if len(calls) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(GdbRemoteLink, "resume", resume_and_interrupt)
    with nothing_left(), heard_interrupts():
        assert main([*command, "--board", "qemu-cortex-m7"]) == 130
    assert len(calls) >= 5


@pytest.mark.parametrize("name", [_OPENOCD, _PYOCD, "gdb-openocd-cortex-m7", "gdb-qemu-cortex-m7"])
def test_another_thread_ends_a_call_which_halts_the_core(name: str) -> None:
    with session_on(name) as (session, _):
        with soon(0.4, session.interrupt), pytest.raises(CallInterruptedError):
            session.call("forever", timeout=60)
        assert session._live.wait(0)
        with pytest.raises(CallInterruptedError):
            session.call("answer")


def test_openocd_dies_with_us(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.device.rigs import rig_named\n"
        "from tests.device.test_survival import openocd_of\n"
        f"session = rig_named({_OPENOCD!r}).session()\n"
        "print(openocd_of(session), session._target.process_id, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    for process in map(int, done.stdout.split()):
        deadline = time.monotonic() + 120
        while Path(f"/proc/{process}").exists() and " Z " not in Path(f"/proc/{process}/stat").read_text():
            assert time.monotonic() < deadline, f"process {process} still runs"
            time.sleep(0.02)
    assert len(done.stdout.split()) == 2


def test_programs_that_many_threads_start_at_once_live_on() -> None:
    """They die with the thread that forked them: there is one, and it stays, also where nobody forked before."""
    script = (
        "import sys, threading, time\n"
        "from concurrent import futures\n"
        "class Slow(futures.ThreadPoolExecutor):\n"
        "    def __init__(self, **options): time.sleep(0.05); super().__init__(**options)\n"
        "futures.ThreadPoolExecutor = Slow\n"
        "from utvm.device import ChildProcess\n"
        "programs, together = [ChildProcess('it', prefix='survival-') for _ in range(8)], threading.Barrier(8)\n"
        "start = lambda program: (together.wait(), program.start(['sleep', '600']))\n"
        "threads = [threading.Thread(target=start, args=[program]) for program in programs]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "deaths = [program.describe_death(0.05) for program in programs]\n"
        "for program in programs: program.stop()\n"
        "sys.exit(str(deaths) if any(deaths) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_that_the_link_breaks_is_made_again() -> None:
    compiled = utvm.compile(_NETWORK, "qemu-cortex-m7")
    picture = np.random.default_rng(5).integers(-128, 128, (1, 32, 32, 3), dtype=np.int8)
    with nothing_left(), utvm.connect("qemu-cortex-m7") as session:
        model = utvm.Model(session, compiled)
        (expected,) = model.run(picture).outputs.values()
        qemu = session._target
        assert isinstance(qemu, QemuTarget)
        assert qemu.process_id is not None
        os.kill(qemu.process_id, signal.SIGKILL)
        (again,) = model.run(picture).outputs.values()
    assert (again == expected).all()


def test_a_write_that_strays_is_not_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written again, the data are right; what the first attempt hit is not."""
    with session_on(_PYOCD) as (session, _):
        link = session._live
        assert isinstance(link, VerifiedLink)
        write, victim = link.unverified.write_memory, session.image.symbol("answer").address

        def stray(address: int, data: bytes) -> None:
            monkeypatch.undo()
            write(victim, data)

        monkeypatch.setattr(link.unverified, "write_memory", stray)
        with pytest.raises(LinkGarbledError, match="may have gone anywhere"):
            session.write("buffer", b"\xff" * 8)
        assert session.call("answer").value == 42
