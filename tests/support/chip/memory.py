"""The chip's memories: host buffers that debugger and CPU share."""

from __future__ import annotations

import ctypes
import mmap
import random
from collections.abc import Sequence

from tests.support.chip.parts import Bank


class BusError(Exception):
    """Nothing answers at an address, or not to a write."""

    def __init__(self, address: int) -> None:
        super().__init__(f"bus error at 0x{address:08x}")
        self.address = address


class Memory:
    """Banks of bytes. `written` collects the blocks of `BLOCK` bytes that were written here, not by the CPU."""

    BLOCK = 1024

    def __init__(self, banks: Sequence[Bank]) -> None:
        self.banks = banks
        self.written: set[int] = set()
        own = {bank.name: mmap.mmap(-1, bank.length) for bank in banks if bank.alias_of is None}
        self._buffers = [own[bank.alias_of or bank.name] for bank in banks]

    def host_address(self, position: int) -> int:
        """Return where bank `position` is in this process."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self._buffers[position]))

    def read(self, address: int, length: int) -> bytes:
        """Return bytes of one bank, or raise `BusError`."""
        for bank, buffer in zip(self.banks, self._buffers, strict=True):
            offset = address - bank.origin
            if offset >= 0 and offset + length <= bank.length:
                return buffer[offset : offset + length]
        raise BusError(address)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes into one bank, or raise `BusError`."""
        if not any(bank.writable and bank.origin <= address < bank.origin + bank.length for bank in self.banks):
            raise BusError(address)
        self.overwrite(address, data)

    def overwrite(self, address: int, data: bytes) -> None:
        """Write bytes into one bank whatever it is, or raise `BusError`."""
        for bank, buffer in zip(self.banks, self._buffers, strict=True):
            offset = address - bank.origin
            if offset >= 0 and offset + len(data) <= bank.length:
                buffer[offset : offset + len(data)] = data
                self.written.add(address // self.BLOCK)
                if len(data) > 4:
                    self.written.update(range(address // self.BLOCK, (address + len(data) - 1) // self.BLOCK + 1))
                return
        raise BusError(address)

    def program(self, origin: int, data: bytes) -> None:
        """Put bytes into a bank whatever it is, as a factory does; flash is blank (0xff) elsewhere."""
        for bank, buffer in zip(self.banks, self._buffers, strict=True):
            if bank.origin <= origin < bank.origin + bank.length:
                buffer[:] = b"\xff" * bank.length
                buffer[origin - bank.origin : origin - bank.origin + len(data)] = data

    def scramble(self, source: random.Random) -> None:
        """Fill what can be written with noise, as a loss of power does."""
        for bank, buffer in zip(self.banks, self._buffers, strict=True):
            if bank.writable:
                buffer[:] = source.randbytes(bank.length)
                self.written.update(range(bank.origin // self.BLOCK, (bank.origin + bank.length) // self.BLOCK))
