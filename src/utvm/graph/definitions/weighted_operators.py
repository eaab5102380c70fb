"""What weighted operators compute: sums of (x - zero point) * weight, and the way to int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from utvm.compute import Affine, Apply, Buffer, Compute, Const, Expr, Helper, HelperCall, Load, Reduced, axis, number
from utvm.graph.arithmetic import channel_requantization
from utvm.graph.definitions.definition import Constants, Definition
from utvm.graph.formulas import CLAMP, REQUANTIZE, REQUANTIZE_HALF_UP, REQUANTIZE_SINGLE
from utvm.graph.operators import Conv2D, DepthwiseConv2D, FullyConnected, Rounding, Weighted
from utvm.numerics import multiply_by_quantized_multiplier

_ROUNDINGS = {
    Rounding.DOUBLE: REQUANTIZE,
    Rounding.SINGLE: REQUANTIZE_SINGLE,
    Rounding.HALF_UP_SHIFT: REQUANTIZE_HALF_UP,
}
SCALE_RIGHT = Helper(
    name="utvm_scale_right",
    evaluate=lambda x, multiplier, right: multiply_by_quantized_multiplier(x, multiplier, -right),
)
"""Double rounding without shifts to the left, of sums that have a bit to spare."""

_LARGEST_SUM = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a weighted operator multiplies, whatever the types.

    Attributes:
        space: axes of the output.
        reduce: axes of the sum.
        x: the element that is read; outside of the input it is the zero point.
        weight: where its weight is.
        channel: the output channel.
        index: where the sum is written.
    """

    space: Mapping[str, int]
    reduce: Mapping[str, int]
    x: Load
    weight: tuple[Affine, ...]
    channel: Affine
    index: tuple[Affine, ...]

    def output(self, op: Weighted) -> Buffer:
        """Return what is written."""
        shape = tuple(self.space.values()) if isinstance(op, FullyConnected) else op.y.shape
        return Buffer(name="y", c_type=op.y.dtype.c_type, shape=shape)

    def weights(self, op: Weighted) -> Load:
        """Return the weight of a term."""
        buffer = Buffer(name="weights", c_type=op.weights.dtype.c_type, shape=op.weights.shape)
        return Load(buffer=buffer, index=self.weight)


def weighted(op: Weighted) -> Definition:
    """Return the definition of a weighted operator; weights and biases are constants of it."""
    compute, constants = weighted_compute(op)
    x = next(b for b in compute.buffers if b.name == "x")
    return Definition(stages=(compute,), inputs={x.name: op.x}, constants=constants)


def weighted_compute(op: Weighted) -> tuple[Compute, Constants]:
    """Return what a weighted operator computes, and the values of its constants."""
    return _sum(op, terms_of(op))


def terms_of(op: Weighted) -> Terms:
    """Return what a weighted operator multiplies."""
    if isinstance(op, FullyConnected):
        return _fully_connected(op)
    return _depthwise(op) if isinstance(op, DepthwiseConv2D) else _conv2d(op)


def _conv2d(op: Conv2D) -> Terms:
    """Axes n, oy, ox, oc over the output, with g before oc where there are groups; ky, kx, ic over the sum."""
    channels, height, width, depth = op.weights.shape
    groups = op.groups
    made = channels // groups
    channel, read = axis("oc"), axis("ic")
    if groups > 1:
        channel, read = axis("g") * made + axis("oc"), axis("g") * depth + axis("ic")
    batch, rows, columns, _ = op.y.shape
    space = {"n": batch, "oy": rows, "ox": columns, **({"g": groups} if groups > 1 else {}), "oc": made}
    return Terms(
        space=space,
        reduce={"ky": height, "kx": width, "ic": depth},
        x=Load(
            buffer=Buffer(name="x", c_type=op.x.dtype.c_type, shape=op.x.shape),
            index=(axis("n"), *_window(op), read),
            outside=op.x.zero_point,
        ),
        weight=(channel, axis("ky"), axis("kx"), axis("ic")),
        channel=channel,
        index=(axis("n"), axis("oy"), axis("ox"), channel),
    )


