"""The pyOCD backend of `DebugLink`: CMSIS-DAP, ST-Link and J-Link probes, in this process.

pyOCD is an extra (`utvm[pyocd]`) and imported when the first such link is opened.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from utvm.boards import PyOcdSettings
from utvm.device.link import DebugLink, DeviceError, LinkLostError, LinkRefusedError, LinkTimeoutError, check_range
from utvm.device.worker import Worker
from utvm.prerequisites import how_to_add

_ANSWER_SECONDS = 20.0
_FLASH_SECONDS = 180.0
_GOODBYE_SECONDS = 2.0
_CHUNK_BYTES = 16 * 1024
_CPUID = 0xE000ED00
_LONGEST_PAUSE_SECONDS = 0.02
_OPTIONS = {
    "connect_mode": "halt",
    "resume_on_disconnect": False,
    "auto_unlock": False,  # unlocking erases the whole chip
    "hide_programming_progress": True,
    "warning.cortex_m_default": False,
}
_Result = TypeVar("_Result")


class PyOcdLink(DebugLink):
    """A core behind a probe that pyOCD drives.

    Args:
        settings: the board's.
        find_probe: returns the probe, a `pyocd.probe.debug_probe.DebugProbe`.
        timeout: seconds that a command may take.

    Raises:
        LinkLostError: pyOCD is not installed, there is no such probe, or no core behind it.
    """

    def __init__(
        self, settings: PyOcdSettings, find_probe: Callable[[], Any], *, timeout: float = _ANSWER_SECONDS
    ) -> None:
        self._timeout = timeout
        self._running = self._left = False
        self._breakpoints: set[int] = set()
        self._session: Any = None
        self._worker = Worker("utvm-pyocd")
        try:
            self._do(lambda: self._open(settings, find_probe), "the probe can't be opened")
        except BaseException:
            self.close()
            raise

    def _open(self, settings: PyOcdSettings, find_probe: Callable[[], Any]) -> None:
        try:
            from pyocd.core.session import Session
            from pyocd.core.target import Target
        except ImportError as error:
            raise LinkLostError(f"pyOCD is not installed: `{how_to_add('pyocd')}` ({error})") from error
        logging.getLogger("pyocd").addHandler(logging.NullHandler())
        self._states, self._kinds = Target.State, Target.BreakpointType
        self._session = Session(find_probe(), options={**_OPTIONS, "target_override": settings.target})
        self._session.open()
        self._target = self._session.target
        self._target.halt()

    def halt(self) -> None:
        """See `DebugLink`."""
        if not self._running:
            return
        self._do(self._target.halt, "the core does not halt")
        if not self.wait(self._timeout):
            raise LinkTimeoutError(f"the core did not halt within {self._timeout:g} s")

    def resume(self) -> None:
        """See `DebugLink`."""
        self._expect_halted()
        self._running = True
        self._do(self._target.resume, "the core can't be resumed")

    def wait(self, timeout: float) -> bool:
        """See `DebugLink`."""
        started = time.monotonic()
        while self._running:
            if self._do(self._has_stopped, "the core's state can't be read"):
                self._running = False
                break
            passed = time.monotonic() - started
            if passed >= timeout:
                return False
            time.sleep(min(passed / 10, _LONGEST_PAUSE_SECONDS, timeout - passed))
        return True

    def reset(self) -> None:
        """See `DebugLink`."""
        self._do(self._target.reset_and_halt, "the core can't be reset")
        self._running = False

    def read_memory(self, address: int, length: int) -> bytes:
        """See `DebugLink`."""
        self._expect_halted()
        check_range(address, length)
        parts = []
        for start in range(address, address + length, _CHUNK_BYTES):
            size = min(_CHUNK_BYTES, address + length - start)
            failure = f"{size} bytes at 0x{start:08x} can't be read"
            parts.append(self._do(partial(self._read, start, size), failure))
        return b"".join(parts)

    def write_memory(self, address: int, data: bytes) -> None:
        """See `DebugLink`."""
        self._expect_halted()
        check_range(address, len(data))
        for start in range(0, len(data), _CHUNK_BYTES):
            part = data[start : start + _CHUNK_BYTES]
            failure = f"{len(part)} bytes at 0x{address + start:08x} can't be written"
            self._do(partial(self._write, address + start, part), failure)

    def read_registers(self, names: Sequence[str]) -> tuple[int, ...]:
        """See `DebugLink`."""
        self._expect_halted()
        values = self._do(lambda: self._target.read_core_registers_raw(list(names)), "the registers can't be read")
        return tuple(int(value) for value in values)

    def write_registers(self, values: Mapping[str, int]) -> None:
        """See `DebugLink`."""
        self._expect_halted()
        raw = [value & 0xFFFFFFFF for value in values.values()]
        self._do(lambda: self._target.write_core_registers_raw(list(values), raw), "the registers can't be written")

    def set_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        self._expect_halted()
        failure = f"no breakpoint can be set at 0x{address:08x}"
        if not self._do(lambda: self._target.set_breakpoint(address, self._kinds.AUTO), failure):
            raise LinkRefusedError(failure)
        self._breakpoints.add(address)

    def clear_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        self._expect_halted()
        self._do(lambda: self._target.remove_breakpoint(address), f"no breakpoint can be cleared at 0x{address:08x}")
        self._breakpoints.discard(address)

    def program_flash(self, address: int, data: bytes) -> None:
        """See `FlashProgrammer`."""
        self._expect_halted()
        check_range(address, len(data))

        def program() -> None:
            from pyocd.flash.loader import FlashLoader

            loader = FlashLoader(self._session, chip_erase="sector", keep_unwritten=True)
            loader.add_data(address, data)
            loader.commit()

        failure = f"{len(data):,} bytes of flash at 0x{address:08x} can't be programmed"
        self._do(program, failure, seconds=_FLASH_SECONDS)

    def leave(self) -> None:
        """See `FlashProgrammer`."""
        self._expect_halted()
        for address in sorted(self._breakpoints):
            self.clear_breakpoint(address)
        self._do(self._target.reset, "the core can't be reset")
        self._left = self._running = True

    def close(self) -> None:
        """See `DebugLink`."""
        self._timeout = _GOODBYE_SECONDS
        with contextlib.suppress(DeviceError):
            if not self._left:
                self.halt()
                for address in sorted(self._breakpoints):
                    self.clear_breakpoint(address)
        with contextlib.suppress(DeviceError):
            if self._session is not None:
                self._do(self._session.close, "the probe can't be closed")
        self._worker.stop()

    def _has_stopped(self) -> bool:
        state = self._target.get_state()
        if state == self._states.LOCKUP:
            self._target.halt()
        return bool(state == self._states.HALTED)

    def _read(self, address: int, length: int) -> bytes:
        return bytes(self._target.read_memory_block8(address, length))

    def _write(self, address: int, data: bytes) -> None:
        self._target.write_memory_block8(address, list(data))
        self._target.read32(_CPUID)  # a write that fails is told at the next access

    def _expect_halted(self) -> None:
        if self._running:
            raise LinkRefusedError("the core runs: halt it first")

    def _do(self, task: Callable[[], _Result], failure: str, *, seconds: float | None = None) -> _Result:
        """Do something in pyOCD's thread; its errors become ours."""
        deadline = self._timeout if seconds is None else seconds
        try:
            return self._worker.run(task, deadline)
        except DeviceError:
            raise
        except TimeoutError:
            raise LinkTimeoutError(f"pyOCD did not finish within {deadline:g} s: {failure}") from None
        except (KeyError, ValueError) as error:  # of a register's name
            raise LinkRefusedError(f"{failure} ({_words(error)})") from error
        except Exception as error:
            raise _translated(error, failure) from error


