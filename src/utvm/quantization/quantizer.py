"""A float graph and the ranges of its tensors → a graph of integers with TFLite's arithmetic."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import UnionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.errors import UtvmError
from utvm.frontends.context import quantised_range
from utvm.graph import (
    FULL_INT8,
    BatchMatMul,
    CumulativeSum,
    DepthwiseConv2D,
    Dequantize,
    DType,
    Elementwise,
    Graph,
    LeakyRelu,
    Mean,
    Operator,
    Pad,
    Quantization,
    Quantize,
    Reduction,
    Relu,
    Tensor,
    Weighted,
)
from utvm.graph.arithmetic import integer_range
from utvm.graph.names import Names
from utvm.graph.units import PRESCRIBED_UNITS, REAL_RANGES
from utvm.quantization.groups import SHARING
from utvm.quantization.kept_types import CLAMPING, fused_activations, operator_types
from utvm.quantization.ranges import Method, ValueRange
from utvm.quantization.scales import activation_units, prescribed_units
from utvm.quantization.weights import stored_weights, weight_scales

_KNOWN: tuple[type[Operator] | UnionType, ...] = (
    *(CLAMPING, BatchMatMul, Mean, LeakyRelu, Relu, Elementwise, Reduction, CumulativeSum),
    *(*SHARING, *PRESCRIBED_UNITS),
)
_SUFFIXES = {DType.INT8: "", DType.INT16: "/wide", DType.FLOAT32: "/real"}
"""What is added to a tensor's name in each type."""
_NARROWER = {DType.INT8: (), DType.INT16: (DType.INT8,), DType.FLOAT32: (DType.INT8, DType.INT16)}


class QuantizationError(UtvmError):
    """A network that can't be quantised."""


def quantize_graph(
    graph: Graph,
    ranges: Mapping[DType, Mapping[str, ValueRange]],
    *,
    weights: Method,
    corrections: Mapping[str, NDArray[np.float64]] | None = None,
    kept: Mapping[str, DType] | None = None,
) -> Graph:
    """Return the graph in int8, with some operators in int16 with int8 weights, or in float32.

    Args:
        graph: float32, images [N,H,W,C].
        ranges: int8 or int16 → tensor name → the range of real values that the type covers.
        weights: how scales of weights are chosen.
        corrections: name of a layer with weights → what is taken from its bias.
        kept: name of an operator that is not int8 → its type. Operators between two types convert.

    Raises:
        QuantizationError: an operator has no int8 form here.
    """
    unknown = {op.kind for op in graph.operators if not isinstance(op, _KNOWN)}
    if unknown:
        raise QuantizationError(f"{', '.join(sorted(unknown))} can't be quantised: take them out of the network")
    return _Quantizer(graph, ranges, weights, corrections or {}, kept or {}).graph_of_integers()


