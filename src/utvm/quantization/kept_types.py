"""The type of each operator of a network that is quantised: int8, int16 with int8 weights, or float32."""

from __future__ import annotations

from collections.abc import Mapping

from utvm.graph import (
    Add,
    AveragePool2D,
    BatchMatMul,
    Concatenation,
    CumulativeSum,
    DType,
    Elementwise,
    Graph,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Pad,
    Reduction,
    Relu,
    Relu6,
    Reshape,
    Softmax,
    Split,
    StridedSlice,
    Sub,
    Tanh,
    Tensor,
    Transpose,
    Weighted,
)
from utvm.quantization.groups import SHARING_NAMES
from utvm.quantization.scales import makers_of
from utvm.quantization.together import chosen_together

CLAMPING = Weighted | Add | Sub | Mul
"""Operators that take over the activation behind them."""
_MOVING = (Concatenation, Reshape, Split, StridedSlice, Transpose)
"""Operators that have the type of what they read."""
_WIDE = (
    *(CLAMPING, BatchMatMul, Mean, LeakyRelu, Relu, Softmax, Logistic, Tanh, MaxPool2D, AveragePool2D, Pad),
    *_MOVING,
)
"""Operators that tflite-micro computes in int16."""
_IN_INT8 = frozenset(
    (*SHARING_NAMES, "HardSwish", "Gelu", "GeluTanh", "Elu", "Abs", "Prelu", "Sum", "ArgMax", "ArgMin")
)
"""Functions and reducers that compute in int8; others stay float32."""

_LEAST_STEPS = 3
"""Of a loop whose sums are int16."""


def has_int16(op: Operator) -> bool:
    """Whether tflite-micro computes an operator in int16."""
    return isinstance(op, _WIDE)


def float_alone(graph: Graph) -> set[str]:
    """Return operators that stay float32 in any case: roots and their like, and what their arguments are made of.

    Eight bits do not hold a variance and its root: their values spread over decades.
    """
    found: set[str] = set()
    for op in graph.operators:
        if not isinstance(op, Elementwise | Reduction | CumulativeSum) or op.kind in _IN_INT8:
            continue
        waiting: list[Operator] = [op]
        while waiting:
            each = waiting.pop()
            found.add(each.name)
            makers = [p for p in makers_of(graph, each.inputs) if p is not None and p.name not in found]
            waiting += [p for p in makers if _is_argument(graph, p, each)]
        found |= _reading(graph, op.y)
    return found


def carried_sums(graph: Graph) -> set[str]:
    """Return operators that are int16 unless somebody says otherwise: sums that go on from step to step of a loop.

    As an LSTM's cell state c = f * c + i * g. Eight bits hold neither their range nor what each step adds. TFLite's
    own LSTM has it in 16 bits too. With a sum go the products that carry it on, and the function of it that steps read.
    """
    together = chosen_together(graph, [op for op in graph.operators if isinstance(op, Add | Mul)])
    products = {op: each for each in together for op in each if isinstance(op, Mul)}
    found: set[str] = set()
    for steps in together:
        if len(steps) < _LEAST_STEPS or steps[0] in products or any(_reads_weights(graph, op) for op in steps):
            continue
        readers = [reader for op in steps for reader in graph.consumers.get(op.outputs[0], ())]
        carrying = [op for op in readers if isinstance(op, Mul) and set(graph.consumers.get(op.y, ())) & set(steps)]
        if len(carrying) < _LEAST_STEPS - 1:
            continue
        all_carrying = {other for op in carrying for other in products[op]}
        # The sum of the first step may have other operands.
        sums = {*steps, *(p for op in all_carrying for p in makers_of(graph, op.inputs) if isinstance(p, Add))}
        functions = [
            reader
            for op in sums
            for reader in graph.consumers.get(op.outputs[0], ())
            if isinstance(reader, Tanh | Logistic)
        ]
        found.update(op.name for op in (*sums, *all_carrying, *functions))
    return found


def _reads_weights(graph: Graph, op: Operator) -> bool:
    return any(isinstance(reader, Weighted) for reader in graph.consumers.get(op.outputs[0], ()))


def _is_argument(graph: Graph, op: Operator, reader: Operator) -> bool:
    """Whether an operator is a part of the argument of a root and its like, not of the network before it.

    What is centred for a variance is so in float32 too, as its distance from a mean is.
    """
    centring = isinstance(reader, Mean) and any(
        isinstance(each, Sub) and _is_centred(graph, each) for each in graph.consumers.get(reader.y, ())
    )
    if centring:
        return False
    if isinstance(op, Sub):
        return _is_centred(graph, op)
    if isinstance(reader, Sub):
        return isinstance(op, Mean)
    return isinstance(op, Add | Mul | Mean | Elementwise | Reduction)


def _is_centred(graph: Graph, op: Sub) -> bool:
    """Whether an operator takes the mean of a tensor away from it."""
    mean = graph.producers.get(op.b)
    return isinstance(mean, Mean) and mean.x is op.a


def fused_activations(graph: Graph) -> dict[Operator, Operator]:
    """Return each operator that takes over the activation that alone reads its result, with that activation."""
    found: dict[Operator, Operator] = {}
    for op in graph.operators:
        if not isinstance(op, Relu | Relu6):
            continue
        producer = graph.producers.get(op.x)
        if isinstance(producer, CLAMPING) and op.x not in graph.outputs and graph.consumers[op.x] == (op,):
            found[producer] = op
    return found


def operator_types(graph: Graph, kept: Mapping[str, DType]) -> dict[str, DType]:
    """Return operator → its type, where that is not int8.

    Args:
        graph: float32.
        kept: such types as were chosen. Activations and operators that move values follow what they read.
    """
    found = dict(kept)
    found |= {activation.name: kept[op.name] for op, activation in fused_activations(graph).items() if op.name in kept}
    for op in graph.operators:
        if isinstance(op, _MOVING) and op.name not in found:
            makers = makers_of(graph, op.inputs)
            types = {None if p is None else found.get(p.name, DType.INT8) for p in makers}
            if len(types) == 1 and (dtype := types.pop()) is not None:
                found[op.name] = dtype
    return found


def _reading(graph: Graph, tensor: Tensor) -> set[str]:
    """Return the products that read a tensor, perhaps through bounds, and these."""
    found: set[str] = set()
    for reader in graph.consumers.get(tensor, ()):
        if isinstance(reader, Mul):
            found.add(reader.name)
        elif isinstance(reader, Elementwise) and reader.kind in ("Maximum", "Minimum"):
            found |= {reader.name} | _reading(graph, reader.y)
    return found
