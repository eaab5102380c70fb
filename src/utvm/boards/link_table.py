"""The [link] tables of a board's TOML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from utvm.boards.board import GdbSettings, LinkKind, LinkSettings, OpenOcdSettings, PyOcdSettings
from utvm.boards.fields import check_keys

_KINDS: tuple[LinkKind, ...] = get_args(LinkKind)
_TEXT_KEYS = {"gdb": ("endpoint",), "openocd": ("probe", "endpoint"), "pyocd": ("target", "probe")}
_LIST_KEYS: Mapping[str, tuple[str, ...]] = {"openocd": ("config", "commands")}
_PROBE = re.compile(r"[A-Za-z0-9_.:/+-]+")
"""Serial numbers stand in commands for OpenOCD."""
_REQUIRED = {"gdb": ("endpoint",), "openocd": (), "pyocd": ("target",)}


def read_link(table: Any, problems: list[str], *, folder: Path | None, emulated: bool) -> LinkSettings | None:
    """Return what [link] and its tables [link.gdb], [link.openocd] and [link.pyocd] describe.

    Args:
        table: [link] as TOML gave it.
        problems: what is wrong is added here; None is returned then.
        folder: where OpenOCD files of the board itself may lie; None is nowhere.
        emulated: whether an emulator brings its own GDB server.
    """
    before = len(problems)
    if not isinstance(table, dict):
        problems.append("there is no table [link]: say how the board is reached")
        return None
    check_keys(table, ("kind", *_KINDS), "[link]", problems)
    kind = table.get("kind")
    if kind not in _KINDS:
        problems.append(f"'kind' of [link] is {kind!r}; known: {', '.join(_KINDS)}")
        return None
    found = {name: _settings(name, table[name], problems) for name in _KINDS if name in table}
    if kind not in found and not (kind == "gdb" and emulated):
        problems.append(f"'kind' of [link] is '{kind}', but there is no table [link.{kind}]")
    if len(problems) > before:
        return None
    openocd = found.get("openocd")
    if openocd is not None:
        openocd["config"] = tuple(_beside(file, folder) for file in openocd.get("config", ()))
        if not openocd["config"] and "endpoint" not in openocd:
            problems.append("[link.openocd] has neither 'config' files nor the 'endpoint' of an OpenOCD that runs")
            return None
    return LinkSettings(
        kind=kind,
        gdb=GdbSettings(**found["gdb"]) if "gdb" in found else None,
        openocd=None if openocd is None else OpenOcdSettings(**openocd),
        pyocd=PyOcdSettings(**found["pyocd"]) if "pyocd" in found else None,
    )


def _settings(name: str, table: Any, problems: list[str]) -> dict[str, Any]:
    """Return a link's settings, lists as tuples."""
    where = f"[link.{name}]"
    if not isinstance(table, dict):
        problems.append(f"{where} is not a table")
        return {}
    texts, lists = _TEXT_KEYS[name], _LIST_KEYS.get(name, ())
    check_keys(table, (*texts, *lists), where, problems)
    problems.extend(f"{where} lacks '{key}'" for key in _REQUIRED[name] if key not in table)
    found: dict[str, Any] = {}
    for key in (key for key in (*texts, *lists) if key in table):
        value = table[key]
        if key in lists:
            if not isinstance(value, list) or not all(isinstance(entry, str) and entry for entry in value):
                problems.append(f"'{key}' of {where} must be a list of texts")
                continue
            value = tuple(value)
        elif not isinstance(value, str) or not value:
            problems.append(f"'{key}' of {where} is {value!r}, not text")
            continue
        elif key == "probe" and not _PROBE.fullmatch(value):
            problems.append(f"'probe' of {where} is {value!r}, not a serial number of letters, digits and '_.:/+-'")
        elif key == "endpoint" and not _is_endpoint(value, sockets=name == "gdb"):
            problems.append(f"'endpoint' of {where} is '{value}', not host:port")
        found[key] = value
    return found


def _is_endpoint(text: str, *, sockets: bool) -> bool:
    if sockets and text.startswith("/"):
        return True
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 1 << 16


def _beside(file: str, folder: Path | None) -> str:
    own = None if folder is None else folder / file
    return str(own) if own is not None and own.is_file() else file
