"""The GDB remote backend of `DebugLink`: QEMU's stub and any server that speaks the protocol, on this machine."""

from __future__ import annotations

import contextlib
import socket
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utvm.device.gdb_packets import PacketStream, escape
from utvm.device.link import DebugLink, LinkLostError, LinkRefusedError, LinkTimeoutError, check_range
from utvm.device.sockets import open_socket

_ANSWER_SECONDS = 10.0
_OFFER = (
    b"qSupported:multiprocess-;swbreak+;hwbreak+;qRelocInsn-;vContSupported+;xmlRegisters=arm,riscv;QStartNoAckMode+"
)


_LISTEN_SECONDS = 5.0
_RETRY_SECONDS = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class _Register:
    number: int
    nbytes: int


class GdbRemoteLink(DebugLink):
    """A core behind a GDB server.

    Args:
        endpoint: host:port, or the path of a Unix socket.
        timeout: seconds that a command may take.

    Raises:
        LinkLostError: nothing answers there.
    """

    def __init__(self, endpoint: str, *, timeout: float = _ANSWER_SECONDS) -> None:
        connection = _connect(endpoint, timeout)
        self._packets = PacketStream(connection)
        self._timeout = timeout
        self._running = False
        try:
            self._negotiate()
        except BaseException:
            connection.close()
            raise

    def _negotiate(self) -> None:
        features: dict[str, str] = {}
        for feature in self._ask(_OFFER).decode("latin1").split(";"):
            name, _, value = feature.partition("=")
            features[name if value else feature[:-1]] = value or feature[-1:]
        self._packet_bytes = int(features.get("PacketSize", "190"), 16)
        if features.get("QStartNoAckMode") == "+":
            self._packets.request_ok(b"QStartNoAckMode", self._timeout)
            self._packets.acknowledges = False
        self._ask(b"?")
        self._registers = self._read_description() if features.get("qXfer:features:read") == "+" else {}
        self._binary_writes: bool | None = None
        self._single_reads = True

    def halt(self) -> None:
        """See `DebugLink`."""
        if not self._running:
            return
        self._packets.interrupt()
        if not self.wait(self._timeout):
            raise LinkTimeoutError(f"the core did not halt within {self._timeout:g} s")

    def resume(self) -> None:
        """See `DebugLink`."""
        self._packets.send(b"c")
        self._running = True

    def wait(self, timeout: float) -> bool:
        """See `DebugLink`."""
        while self._running:
            answer = self._packets.receive(timeout)
            if answer is None:
                return False
            if answer[:1] in (b"T", b"S"):
                self._running = False
            elif answer[:1] in (b"W", b"X"):
                self._running = False
                raise LinkLostError("the target exited")
        return True

    def reset(self) -> None:
        """See `DebugLink`."""
        self.halt()
        self._monitor("system_reset")

    def read_memory(self, address: int, length: int) -> bytes:
        """See `DebugLink`."""
        check_range(address, length)
        chunk = (self._packet_bytes - 8) // 2
        parts = []
        while length > 0:
            size = min(chunk, length)
            answer = self._ask(b"m%x,%x" % (address, size))
            if not answer or (len(answer) == 3 and answer[:1] == b"E"):
                raise LinkRefusedError(f"{size} bytes at 0x{address:08x} can't be read")
            data = bytes.fromhex(answer.decode("ascii"))
            parts.append(data)
            address += len(data)
            length -= len(data)
        return b"".join(parts)

    def write_memory(self, address: int, data: bytes) -> None:
        """See `DebugLink`."""
        check_range(address, len(data))
        if self._binary_writes is None:
            self._binary_writes = self._ask(b"X%x,0:" % address) == b"OK"
        step = (self._packet_bytes - 32) // 2
        for start in range(0, len(data), step):
            part = data[start : start + step]
            head = b"%x,%x:" % (address + start, len(part))
            packet = b"X" + head + escape(part) if self._binary_writes else b"M" + head + part.hex().encode("ascii")
            if self._ask(packet) != b"OK":
                raise LinkRefusedError(f"{len(part)} bytes at 0x{address + start:08x} can't be written")

    def read_registers(self, names: Sequence[str]) -> tuple[int, ...]:
        """See `DebugLink`."""
        return tuple(self._read_register(name) for name in names)

    def write_registers(self, values: Mapping[str, int]) -> None:
        """See `DebugLink`."""
        for name, value in values.items():
            self._write_register(name, value)

    def _read_register(self, name: str) -> int:
        register = self._register(name)
        answer = self._ask(b"p%x" % register.number) if self._single_reads else b""
        if answer:
            return self._register_value(name, answer)
        self._single_reads = False
        start = sum(r.nbytes for r in self._registers.values() if r.number < register.number)
        everything = bytes.fromhex(self._ask(b"g").decode("ascii").replace("x", "0"))
        return int.from_bytes(everything[start : start + register.nbytes], "little")

    def _write_register(self, name: str, value: int) -> None:
        register = self._register(name)
        raw = (value & ((1 << 8 * register.nbytes) - 1)).to_bytes(register.nbytes, "little")
        self._packets.request_ok(b"P%x=%s" % (register.number, raw.hex().encode("ascii")), self._timeout)

    def set_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        self._packets.request_ok(b"Z1,%x,2" % address, self._timeout)

    def clear_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        self._packets.request_ok(b"z1,%x,2" % address, self._timeout)

    def close(self) -> None:
        """See `DebugLink`."""
        with contextlib.suppress(LinkLostError):
            if self._running:
                self._packets.interrupt()
            self._packets.send(b"D")
        self._packets.close()

    def _ask(self, payload: bytes) -> bytes:
        if self._running:
            raise LinkRefusedError("the core runs: halt it first")
        return self._packets.request(payload, self._timeout)

    def _monitor(self, command: str) -> None:
        """Run a command of the server; its output, in packets of its own, is dropped."""
        self._packets.send(b"qRcmd," + command.encode("ascii").hex().encode("ascii"))
        while True:
            answer = self._packets.receive(self._timeout)
            if answer is None:
                raise LinkTimeoutError(f"the debug link did not finish '{command}' within {self._timeout:g} s")
            if answer == b"OK":
                return
            if answer[:1] == b"E" or not answer:
                raise LinkRefusedError(f"the debug link refused '{command}'")

    def _register(self, name: str) -> _Register:
        if name not in self._registers:
            raise LinkRefusedError(f"the target has no register '{name}'")
        return self._registers[name]

    def _register_value(self, name: str, answer: bytes) -> int:
        try:
            return int.from_bytes(bytes.fromhex(answer.decode("ascii")), "little")
        except ValueError:
            raise LinkRefusedError(f"register '{name}' can't be read") from None

    def _read_description(self) -> dict[str, _Register]:
        """Read the target's register list (GDB manual, appendix G: Target Descriptions)."""
        found: dict[str, _Register] = {}
        number = 0
        waiting = ["target.xml"]
        while waiting:
            # QEMU 7.2 uses the prefix `xi` without declaring it.
            text = self._transfer(waiting.pop(0)).replace("xi:include", "include")
            try:
                root = ElementTree.fromstring(text)
            except ElementTree.ParseError as error:
                raise LinkRefusedError(f"the target description can't be read: {error}") from error
            included = []
            for element in root.iter():
                tag = element.tag.rpartition("}")[2]
                if tag == "include":
                    included.append(element.get("href", ""))
                elif tag == "reg":
                    number = int(element.get("regnum", number))
                    name = element.get("name", "")
                    found[name] = _Register(number=number, nbytes=int(element.get("bitsize", "32")) // 8)
                    number += 1
            waiting = included + waiting
        return found

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
