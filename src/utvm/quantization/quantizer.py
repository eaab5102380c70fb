"""A float graph and the ranges of its tensors → an int8 graph with TFLite's arithmetic."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.errors import UtvmError
from utvm.frontends.context import quantised_range
from utvm.graph import (
    FULL_INT8,
    Add,
    BatchMatMul,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    DType,
    Elementwise,
    FullyConnected,
    Graph,
    LeakyRelu,
    Mean,
    Mul,
    Operator,
    Pad,
    Quantization,
    Quantize,
    Reduction,
    Relu,
    Relu6,
    Reshape,
    Split,
    StridedSlice,
    Sub,
    Tensor,
    Transpose,
)
from utvm.graph.names import Names
from utvm.graph.units import PRESCRIBED_UNITS, REAL_RANGES
from utvm.quantization.groups import SHARING, SHARING_NAMES, shares_units, sharing_groups
from utvm.quantization.ranges import Method, ValueRange
from utvm.quantization.weights import stored_weights, weight_scales

Weighted = Conv2D | DepthwiseConv2D | FullyConnected
_CLAMPING = Weighted | Add | Sub | Mul
_KNOWN = (
    *(
        Conv2D,
        DepthwiseConv2D,
        FullyConnected,
        BatchMatMul,
        Add,
        Sub,
        Mul,
        Mean,
        LeakyRelu,
        Relu,
        Elementwise,
        Reduction,
    ),
    *(*SHARING, *PRESCRIBED_UNITS),
)
_MOVING = (Concatenation, Reshape, Split, StridedSlice, Transpose)
"""Operators that stay float where what they read does."""


_IN_INT8 = frozenset((*SHARING_NAMES, "HardSwish", "Elu", "Abs", "Prelu", "Sum"))
"""Functions and reducers that compute in int8; others stay float32."""


class QuantizationError(UtvmError):
    """A network that can't be quantised."""


def float_alone(graph: Graph) -> set[str]:
    """Return operators that stay float32 in any case: roots and their like, and what their arguments are made of.

    Eight bits do not hold a variance and its root: their values spread over decades.
    """
    found: set[str] = set()
    for op in graph.operators:
        if not isinstance(op, Elementwise | Reduction) or op.kind in _IN_INT8:
            continue
        waiting: list[Operator] = [op]
        while waiting:
            each = waiting.pop()
            found.add(each.name)
            makers = [p for p in _makers(graph, each) if p is not None and p.name not in found]
            waiting += [p for p in makers if isinstance(p, Add | Mul | Mean | Elementwise | Reduction)]
        found |= {reader.name for reader in graph.consumers.get(op.y, ()) if isinstance(reader, Mul)}
    return found


def makers_of(graph: Graph, tensors: Iterable[Tensor]) -> list[Operator | None]:
    """Return what makes tensors."""
    return [graph.producers.get(t) for t in tensors]


def _makers(graph: Graph, op: Operator) -> list[Operator | None]:
    return makers_of(graph, op.inputs)


def fused_activations(graph: Graph) -> dict[Operator, Operator]:
    """Return each operator that takes over the activation that alone reads its result, with that activation."""
    found: dict[Operator, Operator] = {}
    for op in graph.operators:
        if not isinstance(op, Relu | Relu6):
            continue
        producer = graph.producers.get(op.x)
        if isinstance(producer, _CLAMPING) and op.x not in graph.outputs and graph.consumers[op.x] == (op,):
            found[producer] = op
    return found


def quantize_graph(
    graph: Graph,
    ranges: Mapping[str, ValueRange],
    *,
    weights: Method,
    corrections: Mapping[str, NDArray[np.float64]] | None = None,
    kept: Collection[str] = (),
) -> Graph:
    """Return the graph in int8.

    Args:
        graph: float32, images [N,H,W,C].
        ranges: tensor name → the range of real values that eight bits cover.
        weights: how scales of weights are chosen.
        corrections: name of a layer with weights → what is taken from its bias.
        kept: names of operators that stay float32, between a Dequantize and a Quantize.

    Raises:
        QuantizationError: an operator has no int8 form here.
    """
    unknown = {op.kind for op in graph.operators if not isinstance(op, _KNOWN)}
    if unknown:
        raise QuantizationError(f"{', '.join(sorted(unknown))} can't be quantised: take them out of the network")
    return _Quantizer(graph, ranges, weights, corrections or {}, kept).graph_of_int8()