def _depthwise(op: DepthwiseConv2D) -> Terms:
    """Axes n, oy, ox, c over the output, with e over the outputs of a channel where there are several; ky, kx."""
    _, height, width, _ = op.weights.shape
    many = op.multiplier
    channel = axis("c") if many == 1 else axis("c") * many + axis("e")
    batch, rows, columns, _ = op.y.shape
    space = {"n": batch, "oy": rows, "ox": columns, "c": op.x.shape[3], **({"e": many} if many > 1 else {})}
    return Terms(
        space=space,
        reduce={"ky": height, "kx": width},
        x=Load(
            buffer=Buffer(name="x", c_type=op.x.dtype.c_type, shape=op.x.shape),
            index=(axis("n"), *_window(op), axis("c")),
            outside=op.x.zero_point,
        ),
        weight=(number(0), axis("ky"), axis("kx"), channel),
        channel=channel,
        index=(axis("n"), axis("oy"), axis("ox"), channel),
    )


def _fully_connected(op: FullyConnected) -> Terms:
    """Axes p, oc over the output, k over the sum."""
    units, inputs = op.weights.shape
    rows = op.x.elements // inputs
    return Terms(
        space={"p": rows, "oc": units},
        reduce={"k": inputs},
        x=Load(
            buffer=Buffer(name="x", c_type=op.x.dtype.c_type, shape=(rows, inputs)),
            index=(axis("p"), axis("k")),
            outside=op.x.zero_point,
        ),
        weight=(axis("oc"), axis("k")),
        channel=axis("oc"),
        index=(axis("p"), axis("oc")),
    )


def _window(op: Conv2D | DepthwiseConv2D) -> tuple[Affine, Affine]:
    """Return the row and the column that a tap reads."""
    y = axis("oy") * op.stride[0] + axis("ky") * op.dilation[0] + -op.padding.top
    x = axis("ox") * op.stride[1] + axis("kx") * op.dilation[1] + -op.padding.left
    return y, x


def _sum(op: Weighted, terms: Terms) -> tuple[Compute, Constants]:
    table = channel_requantization(op)
    channels = table.multiplier.size
    stored = slice(1) if table.uniform else slice(None)
    constants = {
        "weights": op.weights.values,
        "bias": np.zeros(channels, np.int32) if op.bias is None else op.bias.values,
        "multiplier": table.multiplier[stored],
        "shift": table.shift[stored].astype(np.int8),
    }
    helper = _ROUNDINGS[op.rounding]
    if _scales_right(op, constants):
        helper, constants = SCALE_RIGHT, {**constants, "shift": -constants["shift"]}
    channel = terms.channel
    place = number(0) if table.uniform else channel
    multiplier, shift = (
        Load(buffer=Buffer(name=name, c_type=c_type, shape=constants[name].shape), index=(place,))
        for name, c_type in (("multiplier", "int32_t"), ("shift", "int8_t"))
    )
    scaled: Expr = HelperCall(helper=helper, arguments=(Reduced(), multiplier, shift))
    if op.y.zero_point:
        scaled = Apply(operation="+", left=scaled, right=Const(value=op.y.zero_point))
    low, high = op.clamp
    value: Expr = terms.x
    if op.x.zero_point:
        value = Apply(operation="-", left=value, right=Const(value=op.x.zero_point))
    compute = Compute(
        space=terms.space,
        reduce=terms.reduce,
        init=Load(buffer=Buffer(name="bias", c_type="int32_t", shape=(channels,)), index=(channel,)),
        term=Apply(operation="*", left=value, right=terms.weights(op)),
        epilogue=HelperCall(helper=CLAMP, arguments=(scaled, Const(value=low), Const(value=high))),
        output=terms.output(op),
        index=terms.index,
    )
    return compute, constants


def _scales_right(op: Weighted, constants: Constants) -> bool:
    """Whether `SCALE_RIGHT` is exact: all shifts to the right, and no sum near the ends of int32."""
    shift = constants["shift"]
    if op.rounding is not Rounding.DOUBLE or shift.max() > -1 or shift.min() < -30:
        return False
    axes = (0, 1, 2) if isinstance(op, DepthwiseConv2D) else tuple(range(1, op.weights.values.ndim))
    reach = max(127 - op.x.zero_point, op.x.zero_point + 128)
    sums = np.abs(op.weights.values.astype(np.int64)).sum(axis=axes) * reach
    return bool((sums + np.abs(constants["bias"].astype(np.int64))).max() < _LARGEST_SUM)
