"""What operators of PyTorch become: one function each, from a call of torch.export's graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends import blocks
from utvm.frontends import channels_first as layers
from utvm.frontends.builder import GraphBuilder
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.frontends.torch_program import Ref, TorchCall
from utvm.graph import Add, LeakyRelu, Logistic, Mul, Operator, Relu, Relu6, StridedSlice, Sub, Tanh, Tensor

Value = Tensor | NDArray[np.float32]
_TRAINING = "it works as in training: export the module after module.eval()"


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

    def image(self) -> tuple[Tensor, int]:
        """Return the first operand, a batch, and over how many dimensions an operator named ...1d or ...2d moves."""
        x, rank = self.x(), int(self.kind.partition("d.")[0][-1])
        if len(x.shape) != rank + 2:
            raise RefusedError(f"its input has shape {list(x.shape)}; a batch of {rank + 1} dimensions is expected")
        return x, rank

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


def _pair(values: Any, rank: int) -> tuple[int, ...]:
    found = (values,) if isinstance(values, int) else tuple(values)
    return found * rank if len(found) == 1 else found


def _conv(n: TorchNode) -> Value:
    (x, rank), weights = n.image(), n.weights()
    padding = n.arg(4, "padding", 0)
    before = (0,) * rank if isinstance(padding, str) else _pair(padding, rank)
    window = layers.WindowMoves(
        size=weights.shape[2:],
        stride=_pair(n.arg(3, "stride", 1), rank),
        dilation=_pair(n.arg(5, "dilation", 1), rank),
        before=before,
        after=before,
    )
    if padding == "same":
        window = layers.same_window(window, x.shape[2:], more_before=False)
    return layers.convolution(n.b, x, weights, n.constant(2, "bias"), window, int(n.arg(6, "groups", 1)))


def _batch_norm(n: TorchNode) -> Value:
    if n.arg(5, "training", False):
        raise RefusedError(_TRAINING)
    x = n.x()
    mean, variance = n.weights(3).astype(np.float64), n.weights(4).astype(np.float64)
    scale, shift = n.constant(1, "weight"), n.constant(2, "bias")
    factor = (1.0 if scale is None else scale) / np.sqrt(variance + float(n.arg(7, "eps", 1e-5)))
    moved = (0.0 if shift is None else shift) - mean * factor
    return layers.scale_and_shift(n.b, x, factor.astype(np.float32), moved.astype(np.float32))


def _linear(n: TorchNode) -> Value:
    return layers.linear(n.b, n.x(), n.weights(), n.constant(2, "bias"))


def _pool(*, maximum: bool) -> Converter:
    def convert(n: TorchNode) -> Value:
        x, rank = n.image()
        if n.arg(6, "divisor_override") is not None:
            raise RefusedError("it divides by a number of its own (divisor_override)")
        size = _pair(n.arg(1, "kernel_size"), rank)
        pads = _pair(n.arg(3, "padding", 0), rank)
        dilation = _pair(n.arg(4, "dilation", 1), rank) if maximum else (1,) * rank
        ceil = bool(n.arg(5 if maximum else 4, "ceil_mode", False))
        stride = _pair(n.arg(2, "stride", ()) or size, rank)
        window = layers.WindowMoves(size=size, stride=stride, dilation=dilation, before=pads, after=pads, ceil=ceil)
        counted = not maximum and bool(n.arg(5, "count_include_pad", True))
        return layers.pool(n.b, x, window, maximum=maximum, count_padding=counted)

    return convert


def _adaptive_average(n: TorchNode) -> Value:
    x, rank = n.image()
    wanted = _pair(n.arg(1, "output_size"), rank)
    if set(wanted) == {1}:
        return layers.mean(n.b, x, range(2, 2 + rank), keep=True)
    if any(size % out for size, out in zip(x.shape[2:], wanted, strict=True)):
        raise RefusedError(f"{list(x.shape[2:])} pixels are not divided evenly into {list(wanted)}")
    size = tuple(size // out for size, out in zip(x.shape[2:], wanted, strict=True))
    none = (0,) * rank
    window = layers.WindowMoves(size=size, stride=size, dilation=(1,) * rank, before=none, after=none)
    return layers.pool(n.b, x, window, maximum=False)


def _unary(kind: type[Operator]) -> Converter:
    return lambda n: n.b.unary(kind, n.x())


def _clamp(low_name: str, high_name: str, low_default: float | None, high_default: float | None) -> Converter:
    def convert(n: TorchNode) -> Value:
        low, high = n.arg(1, low_name, low_default), n.arg(2, high_name, high_default)
        if low == 0 and high is None:
            return n.b.unary(Relu, n.x())
        if (low, high) != (0, 6):
            raise RefusedError(f"it clamps to {low} ... {high}; 0 and up, and 0 ... 6, are supported")
        return n.b.unary(Relu6, n.x())

    return convert


def _ramp(n: TorchNode) -> Tensor:
    """min(max(x + 3, 0), 6) / 6."""
    clamped = n.b.unary(Relu6, n.b.binary(Add, n.x(), n.b.constant(3.0, "three")))
    return n.b.binary(Mul, clamped, n.b.constant(1 / 6, "sixth"))


def _binary(kind: type[Add] | type[Sub] | type[Mul]) -> Converter:
    def convert(n: TorchNode) -> Value:
        if n.arg(2, "alpha", 1) != 1:
            raise RefusedError("it scales its second operand (alpha)")
        return n.b.binary(kind, n.x(0), n.x(1))

    return convert


def _division(n: TorchNode) -> Value:
    if n.arg(2, "rounding_mode") is not None:
        raise RefusedError("it rounds its quotients (rounding_mode)")
    divisor = n.arg(1, "other")
    if isinstance(divisor, Tensor) or not np.all(divisor):
        raise RefusedError("it divides by an activation, or by 0")
    return n.b.binary(Mul, n.x(), n.b.constant(1 / np.asarray(divisor, np.float32), "factor"))


def _reshaped(n: TorchNode) -> Value:
    x, wanted = n.x(), [int(size) for size in n.arg(1, "size")]
    if wanted.count(-1) == 1:
        wanted[wanted.index(-1)] = x.elements // max(prod(size for size in wanted if size != -1), 1)
    return n.b.reshape(x, wanted)


def _flatten(n: TorchNode) -> Value:
    x = n.x()
    first, last = n.axis(1, "start_dim"), n.axis(2, "end_dim", -1)
    return n.b.reshape(x, (*x.shape[:first], prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


def _unsqueeze(n: TorchNode) -> Value:
    x = n.x()
    axis = axis_of(int(n.arg(1, "dim")), len(x.shape) + 1)
    return n.b.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def _squeeze(n: TorchNode) -> Value:
    x, given = n.x(), n.arg(1, "dim")
    every = range(len(x.shape)) if given is None else _pair(given, 1)
    axes = {axis_of(axis, len(x.shape)) for axis in every}
    return n.b.reshape(x, [size for d, size in enumerate(x.shape) if d not in axes or size != 1])


def _permute(n: TorchNode) -> Value:
    x = n.x()
    return n.b.transpose(x, [axis_of(axis, len(x.shape)) for axis in n.arg(1, "dims")])


def _transpose(n: TorchNode) -> Value:
    x = n.x()
    order = list(range(len(x.shape)))
    a, b = n.axis(1, "dim0"), n.axis(2, "dim1")
    order[a], order[b] = order[b], order[a]
    return n.b.transpose(x, order)


def _concatenation(n: TorchNode) -> Value:
    xs: Sequence[Any] = n.arg(0, "tensors")
    if any(not isinstance(x, Tensor) for x in xs):
        raise RefusedError("it joins parameters")
    tensors = [x for x in xs if isinstance(x, Tensor)]
    return n.b.concatenation(tensors, axis_of(int(n.arg(1, "dim", 0)), len(tensors[0].shape)))


def _mean(n: TorchNode) -> Value:
    x, given = n.x(), n.arg(1, "dim")
    axes = range(len(x.shape)) if given is None else [axis_of(axis, len(x.shape)) for axis in _pair(given, 1)]
    return layers.mean(n.b, x, axes, keep=bool(n.arg(2, "keepdim", False)))


def _pad(n: TorchNode) -> Value:
    x, pads = n.x(), list(n.arg(1, "pad"))
    if n.arg(2, "mode", "constant") != "constant" or (n.arg(3, "value") or 0) != 0 or min(pads, default=0) < 0:
        raise RefusedError("it pads with other values than 0, or cuts")
    pairs = list(zip(pads[0::2], pads[1::2], strict=True))[::-1]
    return n.b.pad(x, [(0, 0)] * (len(x.shape) - len(pairs)) + pairs)


def _matmul(n: TorchNode) -> Value:
    if isinstance(n.arg(1, "other"), Tensor) and isinstance(n.arg(0, "self"), Tensor):
        return blocks.product(n.b, n.x(0), n.x(1))
    weights = n.weights()
    if weights.ndim != 2 or not isinstance(n.arg(0, "self"), Tensor):
        raise RefusedError("it multiplies by several matrices that are constant, or a constant by an activation")
    return layers.linear(n.b, n.x(), np.ascontiguousarray(weights.T), None)


def _layer_norm(n: TorchNode) -> Value:
    x, rank = n.x(), len(n.arg(1, "normalized_shape"))
    axes = range(len(x.shape) - rank, len(x.shape))
    scale, shift = n.constant(2, "weight"), n.constant(3, "bias")
    return blocks.normalised(n.b, x, axes, scale, shift, float(n.arg(4, "eps", 1e-5)))[0]


def _dropout(n: TorchNode) -> Value:
    if n.arg(2, "train", False) and n.arg(1, "p", 0.5) != 0:
        raise RefusedError(_TRAINING)
    return n.x()


def _attention(n: TorchNode) -> Value:
    if n.arg(4, "dropout_p", 0.0) != 0:
        raise RefusedError(_TRAINING)
    if n.arg(3, "attn_mask") is not None or n.arg(5, "is_causal", False) or n.arg(7, "enable_gqa", False):
        raise RefusedError("it has a mask, or shares keys among heads")
    return blocks.attention(n.b, n.x(0), n.x(1), n.x(2), n.arg(6, "scale"))


def _taken(n: TorchNode, axis: int, start: int, length: int, step: int = 1) -> Tensor:
    """Return a slice along one dimension."""
    x = n.x()
    if length == x.shape[axis] and step == 1:
        return x
    begin, strides, shape = [0] * len(x.shape), [1] * len(x.shape), list(x.shape)
    begin[axis], strides[axis], shape[axis] = start, step, length
    return n.b.add(StridedSlice, tuple(shape), "cut", x=x, begin=tuple(begin), strides=tuple(strides))


def _select(n: TorchNode) -> Value:
    axis = n.axis(1, "dim")
    return _one_of(n, axis, axis_of(int(n.arg(2, "index")), n.x().shape[axis]))


def _one_of(n: TorchNode, axis: int, index: int) -> Tensor:
    """Return what is at an index of one dimension, without that dimension."""
    taken = _taken(n, axis, index, 1)
    return n.b.reshape(taken, [size for d, size in enumerate(n.x().shape) if d != axis])


def _unbind(n: TorchNode) -> tuple[Value, ...]:
    axis = n.axis(1, "dim")
    return tuple(_one_of(n, axis, index) for index in range(n.x().shape[axis]))


def _slice(n: TorchNode) -> Value:
    x, axis = n.x(), n.axis(1, "dim")
    found = range(*slice(n.arg(2, "start"), n.arg(3, "end"), n.arg(4, "step", 1)).indices(x.shape[axis]))
    if not len(found):
        raise RefusedError("its slice is empty")
    return _taken(n, axis, found[0], len(found), found.step)


def _parts(n: TorchNode) -> tuple[Value, ...]:
    """Cut in equal parts (chunk: how many; split: how long) or in parts of given lengths."""
    x, axis, given = n.x(), n.axis(2, "dim"), n.arg(1, "split_size")
    size = x.shape[axis]
    if isinstance(given, int):
        long = -(-size // given) if n.kind.startswith("chunk") else given
        return tuple(_taken(n, axis, start, min(long, size - start)) for start in range(0, size, long))
    starts = np.cumsum([0, *given[:-1]]).tolist()
    return tuple(_taken(n, axis, start, int(length)) for start, length in zip(starts, given, strict=True))


def _item(n: TorchNode) -> Value:
    found = n._values[n._call.args[0].name]
    if not isinstance(found, tuple):
        raise RefusedError("it takes a part of what has none")
    return found[int(n._call.args[1])]


def _same(n: TorchNode) -> Value:
    return n.x()


CONVERTERS: Mapping[str, Converter] = {
    "conv1d": _conv,
    "conv2d": _conv,
    "batch_norm": _batch_norm,
    "linear": _linear,
    "max_pool1d": _pool(maximum=True),
    "max_pool2d": _pool(maximum=True),
    "avg_pool1d": _pool(maximum=False),
    "avg_pool2d": _pool(maximum=False),
    "adaptive_avg_pool1d": _adaptive_average,
    "adaptive_avg_pool2d": _adaptive_average,
    "relu": _unary(Relu),
    "relu_": _unary(Relu),
    "relu6": _unary(Relu6),
    "hardtanh": _clamp("min_val", "max_val", -1.0, 1.0),
    "hardtanh_": _clamp("min_val", "max_val", -1.0, 1.0),
    "clamp": _clamp("min", "max", None, None),
    "sigmoid": _unary(Logistic),
    "tanh": _unary(Tanh),
    "leaky_relu": lambda n: n.b.unary(LeakyRelu, n.x(), alpha=float(n.arg(1, "negative_slope", 0.01))),
    "silu": lambda n: n.b.binary(Mul, n.x(), n.b.unary(Logistic, n.x())),
    "hardsigmoid": _ramp,
    "hardswish": lambda n: n.b.binary(Mul, n.x(), _ramp(n)),
    "softmax": lambda n: layers.softmax(n.b, n.x(), n.axis(1, "dim", -1)),
    "add": _binary(Add),
    "add_": _binary(Add),
    "sub": _binary(Sub),
    "mul": _binary(Mul),
    "div": _division,
    "matmul": _matmul,
    "bmm": _matmul,
    "layer_norm": _layer_norm,
    "gelu": lambda n: blocks.gelu(n.b, n.x()),
    "scaled_dot_product_attention": _attention,
    "exp": lambda n: blocks.elementwise(n.b, "Exp", n.x()),
    "neg": lambda n: blocks.elementwise(n.b, "Neg", n.x()),
    "abs": lambda n: blocks.elementwise(n.b, "Abs", n.x()),
    "sqrt": lambda n: blocks.elementwise(n.b, "Sqrt", n.x()),
    "rsqrt": lambda n: blocks.elementwise(n.b, "Rsqrt", n.x()),
    "select": _select,
    "unbind": _unbind,
    "slice": _slice,
    "chunk": _parts,
    "split": _parts,
    "split_with_sizes": _parts,
    "getitem": _item,
    "view": _reshaped,
    "reshape": _reshaped,
    "flatten": _flatten,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "permute": _permute,
    "transpose": _transpose,
    "cat": _concatenation,
    "mean": _mean,
    "pad": _pad,
    "dropout": _dropout,
    "contiguous": _same,
    "clone": _same,
    "detach": _same,
    "alias": _same,
}
