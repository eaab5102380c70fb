"""How an image gets into a board: only what is missing is sent, all of it is verified, start-up runs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from utvm.boards import Board
from utvm.device.contents import CHECKSUM_WORTH, TRAPS_SECTION, Piece, constant, initial, zeroed
from utvm.device.execution import Executor
from utvm.device.firmware import CHECKSUM_SYMBOL, FILL_SYMBOL, RETURN_SYMBOL, START_SYMBOL, TRAP_SYMBOL
from utvm.device.holdings import Holdings
from utvm.device.link import DebugLink, DeviceError, FlashProgrammer
from utvm.device.stack import WatchedStack
from utvm.device.startup import startup_failure
from utvm.device.verified_link import VerifiedLink
from utvm.toolchain import Image

_SECONDS = 20.0
_VECTORS_AT_RESET = 0
_VECTOR_COUNT = 16


class VerificationError(DeviceError):
    """What was loaded is not what the target holds."""


class Loader:
    """Places images on one board, and knows what the board's RAM holds of the last one.

    Args:
        board: the board.
        executor: runs the start-up code.
    """

    def __init__(self, board: Board, executor: Executor) -> None:
        self._board = board
        self._executor = executor
        self._breakpoints: set[int] = set()
        self._holdings = Holdings()

    def forget(self) -> None:
        """The target's memory may have changed: the next image is sent whole."""
        self._holdings.forget()

    def attached(self) -> None:
        """The link is a new one: it has no breakpoints."""
        self._breakpoints = set()

    def place(self, link: DebugLink, image: Image) -> None:
        """Load and start an image, verify all of it, and program what flash does not hold yet.

        Raises:
            VerificationError: the target holds something else.
            DeviceError: the link failed, or can't program flash.
        """
        self._load_ram(link, image)
        constants = constant(image)
        in_flash = [piece for piece in constants if self._is_programmed(image, piece)]
        stale = [piece for piece in in_flash if not self._holds(link, image, piece)]
        if stale:
            self._holdings.forget()  # programming may use RAM
            self._program_flash(link, stale)
            self._load_ram(link, image)
        for piece in constants:
            if piece.name != TRAPS_SECTION and (piece not in in_flash or stale):
                self._verify(link, image, piece)
        WatchedStack(image).paint(link)
        if isinstance(link, VerifiedLink):
            link.has_strayed = False  # everything has just been verified

    def hand_over(self, link: DebugLink, segments: Sequence[tuple[int, bytes]]) -> None:
        """Write bytes at addresses, read them back, and start the board from reset. An emulator's flash is RAM to us.

        Raises:
            VerificationError: the target holds something else.
            DeviceError: the link failed, or can't program flash.
        """
        link.halt()
        self._set_breakpoints(link, set())
        self._holdings.forget()
        programmer = self._programmer(link, "a firmware goes to flash") if self._board.emulator is None else None
        if programmer is not None:
            programmer.reset()  # a flash algorithm runs in RAM: no cache may hold what was there
        for address, data in segments:
            if programmer is None:
                link.write_memory(address, data)
            else:
                programmer.program_flash(address, data)
        for address, data in segments:
            if _unverified(link).read_memory(address, len(data)) != data:
                raise VerificationError(
                    f"what was written at 0x{address:08x} reads back differently: is it writable, and is the debug "
                    "link's cable short enough for its speed?"
                )
        if programmer is not None:
            programmer.leave()
        else:
            link.reset()
            link.resume()

    def _load_ram(self, link: DebugLink, image: Image) -> None:
        """Send what RAM lacks of code and constants, run the start-up, and zero variables."""
        stack = WatchedStack(image)
        link.halt()
        if self._board.emulator or self._board.clock or self._board.caches:
            # Clock and caches start from the state that their set-up knows: off. A cache would hide what is written.
            # An interrupt that an earlier program enabled would run what is overwritten now.
            link.reset()
        self._set_breakpoints(link, set())  # some are instructions in memory
        constants = [piece for piece in constant(image) if not self._is_programmed(image, piece)]
        for piece in (*self._holdings.replace(constants), *initial(image)):
            # What is large is verified by checksum alone.
            writer = link if len(piece.data) < CHECKSUM_WORTH else _unverified(link)
            writer.write_memory(piece.address, piece.data)
        stack.paint(link)
        core = self._board.core
        if core.isa.vector_table and not core.vector_table_register:
            self._write_vectors(link, stack.top, image.symbol(TRAP_SYMBOL).address)
        self._set_breakpoints(link, {image.symbol(symbol).address for symbol in (RETURN_SYMBOL, TRAP_SYMBOL)})
        status = self._call(link, image, START_SYMBOL)
        if status:
            raise startup_failure(self._board, status)
        # Only now: code that fills may use vector instructions, which the start-up enables.
        for section in zeroed(image):
            self._call(link, image, FILL_SYMBOL, section.address, section.size // 4, 0)

    def _is_programmed(self, image: Image, piece: Piece) -> bool:
        """Return whether a piece has to be programmed into flash by code that runs from RAM.

        Only an emulator takes an image whose code is in flash too, and its flash is written like RAM.
        """
        return self._is_flash(piece.address) and not self._is_flash(image.symbol(START_SYMBOL).address)

    def _is_flash(self, address: int) -> bool:
        return any(memory.kind == "flash" and memory.holds(address) for memory in self._board.memories)

    def _program_flash(self, link: DebugLink, pieces: Sequence[Piece]) -> None:
        total = sum(len(piece.data) for piece in pieces)
        programmer = self._programmer(link, f"{total:,} bytes of constants do not fit RAM")
        # A flash algorithm runs in RAM: no cache may hold what was there.
        programmer.reset()
        for piece in pieces:
            programmer.program_flash(piece.address, piece.data)

    def _programmer(self, link: DebugLink, need: str) -> FlashProgrammer:
        """Return the link as one that can program flash; `need` says what for."""
        programmer = _unverified(link)
        if isinstance(programmer, FlashProgrammer):
            return programmer
        raise DeviceError(
            f"{need}, and the {self._board.link.kind} link of board '{self._board.name}' can't program it: use one of "
            "OpenOCD or pyOCD (--link)"
        )

    def _set_breakpoints(self, link: DebugLink, wanted: set[int]) -> None:
        for address in self._breakpoints - wanted:
            link.clear_breakpoint(address)
        for address in wanted - self._breakpoints:
            link.set_breakpoint(address)
        self._breakpoints = wanted

    def _write_vectors(self, link: DebugLink, top: int, trap: int) -> None:
        """Without a vector table register, exceptions look at address 0: flash that an emulator lets us write.

        On silicon the core's vector catch (DEMCR.VC_HARDERR) stops at a fault instead.
        """
        code_address = self._board.core.isa.convention.code_address
        words = [top, *[code_address(trap)] * (_VECTOR_COUNT - 1)]
        link.write_memory(_VECTORS_AT_RESET, struct.pack(f"<{_VECTOR_COUNT}I", *words))

    def _holds(self, link: DebugLink, image: Image, piece: Piece) -> bool:
        """Compare by a checksum that the target computes where that is less work than reading back."""
        if len(piece.data) >= CHECKSUM_WORTH:
            return self._call(link, image, CHECKSUM_SYMBOL, piece.address, len(piece.data)) == zlib.crc32(piece.data)
        return link.read_memory(piece.address, len(piece.data)) == piece.data

    def _verify(self, link: DebugLink, image: Image, piece: Piece) -> None:
        if not self._holds(link, image, piece):
            kind = "flash" if self._is_flash(piece.address) else "RAM"
            raise VerificationError(
                f"section {piece.name} at 0x{piece.address:08x} ({len(piece.data):,} bytes) does not hold what was "
                f"written: is there {kind} on board '{self._board.name}'?"
            )

    def _call(self, link: DebugLink, image: Image, symbol: str, *arguments: int) -> int:
        """Call a function of the start-up code."""
        return self._executor.run(link, image, symbol, arguments, _SECONDS).value


def _unverified(link: DebugLink) -> DebugLink:
    """Return the link for data that are verified otherwise."""
    return link.unverified if isinstance(link, VerifiedLink) else link
