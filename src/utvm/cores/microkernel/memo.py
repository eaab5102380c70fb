"""What was worked out about code before, kept in the cache by content and by the version of what works it out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from utvm.cache import Cache, CacheError, digest
from utvm.cores.timing import Timing

_CYCLES = ".cycles"


def known(parts: Iterable[str], suffix: str, work_out: Callable[[], Any]) -> Any:
    """Return what is known, or work it out and keep it. Nothing goes wrong where there is no cache.

    Args:
        parts: texts that, together with this package's code, decide on the result.
        suffix: what kind of result it is, as the ending of a file.
        work_out: returns the result, of JSON's types and not None.
    """
    key = digest([_version(), *parts])
    found = recall(key, suffix)
    if found is None:
        found = work_out()
        remember(key, suffix, found)
    return found


def recall(key: str, suffix: str) -> Any:
    """Return what is kept under a key, of JSON's types; None where there is nothing."""
    try:
        path = Cache().find(key, suffix)
        return None if path is None else json.loads(path.read_text(encoding="utf-8"))
    except (CacheError, OSError, ValueError):
        return None


def remember(key: str, suffix: str, found: Any) -> None:
    """Keep a result of JSON's types under a key. Nothing goes wrong where there is no cache."""
    with contextlib.suppress(CacheError, OSError):
        Cache().store_bytes(key, suffix, json.dumps(found).encode())


@lru_cache(maxsize=16384)
def code_cycles(lines: tuple[str, ...], timing: Timing, *, context: Sequence[str] = (), jumped: bool = False) -> float:
    """Return the cycles that lines of physical code add after a context; see `Timing.cost`. Labels are no lines."""

    def work_out() -> float:
        return timing.cost([timing.parse(x) for x in context], [timing.parse(x) for x in lines], jumped=jumped)

    cycles = known([timing.name, str(jumped), *context, "", *lines], _CYCLES, work_out)
    return float(cycles)


@lru_cache(maxsize=1)
def _version() -> str:
    """Return a digest of everything here that a result depends on."""
    package = Path(__file__).parents[1]
    return digest(path.read_bytes() for path in sorted(package.rglob("*.py")))
