"""Lowered TIR as C: one kind of node, one form of C. TVM's own printer wraps functions for its runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import tvm

from utvm import naming
from utvm.codegen import CWriter, float_literal, int_literal
from utvm.codegen.c import CSupport
from utvm.errors import UtvmError
from utvm.graph.names import Names

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
_ARITHMETIC = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "Mod": "%"}
_ARITHMETIC |= {"BitwiseAnd": "&", "BitwiseOr": "|", "BitwiseXor": "^", "LShift": "<<", "RShift": ">>"}
_LOGIC = {"EQ": "==", "NE": "!=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">=", "And": "&&", "Or": "||"}
_BITS = {"bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^", "shift_left": "<<", "shift_right": ">>"}
_MATH = frozenset(
    """
    exp exp2 log log2 log10 sqrt tanh sin cos tan sinh cosh atan erf floor ceil trunc round nearbyint
    fabs pow fmod fmax fmin log1p expm1
    """.split()  # noqa: SIM905
)
_CALLED = {"round": "roundf", "nearbyint": "rintf"}
_LARGEST_LOCAL = 256
"""Bytes of a temporary that stays on the stack; larger ones are scratch memory, which the arena's plan knows."""
_LONGEST_EXPRESSION = 100_000
"""Characters: the body of a Let repeats its value, which may repeat others."""
_ALIGNMENT = 16
SCRATCH = "scratch"
_OTHERS = frozenset({SCRATCH, "linux", "unix", "signgam", *_CALLED.values(), *(f"{name}f" for name in _MATH)})
"""What a name in lower case may clash with beside keywords: macros of GCC and of <math.h>, functions called here."""


class TvmCodeError(UtvmError):
    """TIR that has no C here."""


class Printer:
    """C of one function's body.

    Args:
        names: of the parameters' buffers, which are pointers.

    Attributes:
        scratch_bytes: what the body needs behind the pointer `scratch`.
        uses_math: whether it calls <math.h>.
        support: functions that it calls, by their names.
    """

    def __init__(self, names: Mapping[Any, str]) -> None:
        self.w = CWriter()
        self.scratch_bytes = 0
        self.uses_math = False
        self.support: dict[str, CSupport] = {}
        self._names: dict[Any, str] = dict(names)
        self._taken = Names([*names.values(), SCRATCH])

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
        if kind in _ARITHMETIC:
            return self._operation(e, _ARITHMETIC[kind], self.expression(e.a), self.expression(e.b))
        if kind in _LOGIC:
            return f"({self.expression(e.a)} {_LOGIC[kind]} {self.expression(e.b)})"
        form: Callable[[Any], str] | None = getattr(self, f"_form_{kind.lower()}", None)
        if form is None:
            raise TvmCodeError(f"TVM's code has a {kind}, which µTVM can't write as C")
        text = form(e)
        if len(text) > _LONGEST_EXPRESSION:
            raise TvmCodeError(f"TVM's code has an expression of more than {_LONGEST_EXPRESSION:,} characters of C")
        return text

    def _name(self, var: Any) -> str:
        if var not in self._names:
            self._names[var] = self._taken.fresh(identifier(var.name))
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
            return f"UINT64_C({value})" if dtype == "uint64" else f"{value}u"
        return int_literal(value) if value >= 0 else f"({int_literal(value)})"

    def _form_floatimm(self, e: Any) -> str:
        c_type(dtype_of(e))
        value = float(e.value)
        return f"({float_literal(value)})" if value < 0 else float_literal(value)

    def _form_cast(self, e: Any) -> str:
        inner = self.expression(e.value)
        return f"(uint8_t)({inner} != 0)" if dtype_of(e) == "bool" else f"({c_type(dtype_of(e))}){_enclosed(inner)}"

    def _form_min(self, e: Any) -> str:
        return self._chosen(e, "min", "<")

    def _form_max(self, e: Any) -> str:
        return self._chosen(e, "max", ">")

    def _form_let(self, e: Any) -> str:
        self._names[e.var] = self.expression(e.value)
        return self.expression(e.body)

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
            return self._operation(e, _BITS[name], *texts)
        if name == "bitwise_not":
            return self._narrow(e, f"(~{texts[0]})")
        if name == "rsqrt":
            self.uses_math = True
            return f"(1.0f / sqrtf({texts[0]}))"
        if name in _MATH and dtype_of(e) == "float32":
            self.uses_math = True
            return f"{_CALLED.get(name, f'{name}f')}({', '.join(_enclosed(text)[1:-1] for text in texts)})"
        raise TvmCodeError(f"TVM's code calls {name} on {dtype_of(e)}, which µTVM can't write as C")

    def _element(self, buffer: Any, indices: Sequence[Any]) -> str:
        (index,) = indices
        return f"{self._name(buffer)}[{_enclosed(self.expression(index))[1:-1]}]"

    def _chosen(self, e: Any, name: str, comparison: str) -> str:
        """Return a call for the less or the greater of two: an operator would repeat the operands, and theirs."""
        element, called = c_type(dtype_of(e)), f"utvm_{name}_{dtype_of(e)}"
        text = (
            f"static inline {element} {called}({element} a, {element} b) {{\n  return a {comparison} b ? a : b;\n}}\n"
        )
        self.support[called] = CSupport(name=called, text=text)
        return f"{called}({_enclosed(self.expression(e.a))[1:-1]}, {_enclosed(self.expression(e.b))[1:-1]})"

    def _operation(self, e: Any, sign: str, a: str, b: str) -> str:
        """C leaves open what a sign bit becomes, also that of the int in which it multiplies numbers of 16 bits."""
        dtype = dtype_of(e)
        if sign == "<<" or (sign == "*" and dtype == "uint16"):
            unsigned = "uint64_t" if dtype.endswith("64") else "uint32_t"
            return f"({c_type(dtype)})(({unsigned}){a} {sign} {b})"
        return self._narrow(e, f"({a} {sign} {b})")

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
    """Return a name as C takes it, in lower case: no keyword, no type, no macro, and nothing that code here calls."""
    name = naming.identifier(text, "v")
    clashes = name in naming.RESERVED or name in _OTHERS or name.endswith("_t") or name.startswith("utvm")
    return f"v_{name}" if clashes else name


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
