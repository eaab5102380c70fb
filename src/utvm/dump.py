"""Every stage of a compilation as files, for people who want to see what happened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from utvm.graph import Graph
from utvm.lowering import Program
from utvm.report import plan_svg, plan_text, write_bytes, write_text
from utvm.toolchain import Image


class Dump:
    """Writes numbered files into a directory; does nothing when that is None.

    Raises:
        UtvmError: from every method: a file can't be written.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._graphs = 0

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
        for name, text in files.items():
            self._text(name, text)

    def image(self, image: Image) -> None:
        """Write the linked ELF and the link map."""
        if self._directory is None:
            return
        write_bytes(self._directory / "image.elf", image.path.read_bytes())
        self._text("image.map", image.link_map)

    def _text(self, name: str, text: str) -> None:
        if self._directory is not None:
            write_text(self._directory / name, text)
