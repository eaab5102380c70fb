"""Random networks of 2 to 8 operators with branches, and random ways to compile them.

Numpy draws everything from one seed. Scales of outputs follow the values that reach an operator, so that what comes
out is neither flat nor clipped, however extreme weights and zero points are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from tests.support.drawer import Array, Drawer
from utvm import api
from utvm.boards import Board
from utvm.cores.microkernel import ScheduleError
from utvm.emulators import assumptions
from utvm.frontends.tflite import load_tflite
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
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
    ResizeNearestNeighbor,
    Split,
    StridedSlice,
    Sub,
    Tensor,
    Transpose,
    same_padding,
)
from utvm.graph.reference import evaluate_operator
from utvm.kernels import FAMILIES, SMALL_FAMILIES, Config, KernelFamily
from utvm.lowering import LoweringError, Program, lower
from utvm.passes import run_passes

_UNIT = Quantization.per_tensor(1 / 256, -128)
_MOST_CONFIGS = 6
_MOST_TRIES = 40
_FLAT = 8
_KINDS = ("any", "any", "any", "any", "any", "any", "tiled", "tiled", "tiled", "tiled", "chain", "chain", "chain")
"""Tiled networks have shapes for Winograd, chains are for stripes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A model file, its inputs, and the program that one way of compiling made of it; `plan` says which way."""

    model: bytes
    inputs: Sequence[Array]
    program: Program
    plan: str

    @property
    def used(self) -> set[str]:
        """What is in the program: families by operator, forms of Winograd, and stripes."""
        found = {f"{call.op.kind}: {call.kernel.family}" for call in self.program.calls}
        for call in self.program.calls:
            if call.kernel.family.startswith("winograd"):
                knobs = " ".join(f"{knob}={value}" for knob, value in sorted(call.kernel.config.items()))
                found.add(f"{call.kernel.family} {knobs}")
        if "stripes" in self.plan:
            found.add("stripes")
        return found


def draw_network(seed: int, board: Board) -> Network:
    """Return a random network compiled for a board in a random way."""
    d = Drawer(np.random.default_rng(seed), True, 12)
    kind = d.pick(*_KINDS)
    builder = _Builder(d, kind)
    builder.start()
    wanted = d.integer(2, 8 if kind == "any" else 4)
    for _ in range(_MOST_TRIES):
        if len(builder.operators) < wanted:
            builder.grow()
    graph = builder.graph()
    model = write_tflite(graph)
    optimised = run_passes(load_tflite(model, name=graph.name))
    program, plan = _compiled(d, optimised, board, kind)
    return Network(model=model, inputs=builder.inputs, program=program, plan=plan)


def _compiled(d: Drawer, graph: Graph, board: Board, kind: str) -> tuple[Program, str]:
    """Return the program of a random plan: each family and config alike, or what budgets allow."""
    core = board.core
    if kind == "chain" and (program := _striped(d, graph, board)) is not None:
        return program, "stripes"
    if kind == "tiled" or d.integer(0, 9) < 6:
        choices = random_choices(d, graph, board)
        return lower(graph, core, choices=choices), "random configs"
    plan = d.pick("fast", "small", "assume", "ram", "flash")
    families = SMALL_FAMILIES if d.integer(0, 3) == 0 else FAMILIES
    known = [each.name for each in assumptions().values() if core.name in each.cores]
    if plan == "assume" and known:
        core = api.assumed_core(board, d.pick(*known))
    program = lower(graph, core, families=SMALL_FAMILIES if plan == "small" else families)
    share = d.pick(0.5, 0.7, 0.9)
    limits: Mapping[str, int] = {
        "ram": {"ram": round(program.arena_bytes * share)},
        "flash": {"flash": round(program.flash_bytes * share)},
    }.get(plan, {})
    if limits:
        try:
            program = lower(graph, core, families=families, **limits)
        except LoweringError:
            plan += ", not possible"
    return program, plan


def _striped(d: Drawer, graph: Graph, board: Board) -> Program | None:
    """Return a program whose first layers are computed in stripes, None where less RAM is not to be had."""
    whole = lower(graph, board.core, families=SMALL_FAMILIES)
    for share in (0.45, 0.6, 0.8):
        try:
            program = lower(graph, board.core, families=SMALL_FAMILIES, ram=round(whole.arena_bytes * share))
        except LoweringError:
            continue
        if len(program.graph.operators) > len(graph.operators):
            return program
    return None


def random_choices(d: Drawer, graph: Graph, board: Board) -> dict[str, tuple[KernelFamily, Config]]:
    """Return for each operator a family, each of those that take it alike, and a config that can be built."""
    found: dict[str, tuple[KernelFamily, Config]] = {}
    for op in graph.operators:
        families = [family for family in FAMILIES if family.applies(op, board.core)]
        d.rng.shuffle(families)  # type: ignore[arg-type]
        # Plain C last in two of three draws: it always applies.
        if d.integer(0, 2):
            families.sort(key=lambda family: family.name == "portable")
        for family in families:
            config = _config(d, family, op, board)
            if config is not None:
                found[op.name] = family, config
                break
    return found


def _config(d: Drawer, family: KernelFamily, op: Operator, board: Board) -> Config | None:
    space = family.space(op, board.core)
    every = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    d.rng.shuffle(every)  # type: ignore[arg-type]
    for config in every[:_MOST_CONFIGS]:
        if family.legal(op, board.core, config):
            try:
                family.build(op, board.core, config)
            except ScheduleError:
                continue
            return config
    return None


@dataclass(slots=True)
class _Builder:
    """Operators so far and the values of their results. Every result may be read again; unread ones are outputs."""

    d: Drawer
    kind: str
    operators: list[Operator] = field(default_factory=list)
    inputs: list[Array] = field(default_factory=list)
    _starts: list[Tensor] = field(default_factory=list)
    _open: list[Tensor] = field(default_factory=list)
    _values: dict[Tensor, Array] = field(default_factory=dict)

    def start(self) -> None:
        """Make the input: large images for chains, so that stripes pay; others of any small shape."""
        d = self.d
        shape = (1, d.pick(1, d.integer(3, 12)), d.integer(3, 14), d.pick(1, 3, 4, d.integer(1, 24)))
        if self.kind == "chain":
            shape = (1, d.integer(16, 28), d.integer(10, 20), d.integer(1, 4))
        elif self.kind == "tiled":
            shape = (1, 4 * d.integer(1, 3), 4 * d.integer(1, 3), 4 * d.integer(1, 4))
        x = d.tensor("x", shape)
        values = d.int8(shape)
        self.inputs.append(values)
        self._starts.append(x)
        self._note(x, values)

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
        operands = [t.values if t.is_constant else self._values[t] for t in op.inputs]
        results = evaluate_operator(op, operands)
        if any(distinct([values]) <= _FLAT for values in results) and self.d.integer(0, 24):
            return
        self.operators.append(op)
        for tensor, values in zip(op.outputs, results, strict=True):
            self._note(tensor, values)

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
        if self.kind == "tiled" and d.integer(0, 3):
            values = np.clip(d.rng.normal(0, 25, shape), -127, 127).astype(np.int8)
        elif d.integer(0, 5) == 0:
            values = np.full(shape, d.pick(-127, 127), np.int8) * d.rng.choice(np.array([1, 1, -1], np.int8), shape)
        usual = d.pick(20.0, 50.0, 90.0) / (self._spread(x) * math.sqrt(taps) * 74)
        factors = np.array([usual * d.log_uniform(0.5, 2.0) for _ in range(channels)])
        if d.integer(0, 3) == 0 and channels > 1 and self.kind != "tiled":
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
        make = d.pick(Add, Add, Sub, Mul)
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
        match d.integer(0, 4):
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
        units = d.integer(9, 40)
        quant = d.quantization()
        weights, bias = self._weights(x, (units, x.elements), 0, quant, shared=True)
        y = self._result((1, units), quant)
        return self._add(
            FullyConnected(name=self._name(), x=x, weights=weights, bias=bias, y=y, clamp=self._clamp(quant))
        )


def distinct(outputs: Sequence[Array]) -> int:
    """Return how many different values the outputs have together."""
    return len(np.unique(np.concatenate([np.ravel(value) for value in outputs])))
