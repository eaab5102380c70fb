"""Operators that onnxruntime makes of several when it saves a model that it optimised.

Source: onnxruntime's contributed operators (ContribOperators.md, domain com.microsoft).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from utvm.frontends import activations as f
from utvm.frontends import blocks
from utvm.frontends.onnx_functions import swish
from utvm.frontends.onnx_layers import Converter, convolution, gemm, matrix_product
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.refusal import RefusedError
from utvm.graph import Add, LeakyRelu, Logistic, Mul, Relu, Tanh, Tensor

_ACTIVATIONS: Mapping[str, tuple[int, Callable[[NodeContext, Tensor, Sequence[float]], Tensor]]] = {
    "Relu": (0, lambda n, x, _: n.b.unary(Relu, x)),
    "Tanh": (0, lambda n, x, _: n.b.unary(Tanh, x)),
    "Sigmoid": (0, lambda n, x, _: n.b.unary(Logistic, x)),
    "LeakyRelu": (1, lambda n, x, p: n.b.unary(LeakyRelu, x, alpha=p[0])),
    "Clip": (2, lambda n, x, p: f.clamped(n.b, x, p[0], p[1])),
    "HardSigmoid": (2, lambda n, x, p: f.ramp(n.b, x, p[0], p[1])),
}
"""Activation → how many parameters it has, and what makes it."""


def _activated(n: NodeContext, x: Value, parameters: Sequence[object]) -> Value:
    name = n.text("activation", "")
    if not name:
        return x
    if name not in _ACTIVATIONS or not isinstance(x, Tensor):
        raise RefusedError(f"its activation '{name}' is not known")
    count, make = _ACTIVATIONS[name]
    numbers = [float(value) for value in parameters if isinstance(value, int | float)]
    if len(numbers) < count:
        raise RefusedError(f"its activation {name} needs {count} parameters")
    return make(n, x, numbers)


def _fused_convolution(n: NodeContext) -> Value:
    made = convolution(n)
    if n.has(3) and isinstance(made, Tensor):
        made = n.b.binary(Add, made, n.x(3))
    parameters = n.node.attributes.get("activation_params", ())
    return _activated(n, made, parameters if isinstance(parameters, Sequence) else ())


def _fused_gemm(n: NodeContext) -> Value:
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    return _activated(n, gemm(n), [n.node.attributes.get(name) for name in names])


def _fused_matmul(n: NodeContext) -> Value:
    if n.integer("transBatchA", 0) or n.integer("transBatchB", 0):
        raise RefusedError("it moves dimensions of the batch")
    turns = [n.integer(name, 0) for name in ("transA", "transB")]
    if not any(turns):
        made = matrix_product(n)
    else:
        x = n.x(0)
        if turns[0]:
            x = n.b.transpose(x, _swapped(len(x.shape)))
        made = blocks.product(n.b, x, n.x(1), turned=bool(turns[1]))
    alpha = n.number("alpha", 1.0)
    if alpha == 1 or not isinstance(made, Tensor):
        return made
    return n.b.binary(Mul, made, n.b.constant(alpha, "alpha"))


def _swapped(rank: int) -> list[int]:
    if rank < 2:
        raise RefusedError("its operands are no matrices")
    return [*range(rank - 2), rank - 1, rank - 2]


def _biased_gelu(approximate: str) -> Converter:
    def convert(n: NodeContext) -> Value:
        x = n.b.binary(Add, n.x(0), n.x(1)) if n.has(1) else n.x(0)
        return f.gelu(n.b, x, approximate)

    return convert


def _skip_normalisation(n: NodeContext) -> Value:
    if len(n.node.outputs) > 1:
        raise RefusedError("it hands out more than what it normalises")
    x = n.b.binary(Add, n.x(0), n.x(1))
    if n.has(4):
        x = n.b.binary(Add, x, n.x(4))
    shift = n.floats(3, "shift") if n.has(3) else None
    axes = (len(x.shape) - 1,)
    return blocks.normalised(n.b, x, axes, n.floats(2, "scale"), shift, n.number("epsilon", 1e-12))[0]


FUSED: Mapping[str, Converter] = {
    "FusedConv": _fused_convolution,
    "FusedGemm": _fused_gemm,
    "FusedMatMul": _fused_matmul,
    "BiasGelu": _biased_gelu("none"),
    "FastGelu": _biased_gelu("tanh"),
    "QuickGelu": lambda n: swish(n, n.number("alpha", 1.702)),
    "SkipLayerNormalization": _skip_normalisation,
}
