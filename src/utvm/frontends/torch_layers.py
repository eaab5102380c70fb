"""What layers of PyTorch become: one function each, from a call of torch.export's graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends import activations as f
from utvm.frontends import blocks
from utvm.frontends import channels_first as layers
from utvm.frontends.borders import cut
from utvm.frontends.interpolation import along, averaged, interpolated, part
from utvm.frontends.refusal import RefusedError
from utvm.frontends.torch_functions import FUNCTIONS
from utvm.frontends.torch_movement import MOVEMENT
from utvm.frontends.torch_node import TRAINING, TorchNode, Value, tuple_of
from utvm.frontends.torch_recurrent import RECURRENT
from utvm.frontends.transposed import transposed_convolution
from utvm.graph import Add, CumulativeSum, Tensor

Converter = Callable[[TorchNode], Value | tuple[Value, ...]]


def _conv(n: TorchNode) -> Value:
    (x, rank), weights = n.image(), n.weights()
    padding = n.arg(4, "padding", 0)
    before = (0,) * rank if isinstance(padding, str) else tuple_of(padding, rank)
    window = layers.WindowMoves(
        size=weights.shape[2:],
        stride=tuple_of(n.arg(3, "stride", 1), rank),
        dilation=tuple_of(n.arg(5, "dilation", 1), rank),
        before=before,
        after=before,
    )
    if padding == "same":
        window = layers.same_window(window, x.shape[2:], more_before=False)
    return layers.convolution(n.b, x, weights, n.constant(2, "bias"), window, int(n.arg(6, "groups", 1)))


def _conv_transposed(n: TorchNode) -> Value:
    x, rank = n.image()
    return _transposed(n, x, rank, n.arg(5, "output_padding", 0), n.arg(6, "groups", 1), n.arg(7, "dilation", 1))


def _transposed(n: TorchNode, x: Tensor, rank: int, extra: Any, groups: int, dilation: Any) -> Value:
    weights = n.weights()
    stride, before = tuple_of(n.arg(3, "stride", 1), rank), tuple_of(n.arg(4, "padding", 0), rank)
    dilation, extra = tuple_of(dilation, rank), tuple_of(extra, rank)
    sizes = [
        (size - 1) * s - 2 * p + d * (k - 1) + e + 1
        for size, s, p, d, k, e in zip(x.shape[2:], stride, before, dilation, weights.shape[2:], extra, strict=True)
    ]
    return transposed_convolution(
        *(n.b, x, weights, n.constant(2, "bias")),
        stride=stride,
        dilation=dilation,
        before=before,
        sizes=sizes,
        groups=int(groups),
    )


def _convolution(n: TorchNode) -> Value:
    """The one call that stands for all convolutions after decompositions."""
    x = n.x()
    rank = len(x.shape) - 2
    stride, padding, dilation = (tuple_of(n.arg(i, ""), rank) for i in (3, 4, 5))
    if n.arg(6, "transposed"):
        return _transposed(n, x, rank, n.arg(7, "output_padding"), n.arg(8, "groups"), dilation)
    weights = n.weights()
    window = layers.WindowMoves(size=weights.shape[2:], stride=stride, dilation=dilation, before=padding, after=padding)
    return layers.convolution(n.b, x, weights, n.constant(2, "bias"), window, int(n.arg(8, "groups", 1)))


def _batch_norm(n: TorchNode) -> Value:
    if n.arg(5, "training", False):
        raise RefusedError(TRAINING)
    return _normalised_by(n, float(n.arg(7, "eps", 1e-5)))


def _native_batch_norm(n: TorchNode) -> tuple[Value, ...]:
    return (_normalised_by(n, float(n.arg(6, "eps", 1e-5))),)


def _normalised_by(n: TorchNode, epsilon: float) -> Value:
    x = n.x()
    mean, variance = n.weights(3).astype(np.float64), n.weights(4).astype(np.float64)
    scale, shift = n.constant(1, "weight"), n.constant(2, "bias")
    factor = (1.0 if scale is None else scale) / np.sqrt(variance + epsilon)
    moved = (0.0 if shift is None else shift) - mean * factor
    return layers.scale_and_shift(n.b, x, factor.astype(np.float32), moved.astype(np.float32))


def _linear(n: TorchNode) -> Value:
    if isinstance(n.arg(1, "weight"), Tensor) or isinstance(n.arg(2, "bias"), Tensor):
        made = blocks.product(n.b, n.x(), n.x(1), turned=True)
        return made if n.arg(2, "bias") is None else n.b.binary(Add, made, n.x(2))
    return layers.linear(n.b, n.x(), n.weights(), n.constant(2, "bias"))


def _addmm(n: TorchNode) -> Value:
    if n.number(3, "beta", 1.0) != 1 or n.number(4, "alpha", 1.0) != 1:
        raise RefusedError("it scales its operands (alpha, beta)")
    weights, bias = n.arg(2, "mat2"), n.arg(0, "self")
    if isinstance(weights, Tensor) or isinstance(bias, Tensor) or np.ndim(bias) != 1:
        return n.b.binary(Add, blocks.product(n.b, n.x(1), n.x(2)), n.x(0))
    return layers.linear(n.b, n.x(1), np.ascontiguousarray(n.weights(2).T), np.asarray(bias, np.float32))


def _pool(*, maximum: bool) -> Converter:
    def convert(n: TorchNode) -> Value:
        x, rank = n.image()
        if n.arg(6, "divisor_override") is not None:
            raise RefusedError("it divides by a number of its own (divisor_override)")
        size = tuple_of(n.arg(1, "kernel_size"), rank)
        pads = tuple_of(n.arg(3, "padding", 0), rank)
        dilation = tuple_of(n.arg(4, "dilation", 1), rank) if maximum else (1,) * rank
        ceil = bool(n.arg(5 if maximum else 4, "ceil_mode", False))
        stride = tuple_of(n.arg(2, "stride", ()) or size, rank)
        window = layers.WindowMoves(size=size, stride=stride, dilation=dilation, before=pads, after=pads, ceil=ceil)
        counted = not maximum and bool(n.arg(5, "count_include_pad", True))
        return layers.pool(n.b, x, window, maximum=maximum, count_padding=counted)

    return convert


def _with_places(convert: Converter) -> Converter:
    """The maximum of a call that also gives where it is: that is not supported."""

    def first(n: TorchNode) -> tuple[Value, ...]:
        made = convert(n)
        assert not isinstance(made, tuple)
        return (made,)

    return first


def _adaptive(*, maximum: bool) -> Converter:
    def convert(n: TorchNode) -> Value:
        x, rank = n.image()
        given = n.arg(1, "output_size")
        several = [given] * rank if isinstance(given, int) else list(given) * (rank if len(given) == 1 else 1)
        wanted = tuple(size if out is None else int(out) for size, out in zip(x.shape[2:], several, strict=True))
        if set(wanted) == {1} and not maximum:
            return layers.mean(n.b, x, range(2, 2 + rank), keep=True)
        if not any(size % out for size, out in zip(x.shape[2:], wanted, strict=True)):
            size = tuple(size // out for size, out in zip(x.shape[2:], wanted, strict=True))
            none = (0,) * rank
            window = layers.WindowMoves(size=size, stride=size, dilation=(1,) * rank, before=none, after=none)
            return layers.pool(n.b, x, window, maximum=maximum)
        for axis, (before, after) in enumerate(zip(x.shape[2:], wanted, strict=True), 2):
            if before != after:
                x = _largest(n, x, axis, after) if maximum else along(n.b, x, axis, averaged(before, after))
        return x

    return convert


def _largest(n: TorchNode, x: Tensor, axis: int, target: int) -> Tensor:
    """Return the maxima over parts that need not be equal, along one dimension."""
    size = x.shape[axis]
    parts = [part(index, size, target) for index in range(target)]
    taken = [cut(n.b, x, axis, first, last - first) for first, last in parts]
    return n.b.concatenation([f.reduction(n.b, "ReduceMax", each, (axis,), keep=True) for each in taken], axis)


def _upsample(n: TorchNode) -> Value:
    name, _, overload = n.kind.partition(".")
    x, mode = n.x(), name.lstrip("_").split("upsample_")[-1][:-2]
    mode, exact = mode.removesuffix("-exact").removesuffix("_exact"), "exact" in mode
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    corners = mode != "nearest" and bool(n.arg(2, "align_corners", False))
    at = 2 if mode == "nearest" else 3
    if mode not in ("nearest", "linear", "cubic"):
        raise RefusedError(f"its mode '{mode}' is not supported")
    rank, sizes = len(x.shape) - 2, n.arg(1, "output_size")
    if overload == "vec":
        given = n.arg(at, "scale_factors")
        scales = [None] * rank if given is None else [float(s) for s in given]
    else:
        scales = [n.arg(at + i, "scales") for i in range(rank)]
    if sizes is None:
        sizes = [int(size * (scale or 1)) for size, scale in zip(x.shape[2:], scales, strict=True)]
    kind = "nearest-exact" if exact else mode
    return interpolated(n.b, x, [int(size) for size in sizes], scales, kind, align_corners=corners)


def _mean(n: TorchNode) -> Value:
    return layers.mean(n.b, n.x(), n.axes(1, "dim"), keep=bool(n.arg(2, "keepdim", False)))


def _reduced(name: str) -> Converter:
    return lambda n: f.reduction(n.b, name, n.x(), n.axes(1, "dim"), keep=bool(n.arg(2, "keepdim", False)))


def _extreme(name: str) -> Converter:
    """The extreme of all, or of two tensors."""

    def convert(n: TorchNode) -> Value | tuple[Value, ...]:
        overload = n.kind.partition(".")[2]
        if overload == "other":
            return f.elementwise(n.b, "Maximum" if name == "ReduceMax" else "Minimum", n.x(0), n.x(1))
        return _reduced(name)(n)

    return convert


def _with_extreme(name: str) -> Converter:
    """Extremes along a dimension and their places."""

    def convert(n: TorchNode) -> Value | tuple[Value, ...]:
        overload = n.kind.partition(".")[2]
        if overload != "dim":
            return _extreme(name)(n)
        axis, keep = n.axis(1, "dim"), bool(n.arg(2, "keepdim", False))
        most = f.reduction(n.b, name, n.x(), (axis,), keep=keep)
        return most, f.places(n.b, f"Arg{name.removeprefix('Reduce')}", n.x(), axis, keep=keep)

    return convert


def _places(name: str) -> Converter:
    def convert(n: TorchNode) -> Value:
        axis = None if n.arg(1, "dim") is None else n.axis(1, "dim")
        return f.places(n.b, name, n.x(), axis, keep=bool(n.arg(2, "keepdim", False)))

    return convert


def _cumulative(n: TorchNode) -> Value:
    x = n.x()
    return n.b.add(CumulativeSum, x.shape, x=x, axis=n.axis(1, "dim"))


def _deviation(*, root: bool) -> Converter:
    def convert(n: TorchNode) -> Value:
        x = n.x()
        if isinstance(n.arg(1, "dim"), bool):
            unbiased, axes, keep = n.arg(1, "unbiased"), tuple(range(len(x.shape))), False
        elif n.kind.endswith("correction"):
            unbiased, axes, keep = n.named.get("correction", 1), n.axes(1, "dim"), n.named.get("keepdim", False)
        else:
            unbiased, axes, keep = n.arg(2, "unbiased", True), n.axes(1, "dim"), n.arg(3, "keepdim", False)
        less = float(1 if unbiased is None else unbiased)
        made = blocks.variance(n.b, x, axes, less, keep=bool(keep))
        return f.elementwise(n.b, "Sqrt", made) if root else made

    return convert


def _matmul(n: TorchNode) -> Value:
    weights = n.arg(1, "other")
    if isinstance(weights, Tensor) or not isinstance(n.arg(0, "self"), Tensor) or np.ndim(weights) > 2:
        return blocks.product(n.b, n.x(0), n.x(1))
    known = n.weights()
    if known.ndim == 1:
        made = layers.linear(n.b, n.x(), known[None], None)
        return n.b.reshape(made, made.shape[:-1])
    return layers.linear(n.b, n.x(), np.ascontiguousarray(known.T), None)


def _einsum(n: TorchNode) -> Value:
    xs: Any = n.arg(1, "tensors")
    known = [x if isinstance(x, Tensor) else n.b.constant(np.asarray(x, np.float32)) for x in xs]
    return blocks.contracted(n.b, str(n.arg(0, "equation")), known)


def _layer_norm(n: TorchNode) -> Value:
    x, rank = n.x(), len(n.arg(1, "normalized_shape"))
    axes = range(len(x.shape) - rank, len(x.shape))
    scale, shift = n.constant(2, "weight"), n.constant(3, "bias")
    return blocks.normalised(n.b, x, axes, scale, shift, float(n.arg(4, "eps", 1e-5)))[0]


def _native_layer_norm(n: TorchNode) -> tuple[Value, ...]:
    return (_layer_norm(n),)


def _rms_norm(n: TorchNode) -> Value:
    x, rank = n.x(), len(n.arg(1, "normalized_shape"))
    axes = range(len(x.shape) - rank, len(x.shape))
    epsilon = n.arg(3, "eps")
    least = float(np.finfo(np.float32).eps) if epsilon is None else float(epsilon)
    return blocks.root_normalised(n.b, x, axes, n.constant(2, "weight"), least)


def _group_norm(n: TorchNode) -> Value:
    made = blocks.grouped_normalised(n.b, n.x(), int(n.arg(1, "num_groups")), float(n.arg(4, "eps", 1e-5)))
    return blocks.per_channel(n.b, made, n.constant(2, "weight"), n.constant(3, "bias"))


def _instance_norm(n: TorchNode) -> Value:
    x = n.x()
    if not n.arg(5, "use_input_stats", True):
        return _normalised_by(n, float(n.arg(7, "eps", 1e-5)))
    made = blocks.grouped_normalised(n.b, x, x.shape[1], float(n.arg(7, "eps", 1e-5)))
    return blocks.per_channel(n.b, made, n.constant(1, "weight"), n.constant(2, "bias"))


def _norm(n: TorchNode) -> Value:
    order = n.arg(1, "p", 2)
    if order not in (None, 1, 2):
        raise RefusedError(f"its order is {order}; 1 and 2 are supported")
    x, axes, keep = n.x(), n.axes(2, "dim"), bool(n.arg(3, "keepdim", False))
    if order == 1:
        return f.reduction(n.b, "Sum", f.elementwise(n.b, "Abs", x), axes, keep=keep)
    return blocks.length(n.b, x, axes, keep=keep)


def _attention(n: TorchNode) -> Value:
    if n.arg(4, "dropout_p", 0.0) != 0:
        raise RefusedError(TRAINING)
    mask: Tensor | NDArray[Any] | None = n.arg(3, "attn_mask")
    query, key, value = (n.x(i) for i in range(3))
    if n.arg(7, "enable_gqa", False):
        raise RefusedError("it shares keys among heads")
    if isinstance(mask, Tensor):
        if n.arg(5, "is_causal", False):
            raise RefusedError("it has a mask and is causal")
        return blocks.attention(n.b, query, key, value, n.arg(6, "scale"), mask)
    if n.arg(5, "is_causal", False):
        mask = np.tri(query.shape[-2], key.shape[-2], dtype=bool)
    if mask is not None and mask.dtype == bool:
        mask = np.where(mask, 0.0, -np.inf)
    floats = None if mask is None else np.asarray(mask, np.float32)
    return blocks.attention(n.b, query, key, value, n.arg(6, "scale"), floats)


def _softmax(n: TorchNode) -> Value:
    return layers.softmax(n.b, n.x(), n.axis(1, "dim", -1))


def _log_softmax(n: TorchNode) -> Value:
    return f.log_softmax(n.b, n.x(), n.axis(1, "dim", -1))


LAYERS: Mapping[str, Converter] = {
    **{f"conv{d}d": _conv for d in (1, 2)},
    **{f"conv_transpose{d}d": _conv_transposed for d in (1, 2)},
    "convolution": _convolution,
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _native_batch_norm,
    "linear": _linear,
    "addmm": _addmm,
    **{f"max_pool{d}d": _pool(maximum=True) for d in (1, 2)},
    **{f"max_pool{d}d_with_indices": _with_places(_pool(maximum=True)) for d in (1, 2)},
    **{f"avg_pool{d}d": _pool(maximum=False) for d in (1, 2)},
    **{f"adaptive_avg_pool{d}d": _adaptive(maximum=False) for d in (1, 2)},
    **{f"_adaptive_avg_pool{d}d": _adaptive(maximum=False) for d in (1, 2)},
    **{f"adaptive_max_pool{d}d": _with_places(_adaptive(maximum=True)) for d in (1, 2)},
    **{f"upsample_{mode}": _upsample for mode in ("nearest1d", "nearest2d", "linear1d", "bilinear2d", "bicubic2d")},
    **{f"_upsample_nearest_exact{d}d": _upsample for d in (1, 2)},
    "mean": _mean,
    "sum": _reduced("Sum"),
    "logsumexp": lambda n: f.log_sum(n.b, n.x(), n.axes(1, "dim"), keep=bool(n.arg(2, "keepdim", False))),
    "amax": _reduced("ReduceMax"),
    "amin": _reduced("ReduceMin"),
    "max": _with_extreme("ReduceMax"),
    "min": _with_extreme("ReduceMin"),
    "argmax": _places("ArgMax"),
    "argmin": _places("ArgMin"),
    "cumsum": _cumulative,
    "var": _deviation(root=False),
    "std": _deviation(root=True),
    **dict.fromkeys(("matmul", "bmm", "mm"), _matmul),
    "einsum": _einsum,
    "layer_norm": _layer_norm,
    "native_layer_norm": _native_layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    **dict.fromkeys(("norm", "linalg_vector_norm"), _norm),
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("softmax", "_softmax"), _softmax),
    **dict.fromkeys(("log_softmax", "_log_softmax"), _log_softmax),
}
CONVERTERS: Mapping[str, Converter] = {**LAYERS, **FUNCTIONS, **MOVEMENT, **RECURRENT}
"""Call → what makes it."""
