"""Calls of PyTorch's that read constants alone, computed at import: masks, tables, weights that are made of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.builder import FLOAT_NAMES, MAX_ELEMENTS
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.frontends.torch_node import TorchNode, tuple_of

Array = NDArray[Any]


OF_SHAPES = frozenset(("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones"))
"""Calls that read no values, so that they are computed even of activations."""


def computed(n: TorchNode) -> Array | None:
    """Return the result of a call whose operands are all known, None for a call that is not computed here."""
    make = _KNOWN.get(n.kind.partition(".")[0])
    if make is None:
        return None
    with np.errstate(all="ignore"):
        found = np.asarray(make(n))
    return found.astype(np.float32) if found.dtype == np.float64 else found


def _array(n: TorchNode, position: int = 0) -> Array:
    found = n.arg(position, "")
    if found is None:
        raise RefusedError("a constant is absent")
    return np.asarray(found)


def _filled(value: float | None = None) -> Callable[[TorchNode], Array]:
    def make(n: TorchNode) -> Array:
        return np.full(_shape(n.arg(0, "size")), n.number(1, "fill_value", 0.0) if value is None else value, np.float32)

    return make


def _like(value: float | None = None) -> Callable[[TorchNode], Array]:
    def make(n: TorchNode) -> Array:
        filled = n.number(1, "fill_value", 0.0) if value is None else value
        return np.full(n.arg(0, "").shape, filled, np.float32)

    return make


def _shape(size: Any) -> tuple[int, ...]:
    shape = tuple(int(v) for v in size)
    if prod(shape) > MAX_ELEMENTS or min(shape, default=0) < 0:
        raise RefusedError(f"a constant of shape {list(shape)} is too large")
    return shape


def _range(n: TorchNode) -> Array:
    ends = [float(v) for v in n.args if isinstance(v, int | float)]
    start, end, step = {1: (0.0, *ends, 1.0), 2: (*ends, 1.0)}.get(len(ends), tuple(ends))
    if step == 0 or abs(end - start) / abs(step) > MAX_ELEMENTS:
        raise RefusedError("its range is too long")
    whole = all(isinstance(v, int) for v in n.args)
    return np.arange(start, end, step).astype(np.int64 if whole else np.float32)


def _two(make: Callable[[Any, Any], Any]) -> Callable[[TorchNode], Array]:
    def compute(n: TorchNode) -> Array:
        if len(n.args) > 2 or n.named:
            raise RefusedError("it scales or rounds constants")
        a, b = _array(n), _array(n, 1)
        if prod(np.broadcast_shapes(a.shape, b.shape)) > MAX_ELEMENTS:
            raise RefusedError("its result is too large")
        return np.asarray(make(a, b))

    return compute


def _one(make: Callable[[Any], Any]) -> Callable[[TorchNode], Array]:
    return lambda n: np.asarray(make(_array(n)))


def _slice(n: TorchNode) -> Array:
    x, axis = _array(n), int(n.arg(1, "dim", 0))
    chosen: list[Any] = [slice(None)] * x.ndim
    chosen[axis] = slice(n.arg(2, "start"), n.arg(3, "end"), n.arg(4, "step", 1))
    return np.asarray(x[tuple(chosen)])


def _expand(n: TorchNode) -> Array:
    x, wanted = _array(n), [int(v) for v in n.arg(1, "size")]
    new = len(wanted) - x.ndim
    shape = _shape([x.shape[d - new] if size == -1 else size for d, size in enumerate(wanted)])
    return np.broadcast_to(x, shape)


def _cast(n: TorchNode) -> Array:
    x = _array(n)
    named = [str(arg).removeprefix("torch.") for arg in (*n.args[1:], *n.named.values()) if isinstance(arg, str)]
    kind = next((name for name in named if name in _TYPES or name in FLOAT_NAMES), None)
    return x if kind is None else x.astype(_TYPES.get(kind, "float32"))


def _chosen(n: TorchNode) -> Array:
    chosen, a, b = _array(n).astype(bool), _array(n, 1), _array(n, 2)
    _shape(np.broadcast_shapes(chosen.shape, a.shape, b.shape))
    return np.where(chosen, a, b)


def _masked(n: TorchNode) -> Array:
    x, mask, value = _array(n), _array(n, 1).astype(bool), n.number(2, "value", 0.0)
    _shape(np.broadcast_shapes(x.shape, mask.shape))
    return np.where(mask, np.asarray(value, x.dtype if x.dtype.kind == "i" else np.float32), x)


def _any(n: TorchNode) -> Array:
    axes, keep = n.arg(1, "dim"), bool(n.arg(2, "keepdim", False))
    return np.asarray(_array(n).any(axis=None if axes is None else tuple_of(axes, 1), keepdims=keep))


def _repeated(n: TorchNode) -> Array:
    x, counts = _array(n), [int(v) for v in n.arg(1, "repeats")]
    _shape([x.size, *counts])
    return np.tile(x, counts)


def _squeezed(n: TorchNode) -> Array:
    x, axes = _array(n), n.arg(1, "dim")
    chosen = range(x.ndim) if axes is None else [axis_of(axis, x.ndim) for axis in tuple_of(axes, 1)]
    return np.squeeze(x, tuple(axis for axis in chosen if x.shape[axis] == 1))


def _swapped(n: TorchNode) -> Array:
    return np.swapaxes(_array(n), int(n.arg(1, "dim0")), int(n.arg(2, "dim1")))


def _weight_norm(n: TorchNode) -> Array:
    v, g, axis = _array(n).astype(np.float32), _array(n, 1), int(n.arg(2, "dim", 0))
    others = tuple(d for d in range(v.ndim) if d != axis % v.ndim)
    return np.asarray(v * (g / np.sqrt((v**2).sum(axis=others, keepdims=True))))


def _triangle(make: Callable[..., Any]) -> Callable[[TorchNode], Array]:
    return lambda n: np.asarray(make(_array(n), int(n.arg(1, "diagonal", 0))))


def _cat(n: TorchNode) -> Array:
    return np.concatenate([np.asarray(x) for x in n.arg(0, "tensors")], int(n.arg(1, "dim", 0)))


_TYPES = {"bool": "bool", **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8"), "int64")}

_KNOWN: Mapping[str, Callable[[TorchNode], Any]] = {
    "zeros": _filled(0.0),
    "ones": _filled(1.0),
    "full": _filled(),
    "empty": _filled(0.0),
    "zeros_like": _like(0.0),
    "ones_like": _like(1.0),
    "full_like": _like(),
    "new_zeros": lambda n: np.zeros(_shape(n.arg(1, "size")), np.float32),
    "new_ones": lambda n: np.ones(_shape(n.arg(1, "size")), np.float32),
    "scalar_tensor": lambda n: np.float32(n.number(0, "s", 0.0)),
    "arange": _range,
    "tril": _triangle(np.tril),
    "triu": _triangle(np.triu),
    "_weight_norm": _weight_norm,
    "cat": _cat,
    "slice": _slice,
    "select": lambda n: np.take(_array(n), int(n.arg(2, "index")), int(n.arg(1, "dim", 0))),
    "expand": _expand,
    "transpose": _swapped,
    "t": _one(np.transpose),
    "permute": lambda n: _array(n).transpose([int(v) for v in n.arg(1, "dims")]),
    "unsqueeze": lambda n: np.expand_dims(_array(n), int(n.arg(1, "dim"))),
    **dict.fromkeys(("view", "reshape"), lambda n: _array(n).reshape([int(v) for v in n.arg(1, "size")])),
    **dict.fromkeys(("clone", "detach", "detach_", "contiguous", "alias", "lift_fresh_copy"), _one(np.asarray)),
    **{name: _two(make) for name, make in {"add": np.add, "sub": np.subtract, "mul": np.multiply}.items()},
    **{name: _two(make) for name, make in {"div": np.true_divide, "pow": np.power, "eq": np.equal}.items()},
    **{name: _two(make) for name, make in {"ne": np.not_equal, "gt": np.greater, "lt": np.less}.items()},
    **{name: _two(make) for name, make in {"ge": np.greater_equal, "le": np.less_equal}.items()},
    **{name: _one(make) for name, make in {"exp": np.exp, "neg": np.negative, "sqrt": np.sqrt}.items()},
    **{name: _one(make) for name, make in {"sin": np.sin, "cos": np.cos, "logical_not": np.logical_not}.items()},
    **{name: _one(make) for name, make in {"abs": np.abs, "log": np.log, "floor": np.floor, "tanh": np.tanh}.items()},
    **{name: _two(make) for name, make in {"logical_and": np.logical_and, "logical_or": np.logical_or}.items()},
    **{name: _two(make) for name, make in {"minimum": np.minimum, "maximum": np.maximum, "fmod": np.fmod}.items()},
    **{name: _two(make) for name, make in {"remainder": np.mod, "bitwise_and": np.bitwise_and}.items()},
    "bitwise_or": _two(np.bitwise_or),
    "bitwise_not": _one(np.bitwise_not),
    **dict.fromkeys(("to", "_to_copy"), _cast),
    "where": _chosen,
    "masked_fill": _masked,
    "any": _any,
    "repeat": _repeated,
    "squeeze": _squeezed,
    "flip": lambda n: np.flip(_array(n), tuple(n.arg(1, "dims"))),
    "stack": lambda n: np.stack([np.asarray(x) for x in n.arg(0, "tensors")], int(n.arg(1, "dim", 0))),
}
"""Call → what it computes."""
