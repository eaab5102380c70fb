"""Products of activations as computations."""

from __future__ import annotations

from collections.abc import Sequence

from utvm.compute import Compute, Load, Reduced, axis
from utvm.graph.arithmetic import requantization
from utvm.graph.definitions.definition import Definition, axes_of, broadcast_load, buffer_of
from utvm.graph.definitions.frames import NOTHING
from utvm.graph.formulas import centered, requantized, stored
from utvm.graph.general import BatchMatMul
from utvm.graph.tensor import Tensor


def batch_matmul(op: BatchMatMul) -> Definition:
    """Axes d0 and on over batches, m over rows, n over columns; k over the sum."""
    *batches, rows, columns = op.y.shape
    depth = op.a.shape[-2 if op.turned_a else -1]
    a = matrix("a", op.a, batches, ("k", "m") if op.turned_a else ("m", "k"))
    b = matrix("b", op.b, batches, ("n", "k") if op.turned_b else ("k", "n"))
    space = {**axes_of(batches), "m": rows, "n": columns}
    factor = requantization(op.a.scale * op.b.scale / op.y.scale)
    compute = Compute(
        space=space,
        reduce={"k": depth},
        init=NOTHING if op.bias is None else column_bias(op),
        term=centered(op.a, a) * centered(op.b, b),
        epilogue=stored(op, requantized(Reduced(), factor)),
        output=buffer_of("y", op.y),
        index=tuple(axis(name) for name in space),
    )
    return Definition(stages=(compute,), inputs=operands(op))


def operands(op: BatchMatMul) -> dict[str, Tensor]:
    """Return what the definition reads, by the names of buffers."""
    return {"a": op.a, "b": op.b} | ({} if op.bias is None else {"bias": op.bias})


def column_bias(op: BatchMatMul) -> Load:
    """Return the bias of a column."""
    assert op.bias is not None
    return Load(buffer=buffer_of("bias", op.bias), index=(axis("n"),))


def matrix(name: str, tensor: Tensor, batches: Sequence[int], last: tuple[str, str]) -> Load:
    """Return an element of a matrix whose rows and columns are the axes `last`, of batches that broadcast."""
    names = [*axes_of(batches), *last]
    shape = (*batches, *tensor.shape[-2:])
    load = broadcast_load(name, tensor, names, shape)
    # A matrix of one row or column is read along its axis all the same: nothing of it is broadcast.
    index = (*load.index[:-2], *(axis(n) for n in last))
    return Load(buffer=load.buffer, index=index)
