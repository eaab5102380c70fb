"""The tables [firmware] and [console] of a board's TOML: a program that boots by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from utvm.boards.board import Console, ConsoleKind
from utvm.boards.fields import check_keys, typed
from utvm.boards.memory import Memory, Placement
from utvm.boards.startup_table import read_operations

_PLACES = ("code", "constants", "data")
_CONSOLE: Mapping[str, type] = {"kind": str, "base": int, "baud": int, "clock_hz": int}


def read_firmware(entries: Any, memories: Mapping[str, Memory], problems: list[str]) -> tuple[Placement, ...]:
    """Return where firmware goes, in the order of preference: one table [firmware], several [[firmware]], or none.

    What is wrong is added to `problems`.
    """
    if entries is None:
        return ()
    tables = entries if isinstance(entries, list) else [entries]
    if not all(isinstance(table, dict) for table in tables):
        problems.append("[firmware] is not a table")
        return ()
    found = [_placement(table, memories, problems) for table in tables]
    return tuple(placement for placement in found if placement is not None)


def _placement(table: Mapping[str, Any], memories: Mapping[str, Memory], problems: list[str]) -> Placement | None:
    check_keys(table, _PLACES, "[firmware]", problems)
    places = {}
    for key in _PLACES:
        if not typed(table, key, str, "[firmware]", problems):
            continue
        if table[key] not in memories:
            problems.append(f"'{key}' of [firmware] names the memory '{table[key]}', which is not described")
        elif key == "data" and memories[table[key]].kind != "ram":
            problems.append(f"'data' of [firmware] names '{table[key]}', which is not RAM")
        else:
            places[key] = memories[table[key]]
    return Placement(**places) if len(places) == len(_PLACES) else None


def read_console(table: Any, clock_hz: Any, problems: list[str], *, folder: Path | None) -> Console | None:
    """Return the UART of the console, None if nothing is said; what is wrong is added to `problems`.

    Its clock is that of the core, `clock_hz`, unless the table says another. A file that it names is looked for in
    `folder`.
    """
    if table is None:
        return None
    if not isinstance(table, dict):
        problems.append("[console] is not a table")
        return None
    own = table.get("kind") == "file"
    table = {"clock_hz": clock_hz} | ({"base": 0} if own else {}) | table
    check_keys(table, (*_CONSOLE, "setup", *(("file",) if own else ())), "[console]", problems)
    setup = read_operations("setup", table.get("setup"), problems)
    checks = [typed(table, key, kind, "[console]", problems) for key, kind in _CONSOLE.items()]
    file = _file(table, problems, folder) if own else None
    if not all(checks) or (own and file is None):
        return None
    if table["kind"] not in get_args(ConsoleKind):
        problems.append(f"'kind' of [console] is '{table['kind']}'; known: {', '.join(get_args(ConsoleKind))}")
        return None
    if table["baud"] < 1:
        problems.append("'baud' of [console] must be positive")
        return None
    return Console(
        kind=table["kind"], base=table["base"], baud=table["baud"], clock_hz=table["clock_hz"], setup=setup, file=file
    )


def _file(table: Mapping[str, Any], problems: list[str], folder: Path | None) -> str | None:
    if not typed(table, "file", str, "[console]", problems):
        return None
    path = (folder or Path()) / table["file"]
    if path.suffix != ".c" or not path.is_file():
        problems.append(f"'file' of [console] is '{table['file']}': there is no such .c file at {path}")
        return None
    return str(path)
