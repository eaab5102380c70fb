"""The OpenOCD backend of `DebugLink`, by OpenOCD's Tcl server: its GDB server would take 100 ms to notice a stop."""

from __future__ import annotations

import contextlib
import struct
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from utvm.boards import OpenOcdSettings
from utvm.device.link import DebugLink, DeviceError, LinkLostError, LinkRefusedError, check_range
from utvm.device.openocd_server import OpenOcdServer
from utvm.device.sockets import open_socket
from utvm.device.tcl_rpc import TclError, TclRpc

_ANSWER_SECONDS = 20.0
_FLASH_SECONDS = 180.0
_GOODBYE_SECONDS = 1.0
_CHUNK_BYTES = 16 * 1024
_SLICE_SECONDS = 0.03
_LONGEST_PAUSE_SECONDS = 0.05

# OpenOCD notices a stop at its next poll, 100 ms apart: poll here as often as the link allows, for a short while.
_WAIT_PROCEDURE = """\
proc utvm_wait {milliseconds} {
  set core [target current]
  set end [expr {[ms] + $milliseconds}]
  while {1} {
    $core arp_poll
    if {[$core curstate] eq "halted"} { return 1 }
    if {[ms] >= $end} { return 0 }
  }
}"""

# OpenOCD 0.12 clears a sticky error when it starts, but not a sticky overrun, which an interrupted session may leave
# behind and which holds every access back. CTRL/STAT (Arm IHI 0031, B2.2.2): power requests, ORUNDETECT, the flags.
_CLEAR_STICKY_FLAGS = "foreach port [dap names] { $port dpreg 4 0x50000033 }; [target current] arp_examine"


