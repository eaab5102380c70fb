"""Custom operators of a file, by the formulas or the C that `utvm.custom` was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from utvm.frontends.context import Context, expect_shape
from utvm.frontends.refusal import RefusedError, broadcast_shape
from utvm.frontends.tflite_detection import convert_detection
from utvm.frontends.tflite_parts import Converted
from utvm.frontends.tflite_signal import SIGNAL
from utvm.graph import CSource, DType, Elementwise, Foreign, Function, Operator, Reducer, Reduction, Tensor
from utvm.graph.registration import custom_operator

PREFIX = "custom operator "
MICRO: Mapping[str, Callable[[Context], Converted]] = {**SIGNAL, "TFLite_Detection_PostProcess": convert_detection}
"""tflite-micro's own, by their names."""
_ADVICE = (
    "Tell what it computes before the model is loaded: utvm.custom(Function(name='{name}', real=...)), or `--custom "
    "FOLDER` with its C, {name}.c (docs/extending/custom.md)."
)


def convert_custom(c: Context) -> Converted:
    """Return a custom operator as the formula of its name says; others are refused by name."""
    name = c.raw.kind.removeprefix(PREFIX)
    found = custom_operator(name)
    if found is None and name in MICRO:
        return MICRO[name](c)
    if found is None:
        raise RefusedError("this operator is not supported", _ADVICE.format(name=name))
    if isinstance(found, CSource):
        return _foreign(c, found)
    return _elementwise(c, found) if isinstance(found, Function) else _reduction(c, found)


def _foreign(c: Context, what: CSource) -> Operator:
    if not c.raw.outputs:
        raise RefusedError("at least one output is expected")
    xs = tuple(c.any_input(i) for i in range(len(c.raw.inputs)))
    ys = tuple(c.any_output(i) for i in range(len(c.raw.outputs)))
    return Foreign(name=c.name, function=what, xs=xs, ys=ys, options=c.raw.custom_options)


def _elementwise(c: Context, what: Function) -> Operator:
    if not c.raw.inputs or len(c.raw.outputs) != 1:
        raise RefusedError("at least one input and one output are expected")
    types = tuple(DType)
    if what.expression is None:
        c.arity((1,))
        types = (DType.INT8,)
    xs = tuple(c.element(i, what.inputs) for i in range(len(c.raw.inputs)))
    y = c.made_of(types)
    expect_shape(y, broadcast_shape(*(x.shape for x in xs)))
    return Elementwise(name=c.name, function=what, xs=xs, y=y)


def _reduction(c: Context, what: Reducer) -> Operator:
    c.arity((1,))
    x, y = c.element(0, what.inputs), c.made_of(tuple(DType))
    return Reduction(name=c.name, reducer=what, x=x, y=y, axes=_reduced_axes(x, y))


def _reduced_axes(x: Tensor, y: Tensor) -> tuple[int, ...]:
    """Return the axes that y lacks: those that it has as 1, or the last ones that it has not at all."""
    if len(x.shape) == len(y.shape):
        axes = tuple(d for d, (size, left) in enumerate(zip(x.shape, y.shape, strict=True)) if size != left)
        kept = all(y.shape[d] == 1 for d in axes)
    else:
        axes, kept = tuple(range(len(y.shape), len(x.shape))), x.shape[: len(y.shape)] == y.shape
    if not kept or not axes:
        raise RefusedError(
            f"the shape {list(x.shape)} is not reduced to {list(y.shape)}: keep axes as 1, or drop the last"
        )
    return axes
