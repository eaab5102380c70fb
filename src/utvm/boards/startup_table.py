"""The list `caches` of a board's TOML, and lists of register operations: `clock`, `setup` of the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from utvm.boards.fields import check_keys, typed
from utvm.boards.startup import CacheKind, OperationKind, RegisterOperation

_KINDS: tuple[OperationKind, ...] = get_args(OperationKind)
_CACHES: tuple[CacheKind, ...] = get_args(CacheKind)
_WIDTHS = (8, 16, 32)
_NEEDED: Mapping[OperationKind, tuple[str, ...]] = {
    "write": ("at", "value"),
    "modify": ("at", "mask", "value"),
    "wait": ("at", "mask", "value"),
    "pause": ("turns",),
}
_ADDRESSES = 1 << 32


def read_operations(name: str, entries: Any, problems: list[str]) -> tuple[RegisterOperation, ...]:
    """Return the register operations of a list in order; what is wrong is added to `problems`."""
    if entries is None:
        return ()
    if not isinstance(entries, list):
        problems.append(
            f"'{name}' must be a list of {{ write|modify|wait = REGISTER, at = ADDRESS, ... }}, {{ pause = TIME, ... }}"
        )
        return ()
    found = []
    for position, entry in enumerate(entries):
        before = len(problems)
        where = f"{name} step {position}"
        if not isinstance(entry, dict):
            problems.append(f"{where} is not a table")
            continue
        kinds = [kind for kind in _KINDS if kind in entry]
        if len(kinds) != 1:
            problems.append(f"{where} must have one of {', '.join(_KINDS)}, it has {', '.join(kinds) or 'none'}")
            continue
        operation = _operation(entry, kinds[0], where, problems)
        if len(problems) == before and operation is not None:
            found.append(operation)
    return tuple(found)


def _operation(
    entry: Mapping[str, Any], kind: OperationKind, where: str, problems: list[str]
) -> RegisterOperation | None:
    needed = _NEEDED[kind]
    check_keys(entry, (kind, *needed, "why", *(() if kind == "pause" else ("bits",))), where, problems)
    checks = [typed(entry, key, int, where, problems) for key in needed]
    checks += [typed(entry, key, str, where, problems) for key in (kind, "why")]
    bits = entry.get("bits", 32)
    if bits not in _WIDTHS:
        problems.append(f"'bits' of {where} is {bits!r}; known: 8, 16, 32")
        return None
    if not all(checks):
        return None
    if kind == "pause":
        return RegisterOperation(
            kind=kind, register=entry[kind], address=0, mask=0, value=entry["turns"], bits=bits, why=entry["why"]
        )
    full = (1 << bits) - 1
    mask, value, address = entry.get("mask", full), entry["value"], entry["at"]
    if not 0 < mask <= full:
        problems.append(f"'mask' of {where} is 0x{mask:x}, it must be some of {bits} bits")
    if value & ~mask:
        problems.append(f"'value' of {where} is 0x{value:x}, which has bits outside 0x{mask:x}")
    if address % (bits // 8) or address >= _ADDRESSES:
        problems.append(f"'at' of {where} is 0x{address:x}, which is no address of {bits} bits")
    return RegisterOperation(
        kind=kind, register=entry[kind], address=address, mask=mask, value=value, bits=bits, why=entry["why"]
    )


def read_caches(entries: Any, problems: list[str]) -> tuple[CacheKind, ...]:
    """Return which caches the core of the part has."""
    if entries is None:
        return ()
    if not isinstance(entries, list) or any(entry not in _CACHES for entry in entries):
        problems.append(f"'caches' is {entries!r}; it must be a list of {' and '.join(_CACHES)}")
        return ()
    return tuple(cache for cache in _CACHES if cache in entries)
