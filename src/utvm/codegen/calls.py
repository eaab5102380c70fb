"""Kernel calls as C: one statement each, in loops where turns repeat themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from utvm.codegen.c import INDENT, LINE_WIDTH, CArray, CFunction, comment
from utvm.codegen.rolling import rolled
from utvm.naming import plain

_TURN = "turn"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaRef:
    """An operand that lives in the arena at a byte offset."""

    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CCall:
    """One kernel call: arena operands in the order of the function's inputs, scratch and outputs; its own constants."""

    label: str
    function: CFunction
    operands: Mapping[str, ArenaRef | CArray]


def function_names(calls: Sequence[CCall]) -> dict[CFunction, str]:
    """Return the C name of each kernel function; equal functions are written once."""
    names: dict[CFunction, str] = {}
    taken: dict[str, int] = {}
    for call in calls:
        if call.function in names:
            continue
        count = taken.get(call.function.stem, 0) + 1
        taken[call.function.stem] = count
        names[call.function] = call.function.stem if count == 1 else f"{call.function.stem}_v{count}"
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbols:
    """The names that statements use: of the pointer to the arena's bytes, of kernels and of constants."""

    functions: Mapping[CFunction, str]
    arrays: Mapping[CArray, str]
    arena: str = "arena"


def call_lines(
    calls: Sequence[CCall], symbols: Symbols, around: Callable[[str], tuple[str, str]] | None = None
) -> list[str]:
    """Return the statements that make all calls in order.

    Args:
        calls: what is called.
        symbols: how things are called.
        around: returns what stands before and after a call, from the expression of its place among the calls.
    """
    lines: list[str] = []
    for stretch in rolled([_key(call) for call in calls], [_offsets(call) for call in calls]):
        first, period = stretch.first, stretch.period
        if stretch.turns == 1:
            for index in range(first, first + period):
                lines += _statement(str(index), calls[index].label, call_line(calls[index], symbols), around)
            continue
        last = first + (stretch.turns - 1) * period
        lines += [
            f"{INDENT}{comment(f'{first} to {last + period - 1}: {stretch.turns} turns of {period} calls')}",
            f"{INDENT}for (int32_t {_TURN} = 0; {_TURN} < {stretch.turns}; {_TURN}++) {{",
        ]
        for index in range(first, first + period):
            call, after = calls[index], calls[index + period]
            strides = [b - a for a, b in zip(_offsets(call), _offsets(after), strict=True)]
            label = f"{call.label} to {calls[last + index - first].label}"
            place = _moving(index, period)
            inner = _statement(place, label, call_line(call, symbols, strides), around)
            lines += [f"{INDENT}{line}" for part in inner for line in part.split("\n")]
        lines.append(f"{INDENT}}}")
    return lines


def call_line(call: CCall, symbols: Symbols, strides: Sequence[int] = ()) -> str:
    """Return the statement that makes a call; `strides` are the bytes by which its arena operands move in each turn."""
    arguments = []
    moves = iter(strides)
    for parameter in call.function.parameters:
        operand = call.operands[parameter.name]
        if isinstance(operand, CArray):
            arguments.append(symbols.arrays[operand])
        else:
            const = "const " if parameter.role == "input" else ""
            void = "(void *)" if parameter.c_type not in ("int8_t", "uint8_t") else ""
            place = _moving(operand.offset, next(moves, 0))
            arguments.append(f"({const}{parameter.c_type} *){void}({symbols.arena} + {place})")
    head = f"{INDENT}{symbols.functions[call.function]}("
    line = f"{head}{', '.join(arguments)});"
    return line if len(line) <= LINE_WIDTH else f"{head}\n      " + ",\n      ".join(arguments) + ");"


def _statement(place: str, label: str, line: str, around: Callable[[str], tuple[str, str]] | None) -> list[str]:
    before, after = (
        ([], [])
        if around is None
        else ([f"{INDENT}{text}"] for text in around(place if place.isdigit() else f"({place})"))
    )
    return [f"{INDENT}{comment(f'{place}: {plain(label)}')}", *before, line, *after]


def _moving(start: int, stride: int) -> str:
    """Return the expression of a number that moves by `stride` in each turn."""
    if stride == 0:
        return str(start)
    return f"{start} {'-' if stride < 0 else '+'} {abs(stride)} * {_TURN}"


def _key(call: CCall) -> object:
    """Return what two calls of one statement must have in common."""
    operands = (call.operands[p.name] for p in call.function.parameters)
    return call.function, *(operand if isinstance(operand, CArray) else None for operand in operands)


def _offsets(call: CCall) -> list[int]:
    """Return where the operands in the arena lie, in the order of the function's parameters."""
    operands = (call.operands[p.name] for p in call.function.parameters)
    return [operand.offset for operand in operands if isinstance(operand, ArenaRef)]
