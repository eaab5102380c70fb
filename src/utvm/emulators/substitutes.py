"""An emulated board in the place of one that is not there: its core, clock and memories, for modelled figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from utvm.boards import Board, list_boards
from utvm.emulators.assumed import Assumption

_RUN_BY: Mapping[str, str] = {"cortex-m0": "cortex-m3", "cortex-m0plus": "cortex-m3", "cortex-m85": "cortex-m55"}
"""Cores whose code QEMU runs on another core's board: the same instructions, and memory enough."""
_TIMED_AS: Mapping[str, str] = {"cortex-m0plus": "cortex-m0"}
"""Cores without a timing of their own, and whose they get: the Cortex-M0+ takes a cycle less for a taken branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """An emulated board, and what its cycle model assumes of memories; None is zero-wait memory.

    The board has the name, core and clock of the one whose place it takes, and the addresses of the emulated machine:
    whether an image fits is a question to the other board.
    """

    board: Board
    assumption: Assumption | None

    @property
    def described(self) -> str:
        """What is assumed, for people."""
        memory = "zero-wait memory" if self.assumption is None else f"the memory model of {self.assumption.name}"
        return f"modelled: {self.board.core.name} in QEMU with {memory}"


def stand_in(board: Board) -> StandIn | None:
    """Return what takes a board's place where it is not at hand; None where no emulated board runs its code."""
    core = board.core
    wanted = _RUN_BY.get(core.name, core.name)
    found = next((b for b in list_boards() if _emulates(b) and b.core.name == wanted), None)
    if found is None:
        return None
    if core.timing is None:
        timed = _TIMED_AS.get(core.name)
        source = next((b.core.timing for b in list_boards() if b.core.name == timed), None)
        core = replace(core, timing=source)
    emulated = replace(found, name=board.name, core=core, clock_hz=board.clock_hz, stack_bytes=board.stack_bytes)
    model = board.memory_model
    assumption = None
    if model is not None:
        assumption = Assumption(name=model.name, description=model.description, cores=(core.name,), memory=model)
    return StandIn(board=emulated, assumption=assumption)


def _emulates(board: Board) -> bool:
    return board.emulator is not None and board.emulator.kind == "qemu"
