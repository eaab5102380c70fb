"""The verbs that made a schedule, as text: what records hold, and what makes the same schedule again.

A step is a verb and its words: `split ox 4`, `split k 4 pad`, `merge n oy ox p` (the new axis last).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from utvm.errors import UtvmError

if TYPE_CHECKING:
    from utvm.loops.schedule import ProductInstruction, Schedule

_P = ParamSpec("_P")
_WORD = re.compile(r"\w{1,64}", re.ASCII)
_KINDS: Mapping[str, Sequence[type | tuple[type, ...]]] = {
    "merge": ((list, tuple), str),
    "split": (str, int),
    "replace": (object, str),
}
"""What stands where; other verbs take names alone."""
_NO_WORDS = ("self", "pad")
_MOST_STEPS = 64
_MOST_WORDS = 32
_MOST_SIZE = 7
"""Digits of a block's size."""


class IllegalScheduleError(UtvmError):
    """A step that would change what is computed, or that the renderer can't write."""


def verb(method: Callable[Concatenate[Schedule, _P], Schedule]) -> Callable[Concatenate[Schedule, _P], Schedule]:
    """Make a method of `Schedule` a step that the schedule remembers; words that are none are refused.

    Raises:
        IllegalScheduleError: an argument is neither a name, a size nor an instruction.
    """

    ordered = signature(method)

    @wraps(method)
    def step(self: Schedule, /, *arguments: _P.args, **named: _P.kwargs) -> Schedule:
        given: Sequence[Any] = arguments
        if named:
            given = [v for key, v in ordered.bind(self, *arguments, **named).arguments.items() if key not in _NO_WORDS]
        words = [*_words(method.__name__, given), *(["pad"] if named.get("pad") else [])]
        _check_kinds(method.__name__, given)
        return method(self, *arguments, **named).after(*self.steps, (method.__name__, *words))

    return step


def text_of(steps: Sequence[tuple[str, ...]]) -> str:
    """Return steps as text."""
    return "; ".join(" ".join(step) for step in steps)


def replay(plain: Schedule, text: str, instructions: Mapping[str, ProductInstruction]) -> Schedule:
    """Return the schedule that the text of steps makes of a plain one.

    Args:
        plain: the computation in its own order.
        text: what `text_of` returned.
        instructions: what `replace` may name.

    Raises:
        IllegalScheduleError: it is no such text, or a step is not legal for this computation.
    """
    steps = [step.split() for step in text.split(";")] if text.strip() else []
    if len(steps) > _MOST_STEPS:
        raise IllegalScheduleError(f"{len(steps)} steps: a schedule has at most {_MOST_STEPS}")
    s = plain
    for words in steps:
        if not words or len(words) > _MOST_WORDS or not all(map(_WORD.fullmatch, words)):
            raise IllegalScheduleError(f"'{' '.join(words)[:80]}' is no step of a schedule: a verb and names of axes")
        s = _applied(s, words[0], words[1:], instructions)
    return s


def _applied(s: Schedule, name: str, words: list[str], instructions: Mapping[str, ProductInstruction]) -> Schedule:
    match name, words:
        case "merge", [*axes, new] if axes:
            return s.merge(axes, new)
        case "split", [axis, size, *pad] if size.isdecimal() and len(size) <= _MOST_SIZE and pad in ([], ["pad"]):
            return s.split(axis, int(size), pad=bool(pad))
        case (("reorder" | "unroll"), [*axes]):
            return s.reorder(*axes) if name == "reorder" else s.unroll(*axes)
        case "peel", [axis]:
            return s.peel(axis)
        case "fold_zero_point", []:
            return s.fold_zero_point()
        case "pack", [buffer, *layout]:
            return s.pack(buffer, *layout)
        case "stage", [buffer, at, *layout]:
            return s.stage(buffer, at, *layout)
        case "stage_box", [buffer, at]:
            return s.stage_box(buffer, at)
        case "replace", [instruction, lanes] if instruction in instructions:
            return s.replace(instructions[instruction], lanes)
        case "replace", [instruction, _]:
            known = ", ".join(instructions) or "none"
            raise IllegalScheduleError(f"the core has no instruction '{instruction}'; it has {known}")
    raise IllegalScheduleError(f"'{' '.join([name, *words])[:80]}' is no step of a schedule")


def _check_kinds(name: str, arguments: Sequence[Any]) -> None:
    """Refuse names, sizes and lists of names where a verb takes another of these."""
    kinds: Sequence[type | tuple[type, ...]] = _KINDS.get(name, (str,) * len(arguments))
    if name == "replace" and arguments and not hasattr(arguments[0], "left_shifts"):
        raise IllegalScheduleError(f"{arguments[0]!r:.80} is no instruction: take one of board.instructions")
    for value, kind in zip(arguments, kinds, strict=False):
        if not isinstance(value, kind):
            raise IllegalScheduleError(f"{name}: {value!r:.80} is not what stands there: see docs/schedules.md")


def _words(name: str, arguments: Sequence[Any]) -> list[str]:
    """Return what a verb was called with as words."""
    found: list[str] = []
    for value in arguments:
        if isinstance(value, list | tuple):
            found += _words(name, value)
        elif isinstance(value, str) and _WORD.fullmatch(value):
            found.append(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            found.append(str(value))
        elif name == "replace" and isinstance(getattr(value, "name", None), str) and hasattr(value, "left_shifts"):
            found.append(value.name)
        else:
            raise IllegalScheduleError(f"{name}: {value!r:.80} is no name of an axis or a buffer, and no size")
    return found
