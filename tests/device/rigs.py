"""Every debug link before every target that it can reach: what the conformance suite runs on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from tests.device.gdb_servers import GdbServer
from tests.support.chip import probe as _pyocd_finds_the_simulated_probes  # noqa: F401
from tests.support.chip.bench import Bench, plugged
from tests.support.chip.process import ChipProcess, board_file
from utvm.boards import Board, list_boards, load_board
from utvm.device import AttachedTarget, DebugLink, GdbRemoteLink, Session, Target, link_opener
from utvm.emulators import RtlTarget, emulator_target
from utvm.toolchain import default_cache_directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the suite runs on the boards of an instruction set.

    Attributes:
        nop: an instruction of two bytes that does nothing.
        count: one of two bytes that adds 1 to the register of results.
        loop: one that jumps to itself.
        registers: those of 32 bits that hold anything.
        nowhere: an address where its boards have nothing.
    """

    nop: bytes
    count: bytes
    loop: bytes
    registers: tuple[str, ...]
    nowhere: int


_R = tuple(f"r{number}" for number in range(13))
_A = tuple(f"a{number}" for number in range(16))
MACHINES = {
    # nop; adds r0, #1; b .
    "arm": Machine(nop=b"\x00\xbf", count=b"\x01\x30", loop=b"\xfe\xe7", registers=_R, nowhere=0x60000000),
    # c.nop; c.addi a0, 1; c.j .
    "riscv": Machine(nop=b"\x01\x00", count=b"\x05\x05", loop=b"\x01\xa0", registers=_A[:8], nowhere=0xF0000000),
    # nop.n; addi.n a2, a2, 1; j .
    "xtensa": Machine(nop=b"\x3d\xf0", count=b"\x1b\x22", loop=b"\x06\xff\xff", registers=_A[2:], nowhere=0xF0000000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A link and a target.

    Attributes:
        name: link and target.
        board: the board that a session sees.
        make_target: what stands behind the link, not yet started.
        open_link: opens the link to it.
        tells_bad_accesses: whether the server says that nothing is there; QEMU invents zeros.
    """

    name: str
    board: Board
    make_target: Callable[[], Target]
    open_link: Callable[[str], DebugLink]
    tells_bad_accesses: bool = True

    @property
    def machine(self) -> Machine:
        """What runs on the board."""
        return MACHINES[self.board.core.isa.name]

    def session(self) -> Session:
        """Return a session on a target of its own."""
        return Session(self.board, self.make_target(), self.open_link)

    def __str__(self) -> str:
        return self.name


class PluggedTarget(AttachedTarget):
    """A chip on a bench of this process, plugged in from `start` to `stop`."""

    def __init__(self, board: Board) -> None:
        super().__init__(board)
        self._core = board.core.name
        self._stack = ExitStack()
        self.bench: Bench | None = None

    def start(self) -> str:
        """See `Target`. A chip that is there stays there."""
        if self.bench is None:
            self.bench = self._stack.enter_context(plugged(self._core))
        return super().start()

    def stop(self) -> None:
        """See `Target`."""
        self._stack.close()
        self.bench = None


def _qemu(board: Board) -> Rig:
    def make() -> Target:
        target = emulator_target(board, cache_directory=default_cache_directory())
        assert target is not None
        return target

    return Rig(
        name=f"gdb-{board.name}",
        board=board,
        make_target=make,
        open_link=link_opener(board),
        tells_bad_accesses=False,
    )


def _openocd(core: str) -> Rig:
    board = load_board(board_file(core), trust=True)
    return Rig(
        name=f"openocd-{core}",
        board=board,
        make_target=lambda: ChipProcess(core),
        open_link=link_opener(board),
    )


def _pyocd(core: str) -> Rig:
    board = load_board(board_file(core), trust=True).linked_by("pyocd")
    return Rig(
        name=f"pyocd-{core}",
        board=board,
        make_target=lambda: PluggedTarget(board),
        open_link=link_opener(board),
    )


def _gdb_server(kind: str, core: str) -> Rig:
    return Rig(
        name=f"gdb-{kind}-{core}",
        board=load_board(board_file(core), trust=True),
        make_target=lambda: GdbServer(kind, core),
        open_link=GdbRemoteLink,
    )


def _rtl(board: Board) -> Rig:
    opener = link_opener(board)
    running: list[RtlTarget] = []

    def make() -> Target:
        running[:] = [RtlTarget(board, cache_directory=default_cache_directory())]
        return running[0]

    return Rig(
        name=f"openocd-{board.name}",
        board=board,
        make_target=make,
        open_link=lambda endpoint: running[-1].wrap(opener(endpoint)),
    )


QEMU_RIGS = [_qemu(board) for board in list_boards() if board.emulator is not None and board.emulator.kind == "qemu"]
CHIP_RIGS = [
    *(_openocd(core) for core in ("cortex-m7", "cortex-m4", "cortex-m33")),
    *(_pyocd(core) for core in ("cortex-m7", "cortex-m33")),
    *(_gdb_server(kind, "cortex-m7") for kind in ("openocd", "pyocd")),
]
RTL_RIGS = [_rtl(board) for board in list_boards() if board.emulator is not None and board.emulator.kind == "rtl"]
RIGS = [*QEMU_RIGS, *CHIP_RIGS, *RTL_RIGS]


def rig_named(name: str) -> Rig:
    """Return a rig by its name."""
    return next(rig for rig in RIGS if rig.name == name)
