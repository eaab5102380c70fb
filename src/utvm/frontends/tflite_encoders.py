"""One function per operator of the graph: its form in a .tflite file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tflite

from utvm.frontends.context import ACTIVATION_RANGES, quantised_range
from utvm.frontends.tflite_encoded import EncodedOperator, UnwritableError, constant_of
from utvm.frontends.tflite_general_encoders import elementwise, reduction
from utvm.graph import (
    FULL_INT8,
    Add,
    AveragePool2D,
    AverageRounding,
    BatchMatMul,
    BatchToSpace,
    Concatenation,
    Conv2D,
    CumulativeSum,
    DepthwiseConv2D,
    Dequantize,
    DType,
    Elementwise,
    FullyConnected,
    Gather,
    GatherNd,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Pad,
    Padding,
    Quantize,
    Reduction,
    Relu,
    Relu6,
    Reshape,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Rounding,
    Softmax,
    SpaceToBatch,
    Split,
    StridedSlice,
    Sub,
    Tanh,
    Tensor,
    Transpose,
    Weighted,
    same_padding,
)

_CODES = tflite.BuiltinOperator


def _activation(clamp: tuple[int, int], y: Tensor) -> int:
    # The whole range of int8 stands for that of any type. NONE also where an activation would clamp nothing.
    if y.dtype is DType.FLOAT32 or clamp == FULL_INT8:
        return int(tflite.ActivationFunctionType.NONE)
    for activation, limits in ACTIVATION_RANGES.items():
        if clamp == quantised_range(y, *limits):
            return int(activation)
    raise UnwritableError(
        f"tensor '{y.name}': no fused activation clamps it to {list(clamp)}",
        "Use a clamp that is none, ReLU, ReLU6 or ReLU from -1 to 1 in units of the output.",
    )


def _padding(
    op: Conv2D | DepthwiseConv2D | MaxPool2D | AveragePool2D, window: tuple[int, ...], dilation: tuple[int, int]
) -> int:
    """Return SAME or VALID, whichever gives the operator's padding and output size."""
    amounts = ((op.padding.top, op.padding.bottom), (op.padding.left, op.padding.right))
    valid, same = op.padding == Padding(), True
    for axis in (0, 1):
        size, out, stride = op.x.shape[axis + 1], op.y.shape[axis + 1], op.stride[axis]
        span = (window[axis] - 1) * dilation[axis] + 1
        valid = valid and size >= span and out == (size - span) // stride + 1
        same = same and (*amounts[axis], out) == same_padding(size, span, stride)
    if not valid and not same:
        raise UnwritableError(
            f"tensor '{op.x.name}': its padding {amounts} is neither SAME nor VALID",
            "Insert a Pad before operators with other padding.",
        )
    return int(tflite.Padding.VALID if valid else tflite.Padding.SAME)


def _weighted(op: Weighted) -> dict[str, Any]:
    if op.rounding is not Rounding.DOUBLE:
        raise UnwritableError(f"rounding {op.rounding} is not TFLite's", "Keep models of other rounding in their form.")
    return {"FusedActivationFunction": _activation(op.clamp, op.y)}


def _convolution(op: Conv2D | DepthwiseConv2D) -> dict[str, Any]:
    return _weighted(op) | {
        "Padding": _padding(op, op.weights.shape[1:3], op.dilation),
        "StrideH": op.stride[0],
        "StrideW": op.stride[1],
        "DilationHFactor": op.dilation[0],
        "DilationWFactor": op.dilation[1],
    }


def _conv2d(op: Conv2D) -> EncodedOperator:
    return EncodedOperator(
        code=_CODES.CONV_2D,
        version=3 if op.groups == 1 else 6,
        inputs=(op.x, op.weights, op.bias),
        outputs=(op.y,),
        options="Conv2DOptions",
        fields=_convolution(op),
    )


def _depthwise(op: DepthwiseConv2D) -> EncodedOperator:
    return EncodedOperator(
        code=_CODES.DEPTHWISE_CONV_2D,
        version=3,
        inputs=(op.x, op.weights, op.bias),
        outputs=(op.y,),
        options="DepthwiseConv2DOptions",
        fields=_convolution(op) | {"DepthMultiplier": op.multiplier},
    )


def _fully_connected(op: FullyConnected) -> EncodedOperator:
    per_channel = op.weights.quant is not None and op.weights.quant.axis is not None
    return EncodedOperator(
        code=_CODES.FULLY_CONNECTED,
        version=12 if per_channel else 6 if op.bias is None else 5 if len(op.y.shape) != 2 else 4,
        inputs=(op.x, op.weights, op.bias),
        outputs=(op.y,),
        options="FullyConnectedOptions",
        fields=_weighted(op) | {"KeepNumDims": len(op.y.shape) != 2},
    )


def _binary(code: int, options: str) -> Callable[[Any], EncodedOperator]:
    def encode(op: Add | Sub | Mul) -> EncodedOperator:
        fields = {"FusedActivationFunction": _activation(op.clamp, op.y)}
        return EncodedOperator(
            code=code, version=2, inputs=(op.a, op.b), outputs=(op.y,), options=options, fields=fields
        )

    return encode