class OpenOcdLink(DebugLink):
    """A core behind OpenOCD.

    Args:
        server: an OpenOCD of ours, which ends with the link; None for one that runs by itself.
        endpoint: host:port of the Tcl server; that of `server` if None.
        timeout: seconds that a command may take.

    Raises:
        LinkLostError: OpenOCD does not answer, or the core does not halt.
    """

    def __init__(
        self, *, server: OpenOcdServer | None = None, endpoint: str | None = None, timeout: float = _ANSWER_SECONDS
    ) -> None:
        self._server = server
        self._timeout = timeout
        self._running = True
        self._left = False
        self._breakpoints: set[int] = set()
        where = endpoint or (server.endpoint if server is not None else "")
        try:
            self._rpc = TclRpc(open_socket(where, timeout))
        except OSError as error:
            raise self._lost(f"no OpenOCD answers at {where}: {error}") from error
        try:
            self._run("poll off")
            self._run(_WAIT_PROCEDURE)
            # OpenOCD 0.12 returns a RISC-V register as it was before the last run, unless it is told to read it.
            self._read = "get_reg -force" if self._run("[target current] cget -type") == "riscv" else "get_reg"
            try:
                self._run("halt")
            except DeviceError as error:
                try:
                    self._run(_CLEAR_STICKY_FLAGS)
                    self._run("halt")
                except DeviceError:
                    raise error from None  # it tells more
            self._running = False
        except BaseException:
            self._rpc.close()
            raise

    @property
    def server(self) -> OpenOcdServer | None:
        """The OpenOCD that is ours."""
        return self._server

    def halt(self) -> None:
        """See `DebugLink`."""
        if self._running:
            self._run("halt")
            self._running = False

    def resume(self) -> None:
        """See `DebugLink`."""
        self._expect_halted()
        self._running = True
        self._run("resume")

    def wait(self, timeout: float) -> bool:
        """See `DebugLink`."""
        started = time.monotonic()
        while self._running:
            left = started + timeout - time.monotonic()
            slice_seconds = max(min(left, _SLICE_SECONDS), 0.001)
            if self._run(f"utvm_wait {int(slice_seconds * 1000)}") == "1":
                self._running = False
                break
            if left <= 0:
                return False
            # Polling takes time from a simulated core: pause for a tenth of what has passed.
            passed = time.monotonic() - started
            time.sleep(min(passed / 10, _LONGEST_PAUSE_SECONDS, max(left, 0)))
        return True

    def reset(self) -> None:
        """See `DebugLink`."""
        self._running = True
        self._run("reset halt")
        self._running = False
        # Comparators may have lost their contents.
        for address in sorted(self._breakpoints):
            self._run(f"rbp {address}")
            self._add_breakpoint(address)

    def read_memory(self, address: int, length: int) -> bytes:
        """See `DebugLink`."""
        self._expect_halted()
        check_range(address, length)
        parts = []
        for start, size, width in _pieces(address, length):
            count = size * 8 // width
            words = self._run(f"read_memory {start} {width} {count}", f"{size} bytes at 0x{start:08x} can't be read")
            values = [int(word, 16) for word in words.split()]
            if len(values) != count:
                raise LinkRefusedError(f"OpenOCD sent {len(values)} values of {count} at 0x{start:08x}")
            parts.append(bytes(values) if width == 8 else struct.pack(f"<{count}I", *values))
        return b"".join(parts)

    def write_memory(self, address: int, data: bytes) -> None:
        """See `DebugLink`."""
        self._expect_halted()
        check_range(address, len(data))
        for start, size, width in _pieces(address, len(data)):
            part = data[start - address : start - address + size]
            values: Sequence[int] = part if width == 8 else struct.unpack(f"<{size // 4}I", part)
            listed = " ".join(map(hex, values))
            self._run(f"write_memory {start} {width} {{{listed}}}", f"{size} bytes at 0x{start:08x} can't be written")

    def read_registers(self, names: Sequence[str]) -> tuple[int, ...]:
        """See `DebugLink`."""
        self._expect_halted()
        asked = [_register_name(name) for name in names]
        answer = self._run(f"{self._read} {{{' '.join(asked)}}}", "the registers can't be read").split()
        values = dict(zip(answer[::2], answer[1::2], strict=True))
        return tuple(int(values[name], 16) for name in asked)

    def write_registers(self, values: Mapping[str, int]) -> None:
        """See `DebugLink`."""
        self._expect_halted()
        listed = " ".join(f"{_register_name(name)} {value & 0xFFFFFFFF:#x}" for name, value in values.items())
        self._run(f"set_reg {{{listed}}}", "the registers can't be written")

    def set_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        if address not in self._breakpoints:
            self._add_breakpoint(address)
            self._breakpoints.add(address)

    def clear_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        if address in self._breakpoints:
            self._run(f"rbp {address}")
            self._breakpoints.discard(address)

    def program_flash(self, address: int, data: bytes) -> None:
        """See `FlashProgrammer`."""
        self._expect_halted()
        check_range(address, len(data))
        with tempfile.TemporaryDirectory(prefix="utvm-flash-") as folder:
            file = Path(folder) / "constants.bin"
            file.write_bytes(data)
            failure = f"{len(data):,} bytes of flash at 0x{address:08x} can't be programmed"
            self._run(f"flash write_image erase {{{file}}} {address:#x} bin", failure, seconds=_FLASH_SECONDS)

    def leave(self) -> None:
        """See `FlashProgrammer`."""
        for address in sorted(self._breakpoints):
            self.clear_breakpoint(address)
        self._run("reset run")
        self._left = self._running = True

    def close(self) -> None:
        """See `DebugLink`. The core stays halted unless it was left; an OpenOCD of ours gives the probe back."""
        self._timeout = _GOODBYE_SECONDS
        patience = 0.0
        with contextlib.suppress(DeviceError):
            if not self._left:
                self.halt()
                for address in sorted(self._breakpoints):
                    self.clear_breakpoint(address)
            if self._server is not None:
                patience = _GOODBYE_SECONDS
                self._run("shutdown")
            else:
                self._run("poll on")
        self._rpc.close()
        if self._server is not None:
            self._server.stop(patience=patience)

    def _add_breakpoint(self, address: int) -> None:
        """Use a comparator, else a breakpoint instruction: some comparators reach code at low addresses only."""
        try:
            self._run(f"bp {address} 2 hw")
        except LinkRefusedError:
            self._run(f"bp {address} 2", f"no breakpoint can be set at 0x{address:08x}")

    def _expect_halted(self) -> None:
        if self._running:
            raise LinkRefusedError("the core runs: halt it first")

    def _run(self, command: str, failure: str | None = None, *, seconds: float | None = None) -> str:
        try:
            return self._rpc.run(command, self._timeout if seconds is None else seconds)
        except TclError as error:
            said = str(error)
        except LinkLostError as error:
            raise self._lost(str(error)) from error
        what = failure or f"OpenOCD refused '{command[:40]}'"
        reason = (self._server.errors() if self._server is not None else "") or said
        if not self._core_answers():
            raise LinkLostError(f"the core does not answer any more: {what} ({reason})")
        raise LinkRefusedError(f"{what} ({reason})" if reason else what)

    def _core_answers(self) -> bool:
        """Tell a refusal from a target that is gone."""
        try:
            state = self._rpc.run("[target current] arp_poll; [target current] curstate", self._timeout)
        except TclError:
            return False
        return state in ("halted", "running")

    def _lost(self, what: str) -> LinkLostError:
        death = None if self._server is None else self._server.describe_death()
        return LinkLostError(death or what)


def openocd_opener(settings: OpenOcdSettings) -> Callable[[str], DebugLink]:
    """Return what opens a link by a board's settings.

    It takes the endpoint of a simulator's remote_bitbang server, or nothing where a probe is found by itself; settings
    that name the endpoint of an OpenOCD that runs leave it alone.
    """

    def open_link(simulator: str) -> DebugLink:
        if settings.endpoint is not None:
            return OpenOcdLink(endpoint=settings.endpoint)
        server = OpenOcdServer(settings, simulator=simulator)
        try:
            return OpenOcdLink(server=server)
        except LinkLostError as error:
            server.stop()
            hint = (
                ""
                if simulator
                else ": see that it has power and is plugged in, and that this user may open USB devices"
            )
            raise LinkLostError(f"the board can't be reached: {error}{hint}") from error
        except BaseException:
            server.stop()
            raise

    return open_link


def _pieces(address: int, length: int) -> list[tuple[int, int, int]]:
    """Return (address, bytes, bits of an access): words where they are aligned, bytes at the edges."""
    end = address + length
    first = min(-(-address // 4) * 4, end)
    last = max(end // 4 * 4, first)
    pieces = [(address, first - address, 8)] if first > address else []
    pieces += [(start, min(_CHUNK_BYTES, last - start), 32) for start in range(first, last, _CHUNK_BYTES)]
    if end > last:
        pieces.append((last, end - last, 8))
    return pieces


def _register_name(name: str) -> str:
    return "xPSR" if name == "xpsr" else name
