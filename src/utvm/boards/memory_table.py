"""The tables [[memory]], [image] and [memory_model] of a board's TOML."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from utvm.boards.fields import check_keys, typed
from utvm.boards.memory import CacheGeometry, Memory, MemoryModel, Placement

_NEEDED: Mapping[str, type] = {"name": str, "kind": str, "origin": int, "length": int}
_OPTIONAL: Mapping[str, type] = {"alias": int, "wait_states": int, "cached": bool, "kept": int}
_PLACES = ("code", "constants", "data")
_GEOMETRY = ("line_bytes", "sets", "ways")
_CACHES = ("instruction_cache", "data_cache")
_MODEL_NUMBERS = (
    *("fetch_miss", "sequential_fetch_miss", "constant_miss", "sequential_constant_miss"),
    *("fast_ram_bytes", "ram_miss"),
)
MIN_STACK_BYTES = 256
STACK_ALIGNMENT = 16


def read_memories(entries: Any, problems: list[str]) -> dict[str, Memory]:
    """Return the memories by name; what is wrong is added to `problems`."""
    found: dict[str, Memory] = {}
    for position, entry in enumerate(entries if isinstance(entries, list) else []):
        where = f"memory {position}"
        if not isinstance(entry, dict):
            problems.append(f"{where} is not a table: write [[memory]]")
            continue
        check_keys(entry, (*_NEEDED, *_OPTIONAL), where, problems)
        checks = [typed(entry, key, kind, where, problems) for key, kind in _NEEDED.items()]
        checks += [typed(entry, key, kind, where, problems) for key, kind in _OPTIONAL.items() if key in entry]
        if not all(checks):
            continue
        memory = Memory(**entry) if set(entry) <= {*_NEEDED, *_OPTIONAL} else None
        if memory is None:
            continue
        if memory.kind not in ("ram", "flash"):
            problems.append(f"'kind' of {where} is '{memory.kind}', not ram or flash")
        if not (memory.name.isidentifier() and memory.name.isascii()):
            problems.append(f"'name' of {where} is '{memory.name}', not an identifier of ASCII letters and digits")
        if memory.kept >= memory.length:
            problems.append(f"'kept' of {where} is {memory.kept}, of {memory.length} bytes")
        if memory.name in found:
            problems.append(f"two memories are named '{memory.name}'")
        if any(end > 1 << 32 for _, end in memory.ranges):
            problems.append(f"memory '{memory.name}' ends beyond 4 GB")
        found[memory.name] = memory
    if isinstance(entries, list) and not entries:
        problems.append("there is no memory: add at least one [[memory]]")
    for one, other in combinations(found.values(), 2):
        if any(a < d and c < b for a, b in one.ranges for c, d in other.ranges):
            problems.append(f"the memories '{one.name}' and '{other.name}' overlap")
    return found


def read_placements(entries: Any, memories: Mapping[str, Memory], problems: list[str]) -> tuple[Placement, ...]:
    """Return where images go, in the order of preference: one table [image], or several [[image]]."""
    tables = entries if isinstance(entries, list) else [entries]
    if not tables or not all(isinstance(table, dict) for table in tables):
        problems.append("there is no table [image]: say which memory holds code, constants and data")
        return ()
    found = [_placement(table, memories, problems, first=table is tables[0]) for table in tables]
    return tuple(placement for placement in found if placement is not None)


def _placement(
    table: Mapping[str, Any], memories: Mapping[str, Memory], problems: list[str], *, first: bool
) -> Placement | None:
    """Read one table. RAM alone is tried first; after that constants may be in flash."""
    check_keys(table, _PLACES, "[image]", problems)
    places = {}
    for key in _PLACES:
        if not typed(table, key, str, "[image]", problems):
            continue
        if table[key] not in memories:
            problems.append(f"'{key}' of [image] names the memory '{table[key]}', which is not described")
        elif memories[table[key]].kind != "ram" and (first or key != "constants"):
            problems.append(f"'{key}' of [image] names '{table[key]}', which is not RAM")
        else:
            places[key] = memories[table[key]]
    return Placement(**places) if len(places) == len(_PLACES) else None


def check_stack(size: Any, placements: tuple[Placement, ...], problems: list[str]) -> None:
    """Add a problem if the stack is not of a possible size, or does not fit a memory that holds data."""
    if not isinstance(size, int) or isinstance(size, bool):
        return
    if size < MIN_STACK_BYTES or size % STACK_ALIGNMENT:
        problems.append(
            f"'stack_bytes' is {size}; it must be a multiple of {STACK_ALIGNMENT} from {MIN_STACK_BYTES} on"
        )
        return
    problems.extend(
        f"'stack_bytes' is {size}, but '{memory.name}' has only {memory.length} bytes"
        for memory in dict.fromkeys(placement.data for placement in placements)
        if size >= memory.length
    )


def read_memory_model(table: Any, problems: list[str]) -> MemoryModel | None:
    """Return the caches and the cost of their misses, None if the board does not describe them."""
    if table is None:
        return None
    where = "[memory_model]"
    if not isinstance(table, dict):
        problems.append(f"{where} is not a table")
        return None
    check_keys(table, ("name", "description", *_CACHES, *_MODEL_NUMBERS), where, problems)
    checks = [typed(table, key, str, where, problems) for key in ("name", "description")]
    checks += [typed(table, key, int, where, problems) for key in _MODEL_NUMBERS]
    geometries: dict[str, CacheGeometry] = {}
    for key in _CACHES:
        if not typed(table, key, dict, where, problems):
            continue
        inside = f"'{key}' of {where}"
        check_keys(table[key], _GEOMETRY, inside, problems)
        sound = [typed(table[key], part, int, inside, problems) for part in _GEOMETRY]
        if all(sound):
            geometries[key] = CacheGeometry(**{part: table[key][part] for part in _GEOMETRY})
    if not all(checks) or len(geometries) < len(_CACHES):
        return None
    numbers = {key: table[key] for key in _MODEL_NUMBERS}
    return MemoryModel(
        name=table["name"],
        description=table["description"],
        instruction_cache=geometries["instruction_cache"],
        data_cache=geometries["data_cache"],
        **numbers,
    )
