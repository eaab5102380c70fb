"""Lowered TIR as C: one kind of node, one form of C. TVM's own printer wraps functions for its runtime."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import tvm

from utvm.codegen import CWriter, float_literal
from utvm.errors import UtvmError

C_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int64": "int64_t",
    "uint64": "uint64_t",
    "float32": "float",
    "bool": "uint8_t",
}
_BINARY = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Mod": "%"}
_BINARY |= {"EQ": "==", "NE": "!=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">=", "And": "&&", "Or": "||"}
_BINARY |= {"BitwiseAnd": "&", "BitwiseOr": "|", "BitwiseXor": "^", "LShift": "<<", "RShift": ">>"}
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Mod", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "LShift", "RShift")
_BITS = {"bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^", "shift_left": "<<", "shift_right": ">>"}
_MATH = frozenset(
    """
    exp exp2 log log2 log10 sqrt tanh sin cos tan sinh cosh atan erf floor ceil trunc round nearbyint
    fabs pow fmod fmax fmin log1p expm1
    """.split()  # noqa: SIM905
)
_LARGEST_LOCAL = 256
"""Bytes of a temporary that stays on the stack; larger ones are scratch memory, which the arena's plan knows."""
_ALIGNMENT = 16
_KEYWORDS = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline int
    long register restrict return short signed sizeof static struct switch typedef union unsigned void
    volatile while
    """.split()  # noqa: SIM905
)


class TvmCodeError(UtvmError):
    """TIR that has no C here."""


class Printer:
    """C of one function's body.

    Args:
        names: of the parameters' buffers, which are pointers.

    Attributes:
        scratch_bytes: what the body needs behind the pointer `scratch`.
        uses_math: whether it calls <math.h>.
    """

    def __init__(self, names: Mapping[Any, str]) -> None:
        self.w = CWriter()
        self.scratch_bytes = 0
        self.uses_math = False
        self._names: dict[Any, str] = dict(names)
        self._taken = {*names.values(), "scratch"}

    def print(self, body: Any) -> str:
        """Return the body's lines.

        Raises:
            TvmCodeError: it has a node that is not known here.
        """
        self.statement(body)
        return self.w.text

    def statement(self, s: Any) -> None:
        """Write a statement."""
        kind = type(s).__name__
        write: Callable[[Any], None] | None = getattr(self, f"_write_{kind.lower()}", None)
        if write is None:
            raise TvmCodeError(f"TVM's code has a {kind}, which µTVM can't write as C")
        write(s)

    def expression(self, e: Any) -> str:
        """Return an expression as C."""
        kind = type(e).__name__
        if kind in _BINARY:
            text = f"({self.expression(e.a)} {_BINARY[kind]} {self.expression(e.b)})"
            return self._narrow(e, text) if kind in _ARITHMETIC else text
        form: Callable[[Any], str] | None = getattr(self, f"_form_{kind.lower()}", None)
        if form is None:
            raise TvmCodeError(f"TVM's code has a {kind}, which µTVM can't write as C")
        return form(e)

    def _name(self, var: Any) -> str:
        if var not in self._names:
            base = identifier(var.name)
            name, number = base, 1
            while name in self._taken:
                number += 1
                name = f"{base}_{number}"
            self._taken.add(name)
            self._names[var] = name
        return self._names[var]

    # Statements

    def _write_seqstmt(self, s: Any) -> None:
        for part in s.seq:
            self.statement(part)

    def _write_for(self, s: Any) -> None:
        name, start = self._name(s.loop_var), self.expression(s.min)
        stop = self.expression(s.min + s.extent if not _is(s.min, 0) else s.extent)
        if _is(s.extent, 1):
            with self.w.block(""):
                self.w(f"const int32_t {name} = {start};", f"(void){name};")
                self.statement(s.body)
            return
        with self.w.block(f"for (int32_t {name} = {start}; {name} < {stop}; {name}++)"):
            self.statement(s.body)

    def _write_while(self, s: Any) -> None:
        with self.w.block(f"while {_enclosed(self.expression(s.condition))}"):
            self.statement(s.body)

    def _write_ifthenelse(self, s: Any) -> None:
        with self.w.block(f"if {_enclosed(self.expression(s.condition))}"):
            self.statement(s.then_case)
        if s.else_case is not None:
            with self.w.block("else"):
                self.statement(s.else_case)

    def _write_bind(self, s: Any) -> None:
        name = self._name(s.var)
        self.w(f"const {c_type(dtype_of(s.var))} {name} = {self.expression(s.value)};", f"(void){name};")

    def _write_bufferstore(self, s: Any) -> None:
        self.w(f"{self._element(s.buffer, s.indices)} = {self.expression(s.value)};")

    def _write_allocbuffer(self, s: Any) -> None:
        element, size = c_type(s.buffer.dtype), prod(int(d) for d in s.buffer.shape)
        nbytes = size * np.dtype(str(s.buffer.dtype)).itemsize
        name = self._name(s.buffer)
        if nbytes <= _LARGEST_LOCAL:
            self.w(f"{element} {name}[{size}];")
            return
        self.w(f"{element} *const {name} = ({element} *)(void *)(scratch + {self.scratch_bytes});")
        self.scratch_bytes += -(-nbytes // _ALIGNMENT) * _ALIGNMENT

    def _write_declbuffer(self, s: Any) -> None:
        source = s.data.args[0] if type(s.data).__name__ == "Call" else s.data
        name, dtype = self._name(source), str(source.dtype)
        if dtype == str(s.buffer.dtype):
            self._names[s.buffer] = name
        else:
            element = c_type(s.buffer.dtype)
            self.w(f"{element} *const {self._name(s.buffer)} = ({element} *)(void *){name};")

    def _write_attrstmt(self, s: Any) -> None:
        self.statement(s.body)

    def _write_assertstmt(self, s: Any) -> None:
        """Nothing: shapes are known."""

    def _write_evaluate(self, s: Any) -> None:
        if not isinstance(s.value, tvm.tirx.IntImm):
            self.w(f"(void){self.expression(s.value)};")

    # Expressions

    def _form_var(self, e: Any) -> str:
        return self._name(e)

    def _form_intimm(self, e: Any) -> str:
        value, dtype = int(e.value), dtype_of(e)
        if dtype == "int64":
            return f"INT64_C({value})" if value >= 0 else f"(-INT64_C({-value}))"
        if dtype.startswith("uint"):
            return f"{value}u"
        return "INT32_MIN" if value == -(2**31) else str(value) if value >= 0 else f"({value})"

    def _form_floatimm(self, e: Any) -> str:
        value = float(e.value)
        if value != value or value in (float("inf"), float("-inf")):
            self.uses_math = True
            return "NAN" if value != value else "INFINITY" if value > 0 else "(-INFINITY)"
        c_type(dtype_of(e))
        return float_literal(value) if value >= 0 else f"({float_literal(value)})"

    def _form_cast(self, e: Any) -> str:
        inner = self.expression(e.value)
        return f"(uint8_t)({inner} != 0)" if dtype_of(e) == "bool" else f"({c_type(dtype_of(e))}){_enclosed(inner)}"

    def _form_min(self, e: Any) -> str:
        a, b = self.expression(e.a), self.expression(e.b)
        return f"({a} < {b} ? {a} : {b})"

    def _form_max(self, e: Any) -> str:
        a, b = self.expression(e.a), self.expression(e.b)
        return f"({a} > {b} ? {a} : {b})"

    def _form_not(self, e: Any) -> str:
        return f"(!{self.expression(e.a)})"

    def _form_select(self, e: Any) -> str:
        parts = (self.expression(part) for part in (e.condition, e.true_value, e.false_value))
        return "({} ? {} : {})".format(*parts)

    def _form_tensorload(self, e: Any) -> str:
        return self._element(e.source, e.indices)

    def _form_bitwisenot(self, e: Any) -> str:
        return self._narrow(e, f"(~{self.expression(e.a)})")

    def _form_call(self, e: Any) -> str:
        name = getattr(e.op, "name", "?").rpartition(".")[2]
        arguments = list(e.args)
        if name in ("call_pure_extern", "call_extern"):
            name = str(arguments[0].value).removesuffix("f")
            arguments = arguments[1:]
        texts = [self.expression(argument) for argument in arguments]
        if name in ("if_then_else", "likely"):
            return f"({texts[0]} ? {texts[1]} : {texts[2]})" if name == "if_then_else" else texts[0]
        if name in _BITS:
            return self._narrow(e, f"({texts[0]} {_BITS[name]} {texts[1]})")
        if name == "bitwise_not":
            return self._narrow(e, f"(~{texts[0]})")
        if name == "rsqrt":
            self.uses_math = True
            return f"(1.0f / sqrtf({texts[0]}))"
        if name in _MATH and dtype_of(e) == "float32":
            self.uses_math = True
            called = {"round": "roundf", "nearbyint": "rintf"}.get(name, f"{name}f")
            return f"{called}({', '.join(_enclosed(text)[1:-1] for text in texts)})"
        raise TvmCodeError(f"TVM's code calls {name} on {dtype_of(e)}, which µTVM can't write as C")

    def _element(self, buffer: Any, indices: Sequence[Any]) -> str:
        (index,) = indices
        return f"{self._name(buffer)}[{_enclosed(self.expression(index))[1:-1]}]"

    def _narrow(self, e: Any, text: str) -> str:
        """C computes with int at least: values of small types are cut as TVM means them."""
        small = dtype_of(e) in ("int8", "uint8", "int16", "uint16")
        return f"({c_type(dtype_of(e))}){text}" if small else text


def c_type(dtype: object) -> str:
    """Return the C type of TVM's.

    Raises:
        TvmCodeError: there is none.
    """
    if str(dtype) not in C_TYPES:
        raise TvmCodeError(f"TVM's code computes in {dtype}; µTVM takes {', '.join(C_TYPES)}")
    return C_TYPES[str(dtype)]


def dtype_of(e: Any) -> str:
    """Return the type of an expression's value, by numpy's name."""
    return str(e.ty.dtype)


def identifier(text: str) -> str:
    """Return a name as C takes it."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text) or "v"
    return f"v_{name}" if name[0].isdigit() or name[0] == "_" or name in _KEYWORDS else name


def _enclosed(text: str) -> str:
    """Return text with one pair of brackets around it."""
    depth = 0
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and position + 1 < len(text):
            return f"({text})"
    return text if text.startswith("(") else f"({text})"


def _is(e: Any, value: int) -> bool:
    return isinstance(e, tvm.tirx.IntImm) and int(e.value) == value