def _pool(code: int) -> Callable[[Any], EncodedOperator]:
    def encode(op: MaxPool2D | AveragePool2D) -> EncodedOperator:
        if isinstance(op, AveragePool2D) and op.rounding is not AverageRounding.HALF_AWAY:
            raise UnwritableError(
                f"rounding {op.rounding} is not TFLite's", "Keep models of other rounding in their form."
            )
        fields = {
            "Padding": _padding(op, op.filter, (1, 1)),
            "StrideH": op.stride[0],
            "StrideW": op.stride[1],
            "FilterHeight": op.filter[0],
            "FilterWidth": op.filter[1],
            "FusedActivationFunction": _activation(op.clamp, op.y),
        }
        return EncodedOperator(
            code=code, version=2, inputs=(op.x,), outputs=(op.y,), options="Pool2DOptions", fields=fields
        )

    return encode


def _unary(
    code: int, options: str | None = None, version: int = 2, **attributes: str
) -> Callable[[Any], EncodedOperator]:
    """Encode one input and one output; `attributes` are the options' fields and the attributes that hold them."""

    def encode(op: Any) -> EncodedOperator:
        fields = {name: getattr(op, attribute) for name, attribute in attributes.items()}
        return EncodedOperator(
            code=code, version=version, inputs=(op.x,), outputs=(op.y,), options=options, fields=fields
        )

    return encode


def _quantize(op: Quantize) -> EncodedOperator:
    version = 1 if op.x.dtype is DType.FLOAT32 else 2
    return EncodedOperator(
        code=_CODES.QUANTIZE, version=version, inputs=(op.x,), outputs=(op.y,), options="QuantizeOptions"
    )


def _mean(op: Mean) -> EncodedOperator:
    return EncodedOperator(
        code=_CODES.MEAN,
        version=2,
        inputs=(op.x, constant_of(op, "axes", op.axes)),
        outputs=(op.y,),
        options="ReducerOptions",
        fields={"KeepDims": len(op.y.shape) == len(op.x.shape)},
    )


def _reshape(op: Reshape) -> EncodedOperator:
    return EncodedOperator(
        code=_CODES.RESHAPE,
        version=1,
        inputs=(op.x, constant_of(op, "shape", op.y.shape)),
        outputs=(op.y,),
        options="ReshapeOptions",
        fields={"NewShape": op.y.shape},
    )


def _pad(op: Pad) -> EncodedOperator:
    inputs: tuple[Tensor, ...] = (op.x, constant_of(op, "paddings", op.paddings))
    real = op.x.dtype is DType.FLOAT32
    if op.value == (0 if real else op.x.zero_point):
        return EncodedOperator(code=_CODES.PAD, version=2, inputs=inputs, outputs=(op.y,), options="PadOptions")
    data = np.array([op.value], op.x.dtype.value)
    value = Tensor(name=f"{op.name}/value", shape=(1,), dtype=op.x.dtype, quant=op.x.quant, data=data)
    return EncodedOperator(
        code=_CODES.PADV2, version=2, inputs=(*inputs, value), outputs=(op.y,), options="PadV2Options"
    )


def _concatenation(op: Concatenation) -> EncodedOperator:
    return EncodedOperator(
        code=_CODES.CONCATENATION,
        version=2,
        inputs=op.xs,
        outputs=(op.y,),
        options="ConcatenationOptions",
        fields={"Axis": op.axis},
    )


def _split(op: Split) -> EncodedOperator:
    data = np.array(op.axis, np.int32)
    axis = Tensor(name=f"{op.name}/axis", shape=(), dtype=DType.INT32, data=data)
    if len({y.shape for y in op.ys}) > 1:
        sizes = np.array([y.shape[op.axis] for y in op.ys], np.int32)
        parts = Tensor(name=f"{op.name}/sizes", shape=sizes.shape, dtype=DType.INT32, data=sizes)
        return EncodedOperator(
            code=_CODES.SPLIT_V,
            version=2 if op.x.dtype is DType.INT8 else 1,
            inputs=(op.x, parts, axis),
            outputs=op.ys,
            options="SplitVOptions",
            fields={"NumSplits": len(op.ys)},
        )
    return EncodedOperator(
        code=_CODES.SPLIT,
        version=2,
        inputs=(axis, op.x),
        outputs=op.ys,
        options="SplitOptions",
        fields={"NumSplits": len(op.ys)},
    )


def _strided_slice(op: StridedSlice) -> EncodedOperator:
    ends, open_ends = [], 0
    for axis, (begin, stride, extent) in enumerate(zip(op.begin, op.strides, op.extents, strict=True)):
        end = begin + (extent - 1) * stride + (1 if stride > 0 else -1)
        # A slice that goes down to index 0 ends before it, where no number can say so.
        open_ends |= (end < 0) << axis
        ends.append(max(end, 0))
    indices = {"begin": op.begin, "end": ends, "strides": op.strides}
    return EncodedOperator(
        code=_CODES.STRIDED_SLICE,
        version=2,
        inputs=(op.x, *(constant_of(op, what, values) for what, values in indices.items())),
        outputs=(op.y,),
        options="StridedSliceOptions",
        fields={"EndMask": open_ends, "ShrinkAxisMask": sum(1 << axis for axis in op.shrink)},
    )


