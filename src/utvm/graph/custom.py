"""Operators of other people: a formula under the name that model files give a custom operator."""

from __future__ import annotations

from typing import get_args

from utvm.compute.expressions import Combine
from utvm.errors import UtvmError
from utvm.graph.general import Function, Reducer

_CUSTOM: dict[str, Function | Reducer] = {}


class CustomOperatorError(UtvmError):
    """A custom operator that can't be taken."""


def custom(operator: Function | Reducer) -> Function | Reducer:
    """Make an operator known: custom operators of this name in model files are then imported, compiled and tuned.

    It must be called before the model is loaded. A second call with the same name replaces the first.

    Args:
        operator: a formula of elements at one point (`Function`), or a reduction (`Reducer`).

    Returns:
        The operator, for graphs that are made in Python.

    Raises:
        CustomOperatorError: the name is no C identifier, the function has not exactly one formula, or the reduction
            combines in an unknown way.

    Example:
        utvm.custom(Function(name="Mish", real=lambda x: x * np.tanh(np.log1p(np.exp(x)))))
    """
    if not operator.name.isidentifier() or not operator.name.isascii():
        raise CustomOperatorError(
            f"'{operator.name}' is no name for an operator: take letters, digits and underscores, as in C"
        )
    if isinstance(operator, Function):
        formulas = [operator.expression, operator.stored, operator.real]
        if sum(formula is not None for formula in formulas) != 1:
            raise CustomOperatorError(f"'{operator.name}' needs exactly one formula: expression=, stored= or real=")
    elif operator.combine not in get_args(Combine):
        raise CustomOperatorError(
            f"'{operator.name}' combines by '{operator.combine}': {', '.join(get_args(Combine))} are known"
        )
    _CUSTOM[operator.name] = operator
    return operator


def custom_operator(name: str) -> Function | Reducer | None:
    """Return what `custom` was told of a name."""
    return _CUSTOM.get(name)
