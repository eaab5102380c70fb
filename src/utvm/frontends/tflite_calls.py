"""Loops and branches of a .tflite file whose way is known at import: what they run is written out, step after step.

Keras makes a WHILE of each recurrent layer that it does not unroll. Its counter begins at a constant, so that its end
is known. A list of results, which such a loop fills place by place, is kept as its pieces until something reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import tflite

from utvm.frontends.context import Context, make_tensor
from utvm.frontends.flatbuffer import MAX_OPERATORS, RawModel, RawOperator
from utvm.frontends.refusal import RefusedError
from utvm.frontends.unrolling import MOST_STEPS
from utvm.graph import Concatenation, DType, Operator, Tensor
from utvm.graph.names import Names

_ADVICE = (
    "Convert a model whose loops and branches do not depend on its data: a tf.while_loop that counts to a constant, "
    "or a recurrent layer of Keras without masks of a length that varies."
)
DECIDING = (DType.INT32, DType.BOOL)
"""Types of the values that decide which way a loop or a branch goes: these are computed at import."""
_DEEPEST = 4
_MOST_WORK = 1_000_000
"""Of the subgraphs that run, each time that they do: tensors, operators, and blocks of elements computed."""
_BLOCK = 256
CALLS = frozenset(("WHILE", "IF"))
"""Operators that run other subgraphs."""


class CalledGraphs:
    """What the WHILE and IF operators of one file become.

    Args:
        graphs: the file's subgraphs that such operators name.
        names: of tensors.
        convert: makes operators of one of a subgraph; it notes problems and returns None for one that it refuses.
    """

    def __init__(
        self, graphs: Mapping[int, RawModel], names: Names, convert: Callable[[Context], tuple[Operator, ...] | None]
    ) -> None:
        self._graphs = graphs
        self.names = names
        self._convert = convert
        self._constants: dict[int, dict[int, Tensor]] = {}
        self._shared: dict[tuple[int, ...], Tensor] = {}
        self._pieces: dict[Tensor, tuple[int, tuple[Tensor, ...]]] = {}
        self._depth = 0
        self._made = 0
        self._work = 0

    def written_out(self, c: Context) -> tuple[Operator, ...] | None:
        """Return what a WHILE or an IF runs; None where an operator inside is refused, which is noted.

        Raises:
            RefusedError: its way depends on data, is too long, or its subgraphs do not fit it.
        """
        if self._depth == _DEEPEST:
            raise RefusedError(f"loops and branches are more than {_DEEPEST} deep", _ADVICE)
        self._depth += 1
        try:
            return self._while(c) if c.raw.kind == "WHILE" else self._if(c)
        finally:
            self._depth -= 1

    def _while(self, c: Context) -> tuple[Operator, ...] | None:
        options = c.options(tflite.WhileOptions)
        condition, body = options.CondSubgraphIndex(), options.BodySubgraphIndex()
        carried = [c.any_input(position) for position in range(len(c.raw.inputs))]
        made: list[Operator] = []
        for step in range(MOST_STEPS + 1):
            asked = self._run(c, condition, carried, 1, f"{c.name}/{step}/asks")
            if asked is None:
                return None
            if not _truth(asked[1][0], "when its loop ends"):
                self._hand_over(c, carried)
                return tuple(made)
            ran = self._run(c, body, carried, len(carried), f"{c.name}/{step}")
            if ran is None:
                return None
            made.extend((*asked[0], *ran[0]))
            carried = ran[1]
        raise RefusedError(f"its loop has more than {MOST_STEPS} steps, which are written out", _ADVICE)

    def _if(self, c: Context) -> tuple[Operator, ...] | None:
        options = c.options(tflite.IfOptions)
        if not c.raw.inputs:
            raise RefusedError("it has no condition")
        taken = _truth(c.any_input(0), "which branch runs")
        given = [c.any_input(position) for position in range(1, len(c.raw.inputs))]
        index = options.ThenSubgraphIndex() if taken else options.ElseSubgraphIndex()
        ran = self._run(c, index, given, len(c.raw.outputs), c.name)
        if ran is not None:
            self._hand_over(c, ran[1])
        return None if ran is None else ran[0]

    def _hand_over(self, c: Context, values: Sequence[Tensor]) -> None:
        if len(values) != len(c.raw.outputs):
            raise RefusedError(f"it has {len(c.raw.outputs)} outputs, what it runs has {len(values)}")
        for position, value in enumerate(values):
            _expect_like(value, c.any_output(position))
            c.alias(position, value)

    def _run(
        self, c: Context, index: int, given: Sequence[Tensor], outputs: int, label: str
    ) -> tuple[tuple[Operator, ...], list[Tensor]] | None:
        """Return the operators and the outputs of a subgraph that is given tensors; None where one is refused."""
        graph = self._graphs.get(index)
        if graph is None:
            raise RefusedError(f"it names subgraph {index}, which is not there")
        if len(graph.inputs) != len(given) or len(graph.outputs) != outputs:
            raise RefusedError(
                f"subgraph {index} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, {len(given)} and "
                f"{outputs} are expected"
            )
        self._spend(1 + len(graph.tensors) + len(graph.operators))
        constants = self._constants.setdefault(index, {})
        tensors = dict(constants)
        for place, value in zip(graph.inputs, given, strict=True):
            _expect_like(value, make_tensor(graph.tensors[place]))
            tensors[place] = value
        renamed = tuple(
            raw if raw.index in constants else dataclasses.replace(raw, name=self.names.fresh(raw.name))
            for raw in graph.tensors
        )
        run = _Run(self, index, dataclasses.replace(graph, tensors=renamed), tensors, label)
        made = [op for raw in graph.operators for op in run.operators(raw)]
        constants.update((i, t) for i, t in tensors.items() if graph.tensors[i].data is not None)
        self._spend(sum(t.elements for i, t in tensors.items() if t.is_constant and i not in constants) // _BLOCK)
        self._made += len(made)
        if self._made > MAX_OPERATORS:
            raise RefusedError(f"its steps have more than {MAX_OPERATORS:,} operators, which are written out", _ADVICE)
        if run.is_refused:
            return None
        return tuple(made), [run.output(place) for place in graph.outputs]

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > _MOST_WORK:
            raise RefusedError("its loops run too long to be written out", _ADVICE)

    def convert(self, context: Context) -> tuple[Operator, ...] | None:
        """Return what an operator of a subgraph becomes."""
        return self.written_out(context) if context.raw.kind in CALLS else self._convert(context)

    def once(self, place: tuple[int, ...], made: Tensor) -> Tensor:
        """Return a constant that a conversion made, the same for every step."""
        known = self._shared.setdefault(place, made)
        return known if known.shape == made.shape and (known.values == made.values).all() else made

    def pieces(self, tensor: Tensor, axis: int) -> tuple[Tensor, ...]:
        """Return what a tensor is joined of along an axis: itself where nothing is known."""
        joined, parts = self._pieces.get(tensor, (axis, (tensor,)))
        return parts if joined == axis else (tensor,)

    def joined(self, tensor: Tensor, axis: int, parts: tuple[Tensor, ...]) -> None:
        """Note what a tensor is joined of."""
        self._pieces[tensor] = axis, parts


class _Run:
    """One pass through a subgraph."""

    def __init__(
        self, calls: CalledGraphs, index: int, graph: RawModel, tensors: dict[int, Tensor], label: str
    ) -> None:
        self._calls = calls
        self._index = index
        self._graph = graph
        self._tensors = tensors
        self._label = label
        self._empty: set[int] = set()
        self.is_refused = False

    def output(self, place: int) -> Tensor:
        """Return a tensor that the subgraph hands back."""
        if place in self._empty:
            raise RefusedError("what it hands back is empty")
        return self._tensors.get(place) or make_tensor(self._graph.tensors[place])

    def operators(self, raw: RawOperator) -> list[Operator]:
        """Return what an operator becomes in this pass."""
        if raw.kind == "CONCATENATION":
            raw = dataclasses.replace(raw, inputs=tuple(place for place in raw.inputs if place not in self._empty))
        if not self._empty.isdisjoint(raw.inputs):
            raise RefusedError(f"operator {raw.index} {raw.kind}, which it runs, reads an empty tensor")
        context = Context(self._graph, raw, self._tensors, self._calls.names, place=self._label)
        if raw.kind == "SLICE" and (found := self._cut(context)) is not None:
            return found
        made = self._calls.convert(context)
        if made is None:
            self.is_refused = True
            return []
        if raw.kind in CALLS:
            return list(made)
        return [self._listed(self._shared(op, raw.index, place)) for place, op in enumerate(made)]

    def _cut(self, c: Context) -> list[Operator] | None:
        """Return what a SLICE becomes that takes nothing, all, or whole pieces of a list; None for another."""
        c.arity((3,))
        x, y, (place,) = c.any_input(0), c.any_output(), c.raw.outputs
        if (x.dtype, x.quant) != (y.dtype, y.quant) or not c.any_input(1).is_constant or not c.any_input(2).is_constant:
            return None
        begin, sizes = c.integers(1), c.integers(2)
        if not len(begin) == len(sizes) == len(x.shape):
            return None
        ends = tuple(w if s == -1 else b + s for b, s, w in zip(begin, sizes, x.shape, strict=True))
        if not all(0 <= b <= e <= w for b, e, w in zip(begin, ends, x.shape, strict=True)):
            return None
        if any(b == e for b, e in zip(begin, ends, strict=True)):
            self._empty.add(place)
            return []
        if x.is_constant:
            part = x.values[tuple(slice(b, e) for b, e in zip(begin, ends, strict=True))]
            c.alias(
                0, dataclasses.replace(x, name=self._calls.names.fresh(f"{x.name}/part"), shape=part.shape, data=part)
            )
            return []
        cut = [axis for axis, whole in enumerate(x.shape) if ends[axis] - begin[axis] != whole]
        if not cut:
            c.alias(0, x)
            return []
        parts = _between(self._calls.pieces(x, cut[0]), cut[0], begin[cut[0]], ends[cut[0]])
        if len(cut) > 1 or parts is None:
            return None
        if len(parts) == 1:
            c.alias(0, parts[0])
            return []
        shape = tuple(end - first for first, end in zip(begin, ends, strict=True))
        joined = dataclasses.replace(x, name=self._calls.names.fresh(f"{c.name}/pieces"), shape=shape)
        c.alias(0, joined)
        return [self._listed(Concatenation(name=c.name, xs=parts, y=joined, axis=cut[0]))]

    def _listed(self, op: Operator) -> Operator:
        """Return a concatenation with the pieces of what it joins, noted as pieces of its output."""
        if not isinstance(op, Concatenation):
            return op
        parts = tuple(part for x in op.xs for part in self._calls.pieces(x, op.axis))
        self._calls.joined(op.y, op.axis, parts)
        return dataclasses.replace(op, xs=parts)

    def _shared(self, op: Operator, index: int, place: int) -> Operator:
        """Return an operator whose constants are those that the same operator had a step before, where equal."""
        made = {
            t: self._calls.once((self._index, index, place, position), t)
            for position, t in enumerate(op.inputs)
            if t.is_constant
        }
        return op.with_tensors(made)


def _between(parts: Sequence[Tensor], axis: int, begin: int, end: int) -> tuple[Tensor, ...] | None:
    """Return the parts that fill a range along an axis; None where it cuts one."""
    found: list[Tensor] = []
    place = 0
    for part in parts:
        after = place + part.shape[axis]
        if begin <= place and after <= end:
            found.append(part)
        elif place < end and begin < after:
            return None
        place = after
    return tuple(found)


def _truth(tensor: Tensor, what: str) -> bool:
    """Return the value of a condition."""
    if not tensor.is_constant:
        raise RefusedError(f"it branches at run time: {what} depends on its data", _ADVICE)
    if tensor.elements != 1 or tensor.dtype is not DType.BOOL:
        raise RefusedError(f"its condition '{tensor.name}' is {tensor.dtype}{list(tensor.shape)}, one bool is expected")
    return bool(tensor.values.reshape(-1)[0])


def _expect_like(given: Tensor, taken: Tensor) -> None:
    """Refuse a tensor of another type or quantisation than what it becomes."""
    if given.dtype is not taken.dtype or (given.quant is not None and given.quant != taken.quant):
        raise RefusedError(f"tensors '{given.name}' and '{taken.name}' have different types or scales")
