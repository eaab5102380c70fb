"""A small C builder: indented text with loops and blocks, functions, constant arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
    else:
        items = list(map(str, flat.tolist()))
    longest = max(map(len, items), default=1)
    per_row = max(1, (LINE_WIDTH - len(INDENT)) // (longest + 1))
    rows = (",".join(items[i : i + per_row]) for i in range(0, len(items), per_row))
    return ",\n".join(f"{INDENT}{row}" for row in rows)
