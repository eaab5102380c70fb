"""Operators that a C function computes: somebody's own, called with what each tensor is."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from utvm.errors import UtvmError
from utvm.graph.operators import Operator
from utvm.graph.tensor import Tensor

Array = NDArray[Any]

TENSOR_TYPES = """\
/* A tensor that an operator reads: its elements and what they mean. The scale is 0 where there is none. */
typedef struct {
  const void *data;
  const int32_t *shape;
  int32_t rank;
  int32_t elements;
  float scale;
  int32_t zero_point;
} utvm_input;

/* The same of one that it writes. */
typedef struct {
  void *data;
  const int32_t *shape;
  int32_t rank;
  int32_t elements;
  float scale;
  int32_t zero_point;
} utvm_output;
"""
"""What functions in C take; a model's file has it before them."""
_FLAGS = ("-std=c11", "-O1", "-fPIC", "-shared", "-ffp-contract=off")
_SECONDS = 60


class ForeignError(UtvmError):
    """A function in C that can't be run here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CSource:
    """What an operator computes, in C.

    Attributes:
        name: the operator's kind, and the function's name.
        text: a C file that defines `static void NAME(const utvm_input *inputs, const utvm_output *outputs, const
            uint8_t *options, int32_t options_bytes)`. It keeps nothing between calls and allocates nothing.
        reference: the same in numpy: arrays of the inputs → those of the outputs; None is the C itself, run here.
    """

    name: str
    text: str
    reference: Callable[..., Sequence[Array]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Foreign(Operator):
    """ys = function(xs), as its C says; `options` are bytes of the model file that it understands."""

    function: CSource
    xs: tuple[Tensor, ...]
    ys: tuple[Tensor, ...]
    options: bytes = b""

    input_fields: ClassVar[tuple[str, ...]] = ("xs",)
    output_fields: ClassVar[tuple[str, ...]] = ("ys",)

    @property
    def kind(self) -> str:
        """The function's name."""
        return self.function.name


def run_foreign(op: Foreign, *values: Array) -> tuple[Array, ...]:
    """Return the outputs: by the reference, else by the C compiled for this machine.

    Raises:
        ForeignError: there is no compiler, the C does not compile, or the reference has another number of outputs.
    """
    if op.function.reference is not None:
        found = tuple(op.function.reference(*values))
        if len(found) != len(op.ys):
            raise ForeignError(f"the reference of '{op.kind}' returns {len(found)} arrays, of {len(op.ys)} outputs")
        return found
    call = _library(op.function.name, op.function.text).utvm_call
    given = [np.ascontiguousarray(value) for value in values]
    made = [np.zeros(t.shape, t.dtype.value) for t in op.ys]
    inputs = (_Tensor * len(given))(*map(_described, op.xs, given))
    outputs = (_Tensor * len(made))(*map(_described, op.ys, made))
    call(inputs, outputs, op.options, ctypes.c_int32(len(op.options)))
    return tuple(made)


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("shape", ctypes.POINTER(ctypes.c_int32)),
        ("rank", ctypes.c_int32),
        ("elements", ctypes.c_int32),
        ("scale", ctypes.c_float),
        ("zero_point", ctypes.c_int32),
    )


def units_of(tensor: Tensor) -> tuple[float, int]:
    """Return the scale and the zero point that a function in C is told; 0 where there is no one scale."""
    quant = tensor.quant
    return (0.0, 0) if quant is None or len(quant.scale) != 1 else (quant.scale[0], quant.zero_point[0])


def _described(tensor: Tensor, value: Array) -> _Tensor:
    shape = (ctypes.c_int32 * max(len(tensor.shape), 1))(*tensor.shape)
    scale, zero_point = units_of(tensor)
    return _Tensor(value.ctypes.data, shape, len(tensor.shape), tensor.elements, scale, zero_point)


@lru_cache(maxsize=64)
def _library(name: str, text: str) -> ctypes.CDLL:
    call = (
        "void utvm_call(const utvm_input *xs, const utvm_output *ys, const uint8_t *options, int32_t bytes) {\n"
        f"  {name}(xs, ys, options, bytes);\n}}\n"
    )
    with tempfile.TemporaryDirectory(prefix="utvm-own-") as folder:
        source, target = Path(folder) / "own.c", Path(folder) / "own.so"
        source.write_text(
            f"#include <stdint.h>\n#include <string.h>\n\n{TENSOR_TYPES}\n{text}\n\n{call}", encoding="utf-8"
        )
        command = ["gcc", *_FLAGS, source.name, "-o", target.name, "-lm"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ForeignError(f"the C of operator '{name}' can't be compiled for this machine: {error}") from error
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            raise ForeignError(f"the C of operator '{name}' does not compile:\n" + "\n".join(lines[:6]))
        return ctypes.CDLL(str(target))
