"""What the debug link of the RTL boards needs beyond OpenOCD's: whole words, bulk past the pins, signs of life."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from utvm.boards import Memory
from utvm.device import DebugLink, LinkLostError, LinkRefusedError, check_range

FILL_WORTH = 4096
"""Bytes from which on data go past JTAG."""
_LOOK_SECONDS = 0.5


class RtlLink(DebugLink):
    """A debug link to the RTL board, on top of one by JTAG.

    - The debug module accesses words alone: what begins or ends inside of one is read, changed and written back.
    - Writes of `FILL_WORTH` bytes and more go past the pins: constants and zeros. Code never does; whatever was
      written is verified by the core's own checksum like on any board.
    - OpenOCD refuses everything when the simulator has gone: that is a lost link.

    Args:
        link: the link by JTAG.
        code: the memory of code.
        fill: writes past the pins, the core halted; returns whether there is RAM.
        describe_death: why the simulator ended, None if it runs after so many seconds.
    """

    def __init__(
        self,
        link: DebugLink,
        *,
        code: Memory,
        fill: Callable[[int, bytes], bool],
        describe_death: Callable[[float], str | None],
    ) -> None:
        self._link = link
        self._code = code
        self._fill = fill
        self._describe_death = describe_death

    @property
    def by_jtag(self) -> DebugLink:
        """The link below."""
        return self._link

    def halt(self) -> None:
        """See `DebugLink`."""
        with self._alive():
            self._link.halt()

    def resume(self) -> None:
        """See `DebugLink`."""
        with self._alive():
            self._link.resume()

    def wait(self, timeout: float) -> bool:
        """See `DebugLink`. OpenOCD does not tell that the simulator has gone while the core ran: look now and then."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            with self._alive():
                if self._link.wait(max(min(left, _LOOK_SECONDS), 0)):
                    return True
            death = self._describe_death(0)
            if death is not None:
                raise LinkLostError(death)
            if left <= _LOOK_SECONDS:
                return False

    def reset(self) -> None:
        """See `DebugLink`."""
        with self._alive():
            self._link.reset()

    def read_memory(self, address: int, length: int) -> bytes:
        """See `DebugLink`."""
        check_range(address, length)
        before = address % 4
        with self._alive():
            words = self._link.read_memory(address - before, -(-(before + length) // 4) * 4) if length else b""
        return words[before : before + length]

    def write_memory(self, address: int, data: bytes) -> None:
        """See `DebugLink`."""
        check_range(address, len(data))
        code = self._code
        holds_code = address < code.origin + code.length and address + len(data) > code.origin
        if len(data) >= FILL_WORTH and not holds_code and self._fill(address, data):
            return
        if not data:
            return
        before, after = address % 4, -(address + len(data)) % 4
        try:
            head = self.read_memory(address - before, before)
            tail = self.read_memory(address + len(data), after)
        except LinkRefusedError as error:
            raise LinkRefusedError(f"{len(data)} bytes at 0x{address:08x} can't be written ({error})") from error
        with self._alive():
            self._link.write_memory(address - before, head + data + tail)

    def read_registers(self, names: Sequence[str]) -> tuple[int, ...]:
        """See `DebugLink`."""
        with self._alive():
            return self._link.read_registers(names)

    def write_registers(self, values: Mapping[str, int]) -> None:
        """See `DebugLink`."""
        with self._alive():
            self._link.write_registers(values)

    def set_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        with self._alive():
            self._link.set_breakpoint(address)

    def clear_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        with self._alive():
            self._link.clear_breakpoint(address)

    def close(self) -> None:
        """See `DebugLink`."""
        self._link.close()

    @contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except LinkRefusedError as error:
            death = self._describe_death(0.1)
            if death is not None:
                raise LinkLostError(death) from error
            raise
