"""Patch-wise execution of the first layers: in stripes of rows, from the input to a later tensor, one after the other.

The large tensors in between never exist as a whole; rows at the edges of stripes are computed more than once
(MCUNetV2, Lin et al., 2021, patch-based inference; here with stripes over the whole width). It is a rewrite of the
graph: stripes are slices, operators on fewer rows, and a concatenation, so that every kernel and the memory plan take
it as any other graph.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from utvm.compute import access
from utvm.graph import (
    Add,
    AveragePool2D,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    Elementwise,
    Graph,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mul,
    Operator,
    Padding,
    Quantize,
    Relu,
    Relu6,
    StridedSlice,
    Sub,
    Tanh,
    Tensor,
)
from utvm.graph.cost import macs_of
from utvm.graph.definitions import definition

_WINDOWED = (Conv2D, DepthwiseConv2D, MaxPool2D, AveragePool2D)
_ELEMENTWISE = (Add, Sub, Mul, Relu, Relu6, LeakyRelu, Logistic, Tanh, Quantize, Dequantize)
MOST_CANDIDATES = 12
STRIPE = "_stripe_"
"""What comes between the name of a layer and the number of a stripe of it."""
_MOST_SPANS = 1_000_000
"""Operators of stripes that are looked at: so that graphs of many layers and rows end in seconds."""

Rows = tuple[int, int]
"""First row and the row after the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patching:
    """The layers up to a tensor in stripes of `rows` of its rows. `macs` is the work of the whole graph then."""

    cut: Tensor
    rows: int
    macs: int
    graph: Graph


