"""How many cases the property tests of kernels draw, and which."""

import os
from collections.abc import Callable

from hypothesis import HealthCheck, seed, settings


def drawn_cases(times: int = 1) -> Callable:
    """Return a decorator that goes over `@given`: so many cases, the same in every run.

    UTVM_PROPERTY_EXAMPLES says how many cases are drawn (16 without it), `times` multiplies them; with
    UTVM_PROPERTY_SEED, a number, others are drawn than without it, again the same in every run.
    """
    chosen = os.environ.get("UTVM_PROPERTY_SEED")
    bounded = settings(
        max_examples=int(os.environ.get("UTVM_PROPERTY_EXAMPLES", "16")) * times,
        deadline=None,
        derandomize=chosen is None,
        database=None,
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture),
    )

    def decorate(test: Callable) -> Callable:
        return bounded(test) if chosen is None else seed(int(chosen))(bounded(test))

    return decorate
