"""Stock pyOCD takes the simulated chips for what they are, at the debug port."""

import logging
import random
from collections.abc import Iterator

import pytest
from pyocd.core import exceptions
from pyocd.core.helpers import ConnectHelper
from pyocd.core.session import Session
from pyocd.core.soc_target import SoCTarget

from tests.support.chip import probe as _registers_the_probes  # noqa: F401
from tests.support.chip.bench import Bench, plugged

CORES = pytest.mark.parametrize("core", ["cortex-m7", "cortex-m4", "cortex-m33"])
RAM = 0x20000000
OPTIONS = {"target_override": "cortex_m", "connect_mode": "halt", "resume_on_disconnect": False}


@pytest.fixture
def bench(core: str) -> Iterator[Bench]:
    """A chip with a probe on it."""
    with plugged(core) as made:
        yield made


@pytest.fixture
def session(bench: Bench) -> Iterator[Session]:
    """A session of pyOCD with that chip."""
    logging.getLogger("pyocd").setLevel(logging.ERROR)
    found = ConnectHelper.session_with_chosen_probe(unique_id=bench.serial, blocking=False, options=OPTIONS)
    assert found is not None
    with found:
        yield found


def target_of(session: Session) -> SoCTarget:
    """Return the target of a session."""
    assert session.target is not None
    return session.target


@CORES
def test_it_is_identified(session: Session, core: str) -> None:
    selected = target_of(session).selected_core
    assert selected is not None
    assert selected.name.lower() == core
    assert len(selected.fpb.hw_breakpoints) == (6 if core == "cortex-m4" else 8)
    assert selected.has_fpu
    assert selected.dwt.watchpoint_count == 4
    assert type(selected).__name__ == ("CortexM_v8M" if core == "cortex-m33" else "CortexM")


@CORES
def test_memory_of_every_width_and_alignment(session: Session) -> None:
    target, noise = target_of(session), random.Random(4).randbytes(5003)
    target.write_memory_block8(RAM + 1, list(noise))
    assert bytes(target.read_memory_block8(RAM + 1, len(noise))) == noise
    target.write8(RAM + 5, 0xAB)
    target.write16(RAM + 6, 0xCDEF)
    assert target.read_memory_block8(RAM + 5, 3) == [0xAB, 0xEF, 0xCD]


@CORES
def test_a_bad_address_is_an_error_and_the_next_access_works(session: Session) -> None:
    target = target_of(session)
    for access in (lambda: target.read32(0x60000000), lambda: target.write32(0x60000000, 1)):
        with pytest.raises(exceptions.TransferFaultError):
            access()
        target.write32(RAM, 0x600D)
        assert target.read32(RAM) == 0x600D


@CORES
def test_steps_breakpoints_and_registers(session: Session, core: str) -> None:
    """adds r0, #1 (twice); b to the first."""
    target = target_of(session)
    where = 0x10000000 if core == "cortex-m4" else RAM
    target.write_memory_block8(where, list(bytes.fromhex("01300130fce700bf")))
    target.write_core_registers_raw(["r0", "pc", "xpsr"], [5, where, 0x01000000])
    target.step()
    assert target.read_core_registers_raw(["r0", "pc"]) == [6, where + 2]
    for expected in (7, 9):
        target.set_breakpoint(where + 4)
        target.resume()
        while target.get_state() != target.State.HALTED:
            pass
        assert target.read_core_registers_raw(["r0", "pc"]) == [expected, where + 4]
        target.remove_breakpoint(where + 4)
        target.step()  # a core does not get past its breakpoint


@CORES
def test_reset(session: Session) -> None:
    target = target_of(session)
    target.write_core_register("r4", 77)
    target.reset_and_halt()
    assert target.read_core_registers_raw(["r4", "pc", "sp"]) == [0, 0x08000100, 0x20004000]


@CORES
def test_power_lost_and_returned(session: Session, bench: Bench) -> None:
    target = target_of(session)
    target.write32(RAM, 0x600D)
    bench.lose_power()
    with pytest.raises(exceptions.TransferError):
        target.read32(RAM)
    bench.return_power()
    with pytest.raises(exceptions.TransferError):
        target.read32(RAM)  # debug has no power yet
    session.close()
    with ConnectHelper.session_with_chosen_probe(unique_id=bench.serial, blocking=False, options=OPTIONS) as again:
        assert target_of(again).read32(RAM) != 0x600D


@CORES
def test_a_probe_that_is_pulled_out(session: Session, bench: Bench) -> None:
    bench.plugged = False
    with pytest.raises(exceptions.ProbeDisconnected):
        target_of(session).read32(RAM)
    bench.plugged = True
