"""TOML → Board. All problems of a file are told in one error."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from utvm.boards.board import Board, BoardError, BootRom, CycleCounter, Silicon
from utvm.boards.emulator_table import read_emulator
from utvm.boards.fields import check_keys, texts, typed
from utvm.boards.firmware_table import read_console, read_firmware
from utvm.boards.link_table import read_link
from utvm.boards.memory_table import check_stack, read_memories, read_memory_model, read_placements
from utvm.boards.startup_table import read_caches, read_operations
from utvm.cores import CORES, Core

_TYPES: Mapping[str, type] = {
    "description": str,
    "core": str,
    "clock_hz": int,
    "stack_bytes": int,
    "memory": list,
}
_KEYS = {
    *_TYPES,
    *("part", "cflags", "unaligned", "image", "link", "emulator", "cycle_counter", "clock", "caches", "memory_model"),
    *("silicon", "unverified", "sources", "firmware", "console", "boot_rom"),
}
DEFAULT_STACK_BYTES = 4096
_PARTS_FOLDER = Path(str(files("utvm.boards"))) / "parts"


def list_parts() -> tuple[str, ...]:
    """Return the names of the parts (microcontrollers) that a board's file can build on with `part = NAME`."""
    return tuple(sorted(path.stem for path in _PARTS_FOLDER.glob("*.toml")))


def parse_board(name: str, text: str, *, folder: Path | None = None) -> Board:
    """Return the board that a TOML text describes.

    Keys that the text does not have are those of the part that it names. OpenOCD files that it names are looked for in
    `folder` first.

    Raises:
        BoardError: with every problem found.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"board '{name}': not a TOML file: {error}") from error
    part = data.get("part")
    if part is not None:
        if part not in list_parts():
            raise BoardError(f"board '{name}': 'part' is {part!r}; known: {', '.join(list_parts())}")
        of_part = tomllib.loads((_PARTS_FOLDER / f"{part}.toml").read_text(encoding="utf-8"))
        if "memory" in data:
            of_part.pop("firmware", None)  # it names the part's memories
        data = of_part | data
    return _Reader(name, data, folder).board()


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
"""Names of boards stand in C and in file names."""
_FLAG = re.compile(r"-m[A-Za-z0-9_.,=+-]+")
"""Machine options stand in Makefiles and in files of CMake."""


class _Reader:
    """Collects problems while it reads."""

    def __init__(self, name: str, data: Mapping[str, Any], folder: Path | None) -> None:
        self.name = name
        self.data = data
        self.folder = folder
        self.problems: list[str] = []

    def board(self) -> Board:
        problems = self.problems
        if not _NAME.fullmatch(self.name):
            problems.append("its file's name has more than letters, digits and '_.+-': rename the file")
        check_keys(self.data, _KEYS, "the file", problems)
        for key, kind in _TYPES.items():
            typed(self.data, key, kind, "the file", problems, optional=key == "stack_bytes")
        core = self._core()
        memories = read_memories(self.data.get("memory"), problems)
        placements = read_placements(self.data.get("image"), memories, problems)
        check_stack(self.data.get("stack_bytes", DEFAULT_STACK_BYTES), placements, problems)
        firmware = read_firmware(self.data.get("firmware"), memories, problems)
        console = read_console(self.data.get("console"), self.data.get("clock_hz"), problems, folder=self.folder)
        clock = read_operations("clock", self.data.get("clock"), problems)
        caches = read_caches(self.data.get("caches"), problems)
        model = read_memory_model(self.data.get("memory_model"), problems)
        silicon = self._choice("silicon", get_args(Silicon))
        unverified, sources = texts(self.data, "unverified", problems), texts(self.data, "sources", problems)
        boot_rom = self._choice("boot_rom", get_args(BootRom))
        described = self.data.get("emulator")
        emulator = read_emulator(described, problems)
        link = read_link(self.data.get("link"), problems, folder=self.folder, emulated=described is not None)
        counter = self._choice("cycle_counter", get_args(CycleCounter))
        if problems or core is None or link is None:
            listed = "\n".join(f"  - {problem}" for problem in problems)
            raise BoardError(f"board '{self.name}' is not described correctly:\n{listed}")
        if model is not None:
            core = replace(core, caches=model.caches(placements[0].code.kind))
        return Board(
            name=self.name,
            description=self.data["description"],
            part=self.data.get("part"),
            core=core,
            clock_hz=self.data["clock_hz"],
            memories=tuple(memories.values()),
            placements=placements,
            stack_bytes=self.data.get("stack_bytes", DEFAULT_STACK_BYTES),
            link=link,
            emulator=emulator,
            cycle_counter=counter,
            clock=clock,
            caches=caches,
            memory_model=model,
            silicon=silicon,
            unverified=unverified,
            firmware=firmware or ((placements[0],) if emulator is not None else ()),
            console=console,
            boot_rom=boot_rom,
            sources=sources,
        )

    def _choice(self, key: str, known: tuple[str, ...]) -> Any:
        value = self.data.get(key)
        if value is not None and value not in known:
            self.problems.append(f"'{key}' is {value!r}; known: {', '.join(known)}")
        return value

    def _core(self) -> Core | None:
        name = self.data.get("core")
        if isinstance(name, str) and name not in CORES:
            self.problems.append(f"no core is named '{name}'; known: {', '.join(CORES)}")
        core = CORES.get(name) if isinstance(name, str) else None
        if core is None:
            return None
        return self._with_access(self._with_flags(core))

    def _with_access(self, core: Core) -> Core:
        """Return the core that may access words at multiples of four alone, if the file says `unaligned = false`."""
        unaligned = self.data.get("unaligned", core.unaligned)
        if not isinstance(unaligned, bool):
            self.problems.append(f"'unaligned' is {unaligned!r}, not true or false")
        elif unaligned and not core.unaligned:
            self.problems.append(f"'unaligned' is true, but {core.name} has no unaligned access")
        elif core.unaligned and not unaligned:
            return replace(core, unaligned=False, cflags=(*core.cflags, "-mno-unaligned-access"))
        return core

    def _with_flags(self, core: Core) -> Core:
        """Return the core with the machine options of the file."""
        flags = self.data.get("cflags")
        if flags is None:
            return core
        if not isinstance(flags, list) or not all(isinstance(f, str) and _FLAG.fullmatch(f) for f in flags):
            self.problems.append("'cflags' must be a list of GCC's machine options, as \"-mcpu=cortex-m4\"")
            return core
        return replace(core, cflags=tuple(flags))
