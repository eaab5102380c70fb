"""The table [emulator] of a board's TOML."""

from __future__ import annotations

from typing import Any

from utvm.boards.board import Emulator
from utvm.boards.fields import check_keys, typed

_KEYS = {"qemu": {"kind", "binary", "machine", "arguments"}, "rtl": {"kind", "machine"}}
_RTL_MACHINES = ("cv32e40p", "cv32e40p-xpulp")


def read_emulator(table: Any, problems: list[str]) -> Emulator | None:
    """Return the emulator that [emulator] describes; None if there is none, or with what is wrong in `problems`."""
    if table is None:
        return None
    if not isinstance(table, dict):
        problems.append("[emulator] is not a table")
        return None
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in _KEYS:
        problems.append(f"'kind' of [emulator] is {kind!r}; known: {', '.join(_KEYS)}")
        return None
    check_keys(table, _KEYS[kind], "[emulator]", problems)
    required = ("binary", "machine") if kind == "qemu" else ("machine",)
    checks = [typed(table, key, str, "[emulator]", problems) for key in required]
    if not all(checks):
        return None
    if kind == "rtl":
        if table["machine"] not in _RTL_MACHINES:
            problems.append(f"'machine' of [emulator] is '{table['machine']}'; in RTL: {', '.join(_RTL_MACHINES)}")
        return Emulator(kind="rtl", machine=table["machine"])
    arguments = table.get("arguments", [])
    if not isinstance(arguments, list) or not all(isinstance(a, str) for a in arguments):
        problems.append("'arguments' of [emulator] must be a list of texts")
        return None
    return Emulator(kind="qemu", binary=table["binary"], machine=table["machine"], arguments=tuple(arguments))
