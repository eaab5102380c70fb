"""Reading tables of a TOML: what is wrong is collected, not raised."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_POSITIVE = ("length", "clock_hz", "line_bytes", "sets", "ways")


def check_keys(table: Mapping[str, Any], known: Collection[str], where: str, problems: list[str]) -> None:
    """Add a problem for every key that is not known."""
    listed = ", ".join(sorted(known))
    problems.extend(f"{where} has the unknown key '{key}'; known: {listed}" for key in table if key not in known)


def typed(
    table: Mapping[str, Any], key: str, kind: type, where: str, problems: list[str], *, optional: bool = False
) -> bool:
    """Return whether a key is there with a value of a type; add a problem if not. Numbers must not be negative."""
    value = table.get(key)
    if value is None:
        if not optional:
            problems.append(f"{where} lacks '{key}'")
        return False
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        problems.append(f"'{key}' of {where} is {value!r}, not {kind.__name__}")
        return False
    if isinstance(value, str) and not value.isprintable():
        problems.append(f"'{key}' of {where} is {value!r}: it has characters that do not print")
        return False
    if isinstance(value, int) and not isinstance(value, bool) and value < (1 if key in _POSITIVE else 0):
        problems.append(f"'{key}' of {where} is {value}, it must be positive")
        return False
    return True


def texts(table: Mapping[str, Any], key: str, problems: list[str]) -> tuple[str, ...]:
    """Return a list of texts; empty if it is not there or wrong."""
    value = table.get(key, [])
    if not isinstance(value, list) or not all(
        isinstance(entry, str) and entry and entry.isprintable() for entry in value
    ):
        problems.append(f"'{key}' must be a list of texts in one line each")
        return ()
    return tuple(value)
