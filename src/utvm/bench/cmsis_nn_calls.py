"""C that calls CMSIS-NN's s8 functions for the operators of a graph, as an application of that library would.

Parameters follow `arm_nnfunctions.h` of version 4.0.0. Layouts of tensors are TFLite's, which the library shares.
What a function can't do at once, the application does around it:

- batches are calls one after another, but for pointwise convolutions, to which pixels of all images are alike;
- groups are gathered, convolved by themselves, and scattered;
- fully connected layers with a scale per channel are pointwise convolutions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

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
        op: the operator.
        name: a prefix for the C names of this operator.
        x: C expression of the input, `const int8_t *`.
        y: C expression of the output, `int8_t *`.
    """
    if any(tensor.dtype is not DType.INT8 for tensor in (*op.activations, *op.outputs)):
        return None
    match op:
        case Conv2D() if op.groups > 1:
            return _grouped(op, name, x, y)
        case Conv2D() | DepthwiseConv2D():
            return _convolution(op, name, x, y)
        case FullyConnected() if len({*zip(*_requantization(op), strict=True)}) == 1:
            return _connected(op, name, x, y)
        case FullyConnected():
            return _convolution(_as_pointwise(op), name, x, y)
        case MaxPool2D() | AveragePool2D():
            return _pool(op, name, x, y)
    return None


