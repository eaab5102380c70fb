"""A small C builder: indented text with loops and blocks, functions, constant arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from textwrap import wrap
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from utvm.graph import DType

INDENT = "  "
LINE_WIDTH = 100
KERNEL = "static __attribute__((noinline)) void"
"""Inlined into one function, kernels would share its registers, and inner loops would spill theirs."""


_ENDS_OF_COMMENTS = re.compile(r"(?<=\*)(?=/)|(?<=/)(?=\*)")


class CWriter:
    """Collects lines of C at the current indentation. Call it with a line; open loops and blocks with `with`."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 1

    def __call__(self, *lines: str) -> None:
        """Add lines at the current indentation; a line with newlines in it is split."""
        for text in lines:
            for line in text.split("\n"):
                self._lines.append(f"{INDENT * self._depth}{line}" if line else "")

    @contextmanager
    def block(self, head: str, tail: str = "") -> Iterator[None]:
        """Open `head {`, indent what is written inside, close with `}` and `tail`."""
        self(f"{head} {{" if head else "{")
        self._depth += 1
        yield
        self._depth -= 1
        self(f"}}{tail}")

    @contextmanager
    def loop(self, variable: str, stop: int, *, start: int = 0, step: int = 1) -> Iterator[None]:
        """Loop `variable` from `start` to below `stop`; a loop of one turn becomes a constant in a block."""
        if start < stop <= start + step:
            with self.block(""):
                self(f"const int32_t {variable} = {start};", f"(void){variable};")
                yield
            return
        advance = f"{variable}++" if step == 1 else f"{variable} += {step}"
        with self.block(f"for (int32_t {variable} = {start}; {variable} < {stop}; {advance})"):
            yield

    @property
    def text(self) -> str:
        """All lines so far."""
        return "\n".join(self._lines)


