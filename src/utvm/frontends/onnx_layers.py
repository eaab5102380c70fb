"""ONNX layers with weights or windows, normalisation, activations, softmax."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from utvm.frontends import blocks
from utvm.frontends import channels_first as layers
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.refusal import RefusedError, axis_of, broadcast_shape
from utvm.frontends.transposed import transposed_convolution
from utvm.graph import Add, Mul, Tensor

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


def convolution(n: NodeContext) -> Value:
    """Conv: weights are constant."""
    x, weights = n.x(), n.floats(1, "weights")
    bias = n.floats(2, "bias") if n.has(2) else None
    kernel = n.ints("kernel_shape", weights.shape[2:])
    if kernel != weights.shape[2:]:
        raise RefusedError(f"its kernel_shape {kernel} is not that of its weights, {list(weights.shape)}")
    return layers.convolution(n.b, x, weights, bias, _window(n, x, weights.shape[2:]), n.integer("group", 1))


def gemm(n: NodeContext) -> Value:
    """Gemm: a product of matrices, and a sum."""
    if isinstance(n.value(1), Tensor) or (n.has(2) and isinstance(n.value(2), Tensor)):
        return _gemm_of_activations(n)
    x, weights = n.x(), n.floats(1, "weights")
    if len(x.shape) != 2 or weights.ndim != 2:
        raise RefusedError("its operands are no matrices")
    weights = weights * np.float32(n.number("alpha", 1.0))
    x = n.b.transpose(x, (1, 0)) if n.integer("transA", 0) else x
    weights = weights if n.integer("transB", 0) else weights.T
    if not n.has(2):
        return layers.linear(n.b, x, weights, None)
    given, shape = n.floats(2, "bias") * np.float32(n.number("beta", 1.0)), (x.shape[0], weights.shape[0])
    if given.ndim > 2 or np.broadcast_shapes(given.shape, shape) != shape:
        raise RefusedError(f"its bias of shape {list(given.shape)} does not fit a result of shape {list(shape)}")
    if given.ndim == 2 and given.shape[0] != 1:
        return n.b.binary(Add, layers.linear(n.b, x, weights, None), n.b.constant(given, "bias"))
    return layers.linear(n.b, x, weights, np.broadcast_to(given.reshape(-1), shape[1:]))


def _gemm_of_activations(n: NodeContext) -> Value:
    """Return a product whose weights or bias are computed."""
    x, weights, turned = n.x(), n.value(1), bool(n.integer("transB", 0))
    if len(x.shape) != 2 or len(weights.shape) != 2:
        raise RefusedError("its operands are no matrices")
    x = n.b.transpose(x, (1, 0)) if n.integer("transA", 0) else x
    if isinstance(weights, Tensor):
        made = blocks.product(n.b, x, weights, turned=turned)
    else:
        made = layers.linear(n.b, x, n.floats(1, "weights") if turned else n.floats(1, "weights").T, None)
    made = _times(n, made, "alpha")
    if not n.has(2):
        return made
    bias = _times(n, n.x(2), "beta")
    if broadcast_shape(made.shape, bias.shape) != made.shape:
        raise RefusedError(f"its bias of shape {list(bias.shape)} does not fit a result of shape {list(made.shape)}")
    return n.b.binary(Add, made, bias)


def _times(n: NodeContext, x: Tensor, attribute: str) -> Tensor:
    factor = n.number(attribute, 1.0)
    return x if factor == 1 else n.b.binary(Mul, x, n.b.constant(factor, attribute))


def matrix_product(n: NodeContext) -> Value:
    """MatMul: of vectors, matrices, and stacks of these."""
    weights = n.value(1)
    if len(n.x().shape) == 1 and len(weights.shape) > 1:
        made = blocks.product(n.b, n.b.reshape(n.x(), (1, *n.x().shape)), n.x(1))
        return n.b.reshape(made, (*made.shape[:-2], made.shape[-1]))
    if isinstance(weights, Tensor) and len(weights.shape) == 1:
        made = blocks.product(n.b, n.x(), n.b.reshape(weights, (*weights.shape, 1)))
        return n.b.reshape(made, made.shape[:-1])
    if isinstance(weights, Tensor) or weights.ndim > 2:
        return blocks.product(n.b, n.x(), n.x(1))
    if weights.ndim == 1:
        made = layers.linear(n.b, n.x(), n.floats(1, "weights")[None], None)
        return n.b.reshape(made, made.shape[:-1])
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


def _conv_transposed(n: NodeContext) -> Value:
    x, weights = n.x(), n.floats(1, "weights")
    rank = len(x.shape) - 2
    kernel, stride = weights.shape[2:], n.ints("strides", (1,) * rank) or ()
    dilation, extra = n.ints("dilations", (1,) * rank) or (), n.ints("output_padding", (0,) * rank) or ()
    pads, auto, given = n.ints("pads", (0,) * (2 * rank)) or (), n.text("auto_pad", "NOTSET"), n.ints("output_shape")
    if len(kernel) != rank or len(pads) != 2 * rank or any(len(v) != rank for v in (stride, dilation, extra)):
        raise RefusedError(f"its kernel {list(kernel)} or pads do not fit an input of shape {list(x.shape)}")
    full = [
        (size - 1) * s + d * (k - 1) + e + 1
        for size, s, d, k, e in zip(x.shape[2:], stride, dilation, kernel, extra, strict=True)
    ]
    if auto in ("SAME_UPPER", "SAME_LOWER") and given is None:
        given = tuple(size * s for size, s in zip(x.shape[2:], stride, strict=True))
    if given is not None:
        # What is too much is cut at both ends; the odd one at the end, or at the front with SAME_LOWER alone.
        sizes = list(given)[-rank:]
        total = [whole - size for whole, size in zip(full, sizes, strict=True)]
        before = [each - each // 2 if auto == "SAME_LOWER" else each // 2 for each in total]
    else:
        pads = pads if auto in ("NOTSET", "") else (0,) * (2 * rank)
        before = list(pads[:rank])
        sizes = [whole - a - b for whole, a, b in zip(full, before, pads[rank:], strict=True)]
    if min(before, default=0) < 0:
        raise RefusedError(f"its result of {sizes} pixels is larger than what its taps reach")
    return transposed_convolution(
        *(n.b, x, weights, n.floats(2, "bias") if n.has(2) else None),
        stride=stride,
        dilation=dilation,
        before=before,
        sizes=sizes,
        groups=n.integer("group", 1),
    )


def _instance_normalisation(n: NodeContext) -> Value:
    x = n.x()
    made = blocks.grouped_normalised(n.b, x, x.shape[1], n.number("epsilon", 1e-5))
    return blocks.per_channel(n.b, made, n.floats(1, "scale"), n.floats(2, "shift"))


def _group_normalisation(n: NodeContext) -> Value:
    x, groups = n.x(), n.integer("num_groups", 0)
    made = blocks.grouped_normalised(n.b, x, groups, n.number("epsilon", 1e-5))
    values = [n.floats(i, "scale") for i in (1, 2)]
    if n.opset < 21:
        values = [np.repeat(each, x.shape[1] // groups) for each in values]
    return blocks.per_channel(n.b, made, *values)


def _root_normalisation(n: NodeContext) -> Value:
    x = n.x()
    axes = range(n.axis("axis", -1, len(x.shape)), len(x.shape))
    return blocks.root_normalised(n.b, x, axes, n.floats(1, "scale"), n.number("epsilon", 1e-5))


LAYERS: Mapping[str, Converter] = {
    "Conv": convolution,
    "Gemm": gemm,
    "MatMul": matrix_product,
    "MaxPool": _pool(maximum=True),
    "AveragePool": _pool(maximum=False),
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_maximum,
    "ReduceMean": _reduce_mean,
    "BatchNormalization": _batch_normalisation,
    "LayerNormalization": _layer_normalisation,
    "Softmax": _softmax,
    "ConvTranspose": _conv_transposed,
    "InstanceNormalization": _instance_normalisation,
    "GroupNormalization": _group_normalisation,
    "RMSNormalization": _root_normalisation,
}
