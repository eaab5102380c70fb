"""Float graphs with Quantize and Dequantize pairs → the int8 graph that they spell, with TFLite's arithmetic.

A layer between pairs becomes one int8 operator, from what its Dequantize reads to what the Quantize behind it makes.
Operators that move values need no pair of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.context import quantised_range
from utvm.frontends.errors import FrontendError
from utvm.frontends.problems import Problems
from utvm.frontends.refusal import RefusedError
from utvm.graph import (
    FULL_INT8,
    Add,
    AveragePool2D,
    BatchMatMul,
    Concatenation,
    DepthwiseConv2D,
    Dequantize,
    DType,
    Graph,
    LeakyRelu,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Pad,
    Quantization,
    Quantize,
    Relu,
    Relu6,
    Reshape,
    ResizeBilinear,
    ResizeNearestNeighbor,
    Split,
    StridedSlice,
    Sub,
    Tensor,
    Transpose,
    Weighted,
)
from utvm.graph.names import Names
from utvm.graph.units import PRESCRIBED_UNITS, REAL_RANGES
from utvm.passes import fold_constants, remove_dead_operators
from utvm.passes.channel_order import channels_last

Clamp = tuple[int, int]
_Clamping = Weighted | Add | Sub | Mul
_AVERAGING = (AveragePool2D, ResizeBilinear)
_MOVING = (
    MaxPool2D,
    Pad,
    Reshape,
    ResizeNearestNeighbor,
    Split,
    StridedSlice,
    Transpose,
    *_AVERAGING,
)
"""Operators of one input whose results have its units."""
_COARSEST = 2.0
"""A result that is rounded twice stays within 1 where the first steps are less than this many of the last."""


def is_quantised(graph: Graph) -> bool:
    """Whether a graph has pairs."""
    return any(isinstance(op, Quantize | Dequantize) for op in graph.operators)


def integers_of(graph: Graph, source: str, advice: str) -> Graph:
    """Return the int8 graph of a graph with pairs whose images are [N,C,H,W] or [N,H,W,C].

    Raises:
        FrontendError: a part can't be kept; `advice` says what to do instead.
    """
    problems = Problems()
    moved = channels_last(remove_dead_operators(fold_constants(graph))).graph
    try:
        made = integer_graph(moved, problems)
    except RecursionError as error:
        raise FrontendError(source, ["too many operators follow each other without a QuantizeLinear"]) from error
    if made is None:
        raise FrontendError(source, problems.texts, advice=[*problems.advice, advice])
    return made


def integer_graph(graph: Graph, problems: Problems) -> Graph | None:
    """Return the int8 graph; None with the problems noted where a part can't be kept.

    Args:
        graph: float32 but for what Quantize makes; `quant` of a constant says which integers its values stand for.
        problems: gets what can't be kept.
    """
    return _Integers(graph, problems).result()


class _Integers:
    def __init__(self, graph: Graph, problems: Problems) -> None:
        self.graph = graph
        self.problems = problems
        self.operators: list[Operator] = []
        self.names = Names()
        self.stored: dict[Tensor, Tensor] = {}
        """What a Quantize makes → its tensor of the int8 graph."""
        self.known: dict[tuple[Tensor, Quantization, Clamp], Tensor] = {}
        self.moved: dict[tuple[Operator, tuple[Tensor, ...]], tuple[Tensor, ...]] = {}
        self.settled: dict[Tensor, bool] = {}
        self.clamped: dict[Tensor, bool] = {}
        self.plain: dict[Tensor, Tensor] = {}
        """What is computed of float inputs before anything is quantised → its float32 tensor."""

    def result(self) -> Graph | None:
        inputs = [self._input(tensor) for tensor in self.graph.inputs]
        for op in self.graph.operators:
            self._settle(op)
            if self._stays_float(op):
                continue
            if isinstance(op, Quantize) and op.y not in self.stored:
                try:
                    self.stored[op.y] = self.at(op.x, _units(op.y))
                except RefusedError as reason:
                    self.problems.of_file(str(reason), reason.advice)
                    # What reads it is converted all the same, to tell of its own problems.
                    self.stored[op.y] = op.y
        outputs = [self._output(tensor) for tensor in self.graph.outputs]
        if self.problems.texts:
            return None
        made = Graph(
            name=self.graph.name, operators=tuple(self.operators), inputs=tuple(inputs), outputs=tuple(outputs)
        )
        named = {
            new: dataclasses.replace(new, name=self.names.fresh(old.name))
            for old, new in zip(self.graph.outputs, outputs, strict=True)
            if new not in inputs
        }
        return made.rewrite(tensors=named)

    def _input(self, tensor: Tensor) -> Tensor:
        self.names.fresh(tensor.name)
        if tensor.dtype is DType.INT8:
            self.stored[tensor] = tensor
            return tensor
        readers = self.graph.consumers.get(tensor, ())
        units = {_units(op.y) for op in readers if isinstance(op, Quantize)}
        if len(units) != 1 or not all(isinstance(op, Quantize) for op in readers):
            self.plain[tensor] = tensor
            return tensor
        stored = dataclasses.replace(tensor, dtype=DType.INT8, quant=units.pop())
        self.stored |= {op.outputs[0]: stored for op in readers}
        return stored

    def _stays_float(self, op: Operator) -> bool:
        """Append an operator up to the first QuantizeLinear as it is; tell whether it is one of these."""
        read = [t for t in op.inputs if not t.is_constant]
        if not read or not all(t in self.plain for t in read):
            return False
        mapping = {t: self.plain[t] for t in read}
        mapping |= {t: dataclasses.replace(t, quant=None) for t in op.inputs if t.is_constant and t.quant is not None}
        mapping |= {y: dataclasses.replace(y, name=self.names.fresh(y.name)) for y in op.outputs}
        self.operators.append(dataclasses.replace(op.with_tensors(mapping), name=self.names.fresh(op.name)))
        into = self.stored if isinstance(op, Quantize) else self.plain
        into |= {y: mapping[y] for y in op.outputs}
        return True

    def _output(self, tensor: Tensor) -> Tensor:
        if tensor in self.plain:
            return self.plain[tensor]
        if tensor.dtype is DType.INT8:
            return self.stored[tensor]
        try:
            return self._places(tensor) if tensor.dtype is DType.INT32 else self.own(tensor)
        except RefusedError as reason:
            self.problems.of_file(f"output '{tensor.name}': {reason}", reason.advice)
            return tensor

    def _places(self, tensor: Tensor) -> Tensor:
        """Return places of maxima: those of stored integers are those of real numbers."""
        op = self.graph.producers[tensor]
        read = op.inputs[0]
        x = self._places(read) if read.dtype is DType.INT32 else self.own(read)
        y = dataclasses.replace(tensor, name=self.names.fresh(f"{tensor.name}/places"))
        self.operators.append(
            dataclasses.replace(op.with_tensors({read: x, tensor: y}), name=self.names.fresh(op.name))
        )
        return y

    def _settle(self, op: Operator) -> None:
        """Note whether an operator's result has units without a Quantize behind it."""
        if isinstance(op, Concatenation):
            # Only parts of the same units are joined as they are.
            kept = all(self.settled.get(x, False) for x in op.xs) and len({self._own_units(x) for x in op.xs}) == 1
        elif isinstance(op, (Relu, Relu6, *_MOVING)):
            kept = self.settled.get(op.inputs[0], False)
        else:
            kept = isinstance(op, Dequantize) or type(op) in PRESCRIBED_UNITS
        self.settled |= dict.fromkeys(op.outputs, kept)

    def _own_units(self, tensor: Tensor) -> Quantization | None:
        """Return the units of a settled tensor."""
        op = self.graph.producers[tensor]
        while not isinstance(op, Dequantize) and type(op) not in PRESCRIBED_UNITS:
            op = self.graph.producers[op.inputs[0]]
        return op.x.quant if isinstance(op, Dequantize) else PRESCRIBED_UNITS[type(op)]

    def own(self, tensor: Tensor) -> Tensor:
        """Return a float tensor in the units that it has by itself."""
        if tensor.is_constant:
            return self._constant(tensor)
        if not self.settled.get(tensor, False):
            maker = self.graph.producers.get(tensor)
            what = f"the result of {maker.kind} '{maker.name}'" if maker is not None else f"input '{tensor.name}'"
            raise RefusedError(f"{what} has no QuantizeLinear before it is read")
        units = self._own_units(tensor)
        assert units is not None
        return self.at(tensor, units)

    def at(self, tensor: Tensor, units: Quantization, clamp: Clamp = FULL_INT8) -> Tensor:
        """Return a float tensor as int8 in the units given, and clamped."""
        key = tensor, units, clamp
        if key not in self.known:
            self.known[key] = self._make(tensor, units, clamp)
        return self.known[key]

    def _make(self, tensor: Tensor, units: Quantization, clamp: Clamp) -> Tensor:
        if tensor.is_constant:
            return self._stored_constant(tensor, units)
        op = self.graph.producers[tensor]
        if isinstance(op, Relu | Relu6):
            return self._activation(op, units, clamp)
        if isinstance(op, Dequantize):
            return self._rescaled(self.stored[op.x], units)
        if type(op) in PRESCRIBED_UNITS:
            return self._fixed(op, units)
        if isinstance(op, Concatenation):
            return self._apply(op, tuple(self.at(x, units, clamp) for x in op.xs))[0]
        if isinstance(op, _MOVING):
            place = op.outputs.index(tensor)
            # A mean of what was cut off to the range of means is not that mean: its input needs units of its own.
            if not self.settled[tensor] and not isinstance(op, _AVERAGING):
                return self._apply(op, (self.at(op.inputs[0], units, clamp),))[place]
            x = self.own(op.inputs[0])
            if isinstance(op, _AVERAGING) and x.scale >= _COARSEST * units.scale[0]:
                return self._in_float(op, x, units)
            return self._rescaled(self._apply(op, (x,))[place], units)
        if isinstance(op, Weighted):
            return self._weighted(op, units, clamp, None)
        if isinstance(op, BatchMatMul):
            return self._emit(op, {op.a: self.own(op.a), op.b: self.own(op.b)}, units)
        if isinstance(op, Add | Sub | Mul):
            return self._binary(op, units, clamp)
        if isinstance(op, Mean | LeakyRelu):
            return self._emit(op, {op.x: self.own(op.x)}, units)
        raise RefusedError(f"{op.kind} '{op.name}' has no int8 form here")

    def _activation(self, op: Relu | Relu6, units: Quantization, clamp: Clamp) -> Tensor:
        low, high = quantised_range(dataclasses.replace(op.y, quant=units), *REAL_RANGES[type(op)])
        if self._takes_clamp(op.x):
            least = min(max(clamp[0], low), 127)
            return self.at(op.x, units, (least, max(min(clamp[1], high), least)))
        return self._emit(op, {op.x: self.at(op.x, units)}, units)

    def _takes_clamp(self, tensor: Tensor) -> bool:
        """Whether layers that make a tensor can clamp it; operators between them and it only pick values."""
        if tensor not in self.clamped:
            op = self.graph.producers.get(tensor)
            if isinstance(op, Concatenation):
                self.clamped[tensor] = all(self._takes_clamp(x) for x in op.xs)
            elif isinstance(op, (Relu, Relu6, *_MOVING)) and not isinstance(op, _AVERAGING):
                self.clamped[tensor] = self._takes_clamp(op.inputs[0])
            else:
                self.clamped[tensor] = isinstance(op, _Clamping)
        return self.clamped[tensor]

    def _fixed(self, op: Operator, units: Quantization) -> Tensor:
        fixed = PRESCRIBED_UNITS[type(op)]
        if units == fixed:
            return self._emit(op, {op.inputs[0]: self.own(op.inputs[0])}, fixed)
        if fixed.scale[0] >= _COARSEST * units.scale[0]:
            raise RefusedError(
                f"the result of {op.kind} '{op.name}' has the scale {units.scale[0]:.3g}; its int8 form has "
                f"{fixed.scale[0]:.3g}, which is too coarse"
            )
        return self._rescaled(self.at(op.outputs[0], fixed), units)

    def _rescaled(self, x: Tensor, units: Quantization) -> Tensor:
        if x.quant == units:
            return x
        y = dataclasses.replace(x, name=self.names.fresh(f"{x.name}/rescaled"), quant=units)
        self.operators.append(Quantize(name=self.names.fresh(f"{x.name}/rescale"), x=x, y=y))
        return y

    def _in_float(self, op: AveragePool2D | ResizeBilinear, x: Tensor, units: Quantization) -> Tensor:
        """Append an operator whose result has finer steps than its input, between a Dequantize and a Quantize."""
        real = dataclasses.replace(op.x, name=self.names.fresh(f"{op.x.name}/real"))
        made = dataclasses.replace(op.y, name=self.names.fresh(f"{op.y.name}/real"))
        self.operators.append(Dequantize(name=self.names.fresh(f"{op.name}/dequantize"), x=x, y=real))
        self.operators.append(dataclasses.replace(op, name=self.names.fresh(op.name), x=real, y=made))
        y = dataclasses.replace(op.y, name=self.names.fresh(f"{op.y.name}/int8"), dtype=DType.INT8, quant=units)
        self.operators.append(Quantize(name=self.names.fresh(f"{op.name}/quantize"), x=made, y=y))
        return y

    def _apply(self, op: Operator, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Append an operator that keeps its input's units; once for the same input."""
        if (op, operands) not in self.moved:
            changes: dict[str, Any] = {}
            if isinstance(op, Pad):
                changes["value"] = int(np.clip(round(op.value / operands[0].scale) + operands[0].zero_point, -128, 127))
            mapping = dict(zip(op.inputs, operands, strict=True))
            self._emit(op, mapping, _units(operands[0]), **changes)
            self.moved[op, operands] = self.operators[-1].outputs
        return self.moved[op, operands]

    def _weighted(self, op: Weighted, units: Quantization, clamp: Clamp, added: NDArray[np.float32] | None) -> Tensor:
        x, weights = self.own(op.x), op.weights
        axis = 3 if isinstance(op, DepthwiseConv2D) else 0
        channels = weights.shape[axis]
        if not weights.is_constant or weights.quant is None:
            raise RefusedError(
                f"the weights of {op.kind} '{op.name}' are not int8 with a scale a channel or one for all"
            )
        scales = np.array(weights.channel_scales(channels))
        steps = weights.values / scales.reshape([-1 if d == axis else 1 for d in range(weights.values.ndim)])
        stored = np.rint(steps)
        if np.abs(stored - steps).max() > 1e-2 or stored.min() < -128 or stored.max() > 127:
            raise RefusedError(f"the weights of {op.kind} '{op.name}' do not fit int8 without a zero point")
        bias_scales = (scales * x.scale).astype(np.float32).astype(np.float64)
        if not bias_scales.all():
            raise RefusedError(f"the scales of {op.kind} '{op.name}' are too small for float32")
        real = np.zeros(channels) if op.bias is None else op.bias.values.astype(np.float64)
        bias = np.rint((real + (0 if added is None else added)) / bias_scales)
        if np.abs(bias).max() >= 1 << 31:
            raise RefusedError(f"the bias of {op.kind} '{op.name}' does not fit 32 bits in steps of its layer")
        name = self.names.fresh(op.name)
        return self._emit(
            op,
            {op.x: x},
            units,
            weights=Tensor(
                name=f"{name}/weights",
                shape=weights.shape,
                dtype=DType.INT8,
                quant=Quantization.symmetric(scales, axis),
                data=np.ascontiguousarray(stored.astype(np.int8)),
            ),
            bias=Tensor(
                name=f"{name}/bias",
                shape=(channels,),
                dtype=DType.INT32,
                quant=Quantization.symmetric(bias_scales, 0),
                data=bias.astype(np.int32),
            ),
            clamp=clamp,
        )

    def _binary(self, op: Add | Sub | Mul, units: Quantization, clamp: Clamp) -> Tensor:
        for one, other in ((op.a, op.b), (op.b, op.a)):
            layer = self.graph.producers.get(one)
            if isinstance(op, Add) and other.is_constant and isinstance(layer, Weighted) and one.shape == op.y.shape:
                row = other.values.reshape(-1)
                if row.size == 1 or (row.size == one.shape[-1] and other.shape[-1] == row.size):
                    return self._weighted(layer, units, clamp, row)
        return self._emit(op, {op.a: self.own(op.a), op.b: self.own(op.b)}, units, clamp=clamp)

    def _constant(self, tensor: Tensor) -> Tensor:
        """Return a constant operand: the integers that the file has; one value alone is exact without them."""
        quant, values = tensor.quant, tensor.values
        if quant is None and values.size and float(values.min()) == float(values.max()):
            quant = Quantization.per_tensor(abs(float(values.flat[0])) / 127 or 1.0)
        if quant is None or len(quant.scale) != 1:
            raise RefusedError(f"constant '{tensor.name}' is not int8 with one scale")
        return self._stored_constant(tensor, quant)

    def _stored_constant(self, tensor: Tensor, units: Quantization) -> Tensor:
        scaled = np.rint(tensor.values.astype(np.float64) / units.scale[0]) + units.zero_point[0]
        data = np.asarray(np.clip(scaled, -128, 127)).astype(np.int8)
        return Tensor(name=self.names.fresh(tensor.name), shape=tensor.shape, dtype=DType.INT8, quant=units, data=data)

    def _emit(self, op: Operator, operands: Mapping[Tensor, Tensor], units: Quantization, **changes: Any) -> Tensor:
        made = {
            y: dataclasses.replace(y, name=self.names.fresh(y.name + "/int8"), dtype=DType.INT8, quant=units)
            for y in op.outputs
        }
        name = self.names.fresh(op.name)
        self.operators.append(dataclasses.replace(op.with_tensors({**operands, **made}), name=name, **changes))
        return self.operators[-1].outputs[0]


def _units(tensor: Tensor) -> Quantization:
    assert tensor.quant is not None
    return tensor.quant
