"""A debug link that takes nothing on trust: JTAG has no checksum, and cables are long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from utvm.device.link import DebugLink, LinkGarbledError

_ATTEMPTS = 4
_Value = TypeVar("_Value")


class VerifiedLink(DebugLink):
    """A link whose memory is read twice and read back after it was written.

    Args:
        link: does the work.

    Attributes:
        has_strayed: whether a write had to be repeated. Its first attempt may have gone anywhere.

    Raises (reads and writes):
        LinkGarbledError: the link shows something else each time.
    """

    def __init__(self, link: DebugLink) -> None:
        self.unverified = link
        self.has_strayed = False

    def halt(self) -> None:
        """See `DebugLink`."""
        self.unverified.halt()

    def resume(self) -> None:
        """See `DebugLink`."""
        self.unverified.resume()

    def wait(self, timeout: float) -> bool:
        """See `DebugLink`."""
        return self.unverified.wait(timeout)

    def reset(self) -> None:
        """See `DebugLink`."""
        self.unverified.reset()

    def read_memory(self, address: int, length: int) -> bytes:
        """See `DebugLink`."""
        return _same_twice(lambda: self.unverified.read_memory(address, length), f"{length:,} bytes at 0x{address:08x}")

    def write_memory(self, address: int, data: bytes) -> None:
        """See `DebugLink`. Registers of peripherals that do not read as they were written can't be written this way."""
        for _ in range(_ATTEMPTS):
            self.unverified.write_memory(address, data)
            if self.unverified.read_memory(address, len(data)) == data:
                return
            self.has_strayed = True
        raise LinkGarbledError(
            f"{len(data):,} bytes at 0x{address:08x} do not hold what was written, {_ATTEMPTS} times: is there RAM? "
            "If so, the debug link garbles data: make it slower or its cable shorter"
        )

    def read_registers(self, names: Sequence[str]) -> tuple[int, ...]:
        """See `DebugLink`."""
        return _same_twice(lambda: self.unverified.read_registers(names), f"the registers {', '.join(names)}")

    def write_registers(self, values: Mapping[str, int]) -> None:
        """See `DebugLink`. Not verified: some links keep registers to themselves until the core runs."""
        self.unverified.write_registers(values)

    def set_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        self.unverified.set_breakpoint(address)

    def clear_breakpoint(self, address: int) -> None:
        """See `DebugLink`."""
        self.unverified.clear_breakpoint(address)

    def close(self) -> None:
        """See `DebugLink`."""
        self.unverified.close()


def _same_twice(read: Callable[[], _Value], what: str) -> _Value:
    before = read()
    for _ in range(_ATTEMPTS):
        after = read()
        if after == before:
            return after
        before = after
    raise LinkGarbledError(
        f"{what} read differently {_ATTEMPTS + 1} times: the debug link garbles data: make it slower or its cable "
        "shorter"
    )