class _Quantizer:
    def __init__(
        self,
        graph: Graph,
        ranges: Mapping[DType, Mapping[str, ValueRange]],
        weights: Method,
        corrections: Mapping[str, NDArray[np.float64]],
        kept: Mapping[str, DType],
    ) -> None:
        self.graph = graph
        self.method = weights
        self.corrections = corrections
        self.types = operator_types(graph, kept)
        # The activation behind an operator that stays float stays an operator too.
        self.fused = {op: y for op, y in fused_activations(graph).items() if self._type(op) is not DType.FLOAT32}
        self.forms: dict[tuple[Tensor, DType], Tensor] = {}
        """Activations and constants in the types that they are read in."""
        self.native: dict[Tensor, DType] = {}
        """Activation → the type that it is computed in."""
        self.units = {dtype: activation_units(graph, found, dtype) for dtype, found in ranges.items()}
        weighted = [op for op in graph.operators if isinstance(op, Weighted)]
        self.replaced = {t for op in weighted for t in (op.weights, op.bias)}
        """Constants that layers with weights read; other operators may read them too."""
        self.names = Names(t.name for t in graph.tensors if t not in self.replaced)
        self.constants: dict[tuple[str, bytes, Quantization], Tensor] = {}
        """Weights and biases by name, values and units: layers that shared them do so still."""
        self.operators: list[Operator] = []

    def graph_of_integers(self) -> Graph:
        inputs = tuple(self._made(t, DType.INT8) for t in self.graph.inputs)
        gone = set(self.fused.values())
        for op in self.graph.operators:
            if op not in gone:
                self._convert(op)
        outputs = tuple(self._form(t, DType.INT8) for t in self.graph.outputs)
        return Graph(name=self.graph.name, operators=tuple(self.operators), inputs=inputs, outputs=outputs)

    def _type(self, op: Operator) -> DType:
        return self.types.get(op.name, DType.INT8)

    def _made(self, tensor: Tensor, dtype: DType) -> Tensor:
        """Return an activation that is computed in a type, or given in it."""
        self.native.setdefault(tensor, dtype)
        if tensor.dtype is not DType.FLOAT32:
            # What is bool, a place or an identifier stays so whatever reads it.
            return self.forms.setdefault((tensor, dtype), tensor)
        if (tensor, dtype) not in self.forms:
            quant = None if dtype is DType.FLOAT32 else self.units[dtype][tensor]
            name = self._name(tensor, dtype)
            self.forms[tensor, dtype] = dataclasses.replace(tensor, name=name, dtype=dtype, quant=quant)
        return self.forms[tensor, dtype]

    def _name(self, tensor: Tensor, dtype: DType) -> str:
        """Return the name of a tensor's form in a type: in int8 the tensor's own, unless weights may have that."""
        name = f"{tensor.name}{_SUFFIXES[dtype]}"
        return self.names.fresh(name) if name != tensor.name or tensor in self.replaced else name

    def _form(self, tensor: Tensor, dtype: DType) -> Tensor:
        """Return an operand in a type; it is converted to it first where it is computed in another."""
        if (tensor, dtype) in self.forms:
            return self.forms[tensor, dtype]
        if tensor.is_constant:
            return self._constant(tensor, dtype)
        if tensor.dtype is not DType.FLOAT32:
            return self._made(tensor, dtype)
        stored, made = self.forms[tensor, self.native[tensor]], self._made(tensor, dtype)
        if dtype is DType.FLOAT32:
            self.operators.append(Dequantize(name=f"{tensor.name}/dequantize", x=stored, y=made))
        else:
            self.operators.append(Quantize(name=f"{made.name}/quantize", x=stored, y=made))
        return made

    def _constant(self, tensor: Tensor, dtype: DType) -> Tensor:
        if tensor.dtype is not DType.FLOAT32:
            return tensor
        # The same constant may be read in several types.
        made = dataclasses.replace(tensor, name=self._name(tensor, dtype))
        if dtype is not DType.FLOAT32:
            quant = self.units[dtype].get(tensor) or _constant_quantization(tensor.values, dtype)
            scaled = np.rint(tensor.values.astype(np.float64) / quant.scale[0]) + quant.zero_point[0]
            data = np.clip(scaled, *integer_range(dtype)).astype(dtype.value)
            made = dataclasses.replace(made, dtype=dtype, quant=quant, data=data)
        self.forms[tensor, dtype] = made
        return made

    def _convert(self, op: Operator) -> None:
        dtype, activation = self._type(op), self.fused.get(op)
        results = op.outputs if activation is None else activation.outputs
        operands = op.inputs[:1] if isinstance(op, Weighted) and dtype is not DType.FLOAT32 else op.inputs
        mapping = {t: self._form(t, dtype) for t in operands}
        mapping |= {old: self._made(new, dtype) for old, new in zip(op.outputs, results, strict=True)}
        fixed = prescribed_units(op, dtype)
        wanted = mapping[op.outputs[0]]
        if dtype is DType.FLOAT32:
            self.operators.append(self._with_bias(op).with_tensors(mapping))
        elif fixed is not None and fixed != wanted.quant:
            # Its own scale first, then that of the tensors that it is joined with.
            own = dataclasses.replace(wanted, name=self.names.fresh(f"{wanted.name}/own_scale"), quant=fixed)
            mapping[op.outputs[0]] = own
            self._append(op, mapping, FULL_INT8)
            self.operators.append(Quantize(name=f"{op.name}/rescaled", x=own, y=wanted))
        else:
            clamp = FULL_INT8
            if activation is not None:
                clamp = quantised_range(wanted, *REAL_RANGES[type(activation)])
            self._append(op, mapping, clamp)
        # What takes less room is made at once, so that the larger form does not stay.
        for y in results:
            readers = {self._type(r) for r in self.graph.consumers.get(y, ())}
            if y in self.graph.outputs:
                readers.add(DType.INT8)
            for narrow in _NARROWER[dtype]:
                if narrow in readers:
                    self._form(y, narrow)

    def _with_bias(self, op: Operator) -> Operator:
        """Return an operator as tflite-micro runs it in float32: a depthwise layer has to have a bias there."""
        if not isinstance(op, DepthwiseConv2D) or op.bias is not None:
            return op
        data = np.zeros(op.y.shape[-1], np.float32)
        name = self.names.fresh(f"{op.name}/bias")
        return dataclasses.replace(op, bias=Tensor(name=name, shape=data.shape, dtype=DType.FLOAT32, data=data))

    def _append(self, op: Operator, mapping: Mapping[Tensor, Tensor], clamp: tuple[int, int]) -> None:
        changes: dict[str, Any] = {}
        if isinstance(op, Weighted):
            changes = self._weights(op, mapping[op.x])
        if isinstance(op, CLAMPING):
            changes["clamp"] = clamp
        if isinstance(op, Pad):
            x = mapping[op.x]
            changes["value"] = int(np.clip(np.rint(op.value / x.scale) + x.zero_point, *integer_range(x.dtype)))
        self.operators.append(dataclasses.replace(op.with_tensors(mapping), **changes))

    def _weights(self, op: Weighted, x: Tensor) -> dict[str, Any]:
        if not op.weights.is_constant or (op.bias is not None and not op.bias.is_constant):
            raise QuantizationError(f"{op.kind} '{op.name}' has weights that are not constant")
        axis = 3 if isinstance(op, DepthwiseConv2D) else 0
        channels = op.weights.shape[axis]
        values = op.weights.values
        bias = np.zeros(channels, np.float32) if op.bias is None else op.bias.values
        if op.name in self.corrections:
            bias = (bias - self.corrections[op.name]).astype(np.float32)
        scales = weight_scales(values, axis, self.method, bias, x.scale)
        # The products as float32 has them, since a file keeps no more.
        bias_scales = (scales * x.scale).astype(np.float32).astype(np.float64)
        # int16 has biases of 64 bits: tflite-micro takes no others beside all of these layers.
        wide = DType.INT64 if x.dtype is DType.INT16 else DType.INT32
        stored = np.clip(np.rint(bias / bias_scales), *integer_range(DType.INT32)).astype(wide.value)
        # Layers that share weights share what is made for a bias that they do not have.
        name = f"{op.weights.name}/bias" if op.bias is None else op.bias.name
        data, units = stored_weights(values, scales, axis), Quantization.symmetric(bias_scales, 0)
        made = dataclasses.replace(op.weights, dtype=DType.INT8, quant=Quantization.symmetric(scales, axis), data=data)
        bias_made = Tensor(name=name, shape=(channels,), dtype=wide, quant=units, data=stored)
        return {"weights": self._once(made), "bias": self._once(bias_made)}

    def _once(self, made: Tensor) -> Tensor:
        """Return a constant that was made before of the same values, else this one, under a name of its own."""
        assert made.quant is not None
        key = made.name, made.values.tobytes(), made.quant
        if key not in self.constants:
            self.constants[key] = dataclasses.replace(made, name=self.names.fresh(made.name))
        return self.constants[key]


def _constant_quantization(values: NDArray[np.float32], dtype: DType) -> Quantization:
    """Return int8 or int16 over a constant's values; one value alone is exact."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if float(values.min()) == float(values.max()) and high != low:
        return Quantization.per_tensor((high - low) / integer_range(dtype)[1])
    return ValueRange(low=low, high=high).quantization(dtype)
