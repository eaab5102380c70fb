"""The registers of a target as a GDB server describes them (GDB manual, appendix G: Target Descriptions)."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from utvm.device.link import LinkRefusedError

_ALIASES = {"r13": "sp", "r14": "lr", "r15": "pc", "x1": "ra", "x2": "sp"} | {
    f"x{10 + position}": f"a{position}" for position in range(8)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """A register: its number in packets, its size, and where it is in the answer to `g`."""

    number: int
    nbytes: int
    offset: int


def parse_description(transfer: Callable[[str], str]) -> dict[str, Register]:
    """Return the registers by name: in small letters, r13 to r15 and x0 to x31 by the names of their roles.

    Args:
        transfer: returns the text of a file of the description.

    Raises:
        LinkRefusedError: it can't be read.
    """
    sizes: dict[int, tuple[str, int]] = {}
    number = 0
    waiting = ["target.xml"]
    while waiting:
        # QEMU 7.2 uses the prefix `xi` without declaring it.
        text = transfer(waiting.pop(0)).replace("xi:include", "include")
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise LinkRefusedError(f"the target description can't be read: {error}") from error
        included = []
        for element in root.iter():
            tag = element.tag.rpartition("}")[2]
            if tag == "include":
                included.append(element.get("href", ""))
            elif tag == "reg":
                number = int(element.get("regnum", number))
                name = element.get("name", "").lower()
                sizes[number] = _ALIASES.get(name, name), int(element.get("bitsize", "32")) // 8
                number += 1
        waiting = included + waiting
    return _placed(sizes)


def words_in_order(names: Sequence[str]) -> dict[str, Register]:
    """Return registers of 32 bits by name, numbered in order."""
    return {name: Register(number=number, nbytes=4, offset=4 * number) for number, name in enumerate(names)}


def _placed(sizes: Mapping[int, tuple[str, int]]) -> dict[str, Register]:
    found: dict[str, Register] = {}
    offset = 0
    for number in sorted(sizes):
        name, nbytes = sizes[number]
        found[name] = Register(number=number, nbytes=nbytes, offset=offset)
        offset += nbytes
    return found
