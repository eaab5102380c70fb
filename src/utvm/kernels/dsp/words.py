"""Four bytes at a time over runs of any length and alignment, and the bounds of pooling windows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from utvm.codegen import CWriter
from utvm.graph import AveragePool2D, MaxPool2D
from utvm.graph.formulas import limits
from utvm.kernels.runs import WORD

_ALONE = 2
"""Bytes of a run that one instruction reads, always aligned."""

WORD_HELPERS = (
    *("utvm_load1", "utvm_load2", "utvm_load4", "utvm_load4_anywhere"),
    *("utvm_store4", "utvm_store4_anywhere"),
)
"""The helpers that `Words` may call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How runs of bytes are read and written by words.

    Attributes:
        nbytes: the length of every run. Runs of one or two bytes are read alone.
        aligned: whether every run starts and ends at a multiple of four bytes. Other runs are accessed at any address,
            by the compiler's choice of instructions, and the last word of one lies over the end of the word before.
    """

    nbytes: int
    aligned: bool

    @classmethod
    def beside(cls, nbytes: int) -> Words:
        """Return how runs are accessed that lie one after another in an array."""
        return cls(nbytes=nbytes, aligned=nbytes % WORD == 0)

    @property
    def load(self) -> str:
        """The helper that loads a word."""
        if self.nbytes <= _ALONE:
            return f"utvm_load{self.nbytes}"
        return "utvm_load4" if self.aligned else "utvm_load4_anywhere"

    @property
    def store(self) -> str:
        """The helper that stores a word."""
        return "utvm_store4" if self.aligned else "utvm_store4_anywhere"

    def read(self, place: str) -> str:
        """Return the C expression of the word at a pointer."""
        return f"{self.load}({place})"

    def write(self, w: CWriter, place: str, value: str) -> None:
        """Write the store of a word to a pointer; of a run of less than a word, its bytes one by one."""
        if self.nbytes >= WORD:
            w(f"{self.store}({place}, {value});")
            return
        for byte in range(self.nbytes):
            w(f"({place})[{byte}] = (int8_t)({value}{f' >> {8 * byte}' if byte else ''});")

    @contextmanager
    def loop(self, w: CWriter, *, unroll: int = 1) -> Iterator[None]:
        """Loop `i` over the offsets of the words of a run."""
        nbytes = self.nbytes
        if nbytes <= WORD:
            with w.loop("i", 1):
                yield
        elif nbytes % WORD == 0:
            if unroll > 1 and nbytes % (WORD * unroll) == 0:
                w(f"#pragma GCC unroll {unroll}")
            with w.loop("i", nbytes, step=WORD):
                yield
        else:
            with w.loop("word", nbytes, step=WORD):
                w(f"const int32_t i = word < {nbytes - WORD} ? word : {nbytes - WORD};")
                yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """The elements of a word that a pool compares at once.

    Attributes:
        larger, smaller: the helpers that take the larger and the smaller of each.
        bits: of an element.
        limits: the least and the largest that a result may be.
    """

    larger: str
    smaller: str
    bits: int
    limits: tuple[int, int]

    @classmethod
    def of(cls, op: MaxPool2D | AveragePool2D) -> Lanes:
        """Return the lanes of an operator of int8 or int16."""
        bits = 8 * op.y.dtype.itemsize
        count = 32 // bits
        return cls(larger=f"utvm_max{count}", smaller=f"utvm_min{count}", bits=bits, limits=limits(op))

    def clamp_lines(self, name: str) -> list[str]:
        """Return the statements that limit the elements of a word."""
        (low, high), most = self.limits, (1 << (self.bits - 1)) - 1
        lines = [f"{name} = {self.larger}({name}, {self._splat(low)});"] if low > -most - 1 else []
        return lines + ([f"{name} = {self.smaller}({name}, {self._splat(high)});"] if high < most else [])

    def _splat(self, value: int) -> str:
        one = 0x01010101 if self.bits == 8 else 0x00010001
        return f"0x{(value & (1 << self.bits) - 1) * one:08X}u"


def whole_windows(op: MaxPool2D | AveragePool2D) -> tuple[bool, bool]:
    """Return whether every window lies inside of the input, down and across."""
    before = op.padding.top, op.padding.left
    down, across = (
        before[d] == 0 and (op.y.shape[1 + d] - 1) * op.stride[d] + op.filter[d] <= op.x.shape[1 + d] for d in (0, 1)
    )
    return down, across


def write_bounds(w: CWriter, op: MaxPool2D | AveragePool2D, dimension: int) -> None:
    """Write the first pixel of the window that is inside the input, and how many are; 0 is down, 1 across."""
    axis = "yx"[dimension]
    stride, size, limit = op.stride[dimension], op.filter[dimension], op.x.shape[1 + dimension]
    if whole_windows(op)[dimension]:
        w(f"const int32_t first_{axis} = o{axis} * {stride};")
        w(f"const int32_t count_{axis} = {size};", f"(void)count_{axis};")
        return
    padding = (op.padding.top, op.padding.left)[dimension]
    w(f"const int32_t start_{axis} = o{axis} * {stride} - {padding};")
    w(f"const int32_t first_{axis} = start_{axis} < 0 ? 0 : start_{axis};")
    w(f"const int32_t end_{axis} = start_{axis} + {size} < {limit} ? start_{axis} + {size} : {limit};")
    w(f"const int32_t count_{axis} = end_{axis} - first_{axis};")
