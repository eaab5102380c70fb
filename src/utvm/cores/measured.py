"""Pipelines as they were measured on silicon, by core, and what a board may say differently."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from utvm.cores.cortex_m4_measured import (
    MEASURED_CORTEX_M3_TIMING,
    MEASURED_CORTEX_M4_TIMING,
    CortexM4Facts,
    measured_cortex_m3,
    measured_cortex_m4,
)
from utvm.cores.cortex_m7_measured import MEASURED_CORTEX_M7_TIMING, CortexM7Facts, measured_cortex_m7
from utvm.cores.cortex_m33_measured import MEASURED_CORTEX_M33_TIMING, CortexM33Facts, measured_cortex_m33
from utvm.cores.timing import Timing
from utvm.errors import UtvmError

MEASURED: Mapping[str, Timing] = {
    "cortex-m7": MEASURED_CORTEX_M7_TIMING,
    "cortex-m4": MEASURED_CORTEX_M4_TIMING,
    "cortex-m3": MEASURED_CORTEX_M3_TIMING,
    "cortex-m33": MEASURED_CORTEX_M33_TIMING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """The facts of a core, and what makes a pipeline of them and of a name."""

    facts: Any
    build: Callable[[Any, str], Timing]


_DESCRIBED = {
    "cortex-m7": _Described(facts=CortexM7Facts(), build=measured_cortex_m7),
    "cortex-m4": _Described(facts=CortexM4Facts(), build=measured_cortex_m4),
    "cortex-m3": _Described(facts=CortexM4Facts(indexed_chain=False), build=measured_cortex_m3),
    "cortex-m33": _Described(facts=CortexM33Facts(), build=measured_cortex_m33),
}


def measured_facts(core: str) -> dict[str, bool | int | float]:
    """Return the facts of a core by name; none if nobody measured it."""
    described = _DESCRIBED.get(core)
    return {} if described is None else {f.name: getattr(described.facts, f.name) for f in fields(described.facts)}


def measured_timing(core: str, changes: Mapping[str, bool | int | float], name: str) -> Timing:
    """Return a core's pipeline with some facts changed, under a name of its own.

    Raises:
        UtvmError: nobody measured the core, it has no such fact, or a value is not of its type or range.
    """
    described, known = _DESCRIBED.get(core), measured_facts(core)
    if described is None:
        raise UtvmError(f"no measured pipeline of {core} is known; known: {', '.join(_DESCRIBED)}")
    for key, value in changes.items():
        if key not in known:
            raise UtvmError(f"{core} has no fact '{key}'; it has: {', '.join(known)}")
        old = known[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (isinstance(value, bool) if isinstance(old, bool) else number and 0 <= value <= _MOST_CYCLES):
            wanted = "true or false" if isinstance(old, bool) else f"a number of cycles from 0 to {_MOST_CYCLES}"
            raise UtvmError(f"the fact '{key}' of {core} is {value!r}: write {wanted}")
        if isinstance(old, int) and not isinstance(old, bool) and not isinstance(value, int):
            raise UtvmError(f"the fact '{key}' of {core} is {value!r}: write a whole number of cycles")
    return described.build(replace(described.facts, **changes), name)


_MOST_CYCLES = 64
