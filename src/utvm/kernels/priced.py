"""About how many cycles the compiler's C of a definition takes: its expressions priced part by part.

Measured under -O3 on the Cortex-M7 (modelled cycles, `benchmarks/estimates.py`). Only for reports, never for choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from utvm.compute import Compute
from utvm.compute.expressions import Apply, Cast, Expr, HelperCall, Load, Lookup, Select, children

_POINT = 1.5
"""Storing an output and going on to the next one."""
_TERM = 1.0
_SUM = 6.0
"""Starting a loop over the terms of one output."""
_LOAD = 0.8
_INTEGER: Mapping[str, float] = {"min": 0.7, "max": 0.7, "<": 1.5, "<=": 1.5, "==": 1.5, "/": 4.0, "%": 4.0}
_FLOAT: Mapping[str, float] = {"min": 2.0, "max": 2.0, "<": 1.5, "<=": 1.5, "==": 1.5, "/": 5.0}
_SOFT: Mapping[str, float] = {"/": 250.0, "*": 60.0, "<": 30.0, "<=": 30.0, "==": 30.0, "max": 30.0, "min": 30.0}
_HELPERS: Mapping[str, float] = {
    "utvm_clamp": 1.0,
    "utvm_requantize_double": 6.0,
    "utvm_saturate16": 1.0,
    "utvm_scale_doubled": 3.0,
    "utvm_quotient": 115.0,
    "utvm_exp": 75.0,
    "utvm_logistic": 100.0,
    "utvm_tanh": 90.0,
    "utvm_sqrt": 8.0,
}
_HELPER = 15.0
_SOFT_HELPER = 12.0
"""How much longer helpers on real numbers take without a unit for them."""


def stage_cycles(stage: Compute, *, soft_float: bool) -> float:
    """Return about how many cycles of a Cortex-M7 a stage takes.

    Args:
        stage: what is computed.
        soft_float: whether real numbers are a library's.
    """
    points, terms = prod(stage.space.values()), prod(stage.reduce.values())
    real = stage.c_type == "float"
    each = _POINT + _price(stage.epilogue, real=real, soft=soft_float)
    if stage.reduce:
        sums = _SOFT["*"] if real and soft_float else 0.5
        each += _SUM + terms * (_TERM + sums + _price(stage.term, real=real, soft=soft_float))
    return points * each


def _price(expr: Expr, *, real: bool, soft: bool) -> float:
    """Return the price of an expression; a part that stands in it twice is computed once."""
    parts: set[Expr] = set()
    waiting = [expr]
    while waiting:
        part = waiting.pop()
        if part not in parts:
            parts.add(part)
            waiting += children(part)
    return sum(_price_of_part(part, real=real, soft=soft) for part in parts)


def _price_of_part(part: Expr, *, real: bool, soft: bool) -> float:
    match part:
        case Load():
            return _LOAD
        case Lookup():
            return 1.0
        case Select() | Cast():
            return 0.5
        case HelperCall():
            known = _HELPERS.get(part.helper.name, _HELPER)
            return known * _SOFT_HELPER if real and soft else known
        case Apply() if real and soft:
            return _SOFT.get(part.operation, 45.0)
        case Apply():
            return (_FLOAT if real else _INTEGER).get(part.operation, 0.5)
        case _:
            return 0.0
