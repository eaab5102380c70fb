"""Packets of the GDB remote serial protocol (GDB manual, appendix E: Overview, Packet Acknowledgment, Binary Data)."""

from __future__ import annotations

import socket
import time

from utvm.device.link import LinkLostError, LinkRefusedError, LinkTimeoutError


class PacketStream:
    """A connection that sends and receives packets. Deadlines are in seconds."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self.acknowledges = True

    def send(self, payload: bytes) -> None:
        """Send one packet."""
        packet = b"$" + payload + b"#%02x" % (sum(payload) & 0xFF)
        self._transmit(packet)

    def interrupt(self) -> None:
        """Send the byte that asks a running target to stop."""
        self._transmit(b"\x03")

    def receive(self, timeout: float) -> bytes | None:
        """Return the payload of the next packet, or None if none came in time.

        Raises:
            LinkLostError: the other side is gone.
        """
        deadline = time.monotonic() + timeout
        while True:
            payload = self._take()
            if payload is not None:
                return payload
            if not self._fill(deadline):
                return None

    def request(self, payload: bytes, timeout: float) -> bytes:
        """Send a packet and return the answer. Console output that comes before it is dropped.

        Raises:
            LinkTimeoutError: no answer in time.
            LinkLostError: the other side is gone.
        """
        self.send(payload)
        answer = self.receive(timeout)
        while answer is not None and answer[:1] == b"O" and answer != b"OK":
            answer = self.receive(timeout)
        if answer is None:
            name = payload[:24].decode("latin1")
            raise LinkTimeoutError(f"the debug link did not answer '{name}' within {timeout:g} s")
        return answer

    def request_ok(self, payload: bytes, timeout: float) -> None:
        """Send a packet whose answer must be OK.

        Raises:
            LinkRefusedError: it was something else.
        """
        answer = self.request(payload, timeout)
        if answer != b"OK":
            name, said = payload[:32].decode("latin1"), answer.decode("latin1") or "nothing"
            raise LinkRefusedError(f"the debug link answered '{name}' with '{said}'")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _transmit(self, data: bytes) -> None:
        try:
            self._socket.settimeout(10.0)
            self._socket.sendall(data)
        except OSError as error:
            raise LinkLostError(f"the debug link is gone: {error}") from error

    def _fill(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        self._socket.settimeout(left)
        try:
            data = self._socket.recv(1 << 18)
        except TimeoutError:
            return False
        except OSError as error:
            raise LinkLostError(f"the debug link is gone: {error}") from error
        if not data:
            raise LinkLostError("the debug link was closed by the other side")
        self._buffer += data
        return True

    def _take(self) -> bytes | None:
        """Return the first whole packet in the buffer, dropping acknowledgements before it."""
        while True:
            start = self._buffer.find(b"$")
            if start < 0:
                self._buffer.clear()
                return None
            del self._buffer[:start]
            end = self._buffer.find(b"#")
            if end < 0 or len(self._buffer) < end + 3:
                return None
            body, check = bytes(self._buffer[1:end]), bytes(self._buffer[end + 1 : end + 3])
            del self._buffer[: end + 3]
            good = check == b"%02x" % (sum(body) & 0xFF)
            if self.acknowledges:
                self._transmit(b"+" if good else b"-")
            if good:
                return _expand(body)
            if not self.acknowledges:
                raise LinkLostError("the debug link sent a packet with a wrong checksum")


def _expand(body: bytes) -> bytes:
    """Undo escapes and run-length encoding."""
    if b"*" not in body and b"}" not in body:
        return body
    out = bytearray()
    position = 0
    while position < len(body):
        byte = body[position]
        if byte == 0x7D:
            out.append(body[position + 1] ^ 0x20)
            position += 2
        elif byte == 0x2A:
            out += bytes((out[-1],)) * (body[position + 1] - 29)
            position += 2
        else:
            out.append(byte)
            position += 1
    return bytes(out)
