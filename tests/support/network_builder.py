"""Random networks of 2 to 8 operators with branches, some of them such that a given family takes them.

Scales of outputs follow the values that reach an operator, so that what comes out is neither flat nor clipped, however
extreme weights and zero points are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.support.drawer import Array, Drawer
from tests.support.network_targets import Target
from utvm.cores import Core
from utvm.graph import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    DType,
    FullyConnected,
    Graph,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Pad,
    Padding,
    Quantization,
    Quantize,
    Relu,
    Relu6,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Softmax,
    Split,
    StridedSlice,
    Sub,
    Tanh,
    Tensor,
    Transpose,
    same_padding,
)
from utvm.graph.reference import evaluate_operator

_UNIT = Quantization.per_tensor(1 / 256, -128)
_FLAT = 8
_AIMS = 60
_MOST_INPUTS = 768
"""Of a fully connected layer that a family for short rows takes."""


@dataclass(slots=True)
class NetworkBuilder:
    """Operators so far and the values of their results. Every result may be read again; unread ones are outputs."""

    d: Drawer
    kind: str
    operators: list[Operator] = field(default_factory=list)
    inputs: list[Array] = field(default_factory=list)
    _starts: list[Tensor] = field(default_factory=list)
    _open: list[Tensor] = field(default_factory=list)
    _values: dict[Tensor, Array] = field(default_factory=dict)
    _accepts: Callable[[Operator], bool] | None = None
    _form: Target | None = None

    def start(self, *, small: bool = False) -> None:
        """Make the input: large images for chains, so that stripes pay; others of any small shape."""
        d = self.d
        shape = (1, d.pick(1, d.integer(3, 12)), d.integer(3, 14), d.pick(1, 3, 4, d.integer(1, 24)))
        if self.kind == "chain":
            shape = (1, d.integer(16, 28), d.integer(10, 20), d.integer(1, 4))
        elif self.kind == "tiled":
            shape = (1, 4 * d.integer(1, 3), 4 * d.integer(1, 3), 4 * d.integer(1, 4))
        elif small:
            shape = (1, d.integer(1, 6), d.integer(2, 8), d.integer(1, 12))
        if self.kind == "any" and d.integer(0, 7) == 0:
            return self._start_float(shape)
        x = d.tensor("x", shape)
        values = d.int8(shape)
        self.inputs.append(values)
        self._starts.append(x)
        return self._note(x, values)

    def _start_float(self, shape: tuple[int, ...]) -> None:
        """Make an input of float32, and its Quantize."""
        d = self.d
        quant = d.quantization()
        x = Tensor(name="x", shape=shape, dtype=DType.FLOAT32, quant=None)
        values = (np.float32(quant.scale[0]) * d.rng.uniform(-150, 150, shape)).astype(np.float32)
        self.inputs.append(values)
        self._starts.append(x)
        self._values[x] = values
        op = Quantize(name=self._name(), x=x, y=self._result(shape, quant))
        (made,) = evaluate_operator(op, [values])
        self.operators.append(op)
        self._note(op.y, made)

    def aim(self, target: Target, core: Core) -> None:
        """Add an operator that a target takes, if one can be made of what there is."""
        maker = _MAKERS.get(target.kinds[0])
        before = len(self.operators)
        if FullyConnected in target.kinds and all(t.elements > _MOST_INPUTS for t in self._open):
            self._pool(self._open[-1])
        before = len(self.operators)
        self._accepts = lambda op: target.fits(op, core)
        self._form = target
        for _ in range(_AIMS):
            x = self.d.pick(*self._open)
            make = (
                getattr(self, maker) if maker else self.d.pick(self._map, self._map, self._move, self._join, self._cut)
            )
            if len(x.shape) == 4 or FullyConnected in target.kinds:
                make(x)
            if len(self.operators) > before:
                break
        self._accepts = self._form = None

    def grow(self) -> None:
        """Add an operator that can read one of the results, but seldom one whose results are flat."""
        x = self._open[-1] if self.kind != "any" or self.d.flag() else self.d.pick(*self._open)
        if len(x.shape) != 4:
            images = [t for t in self._open if len(t.shape) == 4]
            if not images:
                return
            x = images[-1]
        makers = [self._conv, self._conv, self._conv, self._depthwise, self._depthwise, self._pool]
        if self.kind == "tiled":
            makers = [self._conv, self._conv, self._conv, self._binary]
        elif self.kind == "any":
            binary, move = [self._binary] * 2, [self._map, self._move, self._join, self._cut]
            makers += [*binary, *move, *([self._connected] * 3 if len(self.operators) > 1 else [self._map])]
        self.d.pick(*makers)(x)

    def graph(self) -> Graph:
        """Return the network; what nobody reads are its outputs."""
        read = {tensor for op in self.operators for tensor in op.activations}
        made = [tensor for op in self.operators for tensor in op.outputs]
        outputs = tuple(tensor for tensor in made if tensor not in read)
        return Graph(name="drawn", operators=tuple(self.operators), inputs=tuple(self._starts), outputs=outputs)

    def _note(self, tensor: Tensor, values: Array) -> None:
        self._values[tensor] = values
        self._open.append(tensor)

    def _add(self, op: Operator) -> None:
        if self._accepts is not None and not self._accepts(op):
            return
        operands = [t.values if t.is_constant else self._values[t] for t in op.inputs]
        results = evaluate_operator(op, operands)
        if any(distinct([values]) <= _FLAT for values in results) and self.d.integer(0, 24):
            return
        self.operators.append(op)
        for tensor, values in zip(op.outputs, results, strict=True):
            self._values[tensor] = values
            if tensor.dtype is DType.INT8:
                self._open.append(tensor)

    def _name(self) -> str:
        return f"n{len(self.operators)}"

    def _result(self, shape: tuple[int, ...], quant: Quantization | None, part: int = 0) -> Tensor:
        return self.d.tensor(f"{self._name()}_y{part}", shape, quant)

    def _spread(self, x: Tensor) -> float:
        """How far the values are from the zero point, root mean square; at least one step."""
        return max(1.0, float(np.sqrt(np.mean((self._values[x].astype(np.float64) - x.zero_point) ** 2))))

    def _clamp(self, quant: Quantization) -> tuple[int, int]:
        """Return the limits of a fused activation that leaves room for different values, else none."""
        low, high = self.d.clamp(quant)
        return (low, high) if high - low >= 60 else (-128, 127)

    def _weights(
        self, x: Tensor, shape: tuple[int, ...], axis: int, y: Quantization, *, shared: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        d, channels = self.d, shape[axis]
        taps = math.prod(shape) // channels
        values = d.int8(shape, low=-127)
        if self._wants_tile or (self.kind == "tiled" and d.integer(0, 3)):
            spread = d.pick(1, 5, 25, 40) if self._wants_tile else 25
            values = np.clip(d.rng.normal(0, spread, shape), -127, 127).astype(np.int8)
        elif d.integer(0, 5) == 0:
            values = np.full(shape, d.pick(-127, 127), np.int8) * d.rng.choice(np.array([1, 1, -1], np.int8), shape)
        usual = d.pick(20.0, 50.0, 90.0) / (self._spread(x) * math.sqrt(taps) * 74)
        factors = np.array([usual * d.log_uniform(0.5, 2.0) for _ in range(channels)])
        if d.integer(0, 3) == 0 and channels > 1 and self.kind != "tiled" and not self._wants_tile:
            factors[d.integer(0, channels - 1)] = d.log_uniform(2**-20, 4.0)
        if shared or d.integer(0, 3) == 0:
            factors = factors[:1]
        scales = tuple(float(np.float32(factor * y.scale[0] / x.scale)) for factor in factors)
        many = len(scales) > 1
        quant = Quantization(scale=scales, zero_point=(0,) * len(scales), axis=axis if many else None)
        name = self._name()
        weights = Tensor(name=f"{name}_w", shape=shape, dtype=DType.INT8, quant=quant, data=values)
        # tflite-micro reads the bias of a depthwise convolution whether it is there or not.
        if axis == 0 and d.integer(0, 4) == 0:
            return weights, None
        limits = np.clip(d.pick(8, 40) / np.resize(factors, channels), 1, 1 << 24)
        bias = Tensor(
            name=f"{name}_b",
            shape=(channels,),
            dtype=DType.INT32,
            quant=Quantization(
                scale=tuple(float(np.float32(x.scale) * np.float32(scale)) for scale in scales),
                zero_point=(0,) * len(scales),
                axis=0 if many else None,
            ),
            data=d.rng.uniform(-limits, limits).astype(np.int32),
        )
        return weights, bias

    def _window(
        self, x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
    ) -> tuple[Padding, tuple[int, int]]:
        size = x.shape[1:3]
        spans = [(k - 1) * step + 1 for k, step in zip(kernel, dilation, strict=True)]
        if self.d.integer(0, 2) == 0 and all(span <= n for span, n in zip(spans, size, strict=True)):
            down, across = ((n - s) // t + 1 for n, s, t in zip(size, spans, stride, strict=True))
            return Padding(), (down, across)
        top, bottom, down = same_padding(size[0], spans[0], stride[0])
        left, right, across = same_padding(size[1], spans[1], stride[1])
        return Padding(top=top, bottom=bottom, left=left, right=right), (down, across)

    def _stride(self, x: Tensor) -> tuple[int, int]:
        d = self.d
        return tuple(d.pick(1, 1, 1, 2, 3) if n > 4 else 1 for n in x.shape[1:3])  # type: ignore[return-value]

    @property
    def _wants_tile(self) -> bool:
        return self._form is not None and self._form.tile > 0

    def _tiled_kernel(self, form: Target) -> tuple[int, int]:
        """Return a square kernel, or any height where rows alone are transformed."""
        if form.family.name == "winograd":
            return form.taps, form.taps
        return self.d.integer(2, 5), form.taps

    def _conv(self, x: Tensor, y_quant: Quantization | None = None) -> None:
        d = self.d
        same = y_quant is not None
        kernel = d.pick((1, 1), (3, 3), (3, 3), (3, 3), (d.integer(1, 5), d.integer(1, 5)))
        stride = (1, 1) if same or (kernel == (3, 3) and d.flag()) else self._stride(x)
        dilation = (d.integer(1, 3), d.integer(1, 3)) if not same and d.integer(0, 4) == 0 else (1, 1)
        groups = d.pick(*[g for g in (1, 1, 1, 2, 3) if x.shape[3] % g == 0]) if x.shape[3] < 33 else 1
        channels = groups * d.integer(1, 16 // groups)
        if self.kind == "tiled":
            same, stride, dilation, groups, channels = True, (1, 1), (1, 1), 1, 4 * d.integer(1, 4)
            kernel = d.pick((3, 3), (3, 3), (5, 5))
        elif self.kind == "chain" and self.operators:
            stride = (2, 2)
        elif self.kind == "chain":
            # The widest tensor stands near the input: where it need not be whole, the arena shrinks.
            stride, dilation, groups, channels = (1, 1), (1, 1), 1, d.integer(6, 16)
        form = self._form
        if form is not None and form.tile:
            same, groups, channels = d.flag(), 1, 2 * d.integer(1, 8)
            kernel, dilation = self._tiled_kernel(form), (1, 1)
            stride = (1 if form.family.name == "winograd" else d.pick(1, 1, 2), 1)
            same = same and stride == (1, 1)
        padding, output = self._window(x, kernel, stride, dilation)
        if same:
            top, bottom, _ = same_padding(x.shape[1], kernel[0], 1)
            left, right, _ = same_padding(x.shape[2], kernel[1], 1)
            padding, output = Padding(top=top, bottom=bottom, left=left, right=right), (x.shape[1], x.shape[2])
        quant = y_quant or d.quantization()
        weights, bias = self._weights(x, (channels, *kernel, x.shape[3] // groups), 0, quant)
        y = self._result((1, *output, channels), quant)
        clamp = (-128, 127) if y_quant is not None else self._clamp(quant)
        self._add(
            Conv2D(
                name=self._name(),
                x=x,
                weights=weights,
                bias=bias,
                y=y,
                clamp=clamp,
                stride=stride,
                dilation=dilation,
                padding=padding,
            )
        )

    def _depthwise(self, x: Tensor) -> None:
        d = self.d
        kernel = d.pick((3, 3), (3, 3), (d.integer(1, 5), d.integer(1, 5)))
        step = d.pick(1, 1, 2) if min(x.shape[1:3]) > 4 else 1
        stride, dilation = (step, step), (1, 1)
        if step == 1 and d.integer(0, 4) == 0:
            dilation = (d.integer(1, 2), d.integer(1, 3))
        times = d.pick(1, 1, 1, 2, 3) if x.shape[3] < 12 else 1
        padding, output = self._window(x, kernel, stride, dilation)
        quant = d.quantization()
        weights, bias = self._weights(x, (1, *kernel, x.shape[3] * times), 3, quant)
        y = self._result((1, *output, x.shape[3] * times), quant)
        self._add(
            DepthwiseConv2D(
                name=self._name(),
                x=x,
                weights=weights,
                bias=bias,
                y=y,
                clamp=self._clamp(quant),
                stride=stride,
                dilation=dilation,
                padding=padding,
            )
        )

    def _pool(self, x: Tensor) -> None:
        d = self.d
        window = tuple(d.integer(1, min(3, n)) for n in x.shape[1:3])
        stride = self._stride(x)
        padding, output = self._window(x, window, stride, (1, 1))  # type: ignore[arg-type]
        make = d.pick(MaxPool2D, AveragePool2D)
        y = self._result((1, *output, x.shape[3]), x.quant)
        assert x.quant is not None
        clamp = self._clamp(x.quant)
        self._add(make(name=self._name(), x=x, y=y, filter=window, stride=stride, padding=padding, clamp=clamp))

    def _binary(self, x: Tensor) -> None:
        d = self.d
        makers = (Add, Add, Sub, Mul) if self._form is None else self._form.kinds
        make: Callable[..., Add | Sub | Mul] = d.pick(*(m for m in makers if m in (Add, Sub, Mul)))
        others = [t for t in self._open if t.shape == x.shape]
        b = d.pick(*others)
        if d.integer(0, 2) == 0:
            shape = d.pick((1,), (x.shape[3],), x.shape)
            b = Tensor(
                name=f"{self._name()}_c", shape=shape, dtype=DType.INT8, quant=d.quantization(), data=d.int8(shape)
            )
        a, b = (x, b) if d.flag() else (b, x)
        far = [self._real(a), self._real(b)]
        widest = far[0] * far[1] if make is Mul else math.hypot(*far)
        quant = Quantization.per_tensor(max(widest, 1e-6) / d.pick(30.0, 60.0), d.integer(-60, 60))
        y = self._result(x.shape, quant)
        self._add(make(name=self._name(), a=a, b=b, y=y, clamp=self._clamp(quant)))

    def _real(self, tensor: Tensor) -> float:
        values = tensor.values if tensor.is_constant else self._values[tensor]
        return tensor.scale * max(1.0, float(np.sqrt(np.mean((values.astype(np.float64) - tensor.zero_point) ** 2))))

    def _map(self, x: Tensor) -> None:
        d, name = self.d, self._name()
        quant = Quantization.per_tensor(x.scale * d.log_uniform(0.5, 2.0), d.integer(-100, 40))
        y = self._result(x.shape, quant)
        match d.integer(0, 8):
            case 5:
                unit = Quantization.per_tensor(1 / 128, 0)
                self._add(Tanh(name=name, x=x, y=self._result(x.shape, unit)))
            case 6:
                self._add(Softmax(name=name, x=x, y=self._result(x.shape, _UNIT)))
            case 7:
                y = Tensor(name=f"{name}_y0", shape=x.shape, dtype=DType.FLOAT32, quant=None)
                self._add(Dequantize(name=name, x=x, y=y))
            case 8:
                shape = (1, d.integer(1, 2 * x.shape[1]), d.integer(1, 2 * x.shape[2]), x.shape[3])
                y, half = self._result(shape, x.quant), d.flag()
                self._add(ResizeBilinear(name=name, x=x, y=y, half_pixel_centers=half))
            case 0:
                self._add(Relu(name=name, x=x, y=y))
            case 1:
                self._add(Relu6(name=name, x=x, y=self._result(x.shape, x.quant)))
            case 2:
                self._add(LeakyRelu(name=name, x=x, y=y, alpha=float(np.float32(d.pick(0.1, 0.3, -0.5)))))
            case 3:
                self._add(Logistic(name=name, x=x, y=self._result(x.shape, _UNIT)))
            case 4:
                self._add(Quantize(name=name, x=x, y=y))

    def _move(self, x: Tensor) -> None:
        d, name = self.d, self._name()
        match d.integer(0, 4):
            case 0:
                paddings = ((0, 0), *((d.integer(0, 2), d.integer(0, 2)) for _ in range(2)), (0, d.integer(0, 1)))
                shape = tuple(n + sum(each) for n, each in zip(x.shape, paddings, strict=True))
                self._add(Pad(name=name, x=x, y=self._result(shape, x.quant), paddings=paddings, value=x.zero_point))
            case 1:
                shape = (1, x.shape[1] * d.integer(1, 2), x.shape[2] * d.integer(1, 2), x.shape[3])
                half = d.flag()
                y = self._result(shape, x.quant)
                self._add(ResizeNearestNeighbor(name=name, x=x, y=y, half_pixel_centers=half))
            case 2:
                perm = d.pick((0, 2, 1, 3), (0, 3, 1, 2), (0, 1, 3, 2))
                y = self._result(tuple(x.shape[axis] for axis in perm), x.quant)
                self._add(Transpose(name=name, x=x, y=y, perm=perm))
            case 3:
                axes = d.pick((1, 2), (1,), (2,))
                shape = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
                quant = Quantization.per_tensor(x.scale / d.pick(1.0, 3.0), d.integer(-60, 60))
                self._add(Mean(name=name, x=x, y=self._result(shape, quant), axes=axes))
            case 4:
                strides = (1, d.pick(1, 2), d.pick(1, 1, -1), 1)
                begin = (0, 0, x.shape[2] - 1 if strides[2] < 0 else 0, d.integer(0, x.shape[3] - 1))
                shape = (1, -(-x.shape[1] // strides[1]), x.shape[2], x.shape[3] - begin[3])
                y = self._result(shape, x.quant)
                self._add(StridedSlice(name=name, x=x, y=y, begin=begin, strides=strides))

    def _join(self, x: Tensor) -> None:
        before = len(self.operators)
        self._conv(x, x.quant)
        if len(self.operators) == before:
            return
        xs = [x, self._open[-1]]
        if self.d.flag():
            xs.reverse()
        shape = (*x.shape[:3], sum(t.shape[3] for t in xs))
        self._add(Concatenation(name=self._name(), xs=tuple(xs), y=self._result(shape, x.quant), axis=3))

    def _cut(self, x: Tensor) -> None:
        axes = [axis for axis in (1, 2, 3) if x.shape[axis] % 2 == 0]
        if not axes:
            return self._map(x)
        axis = self.d.pick(*axes)
        shape = tuple(n // 2 if each == axis else n for each, n in enumerate(x.shape))
        ys = tuple(self._result(shape, x.quant, part) for part in range(2))
        return self._add(Split(name=self._name(), x=x, ys=ys, axis=axis))

    def _connected(self, x: Tensor) -> None:
        d = self.d
        if x.elements > 1500:
            return self._pool(x)
        units = d.pick(d.integer(9, 40), d.integer(9, 40), d.integer(1, 8))
        quant = d.quantization()
        weights, bias = self._weights(x, (units, x.elements), 0, quant, shared=True)
        y = self._result((1, units), quant)
        return self._add(
            FullyConnected(name=self._name(), x=x, weights=weights, bias=bias, y=y, clamp=self._clamp(quant))
        )


_MAKERS: dict[type[Operator], str] = {
    Conv2D: "_conv",
    DepthwiseConv2D: "_depthwise",
    FullyConnected: "_connected",
    Add: "_binary",
    Sub: "_binary",
    Mul: "_binary",
    MaxPool2D: "_pool",
    AveragePool2D: "_pool",
}
"""The methods that make operators of a kind; others are made by `_map`, `_move`, `_join` and `_cut`."""


def distinct(outputs: Sequence[Array]) -> int:
    """Return how many different values the outputs have together."""
    return len(np.unique(np.concatenate([np.ravel(value) for value in outputs])))
