"""What was worked out about the kernels of an operator, kept in the cache from one compilation to the next.

An entry holds outlines and digests of code, never code or weights. Its key is all that decides on them: the operator
with its constants, the core, the families, and the Python code of every package that has a say. Names do not count.
What an entry holds never changes a choice: estimates and schedules are kept apart, and each is used where it would have
been worked out.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from utvm.cache import digest
from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.cores.microkernel.memo import recall, remember
from utvm.graph import Operator, Tensor
from utvm.kernels import Config, KernelFamily, Outline

_SUFFIX = ".kernels"
_PACKAGES = ("codegen", "compute", "cores", "graph", "kernels", "loops", "lowering", "numerics")
"""What decides on kernels and their outlines."""

Contenders = list[tuple[int, Config, bool]]
"""Of each draft: the place of its family, its config, and whether it was scheduled."""
LastResort = tuple[int, Config] | None
"""The place of its family and its config, if there is one."""


class Recalled:
    """What is known of the kernels of one operator. `keep` writes what is new.

    Args:
        key: what it is known under; None keeps it for this process alone.
    """

    def __init__(self, key: str | None = None) -> None:
        found = None if key is None else recall(key, _SUFFIX)
        self._key, self._changed = key, False
        self._found: dict[str, Any] = found if isinstance(found, dict) else {}

    @staticmethod
    def of(op: Operator, core: Core, families: Sequence[KernelFamily]) -> Recalled:
        """Return what is known of the kernels of an operator by some families."""
        return Recalled(_key(op, core, families))

    def keep(self) -> None:
        """Write what was noted since."""
        if self._changed and self._key is not None:
            remember(self._key, _SUFFIX, self._found)
            self._changed = False

    def contenders(self) -> tuple[Contenders, LastResort] | None:
        """Return what competes, and the last resort; None where that is not known."""
        found = self._found.get("contenders")
        if found is None:
            return None
        last = self._found["last"]
        return [(place, config, settled) for place, config, settled in found], None if last is None else tuple(last)

    def note_contenders(self, contenders: Contenders, last: LastResort) -> None:
        """Note what competes; see `contenders`."""
        self._note("contenders", [(place, dict(config), settled) for place, config, settled in contenders])
        self._note("last", None if last is None else (last[0], dict(last[1])))

    def built(self, family: KernelFamily, config: Config) -> Outline | None:
        """Return the outline of a kernel that was built, None where none is known."""
        found = self._found.get(_name(family, config, _BUILT))
        return None if found is None else _outline(found)

    def note_built(self, family: KernelFamily, config: Config, outline: Outline) -> None:
        """Note the outline of a kernel that was built."""
        self._note(_name(family, config, _BUILT), dataclasses.asdict(outline))

    def outline(
        self, family: KernelFamily, op: Operator, core: Core, config: Config, *, scheduled: bool = False
    ) -> Outline | None:
        """Return what `KernelFamily.outline` does.

        Raises:
            ScheduleError: the registers do not suffice.
        """
        name = _name(family, config, "scheduled" if scheduled else "estimated")
        found = self._found.get(name)
        if found == _FAILED:
            raise ScheduleError("the registers do not suffice")
        if found is not None:
            return _outline(found)
        try:
            made = family.outline(op, core, config, scheduled=scheduled)
        except ScheduleError:
            self._note(name, _FAILED)
            raise
        if made is not None:
            self._note(name, dataclasses.asdict(made))
        return made

    def code(self, family: KernelFamily, config: Config, work_out: Callable[[], str]) -> str:
        """Return the digest of a kernel's code."""
        name = _name(family, config, "code")
        found: str | None = self._found.get(name)
        if found is None:
            found = work_out()
            self._note(name, found)
        return found

    def _note(self, name: str, value: Any) -> None:
        self._found[name] = value
        self._changed = True


_BUILT = "built"
_FAILED = "failed"


def _name(family: KernelFamily, config: Config, what: str) -> str:
    return f"{what} {family.name} {json.dumps(dict(config), sort_keys=True)}"


def _outline(noted: Mapping[str, Any]) -> Outline:
    return Outline(**{**noted, "in_place": tuple(noted["in_place"])})


def _key(op: Operator, core: Core, families: Sequence[KernelFamily]) -> str | None:
    """Return what tells apart all that is noted; None where a part has no content that can be told."""
    if not all(type(family).__module__.startswith("utvm.") for family in families):
        return None
    try:
        parts = [_content(op), *(str(op.activations.index(tensor)) for tensor in op.activations), _core(core)]
    except _OpaqueError:
        return None
    return digest([_version(), *parts, *(f"{type(f).__module__}.{type(f).__qualname__} {f.name}" for f in families)])


_PLAIN = frozenset((bool, int, float, str))


class _OpaqueError(Exception):
    """A value has no content that can be told, as code of somebody else."""


def _content(value: object) -> str:
    """Return a text of all that a value holds, but names of operators and tensors.

    Raises:
        _OpaqueError: that can't be told.
    """
    match value:
        case None | bool() | int() | float() | str() | Enum():
            return repr(value)
        case bytes():
            return digest([value])
        case np.ndarray():
            return f"{value.dtype.str}{value.shape}{digest([value.tobytes()])}"
        case np.generic():
            return repr(value)
        case tuple() | list() if _PLAIN.issuperset(map(type, value)):
            return repr(value)
        case tuple() | list():
            return f"({', '.join(map(_content, value))})"
        case Mapping():
            return f"{{{', '.join(f'{_content(k)}: {_content(v)}' for k, v in value.items())}}}"
    if not dataclasses.is_dataclass(value):
        raise _OpaqueError
    named = isinstance(value, Operator | Tensor)
    held = (f.name for f in dataclasses.fields(value) if not (named and f.name == "name"))
    return f"{type(value).__qualname__}({', '.join(f'{name}={_content(getattr(value, name))}' for name in held)})"


@lru_cache(maxsize=8)
def _core(core: Core) -> str:
    """Return all that a core holds; the name of a pipeline's model stands for it."""
    held = {field.name: getattr(core, field.name) for field in dataclasses.fields(core)}
    return _content(held | {"timing": None if core.timing is None else core.timing.name})


@lru_cache(maxsize=1)
def _version() -> str:
    """Return a digest of all code that decides on what is noted."""
    root = Path(__file__).parents[1]
    return digest(path.read_bytes() for name in _PACKAGES for path in sorted((root / name).rglob("*.py")))
