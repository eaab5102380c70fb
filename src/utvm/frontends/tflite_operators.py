"""One function per TFLite operator: options and tensors in, an operator of the graph out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import tflite

from utvm.frontends.context import (
    Context,
    expect_shape,
    leaky_alpha,
    quantised,
    reduced_axes,
    same_quantisation,
    softmax_beta,
)
from utvm.frontends.refusal import RefusedError, ShapeRefusedError, broadcast_shape
from utvm.frontends.tflite_composed import COMPOSED
from utvm.frontends.tflite_filled import FILLED
from utvm.frontends.tflite_gathering import GATHERING
from utvm.frontends.tflite_general import GENERAL, integers
from utvm.frontends.tflite_parts import PARTS, Converted
from utvm.frontends.tflite_recurrent import RECURRENT
from utvm.frontends.tflite_scales import check_ratio
from utvm.frontends.tflite_state import STATEFUL
from utvm.frontends.tflite_transposed import transpose_conv
from utvm.frontends.tflite_types import QUANTISED
from utvm.frontends.tflite_views import VIEWS
from utvm.frontends.tflite_weights import bias_of, layer_fields, weights_of
from utvm.frontends.tflite_windowed import WINDOWED
from utvm.graph import (
    Add,
    BatchMatMul,
    Dequantize,
    DType,
    FullyConnected,
    LeakyRelu,
    Logistic,
    Mean,
    Mul,
    Operator,
    Quantize,
    Relu,
    Relu6,
    Reshape,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Softmax,
    Sub,
    Tanh,
    Tensor,
)
from utvm.graph.arithmetic import WIDE_LEFT_SHIFT, bilinear_positions
from utvm.graph.units import PRESCRIBED_INT16_UNITS, PRESCRIBED_UNITS


def _fully_connected(c: Context) -> Converted:
    c.arity((2, 3))
    options = c.options(tflite.FullyConnectedOptions)
    if options.WeightsFormat() != 0:
        raise RefusedError("its weights are shuffled")
    x, computed = c.activation(0), not c.any_input(1).is_constant
    weights, y = c.activation(1) if computed else weights_of(c, 1, 2, 0, shifted=True), c.result()
    if len(weights.shape) != 2:
        raise RefusedError(f"tensor '{weights.name}': weights of shape {list(weights.shape)}, rank 2 is expected")
    units, inputs = weights.shape
    if x.elements % inputs:
        raise RefusedError(f"its weights read {inputs} values, its input has {x.elements}")
    made = x.elements // inputs * units
    if y.elements != made:
        rest = prod(y.shape[1:])
        raise ShapeRefusedError(
            f"tensor '{y.name}': it has {y.elements} elements, {made} are expected",
            (made // rest, *y.shape[1:]) if y.shape and made % rest == 0 else y.shape,
        )
    if computed:
        return _product(c, x, weights, y, c.clamp(options.FusedActivationFunction(), y))
    return FullyConnected(**layer_fields(c, x, weights, y, units, options.FusedActivationFunction()))


def _product(c: Context, x: Tensor, weights: Tensor, y: Tensor, clamp: tuple[int, int]) -> Converted:
    """Return a fully connected layer whose weights are computed: rows of x times those of the weights."""
    if c.dtype is DType.INT16:
        raise RefusedError(f"tensor '{weights.name}': weights beside int16 must be constant int8")
    _rescaled(x, y, weights.scale if c.dtype in QUANTISED else 1.0)
    units, inputs = weights.shape
    rows = x.elements // inputs
    flat, made = c.made("rows", x, (rows, inputs)), c.made("result", y, (rows, units))
    return (
        Reshape(name=f"{c.name}/rows", x=x, y=flat),
        BatchMatMul(
            name=f"{c.name}/product", a=flat, b=weights, y=made, turned_b=True, bias=bias_of(c, 2, units), clamp=clamp
        ),
        Reshape(name=c.name, x=made, y=y),
    )


def _binary(make: type[Add] | type[Sub] | type[Mul], options: type[tflite.AddOptions]) -> Callable[[Context], Operator]:
    def convert(c: Context) -> Operator:
        c.arity((2,))
        if c.any_input(0).dtype is DType.INT32:
            return integers(c, f"{make.__name__}Integers", options)
        a, b, y = c.activation(0), c.activation(1), c.result()
        expect_shape(y, broadcast_shape(a.shape, b.shape))
        if y.dtype in QUANTISED:
            _combined(make, a, b, y)
        return make(name=c.name, a=a, b=b, y=y, clamp=c.clamp(c.options(options).FusedActivationFunction(), y))

    return convert


def _combined(make: type[Add] | type[Sub] | type[Mul], a: Tensor, b: Tensor, y: Tensor) -> None:
    """Refuse scales that TFLite's factor on a product or a sum can't express; that on a sum is below 1."""
    if make is Mul:
        _rescaled(a, y, b.scale)
    elif 2 * max(a.scale, b.scale) >= y.scale * (1 << (WIDE_LEFT_SHIFT if y.dtype is DType.INT16 else 20)):
        raise RefusedError(f"tensor '{y.name}': its scale {y.scale} is too small beside its inputs' for 32 bits")


def _mean(c: Context) -> Operator:
    c.arity((2,))
    x, y = c.activation(0), c.result()
    axes = reduced_axes(c, len(x.shape))
    kept = tuple(1 if d in axes else size for d, size in enumerate(x.shape))
    dropped = tuple(size for d, size in enumerate(x.shape) if d not in axes)
    expect_shape(y, kept if c.options(tflite.ReducerOptions).KeepDims() else dropped)
    _rescaled(x, y)
    return Mean(name=c.name, x=x, y=y, axes=axes)


_LEAST_ARGUMENT_SCALE = 2.0**-27
"""Below it the input from which TFLite has a sigmoid, tanh or exponential at its end does not fit 32 bits."""


def _argument(x: Tensor) -> None:
    if x.dtype is DType.INT8 and x.scale < _LEAST_ARGUMENT_SCALE:
        raise RefusedError(f"tensor '{x.name}': its scale {x.scale} is too small for a sigmoid's 32 bits")


def _rescaled(x: Tensor, y: Tensor, factor: float = 1.0) -> None:
    """Refuse scales of integers that TFLite's shift can't express."""
    if x.dtype in QUANTISED:
        check_ratio(x.scale * factor / y.scale)


def _prescribed(kind: type[Operator], y: Tensor) -> None:
    if y.dtype is DType.FLOAT32:
        return
    units = PRESCRIBED_UNITS[kind] if y.dtype is DType.INT8 else PRESCRIBED_INT16_UNITS
    if y.zero_point != units.zero_point[0] or abs(y.scale - units.scale[0]) > 1e-9:
        raise RefusedError(
            f"tensor '{y.name}': scale 1/{1 / units.scale[0]:.0f} and zero point {units.zero_point[0]} are expected"
        )


def _softmax(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    _prescribed(Softmax, y)
    beta = softmax_beta(c)
    if x.dtype is DType.INT8 and x.scale * beta < _LEAST_ARGUMENT_SCALE:
        raise RefusedError(f"tensor '{x.name}': its scale {x.scale} is too small for a softmax's 32 bits")
    return Softmax(name=c.name, x=x, y=y, beta=beta)


def _logistic(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    _prescribed(Logistic, y)
    _argument(x)
    return Logistic(name=c.name, x=x, y=y)


def _tanh(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    _prescribed(Tanh, y)
    _argument(x)
    return Tanh(name=c.name, x=x, y=y)


def _relu(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    _rescaled(x, y)
    return Relu(name=c.name, x=x, y=y)


def _relu6(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    same_quantisation(x, y)
    return Relu6(name=c.name, x=x, y=y)


def _leaky_relu(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.activation(0), c.result()
    expect_shape(y, x.shape)
    alpha = leaky_alpha(c)
    _rescaled(x, y, max(1.0, abs(alpha)))
    return LeakyRelu(name=c.name, x=x, y=y, alpha=alpha)


def _resized(c: Context) -> tuple[Tensor, Tensor]:
    """Return the input and the output of a resize, checked."""
    c.arity((2,))
    x, y = c.activation(0), c.result()
    size = c.integers(1)
    if len(x.shape) != 4 or len(size) != 2:
        raise RefusedError("an input of four dimensions and a size of two values are expected")
    expect_shape(y, (x.shape[0], size[0], size[1], x.shape[3]))
    same_quantisation(x, y)
    return x, y


def _resize_bilinear(c: Context) -> Operator:
    options = c.options(tflite.ResizeBilinearOptions)
    x, y = _resized(c)
    align, half = bool(options.AlignCorners()), bool(options.HalfPixelCenters())
    if align and half:
        raise RefusedError("its corners are aligned and its pixels have centers: one of both")
    op = ResizeBilinear(name=c.name, x=x, y=y, align_corners=align, half_pixel_centers=half)
    try:
        if x.dtype is not DType.FLOAT32:
            bilinear_positions(op)
    except ValueError as error:
        raise RefusedError(f"its size is too large for positions in 1024ths: {error}") from error
    return op


def _resize(c: Context) -> Operator:
    options = c.options(tflite.ResizeNearestNeighborOptions)
    x, y = _resized(c)
    return ResizeNearestNeighbor(
        name=c.name,
        x=x,
        y=y,
        align_corners=bool(options.AlignCorners()),
        half_pixel_centers=bool(options.HalfPixelCenters()),
    )


def _quantize(c: Context) -> Operator:
    c.arity((1,))
    x, y = c.any_input(0), quantised(c.any_output())
    if x.dtype is not DType.FLOAT32:
        x = quantised(x)
    if (x.dtype, y.dtype) == (DType.UINT8, DType.INT16):
        raise RefusedError(f"tensor '{x.name}': uint8 becomes int8, not int16")
    if y.dtype is DType.UINT8 and x.dtype is not DType.INT8:
        raise RefusedError(f"tensor '{y.name}': {x.dtype} becomes int8 here, not uint8")
    expect_shape(y, x.shape)
    if x.dtype is not DType.FLOAT32:
        _rescaled(x, y)
    return Quantize(name=c.name, x=x, y=y)


def _dequantize(c: Context) -> Converted:
    """Convert one; of a constant of float16, which the file's reader made float32, nothing is left to do."""
    c.arity((1,))
    x, y = c.any_input(0), c.any_output()
    if y.dtype is not DType.FLOAT32:
        raise RefusedError(f"tensor '{y.name}': its type is {y.dtype}, float32 is expected")
    expect_shape(y, x.shape)
    if x.dtype is DType.FLOAT32 and x.is_constant:
        c.become_constant(x.values)
        return ()
    x = quantised(x)
    return Dequantize(name=c.name, x=x, y=y)


def _branches(c: Context) -> Operator:
    raise RefusedError(
        "it branches at run time, and memory and code are planned for one road",
        "Convert a model without tf.while_loop and tf.cond, or unroll its loops (unroll=True of Keras's RNNs).",
    )


CONVERTERS: Mapping[str, Callable[[Context], Converted]] = {
    "FULLY_CONNECTED": _fully_connected,
    "ADD": _binary(Add, tflite.AddOptions),
    "SUB": _binary(Sub, tflite.SubOptions),
    "MUL": _binary(Mul, tflite.MulOptions),
    "MEAN": _mean,
    "SOFTMAX": _softmax,
    "LOGISTIC": _logistic,
    "TANH": _tanh,
    "RELU": _relu,
    "RELU6": _relu6,
    "LEAKY_RELU": _leaky_relu,
    "RESIZE_BILINEAR": _resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "TRANSPOSE_CONV": transpose_conv,
    **WINDOWED,
    **VIEWS,
    **GENERAL,
    **COMPOSED,
    **GATHERING,
    **PARTS,
    **FILLED,
    **STATEFUL,
    **RECURRENT,
    **dict.fromkeys(("STABLEHLO_WHILE", "STABLEHLO_CASE"), _branches),
}
