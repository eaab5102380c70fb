"""TOML → Board. All problems of a file are told in one error."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

from utvm.boards.board import Board, BoardError, CycleCounter, Emulator, Memory
from utvm.boards.read_link import read_link
from utvm.cores import CORES, Core

_TYPES: Mapping[str, type] = {
    "description": str,
    "core": str,
    "clock_hz": int,
    "stack_bytes": int,
    "memory": list,
}
_KEYS = {*_TYPES, "cflags", "image", "link", "emulator", "cycle_counter"}
_IMAGE_KEYS = ("code", "constants", "data")
_MEMORY_TYPES: Mapping[str, type] = {"name": str, "kind": str, "origin": int, "length": int}
_EMULATOR_KEYS = {"kind", "binary", "machine", "arguments"}
DEFAULT_STACK_BYTES = 4096
MIN_STACK_BYTES = 256
STACK_ALIGNMENT = 16
_SHIPPED_FOLDER = Path(str(files("utvm.boards")))


def load_board(name: str | Path) -> Board:
    """Return a board by name, or from the TOML file at a path.

    Raises:
        BoardError: there is no such board, or its file has problems; all are listed.
    """
    text = str(name)
    if isinstance(name, Path) or text.endswith(".toml"):
        path = Path(name)
        try:
            return parse_board(path.stem, path.read_text(encoding="utf-8"), folder=path.resolve().parent)
        except OSError as error:
            raise BoardError(f"the board file {path} can't be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise BoardError(f"the board file {path} is not UTF-8 text") from error
    shipped = _shipped()
    if text not in shipped:
        raise BoardError(f"no board is named '{text}'; known: {', '.join(shipped)} (or give the path of a TOML file)")
    return parse_board(text, shipped[text], folder=_SHIPPED_FOLDER)


def list_boards() -> tuple[Board, ...]:
    """Return all boards that come with the package, by name."""
    return tuple(parse_board(name, text, folder=_SHIPPED_FOLDER) for name, text in _shipped().items())


def parse_board(name: str, text: str, *, folder: Path | None = None) -> Board:
    """Return the board that a TOML text describes. OpenOCD files that it names are looked for in `folder` first.

    Raises:
        BoardError: with every problem found.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"board '{name}': not a TOML file: {error}") from error
    return _Reader(name, data, folder).board()


def _shipped() -> dict[str, str]:
    found = [entry for entry in _SHIPPED_FOLDER.iterdir() if entry.name.endswith(".toml")]
    return {
        entry.name.removesuffix(".toml"): entry.read_text(encoding="utf-8")
        for entry in sorted(found, key=lambda e: e.name)
    }


