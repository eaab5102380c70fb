"""What the conversion of one call of PyTorch's may ask: its operands and arguments, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.builder import GraphBuilder
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.frontends.torch_program import Ref, TorchCall
from utvm.graph import DType, Tensor

Value = Tensor | NDArray[Any]
"""An activation, or what is known at import."""
TRAINING = "it works as in training: export the module after module.eval()"


class TorchNode:
    """One call on its way into the graph."""

    def __init__(self, call: TorchCall, builder: GraphBuilder, values: Mapping[str, Value | tuple[Value, ...]]) -> None:
        self._call = call
        self._values = values
        self.b = builder

    @property
    def kind(self) -> str:
        """The operator's name and overload, without its namespace."""
        return self._call.kind.partition(".")[2] or self._call.kind

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments as they are."""
        return self._call.args

    @property
    def named(self) -> Mapping[str, Any]:
        """The named arguments as they are."""
        return self._call.kwargs

    def arg(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument, tensors as values."""
        args, named = self._call.args, self._call.kwargs
        found = args[position] if position < len(args) else named.get(name, default)
        if isinstance(found, list | tuple):
            return [self._values[each.name] if isinstance(each, Ref) else each for each in found]
        value = self._values[found.name] if isinstance(found, Ref) else found
        if isinstance(found, Ref) and isinstance(value, tuple):
            raise RefusedError("it reads several values at once")
        return value

    def x(self, position: int = 0) -> Tensor:
        """Return an operand; numbers and parameters become constants."""
        found = self.arg(position, "")
        return found if isinstance(found, Tensor) else self.b.constant(np.asarray(found, np.float32))

    def truth(self, position: int) -> Tensor:
        """Return an operand that is an activation of truth values."""
        found = self.arg(position, "")
        if not isinstance(found, Tensor) or found.dtype is not DType.BOOL:
            raise RefusedError("it mixes truth values and others")
        return found

    def in_floats(self) -> TorchNode:
        """Return the same call with its integers and truth values cast to float32."""
        values = {name: self._values[name] for name in self._call.references()}
        cast = {name: self.b.real(x) if isinstance(x, Tensor) else x for name, x in values.items()}
        return TorchNode(self._call, self.b, cast)

    def number(self, position: int, name: str, default: float) -> float:
        """Return an argument that is a number."""
        found = self.arg(position, name, default)
        if isinstance(found, Tensor) or found is None or np.size(found) != 1:
            raise RefusedError(f"its {name} must be a number")
        return float(np.asarray(found).reshape(()))

    def bound(self, position: int, name: str) -> float | None:
        """Return an argument that is a number or absent."""
        return None if self.arg(position, name) is None else self.number(position, name, 0.0)

    def axes(self, position: int, name: str) -> tuple[int, ...]:
        """Return dimensions of the first operand, sorted; all of them where none is given."""
        given, rank = self.arg(position, name), len(self.x().shape)
        every = range(rank) if given is None or given == [] else tuple_of(given, 1)
        return tuple(sorted({axis_of(axis, rank) for axis in every}))

    def image(self) -> tuple[Tensor, int]:
        """Return the first operand, a batch, and over how many dimensions an operator named ...1d or ...2d moves."""
        return self.image_of(int(self.kind.partition("d.")[0].partition("d_")[0][-1]))

    def image_of(self, rank: int) -> tuple[Tensor, int]:
        """Return the first operand, a batch of so many dimensions besides channels, and that number."""
        x = self.x()
        if len(x.shape) != rank + 2:
            raise RefusedError(f"its input has shape {list(x.shape)}; a batch of {rank + 1} dimensions is expected")
        return x, rank

    def part(self) -> Value:
        """Return the part of a call with several results that an index names."""
        found = self._values[self._call.args[0].name]
        index = int(self._call.args[1])
        if not isinstance(found, tuple):
            raise RefusedError("it takes a part of what has none")
        return found[index]

    def constant(self, position: int, name: str) -> NDArray[np.float32] | None:
        """Return a parameter, None if it is absent."""
        found = self.arg(position, name)
        if found is None:
            return None
        if isinstance(found, Tensor):
            raise RefusedError(f"its {name} must be a parameter")
        return np.asarray(found, np.float32)

    def weights(self, position: int = 1) -> NDArray[np.float32]:
        """Return a parameter that has to be there."""
        found = self.constant(position, "weight")
        if found is None:
            raise RefusedError("its weights are absent")
        return found

    def axis(self, position: int, name: str, default: int = 0) -> int:
        """Return a dimension of the first operand."""
        return axis_of(int(self.arg(position, name, default)), len(self.x().shape))


Converter = Callable[[TorchNode], Value | tuple[Value, ...]]


def tuple_of(values: Any, rank: int) -> tuple[int, ...]:
    """Return one integer for each of `rank` dimensions; a single one stands for all."""
    found = (values,) if isinstance(values, int) else tuple(values)
    return found * rank if len(found) == 1 else found
