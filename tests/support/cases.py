"""How many cases the property tests of kernels draw, and which."""

import os
from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

T = TypeVar("T")


def drawn(strategy: st.SearchStrategy[T], times: float = 1) -> list[T]:
    """Return cases, to be run together; how many, and which, as `drawn_cases` says."""
    found: list[T] = []

    @drawn_cases(times)
    @given(strategy)
    def collect(case: T) -> None:
        found.append(case)

    collect()
    return found


def drawn_cases(times: float = 1) -> Callable:
    """Return a decorator that goes over `@given`: so many cases, the same in every run.

    UTVM_PROPERTY_EXAMPLES says how many cases are drawn (16 without it), `times` multiplies them; with
    UTVM_PROPERTY_SEED, a number, others are drawn than without it, again the same in every run.
    """
    chosen = os.environ.get("UTVM_PROPERTY_SEED")
    bounded = settings(
        max_examples=max(1, round(int(os.environ.get("UTVM_PROPERTY_EXAMPLES", "16")) * times)),
        deadline=None,
        derandomize=chosen is None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    def decorate(test: Callable) -> Callable:
        return bounded(test) if chosen is None else seed(int(chosen))(bounded(test))

    return decorate