class _Quantizer:
    def __init__(
        self,
        graph: Graph,
        ranges: Mapping[str, ValueRange],
        weights: Method,
        corrections: Mapping[str, NDArray[np.float64]],
        kept: Collection[str],
    ) -> None:
        self.graph = graph
        self.ranges = ranges
        self.method = weights
        self.corrections = corrections
        every = fused_activations(graph)
        self.fused = {op: activation for op, activation in every.items() if op.name not in kept}
        # The activation behind an operator that stays float stays float too.
        self.kept = {*kept, *(activation.name for op, activation in every.items() if op.name in kept)}
        for op in graph.operators:
            if isinstance(op, _MOVING) and all(p is not None and p.name in self.kept for p in _makers(graph, op)):
                self.kept.add(op.name)
        self.real: dict[Tensor, Tensor] = {}
        """Activation → its float32 form, where there is one."""
        self.quants = self._quants()
        self.tensors: dict[Tensor, Tensor] = {}
        weighted = [op for op in graph.operators if isinstance(op, Weighted)]
        replaced = {t for op in weighted for t in (op.weights, op.bias)}
        self.names = Names(t.name for t in graph.tensors if t not in replaced)
        self.constants: dict[tuple[str, bytes, Quantization], Tensor] = {}
        """Weights and biases by name, values and units: layers that shared them do so still."""
        self.operators: list[Operator] = []

    def graph_of_int8(self) -> Graph:
        inputs = tuple(self._activation(t) for t in self.graph.inputs)
        gone = set(self.fused.values())
        for op in self.graph.operators:
            if op not in gone:
                self._convert(op)
        outputs = tuple(self.tensors[t] for t in self.graph.outputs)
        return Graph(name=self.graph.name, operators=tuple(self.operators), inputs=inputs, outputs=outputs)

    def _quants(self) -> dict[Tensor, Quantization]:
        """Return the quantisation of each activation: one for all of a group that shares its scale."""
        roots = sharing_groups(self.graph)
        members: dict[Tensor, list[Tensor]] = {}
        for tensor, root in roots.items():
            members.setdefault(root, []).append(tensor)
        found: dict[Tensor, Quantization] = {}
        for group in members.values():
            makers = [p for t in group if not shares_units(p := self.graph.producers.get(t))]
            fixed = {PRESCRIBED_UNITS[type(p)] for p in makers if p is not None and type(p) in PRESCRIBED_UNITS}
            if len(fixed) == 1 and all(p is not None and type(p) in PRESCRIBED_UNITS for p in makers):
                quant = fixed.pop()
            else:
                known = [self._range(t) for t in group if t.is_constant or t.name in self.ranges]
                pads = {p.value for p in makers_of(self.graph, group) if isinstance(p, Pad)}
                known += [ValueRange(low=min(0.0, value), high=max(0.0, value)) for value in pads]
                low, high = min(r.low for r in known), max(r.high for r in known)
                quant = ValueRange(low=low, high=high).quantization()
            found.update(dict.fromkeys(group, quant))
        return found

    def _range(self, tensor: Tensor) -> ValueRange:
        if tensor.is_constant:
            return ValueRange(low=min(0.0, float(tensor.values.min())), high=max(0.0, float(tensor.values.max())))
        return self.ranges[tensor.name]

    def _activation(self, tensor: Tensor) -> Tensor:
        if tensor not in self.tensors:
            self.tensors[tensor] = dataclasses.replace(tensor, dtype=DType.INT8, quant=self.quants[tensor])
        return self.tensors[tensor]

    def _operand(self, tensor: Tensor) -> Tensor:
        """Return an operand that may be a constant, which then is int8 too."""
        if not tensor.is_constant:
            return self._activation(tensor)
        if tensor not in self.tensors:
            quant = self.quants.get(tensor) or _constant_quantization(tensor.values)
            scaled = np.rint(tensor.values.astype(np.float64) / quant.scale[0]) + quant.zero_point[0]
            data = np.clip(scaled, -128, 127).astype(np.int8)
            self.tensors[tensor] = dataclasses.replace(tensor, dtype=DType.INT8, quant=quant, data=data)
        return self.tensors[tensor]

    def _keep(self, op: Operator) -> None:
        """Append an operator as it is; what it reads becomes real, and what is read as int8 becomes int8."""
        mapping = {t: self._real(t) for t in op.inputs if not t.is_constant}
        for y in op.outputs:
            self.real[y] = mapping[y] = dataclasses.replace(y, name=f"{y.name}/real")
        self.operators.append(op.with_tensors(mapping))
        for y in op.outputs:
            if y in self.graph.outputs or any(r.name not in self.kept for r in self.graph.consumers.get(y, ())):
                self.operators.append(Quantize(name=f"{y.name}/quantize", x=self.real[y], y=self._activation(y)))

    def _real(self, tensor: Tensor) -> Tensor:
        if tensor not in self.real:
            self.real[tensor] = dataclasses.replace(tensor, name=f"{tensor.name}/real")
            stored = self._activation(tensor)
            self.operators.append(Dequantize(name=f"{tensor.name}/dequantize", x=stored, y=self.real[tensor]))
        return self.real[tensor]

    def _convert(self, op: Operator) -> None:
        if op.name in self.kept:
            self._keep(op)
            return
        activation = self.fused.get(op)
        results = op.outputs if activation is None else activation.outputs
        made = {old: self._activation(new) for old, new in zip(op.outputs, results, strict=True)}
        fixed = PRESCRIBED_UNITS.get(type(op))
        if fixed is not None and fixed != made[op.outputs[0]].quant:
            # Its own scale first, then that of the tensors that it is joined with.
            wanted = made[op.outputs[0]]
            own = dataclasses.replace(wanted, name=f"{wanted.name}/own_scale", quant=fixed)
            made[op.outputs[0]] = own
            self._append(op, made, FULL_INT8)
            self.operators.append(Quantize(name=f"{op.name}/rescaled", x=own, y=wanted))
            return
        clamp = FULL_INT8
        if activation is not None:
            clamp = quantised_range(made[op.outputs[0]], *REAL_RANGES[type(activation)])
        self._append(op, made, clamp)

    def _append(self, op: Operator, made: Mapping[Tensor, Tensor], clamp: tuple[int, int]) -> None:
        mapping = dict(made)
        changes: dict[str, Any] = {}
        if isinstance(op, Weighted):
            mapping[op.x] = self._operand(op.x)
            changes = self._weights(op, mapping[op.x])
        else:
            mapping |= {t: self._operand(t) for t in op.inputs}
        if isinstance(op, _CLAMPING):
            changes["clamp"] = clamp
        if isinstance(op, Pad):
            quant = mapping[op.x]
            changes["value"] = int(np.clip(np.rint(op.value / quant.scale) + quant.zero_point, -128, 127))
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
        stored = np.clip(np.rint(bias / bias_scales), -(2**31), 2**31 - 1).astype(np.int32)
        name = f"{op.name}/bias" if op.bias is None else op.bias.name
        data, units = stored_weights(values, scales, axis), Quantization.symmetric(bias_scales, 0)
        made = dataclasses.replace(op.weights, dtype=DType.INT8, quant=Quantization.symmetric(scales, axis), data=data)
        bias_made = Tensor(name=name, shape=(channels,), dtype=DType.INT32, quant=units, data=stored)
        return {"weights": self._once(made), "bias": self._once(bias_made)}

    def _once(self, made: Tensor) -> Tensor:
        """Return a constant that was made before of the same values, else this one, under a name of its own."""
        assert made.quant is not None
        key = made.name, made.values.tobytes(), made.quant
        if key not in self.constants:
            self.constants[key] = dataclasses.replace(made, name=self.names.fresh(made.name))
        return self.constants[key]


def _constant_quantization(values: NDArray[np.float32]) -> Quantization:
    """Return int8 over a constant's values; one value alone is exact."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if float(values.min()) == float(values.max()) and high != low:
        return Quantization.per_tensor((high - low) / 127)
    return ValueRange(low=low, high=high).quantization()
