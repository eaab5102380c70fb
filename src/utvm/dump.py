"""Every stage of a compilation as files, for people who want to see what happened."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from utvm.errors import UtvmError
from utvm.graph import Graph
from utvm.lowering import Program
from utvm.report import plan_svg, plan_text, write_bytes, write_text
from utvm.toolchain import Image

RECORD = ".utvm-dump.json"
"""In the directory: the SHA-256 of each file that a dump wrote into it."""


class Dump:
    """Writes numbered files into a directory; does nothing when that is None.

    Files of an earlier dump are replaced, no others.

    Raises:
        UtvmError: from every method: a file can't be written, or one that no dump wrote stands in its place.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._graphs = 0
        self._own = {} if directory is None else _recorded(directory)

    def graph(self, stage: str, graph: Graph) -> None:
        """Write a graph as text after the stage of that name."""
        self._text(f"graph_{self._graphs:02d}_{stage}.txt", str(graph))
        self._graphs += 1

    def program(self, program: Program) -> None:
        """Write the program, and its memory plan as text and picture."""
        self._text("program.txt", str(program))
        self._text("plan.txt", plan_text(program))
        self._text("plan.svg", plan_svg(program))

    def files(self, files: Mapping[str, str]) -> None:
        """Write the generated C."""
        if self._directory is None:
            return
        for name, text in files.items():
            self._text(name, text)

    def image(self, image: Image) -> None:
        """Write the linked ELF and the link map."""
        if self._directory is None:
            return
        self._write("image.elf", image.path.read_bytes())
        self._text("image.map", image.link_map)

    def _text(self, name: str, text: str) -> None:
        self._write(name, text.encode())

    def _write(self, name: str, data: bytes) -> None:
        if self._directory is None:
            return
        path, digest = self._directory / name, hashlib.sha256(data).hexdigest()
        if os.path.lexists(path) and _digest(path) not in (digest, self._own.get(name)):
            raise UtvmError(
                f"{path} is no file of an earlier dump, or was changed since: name another directory or remove it"
            )
        write_bytes(path, data)
        self._own[name] = digest
        write_text(self._directory / RECORD, json.dumps(self._own, indent=2) + "\n")


def _digest(path: Path) -> str | None:
    """Return the SHA-256 of a plain file; None of anything else."""
    try:
        return None if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _recorded(directory: Path) -> dict[str, str]:
    """Return what earlier dumps wrote; nothing where there is no record that can be read."""
    try:
        values = json.loads((directory / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(digest) for name, digest in values.items()} if isinstance(values, dict) else {}
