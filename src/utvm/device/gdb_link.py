"""The GDB remote backend of `DebugLink`: QEMU, OpenOCD, pyOCD, J-Link, Black Magic and whoever speaks the protocol.

Servers differ; what one can do is found out by asking it, never by its name.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping, Sequence

from utvm.device.gdb_packets import PacketStream
from utvm.device.gdb_registers import Register, parse_description, words_in_order
from utvm.device.link import DebugLink, LinkLostError, LinkRefusedError, LinkTimeoutError, check_range
from utvm.device.sockets import open_socket

_ANSWER_SECONDS = 10.0
_OFFER = (
    b"qSupported:multiprocess-;swbreak+;hwbreak+;qRelocInsn-;vContSupported+;xmlRegisters=arm,riscv;QStartNoAckMode+"
)
_LISTEN_SECONDS = 5.0
_RETRY_SECONDS = 0.002
_HEAD_BYTES = 32
_RESETS = ("reset halt", "system_reset", "reset")
_SCANS = ("swdp_scan", "jtag_scan")
_DENIALS = ("unknown command", "not found", "invalid command", "not supported", "unrecognized")


class GdbRemoteLink(DebugLink):
    """A core behind a GDB server.

    Args:
        endpoint: host:port, or the path of a Unix socket.
        timeout: seconds that a command may take.
        undescribed: the registers of 32 bits in the order of the answer to `g`, for a server that describes none.

    Raises:
        LinkLostError: nothing answers there.
        LinkRefusedError: the server has no target, or does not describe its registers.
    """

    def __init__(self, endpoint: str, *, timeout: float = _ANSWER_SECONDS, undescribed: Sequence[str] = ()) -> None:
        connection = _connect(endpoint, timeout)
        self._packets = PacketStream(connection)
        self._timeout = timeout
        self._running = False
        try:
            self._negotiate(undescribed)
        except BaseException:
            connection.close()
            raise

    def _negotiate(self, undescribed: Sequence[str]) -> None:
        features: dict[str, str] = {}
        for feature in self._ask(_OFFER).decode("latin1").split(";"):
            name, _, value = feature.partition("=")
            features[name if value else feature[:-1]] = value or feature[-1:]
        self._packet_bytes = int(features.get("PacketSize", "190"), 16)
        if features.get("QStartNoAckMode") == "+":
            self._packets.request_ok(b"QStartNoAckMode", self._timeout)
            self._packets.acknowledges = False
        if self._ask(b"?")[:1] not in (b"T", b"S"):
            self._attach()
        if features.get("qXfer:features:read") == "+":
            self._registers = parse_description(self._transfer)
        elif undescribed:
            self._registers = words_in_order(undescribed)
        else:
            raise LinkRefusedError("the GDB server does not describe the registers of its target")
        self._breakpoint_kinds: dict[int, bytes] = {}
        self._single_reads = True

    def _attach(self) -> None:
        """Have a server that is not connected to its target yet, as Black Magic's, look for it."""
        for command in _SCANS:
            with contextlib.suppress(LinkRefusedError):
                self._monitor(command)
                if self._ask(b"vAttach;1")[:1] in (b"T", b"S"):
                    return
        raise LinkRefusedError("the GDB server is not connected to a target")

    def halt(self) -> None:
        """See `DebugLink`."""
        if not self._running:
            return
        self._packets.interrupt()
        if not self.wait(self._timeout):
            raise LinkTimeoutError(f"the core did not halt within {self._timeout:g} s")

    def resume(self) -> None:
        """See `DebugLink`."""
        self._expect_halted()
        self._packets.send(b"c")  # every server knows it
        self._running = True

    def wait(self, timeout: float) -> bool:
        """See `DebugLink`."""
        deadline = time.monotonic() + timeout
        while self._running:
            answer = self._packets.receive(max(deadline - time.monotonic(), 0))
            if answer is None:
                return False
            if answer[:1] in (b"T", b"S"):
                self._running = False
            elif answer[:1] in (b"W", b"X"):
                self._running = False
                raise LinkLostError("the target exited")
            elif answer[:1] == b"E":
                self._running = False
                raise LinkRefusedError("the core can't be resumed")
        return True

    def reset(self) -> None:
        """See `DebugLink`."""
        self.halt()
        for command in _RESETS:
            with contextlib.suppress(LinkRefusedError):
                self._monitor(command)
                return
        raise LinkRefusedError("the GDB server knows no way to reset its target")

    def read_memory(self, address: int, length: int) -> bytes:
        """See `DebugLink`."""
        check_range(address, length)
        chunk = (self._packet_bytes - 8) // 2
        parts = []
        while length > 0:
            size = min(chunk, length)
            data = _hex_bytes(self._ask(b"m%x,%x" % (address, size)), f"{size} bytes at 0x{address:08x} can't be read")
            parts.append(data)
            address += len(data)
            length -= len(data)
        return b"".join(parts)

    def write_memory(self, address: int, data: bytes) -> None:
        """See `DebugLink`."""
        check_range(address, len(data))
        if not data:
            return
        # In hex: QEMU has no binary `X`, OpenOCD 0.12 answers it before it writes and tells of a failure later, twice.
        step = (self._packet_bytes - _HEAD_BYTES) // 2
        for start in range(0, len(data), step):
            part = data[start : start + step]
            packet = b"M%x,%x:" % (address + start, len(part)) + part.hex().encode("ascii")
            if self._ask(packet) != b"OK":
                raise LinkRefusedError(f"{len(part)} bytes at 0x{address + start:08x} can't be written")
        # pyOCD's server tells of a write that failed at the next access.
        _hex_bytes(self._ask(b"m%x,1" % address), f"{len(data)} bytes at 0x{address:08x} can't be written")

    def read_registers(self, names: Sequence[str]) -> tuple[int, ...]:
        """See `DebugLink`."""
        return tuple(self._read_register(name) for name in names)

    def write_registers(self, values: Mapping[str, int]) -> None:
        """See `DebugLink`."""
        for name, value in values.items():
            register = self._register(name)
            raw = (value & ((1 << 8 * register.nbytes) - 1)).to_bytes(register.nbytes, "little")
            answer = self._ask(b"P%x=%s" % (register.number, raw.hex().encode("ascii")))
            if not answer:
                self._write_in_block(register, raw)
            elif answer != b"OK":
                raise LinkRefusedError(f"register '{name}' can't be written")

    def set_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        # Some comparators reach code at low addresses only: a breakpoint instruction is the other way.
        for kind in (b"1", b"0"):
            if self._ask(b"Z%s,%x,2" % (kind, address)) == b"OK":
                self._breakpoint_kinds[address] = kind
                return
        raise LinkRefusedError(f"no breakpoint can be set at 0x{address:08x}")

    def clear_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        kind = self._breakpoint_kinds.pop(address, None)
        if kind is not None:
            self._expect_halted()
            self._packets.request_ok(b"z%s,%x,2" % (kind, address), self._timeout)

    def close(self) -> None:
        """See `DebugLink`."""
        with contextlib.suppress(LinkLostError):
            if self._running:
                self._packets.interrupt()
            self._packets.send(b"D")
        self._packets.close()

    def _ask(self, payload: bytes) -> bytes:
        self._expect_halted()
        return self._packets.request(payload, self._timeout)

    def _expect_halted(self) -> None:
        if self._running:
            raise LinkRefusedError("the core runs: halt it first")

    def _monitor(self, command: str) -> None:
        """Run a command of the server. Those that don't know it say so in text as often as by an error."""
        self._packets.send(b"qRcmd," + command.encode("ascii").hex().encode("ascii"))
        said = b""
        while (answer := self._packets.receive(self._timeout)) != b"OK":
            if answer is None:
                raise LinkTimeoutError(f"the debug link did not finish '{command}' within {self._timeout:g} s")
            if answer[:1] == b"E" or not answer:
                raise LinkRefusedError(f"the debug link refused '{command}'")
            text = _hex_bytes(answer.removeprefix(b"O"), f"the debug link's answer to '{command}' can't be read")
            said += text
            if answer[:1] != b"O":
                break
        if any(denial in said.decode("latin1").lower() for denial in _DENIALS):
            raise LinkRefusedError(f"the debug link does not know '{command}'")

    def _register(self, name: str) -> Register:
        if name not in self._registers:
            raise LinkRefusedError(f"the target has no register '{name}'")
        return self._registers[name]

    def _read_register(self, name: str) -> int:
        register = self._register(name)
        failure = f"register '{name}' can't be read"
        answer = self._ask(b"p%x" % register.number) if self._single_reads else b""
        if answer:
            return int.from_bytes(_hex_bytes(answer, failure), "little")
        self._single_reads = False  # pyOCD's server has no `p`
        place = slice(2 * register.offset, 2 * (register.offset + register.nbytes))
        return int.from_bytes(_hex_bytes(self._ask(b"g")[place], failure), "little")

    def _write_in_block(self, register: Register, raw: bytes) -> None:
        """Write one register by `G`: QEMU has no `P` for targets that it does not describe."""
        held = bytearray(_hex_bytes(self._ask(b"g"), "the registers can't be read"))
        place = slice(register.offset, register.offset + register.nbytes)
        if len(held[place]) < len(raw):
            raise LinkRefusedError("the GDB server holds fewer registers than its target should have")
        held[place] = raw
        if self._ask(b"G" + held.hex().encode("ascii")) != b"OK":
            raise LinkRefusedError("the registers can't be written")

    def _transfer(self, annex: str) -> str:
        text = b""
        size = min(self._packet_bytes, 4096) - 8
        while True:
            answer = self._ask(b"qXfer:features:read:%s:%x,%x" % (annex.encode("ascii"), len(text), size))
            if answer[:1] not in (b"m", b"l"):
                raise LinkRefusedError(f"the target description '{annex}' can't be read")
            text += answer[1:]
            if answer[:1] == b"l":
                return text.decode("utf-8")


def _hex_bytes(answer: bytes, failure: str) -> bytes:
    """Return the bytes of an answer in hex; errors (Enn) and values that are not known (xx) are no hex."""
    try:
        data = bytes.fromhex(answer.decode("ascii"))
    except ValueError:
        data = b""
    if not data:
        raise LinkRefusedError(failure)
    return data


def _connect(endpoint: str, timeout: float) -> socket.socket:
    """Connect; a server that has made its socket but does not listen yet is given a moment."""
    deadline = time.monotonic() + min(timeout, _LISTEN_SECONDS)
    while True:
        try:
            return open_socket(endpoint, timeout)
        except ConnectionRefusedError as error:
            if time.monotonic() > deadline:
                raise LinkLostError(f"no GDB server answers at {endpoint}: {error}") from error
            time.sleep(_RETRY_SECONDS)
        except OSError as error:
            raise LinkLostError(f"no GDB server answers at {endpoint}: {error}") from error
