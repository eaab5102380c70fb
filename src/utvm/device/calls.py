"""How a call gets its arguments to the core and its result back: in registers, or in memory where links garble."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from typing import Protocol

from utvm.cores import CallingConvention
from utvm.device.firmware import RETURN_SYMBOL
from utvm.device.frame import DONE_BYTES, DONE_OFFSET, FRAME_SYMBOL, INVOKE_SYMBOL, pack_frame, unpack_done
from utvm.device.link import DebugLink, LinkGarbledError
from utvm.toolchain import STACK_SYMBOL, Image


class Calls(Protocol):
    """A way to call functions of an image on a halted core."""

    def prepare(self, link: DebugLink, image: Image, address: int, arguments: Sequence[int]) -> None:
        """Make the core ready to run a function, after which it stands at the return symbol."""

    def result(self, link: DebugLink, image: Image, name: str) -> int:
        """Return what the function returned.

        Raises:
            LinkGarbledError: it was not this call that ended.
        """


class RegisterCalls:
    """Calls as the instruction set's convention has them; the link is trusted."""

    def __init__(self, convention: CallingConvention) -> None:
        self._convention = convention

    def prepare(self, link: DebugLink, image: Image, address: int, arguments: Sequence[int]) -> None:
        """See `Calls`. Arguments beyond the registers go on the stack."""
        convention = self._convention
        places = convention.arguments
        extra = [value & 0xFFFFFFFF for value in arguments[len(places) :]]
        pointer = image.symbol(STACK_SYMBOL).address - (4 * len(extra) + 15) // 16 * 16
        if extra:
            link.write_memory(pointer, struct.pack(f"<{len(extra)}I", *extra))
        values = {convention.stack_pointer: pointer}
        values |= {place: value & 0xFFFFFFFF for place, value in zip(places, arguments, strict=False)}
        values |= convention.state
        values[convention.link_register] = convention.code_address(image.symbol(RETURN_SYMBOL).address)
        values[convention.program_counter] = address
        link.write_registers(values)

    def result(self, link: DebugLink, image: Image, name: str) -> int:
        """See `Calls`."""
        return link.read_register(self._convention.result)


class FrameCalls:
    """Calls through `runtime/call.c`: of the registers only the program counter is taken on trust, and not for long."""

    def __init__(self, convention: CallingConvention) -> None:
        self._convention = convention
        self._nonces = itertools.count(0x5EED0001)
        self._nonce = 0

    def prepare(self, link: DebugLink, image: Image, address: int, arguments: Sequence[int]) -> None:
        """See `Calls`. There may be 12 arguments."""
        convention = self._convention
        self._nonce = next(self._nonces) & 0xFFFFFFFF
        frame = pack_frame(nonce=self._nonce, function=convention.code_address(address), arguments=arguments)
        link.write_memory(image.symbol(FRAME_SYMBOL).address, frame)
        link.write_registers({**convention.state, convention.program_counter: image.symbol(INVOKE_SYMBOL).address})

    def result(self, link: DebugLink, image: Image, name: str) -> int:
        """See `Calls`."""
        done, result = unpack_done(link.read_memory(image.symbol(FRAME_SYMBOL).address + DONE_OFFSET, DONE_BYTES))
        if done != self._nonce:
            raise LinkGarbledError(
                f"the core did not run {name} as it was told: the debug link garbles data: make it slower or its cable "
                "shorter; the board was reset and the image reloaded"
            )
        return result
