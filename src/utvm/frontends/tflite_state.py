"""Variables of a .tflite file: resources that operators read and assign, and tensors that an operator keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from utvm.frontends.context import Context, make_tensor
from utvm.frontends.refusal import RefusedError
from utvm.graph import DType, Operator, Reshape, State, Tensor


@dataclass(slots=True, eq=False)
class _Variable:
    """A variable while operators are read in order. `now` is its value at this place, None before anything is known."""

    now: Tensor | None = None
    before: Tensor | None = None
    initial: NDArray[Any] | None = None


class Variables:
    """All variables of a file, as the operators that are read in order leave them."""

    def __init__(self) -> None:
        self._known: dict[Hashable, _Variable] = {}
        self._handles: dict[int, Hashable] = {}

    def name_handle(self, tensor: int, name: Hashable) -> None:
        """Note that a tensor stands for a resource."""
        self._handles[tensor] = name

    def resource(self, tensor: int) -> Hashable:
        """Return which resource a tensor stands for."""
        if tensor not in self._handles:
            raise RefusedError("what it names is no variable of the model")
        return self._handles[tensor]

    def forget_handles(self) -> None:
        """Forget which tensor stands for which resource: another subgraph has other tensors."""
        self._handles.clear()

    def read(self, name: Hashable, like: Tensor) -> Tensor:
        """Return the value of a variable; `like` is what the first reader takes it for."""
        variable = self._known.setdefault(name, _Variable())
        if variable.now is None:
            variable.before = variable.now = like
        return variable.now

    def assign(self, name: Hashable, value: Tensor) -> None:
        """Give a variable a value."""
        self._known.setdefault(name, _Variable()).now = value

    def begin(self, name: Hashable, value: Tensor) -> None:
        """Give a variable its value before the first run."""
        if not value.is_constant:
            raise RefusedError(f"tensor '{value.name}': the first value of a variable must be a constant")
        self._known.setdefault(name, _Variable()).initial = value.values

    def begin_cleared(self, name: Hashable, tensor: Tensor) -> None:
        """Give a tensor that an operator keeps what tflite-micro clears it to: zero points of int8, else zeros."""
        zero = tensor.zero_point if tensor.dtype is DType.INT8 else 0
        self._known.setdefault(name, _Variable()).initial = np.full(tensor.shape, zero, tensor.dtype.value)

    def states(self) -> tuple[tuple[State, ...], Mapping[Tensor, Tensor]]:
        """Return what is kept from run to run, and constants for variables that nothing ever changes.

        Raises:
            RefusedError: a variable is read and written in different shapes or types.
        """
        states: list[State] = []
        fixed: dict[Tensor, Tensor] = {}
        for variable in self._known.values():
            before, after = variable.before, variable.now
            if before is None or after is None:
                continue
            initial = _initial(before, after) if variable.initial is None else variable.initial
            if (after.shape, after.dtype) != (before.shape, before.dtype) or initial.shape != before.shape:
                raise RefusedError(
                    f"variable '{before.name}' is read as {before.dtype}{list(before.shape)}, written as {after.dtype}"
                    f"{list(after.shape)} and {initial.dtype}{list(initial.shape)} at first"
                )
            if initial.dtype != np.dtype(before.dtype.value):
                raise RefusedError(f"variable '{before.name}' is {before.dtype}, and {initial.dtype} at first")
            if after is before:
                fixed[before] = dataclasses.replace(before, data=initial)
            else:
                states.append(State(before=before, after=after, initial=initial.copy()))
        return tuple(states), fixed


def _initial(before: Tensor, after: Tensor) -> NDArray[Any]:
    """Return what tflite-micro fills a variable with that nothing assigns before: bytes of the zero point."""
    zero = before.zero_point if before.quant is not None and len(before.quant.scale) == 1 else 0
    if after is not before and after.quant is not None and len(after.quant.scale) == 1:
        zero = after.zero_point
    raw = bytes([zero & 0xFF]) * before.nbytes
    return np.frombuffer(raw, before.dtype.value).reshape(before.shape)


def kept_tensor(c: Context, position: int) -> tuple[Hashable, Tensor]:
    """Return the name and the value of a variable tensor, an input that its operator changes."""
    raw = c.raw_input(position)
    if not raw.is_variable:
        raise RefusedError(f"tensor '{raw.name}': a variable is expected")
    name = "tensor", raw.index
    tensor = make_tensor(dataclasses.replace(raw, is_variable=False, data=None))
    c.variables.begin_cleared(name, tensor)
    return name, c.variables.read(name, tensor)


def _var_handle(c: Context) -> tuple[Operator, ...]:
    options = c.options(tflite.VarHandleOptions)
    c.arity((0,))
    # Names end where C's strings end.
    names = ((name or b"").split(b"\0", 1)[0] for name in (options.Container(), options.SharedName()))
    c.variables.name_handle(c.raw.outputs[0], ("resource", *names))
    return ()


def _read_variable(c: Context) -> tuple[Operator, ...]:
    c.arity((1,))
    if c.is_once:
        raise RefusedError("a variable is read before the first run")
    y = c.any_output()
    value = c.variables.read(c.variables.resource(c.raw.inputs[0]), y)
    if value is y:
        return ()
    if value.shape != y.shape or value.dtype is not y.dtype:
        raise RefusedError(
            f"tensor '{y.name}': a variable of {value.dtype}{list(value.shape)} is read as {y.dtype}{list(y.shape)}"
        )
    if value.quant == y.quant:
        c.alias(0, value)
        return ()
    return (Reshape(name=c.name, x=value, y=y),)


def _assign_variable(c: Context) -> tuple[Operator, ...]:
    c.arity((2,), outputs=0)
    name, value = c.variables.resource(c.raw.inputs[0]), c.any_input(1)
    if c.is_once:
        c.variables.begin(name, value)
    else:
        c.variables.assign(name, value)
    return ()


def _call_once(c: Context) -> tuple[Operator, ...]:
    c.options(tflite.CallOnceOptions)
    c.arity((0,), outputs=0)
    if c.is_once:
        raise RefusedError("what runs once calls more that runs once")
    return ()


STATEFUL: Mapping[str, Callable[[Context], tuple[Operator, ...]]] = {
    "CALL_ONCE": _call_once,
    "VAR_HANDLE": _var_handle,
    "READ_VARIABLE": _read_variable,
    "ASSIGN_VARIABLE": _assign_variable,
}
