"""The tables [firmware] and [console] of a board's TOML: a program that boots by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from utvm.boards.board import Console, ConsoleKind
from utvm.boards.fields import check_keys, typed
from utvm.boards.memory import Memory, Placement

_PLACES = ("code", "constants", "data")
_CONSOLE: Mapping[str, type] = {"kind": str, "base": int, "baud": int}


def read_firmware(table: Any, memories: Mapping[str, Memory], problems: list[str]) -> Placement | None:
    """Return where firmware goes, None if nothing is said; what is wrong is added to `problems`."""
    if table is None:
        return None
    if not isinstance(table, dict):
        problems.append("[firmware] is not a table")
        return None
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


def read_console(table: Any, problems: list[str]) -> Console | None:
    """Return the UART of the console, None if nothing is said; what is wrong is added to `problems`."""
    if table is None:
        return None
    if not isinstance(table, dict):
        problems.append("[console] is not a table")
        return None
    check_keys(table, _CONSOLE, "[console]", problems)
    if not all(typed(table, key, kind, "[console]", problems) for key, kind in _CONSOLE.items()):
        return None
    if table["kind"] not in get_args(ConsoleKind):
        problems.append(f"'kind' of [console] is '{table['kind']}'; known: {', '.join(get_args(ConsoleKind))}")
        return None
    if table["baud"] < 1:
        problems.append("'baud' of [console] must be positive")
        return None
    return Console(kind=table["kind"], base=table["base"], baud=table["baud"])
