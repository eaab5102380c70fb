"""Arrays as arguments: free RAM of a board for them, and what a function made of them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.boards import Board
from utvm.device.execution import Measurement
from utvm.device.link import DeviceError
from utvm.notebook import html_table
from utvm.toolchain import Image

ARRAY_ALIGNMENT = 16
_WORD = 1 << 32

Argument = NDArray[Any] | int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FunctionRun:
    """One call of a C function.

    Attributes:
        outputs: what memory holds of each array afterwards, in the order of the arguments, inputs too.
        measurement: what the call returned and cost.

    Example:
        image = utvm.build_c("qemu-cortex-m7", {"twice.c": "int twice(int x) { return 2 * x; }"}, entry="twice")
        with utvm.connect("qemu-cortex-m7") as session:
            session.load(image)
            run = session.measure("twice", [21])
        print(run.value, run.cycles, run.cycles_source)
    """

    outputs: tuple[NDArray[Any], ...]
    measurement: Measurement

    @property
    def value(self) -> int:
        """What the function returned, 32 bits without a sign; meaningless of a function that returns nothing."""
        return self.measurement.value

    @property
    def cycles(self) -> int | None:
        """Cycles, modelled on emulated boards; None where nothing counts them."""
        return self.measurement.cycles

    @property
    def instructions(self) -> int | None:
        """Instructions; None where nothing counts them."""
        return self.measurement.instructions

    @property
    def cycles_source(self) -> str | None:
        """Where the cycles come from, such as "DWT" or "model: cortex-m7"."""
        return self.measurement.cycles_source

    def __repr__(self) -> str:
        """A few lines, without the values."""
        parts = [", ".join(_shape(array) for array in self.outputs), repr(self.measurement)]
        return "FunctionRun(" + ",\n  ".join(filter(None, parts)) + ")"

    def _repr_html_(self) -> str:
        """The arrays as a table, for notebooks."""
        told = f"{self.instructions} instructions, {self.cycles} cycles ({self.cycles_source})"
        rows = [
            (number, _shape(array), f"{array.min()} … {array.max()}" if array.size else "")
            for number, array in enumerate(self.outputs)
        ]
        return html_table(told, ("", "type", "values"), rows)


def checked(arguments: Sequence[Argument]) -> list[NDArray[Any] | int]:
    """Return arguments as dense arrays of numbers, and integers of 32 bits.

    Raises:
        DeviceError: something is neither.
    """
    if isinstance(arguments, str | bytes | np.ndarray) or not isinstance(arguments, Sequence):
        raise DeviceError(f"a {type(arguments).__name__} is no list of arguments: give [array, array, length, ...]")
    return [_checked(number, argument) for number, argument in enumerate(arguments)]


def addresses(board: Board, image: Image, arrays: Sequence[NDArray[Any]]) -> list[int]:
    """Return where arrays lie in RAM that the image leaves free, that of its data first; multiples of 16 bytes.

    Raises:
        DeviceError: they don't fit.
    """
    free = _free(board, image)
    found = []
    for array in arrays:
        size = -(-max(array.nbytes, 1) // ARRAY_ALIGNMENT) * ARRAY_ALIGNMENT
        place = next((index for index, (start, end) in enumerate(free) if end - start >= size), None)
        if place is None:
            left = max((end - start for start, end in free), default=0)
            raise DeviceError(
                f"the arrays don't fit: {board.name} has {left:,} bytes of RAM in one piece left for {array.nbytes:,} "
                "(give smaller arrays, or take a board with more memory)"
            )
        start, end = free[place]
        found.append(start)
        free[place] = (start + size, end)
    return found


def _free(board: Board, image: Image) -> list[tuple[int, int]]:
    """Return the pieces of RAM that no section lies in."""
    last = board.placements[0].data
    rams = [last, *(memory for memory in board.memories if memory.kind == "ram" and memory.name != last.name)]
    taken = sorted((section.address, section.address + section.size) for section in image.sections)
    pieces: list[tuple[int, int]] = []
    for memory in rams:
        start, end = memory.origin + memory.kept, memory.origin + memory.length
        for first, after in taken:
            if first < end and after > start:
                pieces.append((start, first))
                start = max(start, after)
        pieces.append((start, end))
    return [(-(-start // ARRAY_ALIGNMENT) * ARRAY_ALIGNMENT, end) for start, end in pieces if end > start]


def _checked(number: int, argument: Argument) -> NDArray[Any] | int:
    if isinstance(argument, np.ndarray):
        if argument.dtype.kind not in "iufb":
            raise DeviceError(f"argument {number} is an array of {argument.dtype}: give one of integers or floats")
        return np.ascontiguousarray(argument, dtype=argument.dtype.newbyteorder("<"))
    try:
        value = operator.index(argument)
    except TypeError:
        raise DeviceError(
            f"argument {number} is a {type(argument).__name__}: give an array, which the function gets the address of, "
            "or an integer of 32 bits (floats go in an array)"
        ) from None
    if not -_WORD // 2 <= value < _WORD:
        raise DeviceError(f"argument {number}, {value}, has more than 32 bits")
    return value


def _shape(array: NDArray[Any]) -> str:
    return f"{array.dtype}{list(array.shape)}"