def _translated(error: Exception, failure: str) -> DeviceError:
    from pyocd.core import exceptions

    what = f"{failure} ({_words(error)})"
    lost = (exceptions.TransferTimeoutError, exceptions.TransferProtocolError)
    refused = (exceptions.TransferFaultError, exceptions.DebugError, exceptions.FlashFailure)
    if isinstance(error, refused) and not isinstance(error, lost):
        return LinkRefusedError(what)
    if isinstance(error, exceptions.TargetSupportError):
        return LinkLostError(what)
    return LinkLostError(f"the debug link is gone: {what}")


def _words(error: Exception) -> str:
    return str(error).strip() or type(error).__name__


def connected_probe(serial: str | None) -> Any:
    """Return the one probe that is connected, or the one with a serial number.

    Raises:
        LinkLostError: there is none, or several; the message lists them.
    """
    from pyocd.core.helpers import ConnectHelper

    probes = ConnectHelper.get_all_connected_probes(blocking=False)
    matching = [probe for probe in probes if serial in (None, probe.unique_id)]
    if len(matching) == 1:
        return matching[0]
    seen = ", ".join(f"{probe.unique_id} ({probe.description})" for probe in probes) or "none"
    if serial is not None:
        raise LinkLostError(f"no debug probe with the serial number {serial} is connected; connected: {seen}")
    if probes:
        raise LinkLostError(f"several debug probes are connected: name one as 'probe' in [link.pyocd]: {seen}")
    raise LinkLostError("no debug probe is connected: plug one in, and see that this user may open USB devices")


def pyocd_opener(settings: PyOcdSettings, find_probe: Callable[[], Any] | None = None) -> Callable[[str], DebugLink]:
    """Return what opens a link by a board's settings; `find_probe` returns a probe other than those on USB."""

    def open_link(endpoint: str) -> DebugLink:
        return PyOcdLink(settings, find_probe or (lambda: connected_probe(settings.probe)))

    return open_link
