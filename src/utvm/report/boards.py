"""Boards for people and programs: the list, and one board with all that its file says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from utvm.boards import LINK_NAMES, Board, Memory, programs

NEVER_ON_SILICON = "never run on silicon"


def boards_table(boards: Sequence[Board]) -> Table:
    """Return the boards, one row each."""
    table = Table()
    for heading in ("board", "kind", "core", "clock", "memories", "reached by"):
        table.add_column(heading, overflow="fold")
    for board in boards:
        memories = "\n".join(map(_memory, board.memories))
        reached = board.reached_by
        table.add_row(board.name, kind(board), board.core.name, _hertz(board.clock_hz), memories, reached)
    return table


def kind(board: Board) -> str:
    """Return what a board is, and whether anybody has seen µTVM run on it."""
    if board.emulator is not None:
        return "RTL" if board.emulator.kind == "rtl" else "emulated"
    return f"physical, {NEVER_ON_SILICON}" if board.silicon != "run" else "physical"


def boards_json(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Return the boards as JSON values; addresses and lengths in bytes, clocks in Hz."""
    return [
        {
            "name": board.name,
            "kind": kind(board),
            "core": board.core.name,
            "clock_hz": board.clock_hz,
            "memories": [
                {"name": m.name, "kind": m.kind, "origin": m.origin, "length": m.length} for m in board.memories
            ],
            "reached_by": board.reached_by,
        }
        for board in boards
    ]


def board_json(board: Board) -> dict[str, Any]:
    """Return all that a board's file says as JSON values; bytes and Hz."""
    return {
        **boards_json([board])[0],
        "description": board.description,
        "part": board.part,
        "memories": [asdict(memory) for memory in board.memories],
        "images": [
            {"code": place.code.name, "constants": place.constants.name, "data": place.data.name}
            for place in board.placements
        ],
        "firmware": [
            {"code": place.code.name, "constants": place.constants.name, "data": place.data.name}
            for place in board.firmware
        ],
        "boot_rom": board.boot_rom,
        "console": None if board.console is None else asdict(board.console),
        "stack_bytes": board.stack_bytes,
        "links": {name: asdict(getattr(board.link, name)) for name in _settled(board)},
        "clock": [asdict(operation) for operation in board.clock],
        "caches": list(board.caches),
        "cycle_counter": board.cycle_counter,
        "memory_model": None if board.memory_model is None else asdict(board.memory_model),
        "sources": list(board.sources),
        "unverified": list(board.unverified),
    }


def board_text(board: Board) -> str:
    """Return all that a board's file says, as text of many lines."""
    part = "" if board.part is None else f", part {board.part}"
    lines = [
        f"{board.name}: {board.description}",
        f"  {kind(board)}{part}; {board.core.name} at {_hertz(board.clock_hz)}; cycles from {_counter(board)}",
    ]
    lines += _section("memories", (f"{_memory(memory)}{_remarks(memory)}" for memory in board.memories))
    lines += _section("images, tried in this order", _placements(board))
    lines += _section("programs that boot by themselves, tried in this order", _firmware(board))
    lines += _section("debug links", _links(board))
    if board.untrusted is not None:
        lines += _section("what it runs on this machine, if trusted (--trust-board)", programs(board))
    if board.clock:
        lines += _section("clock, set up after each load", map(str, board.clock))
    if board.memory_model is not None:
        lines += _section("caches that kernels are chosen for", [board.memory_model.description])
    lines += _section("sources", board.sources)
    lines += _section("unverified", board.unverified)
    return "\n".join(lines)


def _section(title: str, entries: Sequence[str] | Iterator[str]) -> list[str]:
    listed = [f"    {entry}" for entry in entries]
    return [f"  {title}:", *listed] if listed else []


def _placements(board: Board) -> Iterator[str]:
    for place in board.placements:
        off = "; the data cache stays off" if "data" in board.caches and place.data.cached else ""
        yield f"code {place.code.name}, constants {place.constants.name}, data and stack {place.data.name}{off}"


def _firmware(board: Board) -> Iterator[str]:
    for place in board.firmware:
        yield f"code {place.code.name}, constants {place.constants.name}, data and stack {place.data.name}"
    if board.boot_rom is not None:
        yield f"with what the boot ROM of an {board.boot_rom.upper()} looks for"
    if board.console is not None:
        console = board.console
        yield f"console: {console.kind} at 0x{console.base:08x}, {console.baud} baud of {_hertz(console.clock_hz)}"
        yield from (f"  {operation}" for operation in console.setup)


def _links(board: Board) -> Iterator[str]:
    for name in board.link.described:
        settings = getattr(board.link, name)
        values = {} if settings is None else {key: value for key, value in asdict(settings).items() if value}
        said = "; ".join(
            f"{key} {', '.join(value) if isinstance(value, tuple) else value}" for key, value in values.items()
        )
        default = " (default)" if name == board.link.kind else ""
        yield f"{LINK_NAMES[name]}{default}: {said or 'of the emulator'}"


def _settled(board: Board) -> list[str]:
    return [name for name in board.link.described if getattr(board.link, name) is not None]


def _counter(board: Board) -> str:
    names = {"dwt": "DWT_CYCCNT", "systick": "SysTick", "mcycle": "mcycle"}
    return "nothing on the board" if board.cycle_counter is None else names[board.cycle_counter]


def _memory(memory: Memory) -> str:
    return f"{memory.name} {memory.kind} {_size(memory.length)} at 0x{memory.origin:08x}"


def _remarks(memory: Memory) -> str:
    said = []
    if memory.alias is not None:
        said.append(f"also at 0x{memory.alias:08x}")
    if memory.wait_states is not None:
        said.append(f"{memory.wait_states} wait states")
    if memory.cached:
        said.append("behind the core's caches")
    if memory.kept:
        said.append(f"the first {_size(memory.kept)} are a firmware's")
    return f" ({', '.join(said)})" if said else ""


def _hertz(clock: int) -> str:
    return f"{clock / 1e6:g} MHz"


def _size(nbytes: int) -> str:
    if nbytes % (1 << 20) == 0:
        return f"{nbytes >> 20} MB"
    return f"{nbytes >> 10} KB" if nbytes % 1024 == 0 else f"{nbytes} B"
