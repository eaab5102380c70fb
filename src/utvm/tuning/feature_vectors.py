"""Numbers that describe a candidate of a workload, the same for all families, so that a model learns across them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from utvm.kernels import Config

_TENSOR = re.compile(r"\b(?P<name>\w+)=\w+\[(?P<shape>[\dx]+)\]")
_PAIR = re.compile(r"\b(?P<name>stride|filter)=(?P<first>\d+)/(?P<second>\d+)")
_KNOBS = ("m", "n", "unroll", "tile", "rows", "columns", "form")
_DIMENSIONS = (("y", 2), ("y", 3), ("y", 1), ("y", -1))
_TENSORS = (("x", 1), ("x", 2), ("x", 3), ("x", -1), ("y", 1), ("y", 2), ("y", 3), ("y", -1), ("weights", 1))
UNKNOWN = float("nan")


def features(workload: str, family: str, config: Config) -> list[float]:
    """Return the features of a candidate: of its workload, of its knobs, and of how knobs divide dimensions.

    Args:
        workload: the text of `utvm.kernels.workload_keys`.
        family, config: the candidate. Knobs that are not known here share one number.
    """
    shapes = {found["name"]: tuple(map(int, found["shape"].split("x"))) for found in _TENSOR.finditer(workload)}
    pairs = {found["name"]: (int(found["first"]), int(found["second"])) for found in _PAIR.finditer(workload)}
    numbers = {knob: _number(value) for knob, value in config.items()}
    other = sum(value for knob, value in numbers.items() if knob not in _KNOBS)
    knobs = [numbers.get(knob, UNKNOWN) for knob in _KNOBS]
    return [
        _code(workload.split("(")[0]),
        _code(family),
        *(_log(_dimension(shapes, name, axis)) for name, axis in _TENSORS),
        _log(math.prod(shapes.get("weights", (1,)))),
        *(pairs.get(name, (UNKNOWN, UNKNOWN))[0] for name in ("stride", "filter")),
        *knobs,
        other,
        math.prod(value for value in numbers.values() if value > 0),
        *(
            _waste(_dimension(shapes, name, axis), numbers.get(knob, 0.0))
            for name, axis in _DIMENSIONS
            for knob in ("m", "n", "rows", "columns")
        ),
    ]


def _dimension(shapes: Mapping[str, Sequence[int]], name: str, axis: int) -> float:
    shape = shapes.get(name, shapes.get("a", ()))
    return float(shape[axis]) if -len(shape) <= axis < len(shape) else UNKNOWN


def _log(value: float) -> float:
    return math.log2(value) if value > 0 else UNKNOWN


def _number(value: int | str) -> float:
    return float(value) if isinstance(value, int) else _code(value)


def _code(text: str) -> float:
    """Return a number for a name, the same everywhere."""
    return float(sum((index + 1) * ord(letter) for index, letter in enumerate(text)) % 997)


def _waste(size: float, block: float) -> float:
    """Return what blocks cover over what there is: 1 where they divide it."""
    return math.ceil(size / block) * block / size if block > 0 and size > 0 else UNKNOWN
