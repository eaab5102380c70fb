"""What goes to a worker for a trial: the image and its ELF file, inputs, and what must come out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from utvm.tuning import BuiltCandidate, Expectation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shipment:
    """A built candidate that does without the files of the host that built it.

    Cycle models disassemble the ELF file, and faults are looked up in it.
    """

    expected: Expectation
    built: BuiltCandidate
    assume: str | None
    elf: bytes

    @staticmethod
    def pack(expected: Expectation, built: BuiltCandidate, assume: str | None) -> Shipment:
        """Read what belongs to a candidate.

        Raises:
            OSError: its ELF file is gone.
        """
        elf = b"" if built.image is None else built.image.path.read_bytes()
        return Shipment(expected=expected, built=built, assume=assume, elf=elf)

    @contextmanager
    def unpacked(self, directory: Path) -> Iterator[BuiltCandidate]:
        """Give the candidate with a file of this host, which is removed afterwards."""
        if self.built.image is None:
            yield self.built
            return
        with tempfile.NamedTemporaryFile(dir=directory, prefix="candidate-", suffix=".elf") as file:
            file.write(self.elf)
            file.flush()
            yield replace(self.built, image=replace(self.built.image, path=Path(file.name)))
