"""What a network leaves for its next run, written into the memory where that run reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from utvm.graph import Graph, Operator, State, Store, Tensor, Transpose
from utvm.graph.names import Names
from utvm.lowering.views import READ_IN_PLACE


def with_stores(graph: Graph) -> Graph:
    """Return a graph that has a `Store` for each state, as soon as nothing reads any more what the last run left.

    What is left may itself lie in the memory of a state, as where two states change places: it is copied first.
    """
    if all(isinstance(graph.producers.get(state.after), Store) for state in graph.states):
        return graph
    names = Names(tensor.name for tensor in graph.tensors)
    graph = _with_own_outputs(graph, names)
    operators = list(graph.operators)
    remembered = {state.before for state in graph.states}
    sources: list[Tensor] = []
    for state in graph.states:
        source = state.after
        if _origin(graph, source) in remembered:
            source = _like(source, names.fresh(f"{state.name}/copy"))
            operators.append(_copy(state.after, source))
        sources.append(source)
    states: list[State] = []
    for state, source in zip(graph.states, sources, strict=True):
        y = _like(state.before, names.fresh(f"{state.name}/stored"))
        store = Store(name=f"{state.name}/store", x=source, y=y)
        operators.insert(_last_use(operators, state.before, source) + 1, store)
        states.append(dataclasses.replace(state, after=y))
    return dataclasses.replace(graph, operators=tuple(operators), states=tuple(states))


def _with_own_outputs(graph: Graph, names: Names) -> Graph:
    """Return a graph whose outputs do not lie in the memory of a state, which is written before they are read."""
    remembered = {state.before for state in graph.states}
    inside = [tensor for tensor in dict.fromkeys(graph.outputs) if _origin(graph, tensor) in remembered]
    held = {tensor: _like(tensor, names.fresh(f"{tensor.name}/kept")) for tensor in inside}
    own = {held[tensor]: _like(tensor, tensor.name) for tensor in inside}
    graph = graph.rewrite(tensors=held)
    return dataclasses.replace(
        graph,
        operators=(*graph.operators, *(_copy(x, y) for x, y in own.items())),
        outputs=tuple(own.get(tensor, tensor) for tensor in graph.outputs),
    )


def _copy(x: Tensor, y: Tensor) -> Operator:
    """Return an operator that surely copies: no view, and no pass comes that would take it away."""
    return Transpose(name=f"{y.name}/copied", x=x, y=y, perm=tuple(range(len(x.shape))))


def _origin(graph: Graph, tensor: Tensor) -> Tensor:
    """Return the tensor in whose memory another may lie."""
    while isinstance(op := graph.producers.get(tensor), READ_IN_PLACE):
        tensor = op.x
    return tensor


def _last_use(operators: Sequence[Operator], before: Tensor, source: Tensor) -> int:
    """Return the position of the last operator that reads a state, or views of it, or makes what replaces it."""
    held, last = {before}, -1
    for index, op in enumerate(operators):
        if isinstance(op, READ_IN_PLACE) and op.x in held:
            held.update(op.outputs)
        if source in op.outputs or any(tensor in held for tensor in op.activations):
            last = index
    return last


def _like(tensor: Tensor, name: str) -> Tensor:
    return Tensor(name=name, shape=tensor.shape, dtype=tensor.dtype, quant=tensor.quant)