def _transpose(op: Transpose) -> EncodedOperator:
    return EncodedOperator(
        code=_CODES.TRANSPOSE,
        version=2,
        inputs=(op.x, constant_of(op, "permutation", op.perm)),
        outputs=(op.y,),
        options="TransposeOptions",
    )


def _resize(code: int, options: str) -> Callable[[Any], EncodedOperator]:
    def encode(op: ResizeNearestNeighbor | ResizeBilinear) -> EncodedOperator:
        return EncodedOperator(
            code=code,
            version=3 if op.align_corners or op.half_pixel_centers else 2,
            inputs=(op.x, constant_of(op, "size", op.y.shape[1:3])),
            outputs=(op.y,),
            options=options,
            fields={"AlignCorners": op.align_corners, "HalfPixelCenters": op.half_pixel_centers},
        )

    return encode


def _gather(op: Gather) -> EncodedOperator:
    return EncodedOperator(
        code=_CODES.GATHER,
        version=1 if op.x.dtype is DType.FLOAT32 else 2,
        inputs=(op.x, op.indices),
        outputs=(op.y,),
        options="GatherOptions",
        fields={"Axis": op.axis, "BatchDims": op.batch_dims},
    )


def _gather_nd(op: GatherNd) -> EncodedOperator:
    return EncodedOperator(
        code=_CODES.GATHER_ND, version=1, inputs=(op.x, op.indices), outputs=(op.y,), options="GatherNdOptions"
    )


def _blocks(code: int, options: str, margin: str) -> Callable[[Any], EncodedOperator]:
    """Encode an operator on blocks; `margin` is the attribute that says what surrounds the image."""

    def encode(op: SpaceToBatch | BatchToSpace) -> EncodedOperator:
        around: Padding = getattr(op, margin)
        amounts = ((around.top, around.bottom), (around.left, around.right))
        return EncodedOperator(
            code=code,
            version=2,
            inputs=(op.x, constant_of(op, "block", op.block), constant_of(op, margin, amounts)),
            outputs=(op.y,),
            options=options,
        )

    return encode


def _batch_matmul(op: BatchMatMul) -> EncodedOperator:
    return EncodedOperator(
        code=_CODES.BATCH_MATMUL,
        version=2 if op.y.dtype is DType.INT8 else 1,
        inputs=(op.a, op.b),
        outputs=(op.y,),
        options="BatchMatMulOptions",
        fields={"AdjX": op.turned_a, "AdjY": op.turned_b},
    )


def _cumulative(op: CumulativeSum) -> EncodedOperator:
    return EncodedOperator(
        code=_CODES.CUMSUM,
        version=1,
        inputs=(op.x, constant_of(op, "axis", (op.axis,))),
        outputs=(op.y,),
        options="CumsumOptions",
        fields={"Exclusive": op.exclusive, "Reverse": op.reverse},
    )


ENCODERS: Mapping[type[Operator], Callable[[Any], EncodedOperator]] = {
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise,
    FullyConnected: _fully_connected,
    Add: _binary(_CODES.ADD, "AddOptions"),
    Sub: _binary(_CODES.SUB, "SubOptions"),
    Mul: _binary(_CODES.MUL, "MulOptions"),
    MaxPool2D: _pool(_CODES.MAX_POOL_2D),
    AveragePool2D: _pool(_CODES.AVERAGE_POOL_2D),
    Mean: _mean,
    Softmax: _unary(_CODES.SOFTMAX, "SoftmaxOptions", Beta="beta"),
    Logistic: _unary(_CODES.LOGISTIC),
    Tanh: _unary(_CODES.TANH),
    Relu: _unary(_CODES.RELU),
    Relu6: _unary(_CODES.RELU6),
    LeakyRelu: _unary(_CODES.LEAKY_RELU, "LeakyReluOptions", Alpha="alpha"),
    Elementwise: elementwise,
    Reduction: reduction,
    BatchMatMul: _batch_matmul,
    CumulativeSum: _cumulative,
    Gather: _gather,
    GatherNd: _gather_nd,
    Quantize: _quantize,
    Dequantize: _unary(_CODES.DEQUANTIZE, "DequantizeOptions"),
    Reshape: _reshape,
    Pad: _pad,
    Concatenation: _concatenation,
    Split: _split,
    StridedSlice: _strided_slice,
    Transpose: _transpose,
    ResizeNearestNeighbor: _resize(_CODES.RESIZE_NEAREST_NEIGHBOR, "ResizeNearestNeighborOptions"),
    ResizeBilinear: _resize(_CODES.RESIZE_BILINEAR, "ResizeBilinearOptions"),
    SpaceToBatch: _blocks(_CODES.SPACE_TO_BATCH_ND, "SpaceToBatchNDOptions", "padding"),
    BatchToSpace: _blocks(_CODES.BATCH_TO_SPACE_ND, "BatchToSpaceNDOptions", "crop"),
}
