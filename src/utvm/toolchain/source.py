"""What goes into a build, and the errors of one."""

from __future__ import annotations

from dataclasses import dataclass

from utvm.errors import UtvmError


class ToolchainError(UtvmError):
    """A tool is missing, or it refused its input."""


class MemoryOverflowError(ToolchainError):
    """A program does not fit a memory. Sizes in bytes."""

    def __init__(self, *, region: str, needed: int, available: int) -> None:
        self.region = region
        self.needed = needed
        self.available = available
        super().__init__(
            f"does not fit: region {region} needs {needed:,} bytes and has {available:,}; "
            f"it is {needed - available:,} bytes too small (choose a smaller model, or a board with more memory)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of a build: C (`.c`), assembler (`.S`), or what these include by name: a header (`.h`), bytes (`.bin`).

    `data` is the content of a file of bytes, `text` that of all others.
    """

    name: str
    text: str = ""
    data: bytes = b""

    @property
    def is_header(self) -> bool:
        """Whether the file is only included."""
        return self.name.endswith((".h", ".bin"))

    @property
    def content(self) -> bytes:
        """What is in the file."""
        return self.data if self.name.endswith(".bin") else self.text.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A memory that the linker may fill. Addresses and lengths in bytes."""

    name: str
    origin: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLayout:
    """Which region holds what. Regions may be the same; the stack is at the end of its region.

    A program that `boots` by itself keeps the initial values of its data beside its constants and copies them.
    """

    code: Region
    constants: Region
    data: Region
    stack_bytes: int
    boots: bool = False

    @property
    def regions(self) -> tuple[Region, ...]:
        """Each region once, in order of use."""
        return tuple(dict.fromkeys((self.code, self.constants, self.data)))