class Stripes:
    """The ways to compute the first layers of a graph in stripes. What was worked out for one RAM serves for others.

    Args:
        graph: the graph after all passes.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._prefixes = [p for p in _prefixes(graph) if p is not None]
        self._macs = {op: macs_of(op) for op in graph.operators}
        self._left = _MOST_SPANS
        self._costs: dict[tuple[int, int], tuple[int, int] | None] = {}
        self._made: dict[tuple[int, int], Patching] = {}

    def patchings(self, ram: int, *, after: int) -> Iterator[Patching]:
        """Yield those that may fit, the least work first.

        Args:
            ram: bytes of the arena.
            after: the number of the last operator that does not fit; it has to be among the striped ones.
        """
        found: list[tuple[int, int, int]] = []
        for number, prefix in enumerate(self._prefixes):
            if len(prefix) <= after:
                continue
            for rows in range(1, prefix[-1].outputs[0].shape[1] // 2 + 1):
                cost = self._cost(number, rows)
                if cost is None or cost[0] > ram:
                    break
                found.append((cost[1], number, rows))
        for work, number, rows in sorted(found, key=lambda entry: entry[:2])[:MOST_CANDIDATES]:
            yield self._patching(number, rows, work)

    def _cost(self, number: int, rows: int) -> tuple[int, int] | None:
        """Return about the bytes of the arena and the work; None where too much was worked out already."""
        if (number, rows) not in self._costs:
            self._costs[number, rows] = self._worked_out(number, rows) if self._left > 0 else None
        return self._costs[number, rows]

    def _worked_out(self, number: int, rows: int) -> tuple[int, int]:
        prefix = self._prefixes[number]
        (cut,) = prefix[-1].outputs
        stripes = [_needs(prefix, cut, span) for span in _spans(cut, rows)]
        self._left -= len(stripes) * len(prefix)
        work = sum(self._macs[op] for op in self._graph.operators[len(prefix) :])
        work += _stripes_macs(prefix, stripes, self._macs)
        return _estimate(self._graph, prefix, cut, stripes), work

    def _patching(self, number: int, rows: int, work: int) -> Patching:
        if (number, rows) not in self._made:
            prefix = self._prefixes[number]
            (cut,) = prefix[-1].outputs
            graph = _rewritten(self._graph, prefix, cut, rows)
            self._made[number, rows] = Patching(cut=cut, rows=rows, macs=work, graph=graph)
        return self._made[number, rows]


def _prefixes(graph: Graph) -> Iterator[Sequence[Operator] | None]:
    """Yield, for each operator, those up to it if only its output and constants leave them, else None; ends early."""
    if len(graph.inputs) != 1 or len(graph.inputs[0].shape) != 4 or graph.inputs[0].shape[0] != 1:
        return
    made: set[Tensor] = {*graph.inputs}
    remembered = {state.before for state in graph.states}
    for number, op in enumerate(graph.operators):
        if not _can_be_striped(op) or remembered.intersection(op.activations):
            return
        made.update(op.outputs)
        rest = graph.operators[number + 1 :]
        leaving = {t for later in rest for t in later.activations if t in made}
        leaving.update(t for t in graph.kept if t in made)
        yield graph.operators[: number + 1] if leaving == set(op.outputs) else None


def _can_be_striped(op: Operator) -> bool:
    if isinstance(op, _WINDOWED):
        return True
    if isinstance(op, Elementwise):
        return len(op.y.shape) == 4 and _is_row_by_row(op)
    if not isinstance(op, _ELEMENTWISE) or len(op.outputs) != 1:
        return False
    shape = op.outputs[0].shape
    return len(shape) == 4 and all(tensor.shape == shape and not tensor.is_constant for tensor in op.inputs)


def _is_row_by_row(op: Elementwise) -> bool:
    """Whether rows of y read just those rows of each activation, and constants are the same for all rows."""
    defined = definition(op)
    assert defined is not None
    (compute,) = defined.stages
    return all(
        (not tensor.is_constant and tensor.shape == op.y.shape and access.reads_same_index(compute, name, dimension=1))
        or (tensor.is_constant and access.rows_read(compute, name, (0, op.y.shape[1] - 1), dimension=1) == (0, 0))
        for name, tensor in defined.inputs.items()
    )


def _spans(cut: Tensor, rows: int) -> list[Rows]:
    height = cut.shape[1]
    return [(first, min(first + rows, height)) for first in range(0, height, rows)]


def _needs(prefix: Sequence[Operator], cut: Tensor, span: Rows) -> dict[Tensor, Rows]:
    """Return the rows of each tensor that a stripe of the cut needs."""
    needs: dict[Tensor, Rows] = {cut: span}
    for op in reversed(prefix):
        rows = needs.get(op.outputs[0])
        if rows is None:
            continue
        for tensor in op.activations:
            first, last = _read(op, rows)[0]
            held = needs.get(tensor, (first, last))
            needs[tensor] = min(first, held[0]), max(last, held[1])
    return needs


def _read(op: Operator, rows: Rows) -> tuple[Rows, int, int]:
    """Return the input rows that rows of the output read, and the padding above and below them."""
    if not isinstance(op, _WINDOWED):
        return rows, 0, 0
    height = op.x.shape[1]
    # Windows move evenly: two of them say where all are.
    (first, last), (second, _) = _window_rows(op, (0, 1)), _window_rows(op, (1, 2))
    first, last = first + rows[0] * (second - first), last + (rows[1] - 1) * (second - first)
    return (max(first, 0), min(last, height)), max(-first, 0), max(last - height, 0)


@lru_cache(maxsize=1024)
def _window_rows(op: Conv2D | DepthwiseConv2D | MaxPool2D | AveragePool2D, rows: Rows) -> Rows:
    """Return the rows that windows cover, padding included."""
    defined = definition(op)
    assert defined is not None
    assert defined.only is not None
    read = access.rows_read(defined.only, "x", (rows[0], rows[1] - 1), dimension=1)
    assert read is not None
    return read[0], read[1] + 1


def _bytes(tensor: Tensor, rows: Rows) -> int:
    return tensor.nbytes // tensor.shape[1] * (rows[1] - rows[0])


def _stripes_macs(
    prefix: Sequence[Operator], stripes: Sequence[Mapping[Tensor, Rows]], macs: Mapping[Operator, int]
) -> int:
    total = 0
    for op in prefix:
        y = op.outputs[0]
        rows = sum(needs[y][1] - needs[y][0] for needs in stripes if y in needs)
        total += macs[op] // y.shape[1] * rows
    return total


def _estimate(graph: Graph, prefix: Sequence[Operator], cut: Tensor, stripes: Sequence[Mapping[Tensor, Rows]]) -> int:
    """Return about the bytes of the arena while stripes are computed, scratch left out."""
    whole = graph.inputs[0].nbytes + cut.nbytes
    last = {tensor: number for number, op in enumerate(prefix) for tensor in op.activations}
    peak = 0
    # Stripes of the same heights need the same.
    for needs in {tuple(b - a for a, b in each.values()): each for each in stripes}.values():
        live: dict[Tensor, int] = {}
        for number, op in enumerate(prefix):
            y = op.outputs[0]
            if y in needs:
                dying = max((size for t, size in live.items() if last[t] == number), default=0)
                output = 0 if y is cut else _bytes(y, needs[y])
                peak = max(peak, sum(live.values()) - dying + max(dying, output))
                if y is not cut and last.get(y, -1) > number:
                    live[y] = output
            live = {t: size for t, size in live.items() if last[t] > number}
    return whole + peak


def _rewritten(graph: Graph, prefix: Sequence[Operator], cut: Tensor, rows: int) -> Graph:
    operators: list[Operator] = []
    parts: list[Tensor] = []
    for number, span in enumerate(_spans(cut, rows)):
        parts.append(_stripe(operators, graph.inputs[0], prefix, cut, span, number))
    operators.append(Concatenation(name=f"{prefix[-1].name}_stripes", xs=tuple(parts), y=cut, axis=1))
    return dataclasses.replace(graph, operators=(*operators, *graph.operators[len(prefix) :]))


def _stripe(
    operators: list[Operator], x: Tensor, prefix: Sequence[Operator], cut: Tensor, span: Rows, number: int
) -> Tensor:
    """Add the operators of one stripe; returns its part of the cut."""
    needs = _needs(prefix, cut, span)
    held: dict[Tensor, tuple[Tensor, Rows]] = {x: (x, (0, x.shape[1]))}

    def rows_of(tensor: Tensor, wanted: Rows, reader: str) -> Tensor:
        whole, rows = held[tensor]
        if rows == wanted:
            return whole
        part = _shortened(tensor, wanted, f"{tensor.name}[{wanted[0]}:{wanted[1]}] of {reader}")
        begin = tuple(wanted[0] - rows[0] if axis == 1 else 0 for axis in range(len(part.shape)))
        operators.append(
            StridedSlice(
                name=f"{reader}_rows_{len(operators)}", x=whole, y=part, begin=begin, strides=(1, 1, 1, 1), shrink=()
            )
        )
        return part

    for op in prefix:
        y = op.outputs[0]
        if y not in needs:
            continue
        wanted, top, bottom = _read(op, needs[y])
        name = f"{op.name}{STRIPE}{number}"
        made = _shortened(y, needs[y], f"{y.name}[{needs[y][0]}:{needs[y][1]}] stripe {number}")
        # An operator that reads a tensor twice has its rows once.
        cuts = {tensor: rows_of(tensor, wanted, name) for tensor in dict.fromkeys(op.activations)}
        striped = dataclasses.replace(op.with_tensors({**cuts, y: made}), name=name)
        if isinstance(striped, _WINDOWED):
            padding = Padding(top=top, bottom=bottom, left=striped.padding.left, right=striped.padding.right)
            striped = dataclasses.replace(striped, padding=padding)
        operators.append(striped)
        held[y] = made, needs[y]
    return held[cut][0]


def _shortened(tensor: Tensor, rows: Rows, name: str) -> Tensor:
    shape = (tensor.shape[0], rows[1] - rows[0], *tensor.shape[2:])
    return Tensor(name=name, shape=shape, dtype=tensor.dtype, quant=tensor.quant)
