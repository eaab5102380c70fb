"""The parts of an SVDF as computations."""

from __future__ import annotations

from utvm.compute import Buffer, Compute, Const, Expr, Index, Load, Reduced, axis, call, where
from utvm.graph.arithmetic import Requantization, integer_range, requantization
from utvm.graph.definitions.definition import Definition, buffer_of
from utvm.graph.definitions.frames import FLOAT, NOTHING, pointwise
from utvm.graph.formulas import CLAMP, WRAPPING_SUM, centered, requantized, stored
from utvm.graph.recurrent import ShiftIn, SvdfFeature, SvdfTime
from utvm.graph.tensor import Tensor


def svdf_feature(op: SvdfFeature) -> Definition:
    """Axes b over sequences, f over filters; c over the sum."""
    (batch, inputs), filters = op.x.shape, op.weights.shape[0]
    x = Load(buffer=buffer_of("x", op.x), index=(axis("b"), axis("c")))
    weights = Load(buffer=buffer_of("weights", op.weights), index=(axis("f"), axis("c")))
    low, high = integer_range(op.y.dtype)
    value = requantized(Reduced(), _factor(op.x, op.weights, op.y))
    compute = Compute(
        space={"b": batch, "f": filters},
        reduce={"c": inputs},
        init=NOTHING,
        term=centered(op.x, x) * weights,
        epilogue=call(CLAMP, value, low, high),
        output=buffer_of("y", op.y),
        index=(axis("b"), axis("f")),
    )
    return Definition(stages=(compute,), inputs={"x": op.x, "weights": op.weights})


def shift_in(op: ShiftIn) -> Definition:
    """Axes b over sequences, f over filters, m over what is remembered."""
    batch, filters = op.new.shape
    memory = op.x.shape[1] // filters
    shape = (batch, filters, memory)
    old = Load(
        buffer=buffer_of("x", op.x, shape), index=(axis("b"), axis("f"), axis("m") + 1), outside=0 if memory else None
    )
    new = Load(buffer=buffer_of("new", op.new), index=(axis("b"), axis("f")))
    value = where(Index(value=axis("m")) < memory - 1, old, new)
    compute = pointwise({"b": batch, "f": filters, "m": memory}, value, buffer_of("y", op.y, shape))
    return Definition(stages=(compute,), inputs={"x": op.x, "new": op.new})


def svdf_time(op: SvdfTime) -> Definition:
    """Axes b over sequences, u over units; r over ranks, m over what is remembered. Sums wrap, as tflite-micro's."""
    (filters, memory), (batch, units) = op.weights.shape, op.y.shape
    rank = filters // units
    which = axis("u") * rank + axis("r")
    x = Load(buffer=buffer_of("x", op.x, (batch, filters, memory)), index=(axis("b"), which, axis("m")))
    weights = Load(buffer=buffer_of("weights", op.weights), index=(which, axis("m")))
    bias: Expr = Const(value=0)
    if op.bias is not None:
        bias = Load(buffer=buffer_of("bias", op.bias), index=(axis("u"),))
    total = call(WRAPPING_SUM, Reduced(), bias)
    compute = Compute(
        space={"b": batch, "u": units},
        reduce={"r": rank, "m": memory},
        init=NOTHING,
        term=centered(op.x, x) * weights,
        epilogue=stored(op, requantized(total, _factor(op.x, op.weights, op.y))),
        output=buffer_of("y", op.y),
        index=(axis("b"), axis("u")),
        c_type="uint32_t",
    )
    inputs = {"x": op.x, "weights": op.weights} | ({} if op.bias is None else {"bias": op.bias})
    return Definition(stages=(compute,), inputs=inputs)


def real_svdf_feature(op: SvdfFeature) -> Definition:
    """As `svdf_feature`, in float32."""
    (batch, inputs), filters = op.x.shape, op.weights.shape[0]
    x = Load(buffer=buffer_of("x", op.x), index=(axis("b"), axis("c")))
    weights = Load(buffer=buffer_of("weights", op.weights), index=(axis("f"), axis("c")))
    compute = _sum({"b": batch, "f": filters}, {"c": inputs}, Const(value=0.0), x * weights, buffer_of("y", op.y))
    return Definition(stages=(compute,), inputs={"x": op.x, "weights": op.weights})


def real_svdf_time(op: SvdfTime) -> Definition:
    """As `svdf_time`, in float32: the sums over memory, then theirs over ranks, which start from the bias."""
    (filters, memory), (batch, units) = op.weights.shape, op.y.shape
    rank = filters // units
    x = Load(buffer=buffer_of("x", op.x, (batch, filters, memory)), index=(axis("b"), axis("f"), axis("m")))
    weights = Load(buffer=buffer_of("weights", op.weights), index=(axis("f"), axis("m")))
    sums = Buffer(name="sums", c_type=FLOAT, shape=(batch, filters))
    first = _sum({"b": batch, "f": filters}, {"m": memory}, Const(value=0.0), x * weights, sums)
    bias: Expr = Const(value=0.0)
    if op.bias is not None:
        bias = Load(buffer=buffer_of("bias", op.bias), index=(axis("u"),))
    term = Load(buffer=sums, index=(axis("b"), axis("u") * rank + axis("r")))
    second = _sum({"b": batch, "u": units}, {"r": rank}, bias, term, buffer_of("y", op.y))
    inputs = {"x": op.x, "weights": op.weights} | ({} if op.bias is None else {"bias": op.bias})
    return Definition(stages=(first, second), inputs=inputs)


def _sum(space: dict[str, int], reduce: dict[str, int], init: Expr, term: Expr, output: Buffer) -> Compute:
    """Return sums of float32, one for each point of `space`."""
    return Compute(
        space=space,
        reduce=reduce,
        init=init,
        term=term,
        epilogue=Reduced(),
        output=output,
        index=tuple(axis(name) for name in space),
        c_type=FLOAT,
    )


def _factor(x: Tensor, weights: Tensor, y: Tensor) -> Requantization:
    return requantization(x.scale * weights.scale / y.scale)