def _convolution(op: Conv2D | DepthwiseConv2D, name: str, x: str, y: str) -> LibraryCall:
    shape = _shape(op, name, op.x.shape, op.y.shape)
    constants = _constants(op, name, slice(None))
    weights, bias = f"{name}_weights", f"{name}_bias"
    return LibraryCall(
        definitions="\n".join([*constants, shape.definitions]),
        call=_each_image(op, lambda n: shape.call(_at(x, n * shape.x_bytes), weights, bias, _at(y, n * shape.y_bytes))),
        scratch=shape.scratch,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """Parameters and dimensions of a convolution, of all images if it is pointwise, else of one."""

    name: str
    function: str
    definitions: str
    x_bytes: int
    y_bytes: int

    def call(self, x: str, weights: str, bias: str, y: str, quant: str = "") -> str:
        """Return the call with C expressions of what it reads and writes."""
        name = self.name
        return (
            f"{self.function}(&context, &{name}_params, &{quant or f'{name}_quant'}, &{name}_x, {x}, &{name}_w, "
            f"{weights}, &{name}_b, {bias}, &{name}_y, {y})"
        )

    @property
    def scratch(self) -> str:
        """The call that returns the bytes of scratch."""
        dims = ", ".join(f"&{self.name}_{part}" for part in ("params", "x", "w", "y"))
        return f"{self.function}_get_buffer_size({dims})"


def _shape(op: Conv2D | DepthwiseConv2D, name: str, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> _Shape:
    """Return how the library is called for an operator of these shapes."""
    depthwise = isinstance(op, DepthwiseConv2D)
    kind = "dw_conv" if depthwise else "conv"
    multiple = f".ch_mult = {op.multiplier}, " if isinstance(op, DepthwiseConv2D) else ""
    rows, columns = op.weights.shape[1:3]
    images = x_shape[0] if _is_pointwise(op) else 1
    dims = {
        "x": (images, *x_shape[1:]),
        "w": (1 if depthwise else y_shape[3], rows, columns, op.weights.shape[3]),
        "b": (1, 1, 1, y_shape[3]),
        "y": (images, *y_shape[1:]),
    }
    definitions = [
        f"static const cmsis_nn_{kind}_params {name}_params = {{.input_offset = {-op.x.zero_point}, "
        f".output_offset = {op.y.zero_point}, {multiple}.stride = {_tile(op.stride)}, "
        f".padding = {_tile((op.padding.top, op.padding.left))}, .dilation = {_tile(op.dilation)}, "
        f".activation = {_clamp(op.clamp)}}};",
        f"static const cmsis_nn_per_channel_quant_params {name}_quant = "
        f"{{(int32_t *){name}_multiplier, (int32_t *){name}_shift}};",
        *(_dims(f"{name}_{key}", shape) for key, shape in dims.items()),
    ]
    return _Shape(
        name=name,
        function="arm_depthwise_conv_wrapper_s8" if depthwise else "arm_convolve_wrapper_s8",
        definitions="\n".join(definitions),
        x_bytes=prod(x_shape[1:]),
        y_bytes=prod(y_shape[1:]),
    )


def _each_image(op: Operator, call: Callable[[int], str]) -> str:
    """Return an expression that calls for each image of a batch, for all at once where the operator is pointwise."""
    images = 1 if _is_pointwise(op) else op.inputs[0].shape[0]
    return " | ".join(call(n) for n in range(images))


def _is_pointwise(op: Operator) -> bool:
    """Whether the library treats all pixels alike, those of other images included."""
    return isinstance(op, Conv2D) and (*op.weights.shape[1:3], *op.stride) == (1, 1, 1, 1) and not op.padding.any


def _as_pointwise(op: FullyConnected) -> Conv2D:
    units, inputs = op.weights.shape
    rows = op.x.elements // inputs
    weights = dataclasses.replace(op.weights, shape=(units, 1, 1, inputs), data=_reshaped(op.weights.values, units))
    return Conv2D(
        name=op.name,
        x=dataclasses.replace(op.x, shape=(rows, 1, 1, inputs)),
        weights=weights,
        bias=op.bias,
        y=dataclasses.replace(op.y, shape=(rows, 1, 1, units)),
        clamp=op.clamp,
        rounding=op.rounding,
    )


def _reshaped(values: NDArray[np.generic], units: int) -> NDArray[np.generic]:
    return values.reshape(units, 1, 1, -1)


def _grouped(op: Conv2D, name: str, x: str, y: str) -> LibraryCall:
    """Return a function that copies the channels of each group together, convolves them, and copies them back."""
    batch, height, width, channels = op.x.shape
    depth, out = channels // op.groups, op.y.shape[3] // op.groups
    shape = _shape(op, name, (batch, height, width, depth), (*op.y.shape[:3], out))
    images = 1 if _is_pointwise(op) else batch
    pixels, outputs = batch * height * width, op.y.elements // op.y.shape[3]
    weights = op.weights.elements // op.groups
    calls = " | ".join(
        shape.call(
            f"x_part + {n * shape.x_bytes}",
            f"{name}_weights + g * {weights}",
            f"{name}_bias + g * {out}",
            f"y_part + {n * shape.y_bytes}",
            "quant",
        )
        for n in range(images)
    )
    function = f"""static int {name}_grouped(cmsis_nn_context context, const int8_t *x, int8_t *y) {{
  static int8_t x_part[{pixels * depth}], y_part[{outputs * out}];
  int status = 0;
  for (int g = 0; g < {op.groups}; g++) {{
    const cmsis_nn_per_channel_quant_params quant = {{
      (int32_t *){name}_multiplier + g * {out}, (int32_t *){name}_shift + g * {out}}};
    for (int i = 0; i < {pixels}; i++) memcpy(x_part + i * {depth}, x + i * {channels} + g * {depth}, {depth});
    status |= {calls};
    for (int i = 0; i < {outputs}; i++) memcpy(y + i * {op.y.shape[3]} + g * {out}, y_part + i * {out}, {out});
  }}
  return status;
}}"""
    return LibraryCall(
        definitions="\n".join([*_constants(op, name, slice(None)), shape.definitions, function]),
        call=f"{name}_grouped(context, {x}, {y})",
        scratch=shape.scratch,
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
        *_constants(op, name, slice(0)),
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
        _dims(f"{name}_x", (1, *op.x.shape[1:])),
        _dims(f"{name}_w", (1, *op.filter, 1)),
        _dims(f"{name}_y", (1, *op.y.shape[1:])),
    ]

    def call(n: int) -> str:
        source, target = _at(x, n * prod(op.x.shape[1:])), _at(y, n * prod(op.y.shape[1:]))
        return f"{function}(&context, &{name}_params, &{name}_x, {source}, &{name}_w, &{name}_y, {target})"

    return LibraryCall(
        definitions="\n".join(definitions),
        call=_each_image(op, call),
        scratch=f"arm_avgpool_s8_get_buffer_size({op.y.shape[2]}, {op.x.shape[3]})" if average else "0",
    )


def _requantization(op: Conv2D | DepthwiseConv2D | FullyConnected) -> tuple[list[int], list[int]]:
    found = channel_requantization(op)
    return found.multiplier.tolist(), found.shift.tolist()


def _constants(op: Conv2D | DepthwiseConv2D | FullyConnected, name: str, scaled: slice) -> list[str]:
    """Return weights, biases (zeros if there are none), and the requantisation of some of the channels."""
    multiplier, shift = (values[scaled] for values in _requantization(op))
    bias = np.zeros(op.y.shape[-1], np.int32) if op.bias is None else op.bias.values
    tables = {"multiplier": multiplier, "shift": shift}
    return [
        CArray(c_type="int8_t", values=op.weights.values).render(f"{name}_weights"),
        CArray(c_type="int32_t", values=bias).render(f"{name}_bias"),
        *(
            CArray(c_type="int32_t", values=np.array(values)).render(f"{name}_{key}")
            for key, values in tables.items()
            if values
        ),
    ]


def _at(pointer: str, offset: int) -> str:
    return pointer if offset == 0 else f"({pointer} + {offset})"


def _dims(name: str, shape: tuple[int, ...]) -> str:
    n, height, width, channels = shape
    return f"static const cmsis_nn_dims {name} = {{.n = {n}, .h = {height}, .w = {width}, .c = {channels}}};"


def _tile(pair: tuple[int, int]) -> str:
    """`pair` is (down, across)."""
    return f"{{.w = {pair[1]}, .h = {pair[0]}}}"


def _clamp(bounds: tuple[int, int]) -> str:
    return f"{{.min = {bounds[0]}, .max = {bounds[1]}}}"