Role = Literal["input", "constant", "scratch", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CParameter:
    """One pointer parameter of a kernel. `c_type` is the element's type; inputs and constants are const.

    `alone` is whether nothing else that the kernel is given points to what is written through it or read.
    """

    name: str
    c_type: str
    role: Role
    alone: bool = False

    @property
    def declaration(self) -> str:
        """The parameter as the function's signature has it."""
        const = "const " if self.role in ("input", "constant") else ""
        return f"{const}{self.c_type} *{'restrict ' if self.alone else ''}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CSupport:
    """A definition beside the prelude, such as a micro-kernel; its name says all that it depends on.

    `assembly` holds its instructions and labels where it is an assembler function.
    """

    name: str
    text: str
    assembly: tuple[str, ...] = ()


def statements(*lines: str) -> str:
    """Return lines of C as the body of a function."""
    w = CWriter()
    w(*lines)
    return w.text


@dataclass(frozen=True, slots=True, kw_only=True)
class CFunction:
    """A kernel's function without its name: two layers with equal functions share one.

    `stem` is the name to start from, `comment` stands over the function, `helpers` names the prelude functions used,
    `support` holds further definitions, each written once a model. `attribute` is a macro of the prelude that stands
    before the name.
    """

    stem: str
    comment: str
    parameters: tuple[CParameter, ...]
    body: str
    helpers: tuple[str, ...] = ()
    support: tuple[CSupport, ...] = ()
    attribute: str = ""

    def render(self, symbol: str) -> str:
        """Return the definition under the name `symbol`."""
        signature = ", ".join(p.declaration for p in self.parameters)
        start = f"{KERNEL} {self.attribute} {symbol}" if self.attribute else f"{KERNEL} {symbol}"
        head = f"{start}({signature})"
        if len(head) > LINE_WIDTH:
            joined = f",\n{INDENT * 2}".join(p.declaration for p in self.parameters)
            head = f"{start}(\n{INDENT * 2}{joined})"
        return f"{comment(self.comment)}\n{head} {{\n{self.body}\n}}\n"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CArray:
    """A constant array. `values` holds integers or float32; any shape, written flat."""

    c_type: str
    values: NDArray[Any]

    @classmethod
    def of(cls, values: NDArray[Any]) -> CArray:
        """Return the array of values in their own type; bytes for booleans."""
        stored = values.astype(np.uint8) if values.dtype == np.bool_ else values
        return cls(c_type=DType(values.dtype.name).c_type, values=stored)

    @property
    def nbytes(self) -> int:
        """Size on the target in bytes."""
        return int(self.values.size) * SIZES[self.c_type]

    def stored(self) -> bytes:
        """Return the bytes in the target's memory, little-endian.

        Raises:
            ValueError: the type does not hold a value.
        """
        code = "f4" if self.c_type == "float" else f"{'u' if self.c_type[0] == 'u' else 'i'}{SIZES[self.c_type]}"
        held: NDArray[Any] = self.values.astype(f"<{code}")
        if self.c_type != "float" and not np.array_equal(held, self.values):
            raise ValueError(f"an array of {self.c_type} does not hold {self.values.min()} to {self.values.max()}")
        return held.tobytes()

    def render(self, symbol: str) -> str:
        """Return the definition under the name `symbol`, aligned to a word for wide loads."""
        return f"{self.declare(symbol)} = {{\n{_rows(self.values)}\n}};\n"

    def declare(self, symbol: str) -> str:
        """Return the declarator, without `extern` or an initialiser."""
        return f"const {self.c_type} {symbol}[{self.values.size}]"


SIZES = {
    "int8_t": 1,
    "uint8_t": 1,
    "int16_t": 2,
    "uint16_t": 2,
    "int32_t": 4,
    "uint32_t": 4,
    "int64_t": 8,
    "uint64_t": 8,
    "float": 4,
}


def comment(text: str) -> str:
    """Return `text` as a C comment of one or more lines, which nothing in the text can end.

    Text from outside comes through `naming.plain`.
    """
    # No end, no second start, no line that a backslash or trigraph continues.
    inside = _ENDS_OF_COMMENTS.sub(" ", text.replace("\\", "/").replace("??", "? ?"))
    lines = [part for line in inside.strip().split("\n") for part in wrap(line, LINE_WIDTH - 3) or [""]]
    if len(lines) == 1:
        return f"/* {lines[0]} */"
    return "\n".join(["/*", *(f" * {line}".rstrip() for line in lines), " */"])


def float_literal(value: float) -> str:
    """Return the C literal of a float32, exact (hexadecimal)."""
    if not np.isfinite(value):
        sign = "-" if value < 0 else ""
        return f"{sign}__builtin_inff()" if np.isinf(value) else '__builtin_nanf("")'
    return f"{float(np.float32(value)).hex()}f"


def int_literal(value: int) -> str:
    """Return the C literal of an integer; the least of 32 and of 64 bits have none of their own."""
    return {-(2**31): "INT32_MIN", -(2**63): "INT64_MIN"}.get(value) or str(value)


def _rows(values: NDArray[Any]) -> str:
    flat = values.reshape(-1)
    if flat.dtype.kind == "f":
        items = [float_literal(v) for v in flat]
    elif flat.size and int(flat.min()) <= -(2**31):
        items = [int_literal(int(v)) for v in flat]
    elif flat.size >= _MANY and flat.itemsize <= 4:
        return _rows_of_many(flat)
    else:
        items = list(map(str, flat.tolist()))
    per_row = _per_row(max(map(len, items), default=1))
    rows = (",".join(items[i : i + per_row]) for i in range(0, len(items), per_row))
    return ",\n".join(f"{INDENT}{row}" for row in rows)


def _per_row(longest: int) -> int:
    """Return how many items of at most so many characters, each with a comma, a line takes."""
    return max(1, (LINE_WIDTH - len(INDENT)) // (longest + 1))


_MANY = 4096
"""Integers of an array that are written by array operations: with fewer these cost more than they save."""


def _rows_of_many(values: NDArray[Any]) -> str:
    """Return what `_rows` does of integers within 32 bits: weights of megabytes become text in milliseconds.

    Every integer takes 16 bytes at first: its sign and two digits, two times four digits, and a comma. Those that it
    does not have are NULs, which go at last.
    """
    per_row = _per_row(max(len(str(values.min())), len(str(values.max()))))
    wide = values.astype(np.int64)
    size, first = np.abs(wide), (wide < 0) * _SIGNED
    high, low = np.divmod(size, 10_000)
    highest, middle = np.divmod(high, 10_000)
    heads, inner, last = _digits()
    items = np.zeros((-(-values.size // per_row) * per_row, 4), "S4")
    items[: values.size] = np.stack(
        [
            heads[highest + first],
            inner[middle + (highest > 0) * 10_000],
            last[low + (high > 0) * 10_000],
            np.broadcast_to(np.array(b",", "S4"), values.shape),
        ],
        axis=1,
    )
    text = items.view(np.uint8).reshape(-1, 16 * per_row)
    head, end = (np.frombuffer(part.encode(), np.uint8) for part in (INDENT, "\n"))
    lines = np.hstack([np.broadcast_to(head, (len(text), head.size)), text, np.broadcast_to(end, (len(text), 1))])
    return lines.tobytes().translate(None, b"\0").decode().removesuffix(",\n")


_SIGNED = 100
"""Where the heads of negative integers begin."""


@cache
def _digits() -> tuple[NDArray[np.bytes_], NDArray[np.bytes_], NDArray[np.bytes_]]:
    """Return the texts of digits: after a sign up to two, in between up to four, at the end at least one.

    Of the last two the second half is for where others come before, with all zeros.
    """
    plain = ["", *map(str, range(1, 10_000))]
    padded = [f"{value:04}" for value in range(10_000)]
    heads = plain[:_SIGNED] + [f"-{text}" for text in plain[:_SIGNED]]
    return np.array(heads, "S4"), np.array(plain + padded, "S4"), np.array(["0", *plain[1:], *padded], "S4")
