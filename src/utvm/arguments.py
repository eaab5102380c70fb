"""Arguments of public functions held against their annotations: a wrong one is our error, which says what is taken."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from utvm.errors import UtvmError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_SHOWN = 60


def checked_arguments(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a public function hold its arguments against its annotations.

    Numbers must be finite; True and False are no numbers, and only they are `bool`. A missing or unknown argument is
    Python's TypeError.

    Raises:
        UtvmError: an argument is of another type than its annotation says.
    """
    signature = inspect.signature(function)

    @cache
    def annotations() -> Mapping[str, Any]:
        return get_type_hints(function)

    @wraps(function)
    def called(*arguments: _P.args, **named: _P.kwargs) -> _R:
        try:
            bound = signature.bind(*arguments, **named).arguments
        except TypeError as error:
            raise TypeError(f"{function.__name__}{signature}: {error}") from None
        for name, value in bound.items():
            kind = annotations().get(name, Any)
            values = value if signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL else (value,)
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                continue
            if not all(is_of(each, kind) for each in values):
                shown = " ".join(repr(value).split())[:_SHOWN]
                raise UtvmError(
                    f"{function.__name__}: {name}={shown} is of type {type(value).__name__}; "
                    f"{described(kind)} is expected"
                )
        return function(*arguments, **named)

    return called


def is_of(value: Any, kind: Any) -> bool:
    """Whether a value is what an annotation says, elements of collections too."""
    if kind is Any:
        return True
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(is_of(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str | int) and value in parts
    if kind is None or kind is type(None):
        return value is None
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        return _is_number(value, kind)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(is_of(k, parts[0]) and is_of(v, parts[1]) for k, v in value.items())
    if origin is not None and issubclass(origin, Sequence) and origin is not tuple:
        listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return listed and all(is_of(each, parts[0]) for each in value)
    return isinstance(value, origin or kind) and not (isinstance(value, str | Path) and "\0" in str(value))


def described(kind: Any) -> str:
    """Return an annotation for people."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(described(part) for part in parts))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if origin is np.ndarray:
        return "an array"
    if origin is not None and parts and origin is not tuple and issubclass(origin, Sequence | Mapping):
        return f"{'several' if issubclass(origin, Sequence) else 'a mapping'} of {described(parts[-1])}"
    names = {type(None): "None", str: "text", float: "a number", int: "a whole number", bool: "True or False"}
    return names.get(kind, getattr(origin or kind, "__name__", str(kind)))


def _is_number(value: Any, kind: type) -> bool:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return False
    whole = isinstance(value, int | np.integer)
    return whole if kind is int else whole or bool(np.isrealobj(value) and math.isfinite(value))
