"""C that calls CMSIS-NN's s8 functions for the operators of a graph, as an application of that library would.

Parameters follow `arm_nnfunctions.h` of version 4.0.0. Layouts of tensors are TFLite's, which the library shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.codegen import CArray
from utvm.graph import AveragePool2D, Conv2D, DepthwiseConv2D, DType, FullyConnected, MaxPool2D, Operator
from utvm.graph.arithmetic import channel_requantization


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryCall:
    """Definitions of an operator's constants and parameters, the call, and the scratch that it says it needs."""

    definitions: str
    call: str
    scratch: str


def library_call(op: Operator, name: str, x: str, y: str) -> LibraryCall | None:
    """Return how CMSIS-NN computes an operator, or None if none of the package's functions does.

    Args:
        op: the operator; pools of one image.
        name: a prefix for the C names of this operator.
        x: C expression of the input, `const int8_t *`.
        y: C expression of the output, `int8_t *`.
    """
    if any(tensor.dtype is not DType.INT8 for tensor in (*op.activations, *op.outputs)):
        return None
    match op:
        case Conv2D() if op.groups == 1:
            return _convolution(op, name, x, y)
        case DepthwiseConv2D():
            return _convolution(op, name, x, y)
        case FullyConnected() if len({*zip(*_requantization(op), strict=True)}) == 1:
            return _connected(op, name, x, y)
        case MaxPool2D() | AveragePool2D() if op.x.shape[0] == 1:
            return _pool(op, name, x, y)
    return None


def _convolution(op: Conv2D | DepthwiseConv2D, name: str, x: str, y: str) -> LibraryCall:
    depthwise = isinstance(op, DepthwiseConv2D)
    function = "arm_depthwise_conv_wrapper_s8" if depthwise else "arm_convolve_wrapper_s8"
    kind = "dw_conv" if depthwise else "conv"
    multiplier, shift = _requantization(op)
    multiple = f".ch_mult = {op.multiplier}, " if isinstance(op, DepthwiseConv2D) else ""
    rows, columns = op.weights.shape[1:3]
    dims = {
        "x": op.x.shape,
        "w": (op.weights.shape[0], rows, columns, op.weights.shape[3]),
        "b": (1, 1, 1, op.y.shape[3]),
        "y": op.y.shape,
    }
    definitions = [
        *_constants(op, name, op.y.shape[3]),
        CArray(c_type="int32_t", values=np.array(multiplier)).render(f"{name}_multiplier"),
        CArray(c_type="int32_t", values=np.array(shift)).render(f"{name}_shift"),
        f"static const cmsis_nn_{kind}_params {name}_params = {{.input_offset = {-op.x.zero_point}, "
        f".output_offset = {op.y.zero_point}, {multiple}.stride = {_tile(op.stride)}, "
        f".padding = {_tile((op.padding.top, op.padding.left))}, .dilation = {_tile(op.dilation)}, "
        f".activation = {_clamp(op.clamp)}}};",
        f"static const cmsis_nn_per_channel_quant_params {name}_quant = "
        f"{{(int32_t *){name}_multiplier, (int32_t *){name}_shift}};",
        *(_dims(f"{name}_{key}", shape) for key, shape in dims.items()),
    ]
    return LibraryCall(
        definitions="\n".join(definitions),
        call=f"{function}(&context, &{name}_params, &{name}_quant, &{name}_x, {x}, &{name}_w, {name}_weights, "
        f"&{name}_b, {name}_bias, &{name}_y, {y})",
        scratch=f"{function}_get_buffer_size(&{name}_params, &{name}_x, &{name}_w, &{name}_y)",
    )


def _connected(op: FullyConnected, name: str, x: str, y: str) -> LibraryCall:
    units, inputs = op.weights.shape
    multiplier, shift = (values[0] for values in _requantization(op))
    dims = {
        "x": (op.x.elements // inputs, 1, 1, inputs),
        "w": (inputs, 1, 1, units),
        "b": (1, 1, 1, units),
        "y": (op.x.elements // inputs, 1, 1, units),
    }
    definitions = [
        *_constants(op, name, units),
        f"static const cmsis_nn_fc_params {name}_params = {{.input_offset = {-op.x.zero_point}, "
        f".filter_offset = 0, .output_offset = {op.y.zero_point}, .activation = {_clamp(op.clamp)}}};",
        f"static const cmsis_nn_per_tensor_quant_params {name}_quant = {{{multiplier}, {shift}}};",
        *(_dims(f"{name}_{key}", shape) for key, shape in dims.items()),
    ]
    return LibraryCall(
        definitions="\n".join(definitions),
        call=f"arm_fully_connected_s8(&context, &{name}_params, &{name}_quant, &{name}_x, {x}, &{name}_w, "
        f"{name}_weights, &{name}_b, {name}_bias, &{name}_y, {y})",
        scratch=f"arm_fully_connected_s8_get_buffer_size(&{name}_w)",
    )


def _pool(op: MaxPool2D | AveragePool2D, name: str, x: str, y: str) -> LibraryCall:
    average = isinstance(op, AveragePool2D)
    function = "arm_avgpool_s8" if average else "arm_max_pool_s8"
    definitions = [
        f"static const cmsis_nn_pool_params {name}_params = {{.stride = {_tile(op.stride)}, "
        f".padding = {_tile((op.padding.top, op.padding.left))}, .activation = {_clamp(op.clamp)}}};",
        _dims(f"{name}_x", op.x.shape),
        _dims(f"{name}_w", (1, *op.filter, 1)),
        _dims(f"{name}_y", op.y.shape),
    ]
    return LibraryCall(
        definitions="\n".join(definitions),
        call=f"{function}(&context, &{name}_params, &{name}_x, {x}, &{name}_w, &{name}_y, {y})",
        scratch=f"arm_avgpool_s8_get_buffer_size({op.y.shape[2]}, {op.x.shape[3]})" if average else "0",
    )


def _requantization(op: Conv2D | DepthwiseConv2D | FullyConnected) -> tuple[list[int], list[int]]:
    found = channel_requantization(op)
    return found.multiplier.tolist(), found.shift.tolist()


def _constants(op: Conv2D | DepthwiseConv2D | FullyConnected, name: str, channels: int) -> list[str]:
    bias = np.zeros(channels, np.int32) if op.bias is None else op.bias.values
    return [
        CArray(c_type="int8_t", values=op.weights.values).render(f"{name}_weights"),
        CArray(c_type="int32_t", values=bias).render(f"{name}_bias"),
    ]


def _dims(name: str, shape: tuple[int, ...]) -> str:
    n, height, width, channels = shape
    return f"static const cmsis_nn_dims {name} = {{.n = {n}, .h = {height}, .w = {width}, .c = {channels}}};"


def _tile(pair: tuple[int, int]) -> str:
    """`pair` is (down, across)."""
    return f"{{.w = {pair[1]}, .h = {pair[0]}}}"


def _clamp(bounds: tuple[int, int]) -> str:
    return f"{{.min = {bounds[0]}, .max = {bounds[1]}}}"
