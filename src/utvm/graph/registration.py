"""Operators of other people: a formula, or C, under the name that model files give a custom operator."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from utvm.compute.expressions import Combine
from utvm.errors import UtvmError
from utvm.graph.foreign import CSource
from utvm.graph.general import Function, Reducer

Own = Function | Reducer | CSource
"""What may be known of an operator."""
_CUSTOM: dict[str, Own] = {}
_MOST_BYTES = 1 << 20


class CustomOperatorError(UtvmError):
    """A custom operator that can't be taken."""


def custom(operator: Own) -> Own:
    """Make an operator known: custom operators of this name in model files are then imported, compiled and tuned.

    It must be called before the model is loaded. A second call with the same name replaces the first.

    Args:
        operator: a formula of elements at one point (`Function`), a reduction (`Reducer`), or a function in C
            (`CSource`).

    Returns:
        The operator, for graphs that are made in Python.

    Raises:
        CustomOperatorError: the name is no C identifier, the function has not exactly one formula, or the reduction
            combines in an unknown way.

    Example:
        utvm.custom(utvm.graph.Function(name="Mish", real=lambda x: x * np.tanh(np.log1p(np.exp(x)))))
    """
    if not isinstance(operator, Function | Reducer | CSource):
        raise CustomOperatorError(
            f"a {type(operator).__name__} is no operator: give a Function, a Reducer or a CSource of utvm.graph"
        )
    if not operator.name.isidentifier() or not operator.name.isascii():
        raise CustomOperatorError(
            f"'{operator.name}' is no name for an operator: take letters, digits and underscores, as in C"
        )
    if isinstance(operator, Function):
        formulas = [operator.expression, operator.stored, operator.real]
        if sum(formula is not None for formula in formulas) != 1:
            raise CustomOperatorError(f"'{operator.name}' needs exactly one formula: expression=, stored= or real=")
    elif isinstance(operator, CSource):
        if operator.name not in operator.text:
            raise CustomOperatorError(f"the C of '{operator.name}' has no function of this name")
    elif operator.combine not in get_args(Combine):
        raise CustomOperatorError(
            f"'{operator.name}' combines by '{operator.combine}': {', '.join(get_args(Combine))} are known"
        )
    _CUSTOM[operator.name] = operator
    return operator


def custom_folder(folder: Path) -> tuple[CSource, ...]:
    """Make known what a folder has: each file NAME.c is the operator NAME, as `CSource` says.

    Raises:
        CustomOperatorError: the folder has no such file, or one can't be read.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".c" and path.is_file())
        if not files:
            raise CustomOperatorError(f"{folder} has no .c file: put each operator's C there, as 'MyOperator.c'")
        large = [path for path in files if path.stat().st_size > _MOST_BYTES]
        if large:
            raise CustomOperatorError(f"{large[0]} has more than {_MOST_BYTES:,} bytes")
        found = tuple(CSource(name=path.stem, text=path.read_text(encoding="utf-8")) for path in files)
    except OSError as error:
        raise CustomOperatorError(f"{folder} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CustomOperatorError(f"a file of {folder} is no text in UTF-8: {error}") from error
    for each in found:
        custom(each)
    return found


def custom_operator(name: str) -> Own | None:
    """Return what `custom` was told of a name."""
    return _CUSTOM.get(name)
