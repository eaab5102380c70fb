"""ONNX layers with weights or windows, normalisation, activations, softmax."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from utvm.frontends import activations as f
from utvm.frontends import blocks
from utvm.frontends import channels_first as layers
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.graph import Add, LeakyRelu, Logistic, Mul, Operator, Relu, Relu6, Tanh, Tensor

Converter = Callable[[NodeContext], Value | tuple[Value, ...]]


def _window(n: NodeContext, x: Tensor, kernel: tuple[int, ...]) -> layers.WindowMoves:
    """Return the window of a convolution or a pool."""
    rank = len(x.shape) - 2
    pads = n.ints("pads", (0,) * (2 * rank)) or ()
    auto = n.text("auto_pad", "NOTSET")
    if len(pads) != 2 * rank or len(kernel) != rank:
        raise RefusedError(
            f"its kernel {list(kernel)} or pads {list(pads)} do not fit an input of shape {list(x.shape)}"
        )
    if auto not in ("NOTSET", ""):
        pads = (0,) * (2 * rank)
    window = layers.WindowMoves(
        size=kernel,
        stride=n.ints("strides", (1,) * rank) or (),
        dilation=n.ints("dilations", (1,) * rank) or (),
        before=pads[:rank],
        after=pads[rank:],
        ceil=bool(n.integer("ceil_mode", 0)),
    )
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        return layers.same_window(window, x.shape[2:], more_before=auto == "SAME_LOWER")
    if auto not in ("NOTSET", "", "VALID"):
        raise RefusedError(f"its auto_pad '{auto}' is not known")
    return window


def _conv(n: NodeContext) -> Value:
    x, weights = n.x(), n.floats(1, "weights")
    bias = n.floats(2, "bias") if n.has(2) else None
    kernel = n.ints("kernel_shape", weights.shape[2:])
    if kernel != weights.shape[2:]:
        raise RefusedError(f"its kernel_shape {kernel} is not that of its weights, {list(weights.shape)}")
    return layers.convolution(n.b, x, weights, bias, _window(n, x, weights.shape[2:]), n.integer("group", 1))


def _gemm(n: NodeContext) -> Value:
    x, weights = n.x(), n.floats(1, "weights")
    if len(x.shape) != 2 or weights.ndim != 2:
        raise RefusedError("its operands are no matrices")
    weights = weights * np.float32(n.number("alpha", 1.0))
    x = n.b.transpose(x, (1, 0)) if n.integer("transA", 0) else x
    weights = weights if n.integer("transB", 0) else weights.T
    bias = None
    if n.has(2):
        given = n.floats(2, "bias") * np.float32(n.number("beta", 1.0))
        if given.ndim > 2 or (given.ndim == 2 and given.shape[0] != 1) or given.size not in (1, weights.shape[0]):
            raise RefusedError(f"its bias of shape {list(given.shape)} is not one value a column")
        bias = np.broadcast_to(given.reshape(-1), (weights.shape[0],))
    return layers.linear(n.b, x, weights, bias)


def _matmul(n: NodeContext) -> Value:
    weights = n.value(1)
    if isinstance(weights, Tensor) or (weights.ndim > 2 and len(n.x().shape) > 1):
        return blocks.product(n.b, n.x(), n.x(1))
    if weights.ndim == 1:
        made = layers.linear(n.b, n.x(), n.floats(1, "weights")[None], None)
        return n.b.reshape(made, made.shape[:-1])
    if weights.ndim != 2:
        raise RefusedError("it multiplies a vector by several matrices")
    return layers.linear(n.b, n.x(), n.floats(1, "weights").T, None)


def _pool(*, maximum: bool) -> Converter:
    def convert(n: NodeContext) -> Value:
        x, kernel = n.x(), n.ints("kernel_shape")
        if kernel is None or len(n.node.outputs) != 1:
            raise RefusedError("its kernel_shape is missing, or indices are asked for")
        if n.integer("storage_order", 0):
            raise RefusedError("only its storage_order 0 is supported")
        counted = bool(n.integer("count_include_pad", 0))
        return layers.pool(n.b, x, _window(n, x, kernel), maximum=maximum, count_padding=counted)

    return convert


def _global_average(n: NodeContext) -> Value:
    x = n.x()
    return layers.mean(n.b, x, range(2, len(x.shape)), keep=True)


def _global_maximum(n: NodeContext) -> Value:
    x = n.x()
    rank = len(x.shape) - 2
    zero, one = (0,) * rank, (1,) * rank
    window = layers.WindowMoves(size=x.shape[2:], stride=one, dilation=one, before=zero, after=zero)
    return layers.pool(n.b, x, window, maximum=True)


def _reduce_mean(n: NodeContext) -> Value:
    x, axes = n.x(), n.integers_or(1, "axes")
    if not axes and n.integer("noop_with_empty_axes", 0):
        return x
    chosen = range(len(x.shape)) if not axes else [axis_of(axis, len(x.shape)) for axis in axes]
    return layers.mean(n.b, x, chosen, keep=bool(n.integer("keepdims", 1)))


def _batch_normalisation(n: NodeContext) -> Value:
    if n.integer("training_mode", 0) or len(n.node.outputs) != 1:
        raise RefusedError("it normalises by the batch as in training: export the model in evaluation mode")
    scale, shift, mean, variance = (n.floats(i, "statistics").astype(np.float64) for i in (1, 2, 3, 4))
    factor = scale / np.sqrt(variance + n.number("epsilon", 1e-5))
    moved = shift - mean * factor
    return layers.scale_and_shift(n.b, n.x(), factor.astype(np.float32), moved.astype(np.float32))


def _layer_normalisation(n: NodeContext) -> tuple[Value, ...]:
    x = n.x()
    axes = range(n.axis("axis", -1, len(x.shape)), len(x.shape))
    scale, shift = n.floats(1, "scale"), n.floats(2, "shift") if n.has(2) else None
    return blocks.normalised(n.b, x, axes, scale, shift, n.number("epsilon", 1e-5))


def _softmax(n: NodeContext) -> Value:
    x = n.x()
    if n.opset >= 13:
        return layers.softmax(n.b, x, n.axis("axis", -1, len(x.shape)))
    axis = n.axis("axis", 1, len(x.shape))
    rows = int(np.prod(x.shape[:axis]))
    return n.b.reshape(layers.softmax(n.b, n.b.reshape(x, (rows, x.elements // rows)), 1), x.shape)


def _unary(kind: type[Operator]) -> Converter:
    return lambda n: n.b.unary(kind, n.x())


def _leaky_relu(n: NodeContext) -> Value:
    return n.b.unary(LeakyRelu, n.x(), alpha=n.number("alpha", 0.01))


def _clip(n: NodeContext) -> Value:
    low = _bound(n, 1, "min", -np.inf)
    high = _bound(n, 2, "max", np.inf)
    kinds: Mapping[tuple[float, float], type[Operator]] = {(0.0, np.inf): Relu, (0.0, 6.0): Relu6}
    if (low, high) == (-np.inf, np.inf):
        return n.x()
    if (low, high) not in kinds:
        raise RefusedError(f"it clips to {low} ... {high}; 0 and up, and 0 ... 6, are supported")
    return n.b.unary(kinds[low, high], n.x())


def _bound(n: NodeContext, position: int, attribute: str, default: float) -> float:
    if n.has(position):
        value = n.constant(position, attribute)
        if value.size != 1:
            raise RefusedError(f"its {attribute} is not one value")
        found = float(value.reshape(-1)[0])
    else:
        raw = n.node.attributes.get(attribute, default)
        found = float(raw) if isinstance(raw, int | float) else default
    most = float(np.finfo(np.float32).max)
    return default if abs(found) >= most else found


def _hard_sigmoid(n: NodeContext) -> Value:
    return _ramp(n, n.x(), n.number("alpha", 0.2), n.number("beta", 0.5))


def _hard_swish(n: NodeContext) -> Value:
    x = n.x()
    return n.b.binary(Mul, x, _ramp(n, x, 1 / 6, 0.5))


def _ramp(n: NodeContext, x: Tensor, slope: float, offset: float) -> Tensor:
    """min(max(slope * x + offset, 0), 1), by way of Relu6."""
    wide = n.b.binary(Mul, x, n.b.constant(6 * slope, "slope"))
    clamped = n.b.unary(Relu6, n.b.binary(Add, wide, n.b.constant(6 * offset, "offset")))
    return n.b.binary(Mul, clamped, n.b.constant(1 / 6, "sixth"))


LAYERS: Mapping[str, Converter] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MaxPool": _pool(maximum=True),
    "AveragePool": _pool(maximum=False),
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_maximum,
    "ReduceMean": _reduce_mean,
    "BatchNormalization": _batch_normalisation,
    "LayerNormalization": _layer_normalisation,
    "Gelu": lambda n: f.gelu(n.b, n.x()),
    "Exp": lambda n: f.elementwise(n.b, "Exp", n.x()),
    "Neg": lambda n: f.elementwise(n.b, "Neg", n.x()),
    "Abs": lambda n: f.elementwise(n.b, "Abs", n.x()),
    "Sqrt": lambda n: f.elementwise(n.b, "Sqrt", n.x()),
    "Softmax": _softmax,
    "Relu": _unary(Relu),
    "Sigmoid": _unary(Logistic),
    "Tanh": _unary(Tanh),
    "LeakyRelu": _leaky_relu,
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
}