class _Reader:
    """Collects problems while it reads."""

    def __init__(self, name: str, data: Mapping[str, Any], folder: Path | None) -> None:
        self.name = name
        self.data = data
        self.folder = folder
        self.problems: list[str] = []

    def board(self) -> Board:
        self._check_keys(self.data, _KEYS, "the file")
        for key, kind in _TYPES.items():
            self._typed(self.data, key, kind, "the file", optional=key == "stack_bytes")
        core = self._core()
        memories = self._memories()
        places = self._places(memories)
        self._check_stack(places.get("data"))
        emulator = self._emulator()
        link = read_link(self.data.get("link"), self.problems, folder=self.folder, emulated=emulator is not None)
        counter = self.data.get("cycle_counter")
        if counter is not None and counter not in get_args(CycleCounter):
            self.problems.append(f"'cycle_counter' is {counter!r}; known: {', '.join(get_args(CycleCounter))}")
        if self.problems or core is None or link is None or emulator is False:
            listed = "\n".join(f"  - {problem}" for problem in self.problems)
            raise BoardError(f"board '{self.name}' is not described correctly:\n{listed}")
        return Board(
            name=self.name,
            description=self.data["description"],
            core=core,
            clock_hz=self.data["clock_hz"],
            memories=tuple(memories.values()),
            code=places["code"],
            constants=places["constants"],
            data=places["data"],
            stack_bytes=self.data.get("stack_bytes", DEFAULT_STACK_BYTES),
            link=link,
            emulator=emulator if isinstance(emulator, Emulator) else None,
            cycle_counter=counter,
        )

    def _check_keys(self, table: Mapping[str, Any], known: set[str], where: str) -> None:
        for key in table:
            if key not in known:
                self.problems.append(f"{where} has the unknown key '{key}'; known: {', '.join(sorted(known))}")

    def _typed(self, table: Mapping[str, Any], key: str, kind: type, where: str, *, optional: bool = False) -> bool:
        value = table.get(key)
        if value is None:
            if not optional:
                self.problems.append(f"{where} lacks '{key}'")
            return False
        if not isinstance(value, kind) or isinstance(value, bool):
            self.problems.append(f"'{key}' of {where} is {value!r}, not {kind.__name__}")
            return False
        if isinstance(value, int) and value < (1 if key in ("length", "clock_hz") else 0):
            self.problems.append(f"'{key}' of {where} is {value}, it must be positive")
            return False
        return True

    def _core(self) -> Core | None:
        name = self.data.get("core")
        if isinstance(name, str) and name not in CORES:
            self.problems.append(f"no core is named '{name}'; known: {', '.join(CORES)}")
        core = CORES.get(name) if isinstance(name, str) else None
        flags = self.data.get("cflags")
        if flags is None or core is None:
            return core
        if not isinstance(flags, list) or not all(isinstance(f, str) and f.startswith("-m") for f in flags):
            self.problems.append("'cflags' must be a list of GCC's machine options, as \"-mcpu=cortex-m4\"")
            return core
        return replace(core, cflags=tuple(flags))

    def _memories(self) -> dict[str, Memory]:
        found: dict[str, Memory] = {}
        entries = self.data.get("memory")
        for position, entry in enumerate(entries if isinstance(entries, list) else []):
            where = f"memory {position}"
            if not isinstance(entry, dict):
                self.problems.append(f"{where} is not a table: write [[memory]]")
                continue
            self._check_keys(entry, set(_MEMORY_TYPES), where)
            checks = [self._typed(entry, key, kind, where) for key, kind in _MEMORY_TYPES.items()]
            if not all(checks):
                continue
            memory = Memory(**{key: entry[key] for key in _MEMORY_TYPES})
            if memory.kind not in ("ram", "flash"):
                self.problems.append(f"'kind' of {where} is '{memory.kind}', not ram or flash")
            if not memory.name.isidentifier():
                self.problems.append(f"'name' of {where} is '{memory.name}', not an identifier")
            if memory.name in found:
                self.problems.append(f"two memories are named '{memory.name}'")
            if memory.origin + memory.length > 1 << 32:
                self.problems.append(f"memory '{memory.name}' ends beyond 4 GB")
            found[memory.name] = memory
        if isinstance(entries, list) and not entries:
            self.problems.append("there is no memory: add at least one [[memory]]")
        for one, other in combinations(found.values(), 2):
            if one.origin < other.origin + other.length and other.origin < one.origin + one.length:
                self.problems.append(f"the memories '{one.name}' and '{other.name}' overlap")
        return found

    def _places(self, memories: Mapping[str, Memory]) -> dict[str, Memory]:
        table = self.data.get("image")
        if not isinstance(table, dict):
            self.problems.append("there is no table [image]: say which memory holds code, constants and data")
            return {}
        self._check_keys(table, set(_IMAGE_KEYS), "[image]")
        places = {}
        for key in _IMAGE_KEYS:
            if not self._typed(table, key, str, "[image]"):
                continue
            if table[key] not in memories:
                self.problems.append(f"'{key}' of [image] names the memory '{table[key]}', which is not described")
            elif memories[table[key]].kind != "ram":
                self.problems.append(f"'{key}' of [image] names '{table[key]}', which is not RAM")
            else:
                places[key] = memories[table[key]]
        return places

    def _check_stack(self, memory: Memory | None) -> None:
        size = self.data.get("stack_bytes", DEFAULT_STACK_BYTES)
        if not isinstance(size, int) or isinstance(size, bool) or memory is None:
            return
        if size < MIN_STACK_BYTES or size % STACK_ALIGNMENT:
            self.problems.append(
                f"'stack_bytes' is {size}; it must be a multiple of {STACK_ALIGNMENT} from {MIN_STACK_BYTES} on"
            )
        elif size >= memory.length:
            self.problems.append(f"'stack_bytes' is {size}, but '{memory.name}' has only {memory.length} bytes")

    def _emulator(self) -> Emulator | bool | None:
        table = self.data.get("emulator")
        if table is None:
            return None
        if not isinstance(table, dict):
            self.problems.append("[emulator] is not a table")
            return False
        self._check_keys(table, _EMULATOR_KEYS, "[emulator]")
        checks = [self._typed(table, key, str, "[emulator]") for key in ("kind", "binary", "machine")]
        if not all(checks):
            return False
        if table["kind"] != "qemu":
            self.problems.append(f"'kind' of [emulator] is '{table['kind']}', not qemu")
        arguments = table.get("arguments", [])
        if not isinstance(arguments, list) or not all(isinstance(a, str) for a in arguments):
            self.problems.append("'arguments' of [emulator] must be a list of texts")
            return False
        return Emulator(
            kind=table["kind"], binary=table["binary"], machine=table["machine"], arguments=tuple(arguments)
        )
