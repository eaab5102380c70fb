"""The graph: operators in execution order over named tensors. Immutable; a pass returns a new one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from utvm.errors import UtvmError
from utvm.graph.alike import first_alike
from utvm.graph.operators import Operator
from utvm.graph.state import State
from utvm.graph.tensor import Tensor
from utvm.notebook import html_table, shortened


class GraphError(UtvmError):
    """A graph that is not well formed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A network. Operators stand in execution order; every tensor has one object and one producer.

    Attributes:
        name: of the network.
        operators: in execution order.
        inputs, outputs: what the caller gives and takes.
        states: what one run leaves for the next.

    Raises:
        GraphError: a tensor is used before it is made, made twice, or two tensors share a name; something is no tensor
            or no operator.

    Example:
        graph = utvm.load("model.tflite")
        print([op.name for op in graph.operators], graph.inputs[0].shape)
    """

    name: str
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    states: tuple[State, ...] = ()

    def __post_init__(self) -> None:
        by_name: dict[str, Tensor] = {}
        made: set[Tensor] = set()

        def note(tensor: Tensor, user: str) -> None:
            if not isinstance(tensor, Tensor):
                raise GraphError(f"{user}: {shortened(repr(tensor))} stands where a Tensor is expected")
            if by_name.setdefault(tensor.name, tensor) is not tensor:
                raise GraphError(f"{user}: there are two tensors named '{tensor.name}'")

        def make(tensor: Tensor, user: str) -> None:
            note(tensor, user)
            if tensor in made:
                raise GraphError(f"{user}: tensor '{tensor.name}' is made twice")
            made.add(tensor)

        for tensor in self.sources:
            make(tensor, f"graph '{self.name}'")
        for op in self.operators:
            if not isinstance(op, Operator):
                raise GraphError(f"graph '{self.name}': {shortened(repr(op))} stands where an Operator is expected")
            for tensor in op.inputs:
                note(tensor, f"operator '{op.name}'")
                if not tensor.is_constant and tensor not in made:
                    raise GraphError(f"operator '{op.name}': tensor '{tensor.name}' is used before it is made")
            for tensor in op.outputs:
                make(tensor, f"operator '{op.name}'")
        for tensor in self.kept:
            note(tensor, f"graph '{self.name}'")
            if not tensor.is_constant and tensor not in made:
                what = "output" if tensor in self.outputs else "state"
                raise GraphError(f"graph '{self.name}': nothing makes the {what} '{tensor.name}'")

    @property
    def sources(self) -> tuple[Tensor, ...]:
        """What is there before the first operator: inputs, and what the last run left."""
        return (*self.inputs, *(state.before for state in self.states))

    @property
    def kept(self) -> tuple[Tensor, ...]:
        """What must be there after the last operator: outputs, and what is left for the next run."""
        return (*self.outputs, *(state.after for state in self.states))

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, in the order in which they are met."""
        seen: dict[Tensor, None] = dict.fromkeys(self.sources)
        for op in self.operators:
            seen.update(dict.fromkeys((*op.inputs, *op.outputs)))
        seen.update(dict.fromkeys(self.kept))
        return tuple(seen)

    @cached_property
    def alike(self) -> tuple[Operator, ...]:
        """For each operator the first that computes the same on other activations; often the operator itself."""
        return first_alike(self.operators)

    @cached_property
    def producers(self) -> Mapping[Tensor, Operator]:
        """The operator that makes each tensor; what is there at first and constants have none."""
        return {tensor: op for op in self.operators for tensor in op.outputs}

    @cached_property
    def consumers(self) -> Mapping[Tensor, tuple[Operator, ...]]:
        """The operators that read each tensor, in order; what is kept is not counted."""
        found: dict[Tensor, list[Operator]] = {tensor: [] for tensor in self.tensors}
        for op in self.operators:
            for tensor in dict.fromkeys(op.inputs):
                found[tensor].append(op)
        return {tensor: tuple(ops) for tensor, ops in found.items()}

    def rewrite(
        self,
        operators: Iterable[Operator] | None = None,
        *,
        tensors: Mapping[Tensor, Tensor] | None = None,
    ) -> Graph:
        """Return a graph with other operators and, everywhere in it, other tensors (old to new)."""
        chosen = tuple(self.operators if operators is None else operators)
        mapping = dict(tensors or {})
        return dataclasses.replace(
            self,
            operators=tuple(op.with_tensors(mapping) for op in chosen),
            inputs=tuple(mapping.get(t, t) for t in self.inputs),
            outputs=tuple(mapping.get(t, t) for t in self.outputs),
            states=tuple(state.with_tensors(mapping) for state in self.states),
        )

    def __repr__(self) -> str:
        """One line; `str` has the operators."""
        return (
            f"Graph({shortened(self.name)!r}, {len(self.operators)} operators, inputs {_listed(self.inputs)}, "
            f"outputs {_listed(self.outputs)})"
        )

    def _repr_html_(self) -> str:
        """The operators as a table, for notebooks."""
        rows = [
            (index, op.kind, op.name, *(", ".join(_of_type(t) for t in ts) for ts in (op.activations, op.outputs)))
            for index, op in enumerate(self.operators)
        ]
        return html_table(f"graph {self.name}", ("", "operator", "name", "takes", "makes"), rows)

    def __str__(self) -> str:
        """One line an operator, for people."""
        lines = [f"graph {self.name}({', '.join(map(_describe, self.inputs))})"]
        for op in self.operators:
            made = ", ".join(map(_describe, op.outputs))
            lines.append(f"  {made} = {op.kind} {op.name}({', '.join(map(_describe, op.inputs))}){_attributes(op)}")
        lines += [f"  keep {state.after.name} as {state.name}" for state in self.states]
        lines.append(f"  return {', '.join(t.name for t in self.outputs)}")
        return "\n".join(lines) + "\n"


_LISTED = 3
"""Inputs or outputs that a graph's `repr` has."""


def _of_type(tensor: Tensor) -> str:
    return f"{tensor.dtype}{list(tensor.shape)}"


def _listed(tensors: tuple[Tensor, ...]) -> str:
    shown = [f"{shortened(tensor.name)} {_of_type(tensor)}" for tensor in tensors[:_LISTED]]
    rest = [f"{len(tensors) - _LISTED} more"] if len(tensors) > _LISTED else []
    return ", ".join([*shown, *rest])


def _describe(tensor: Tensor) -> str:
    return f"{'const ' if tensor.is_constant else ''}{tensor.name}: {tensor.dtype}{list(tensor.shape)}"


def _attributes(op: Operator) -> str:
    hidden = {"name", *op.input_fields, *op.output_fields}
    shown = [f"{f.name}={getattr(op, f.name)}" for f in dataclasses.fields(op) if f.name not in hidden]
    return f" [{', '.join(shown)}]" if shown else ""
