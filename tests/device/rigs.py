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

NOWHERE_ARM, NOWHERE_RISCV = 0x60000000, 0xF0000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A link and a target.

    Attributes:
        name: link and target.
        board: the board that a session sees.
        make_target: what stands behind the link, not yet started.
        open_link: opens the link to it.
        nowhere: an address where nothing is.
        tells_bad_accesses: whether the server says that nothing is there; QEMU invents zeros.
    """

    name: str
    board: Board
    make_target: Callable[[], Target]
    open_link: Callable[[str], DebugLink]
    nowhere: int = NOWHERE_ARM
    tells_bad_accesses: bool = True

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
        nowhere=NOWHERE_RISCV if board.core.isa.name == "riscv" else NOWHERE_ARM,
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
        nowhere=NOWHERE_RISCV,
    )


# The suite names registers as Arm and RISC-V do; tests/emulators/test_xtensa.py drives Xtensa, which has others.
QEMU_RIGS = [
    _qemu(board)
    for board in list_boards()
    if board.emulator is not None and board.emulator.kind == "qemu" and board.name != "qemu-xtensa"
]
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
