"""An operator in the form that a .tflite file has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from utvm.graph import DType, Operator, Tensor


class UnwritableError(Exception):
    """The format can't say this; `advice` says what to do instead."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.advice = advice


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedOperator:
    """An operator as the file has it.

    Attributes:
        code: the builtin operator.
        version: the lowest version of that operator that has this form (TFLite's op_version.cc).
        options: the name of the options' table, None for none; `fields` are its values by the builders' names.
        inputs: None stands for an absent optional one.
        custom: the name of a custom operator.
        custom_options: its options as they are in the file.
    """

    code: int
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    custom: str | None = None
    custom_options: bytes = b""


def constant_of(op: Operator, what: str, values: Sequence[Any]) -> Tensor:
    """Return integers that a file has as an operand."""
    data = np.array(values, np.int32)
    return Tensor(name=f"{op.name}/{what}", shape=data.shape, dtype=DType.INT32, data=data)
