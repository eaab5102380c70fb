"""Loop, Scan and If of ONNX whose way is known at import: what they run is written out, step after step.

tf2onnx makes a Loop of each recurrent layer of TensorFlow. Its counter begins at a constant, so that its end is known.
Source: the ONNX operators Loop-21, Scan-21 and If-21; older versions from opset 9 on mean the same.
"""

from __future__ import annotations

import dataclasses
from collections import ChainMap
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.borders import cut
from utvm.frontends.builder import MAX_ELEMENTS, GraphBuilder
from utvm.frontends.onnx_model import OnnxBody, OnnxNode
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.frontends.unrolling import MOST_STEPS
from utvm.graph import DType, Tensor

_ADVICE = "Export a network whose loops and branches do not depend on its data: with inputs of fixed shapes."
_MOST_WORK = 120_000
"""Nodes of bodies that are written out, each time that they are."""
CONTROL = frozenset(("If", "Loop", "Scan"))
"""Operators that run other graphs."""


class BodyRuns:
    """What the If, Loop and Scan nodes of one model become.

    Args:
        builder: gets their operators.
        values: of the model, by name; bodies add theirs while they run.
        convert: makes the outputs of a node known, or notes why it can't.
    """

    def __init__(
        self, builder: GraphBuilder, values: MutableMapping[str, Value], convert: Callable[[OnnxNode], None]
    ) -> None:
        self._b = builder
        self._values = values
        self._convert = convert
        self._runs = 0
        self._work = 0
        self._shared: dict[Hashable, Tensor] = {}

    def results(self, node: OnnxNode) -> tuple[Value, ...]:
        """Return the outputs of a node that runs other graphs; none where one of these is refused, which is noted.

        Raises:
            RefusedError: its way depends on data, is too long, or its graphs do not fit it.
        """
        made = {"If": self._if, "Loop": self._loop, "Scan": self._scan}[node.kind](node)
        if made is None:
            return ()
        if len(made) < len(node.outputs):
            raise RefusedError(f"it has {len(node.outputs)} outputs, what it runs has {len(made)}")
        return tuple(made)

    def _if(self, node: OnnxNode) -> list[Value] | None:
        taken = bool(_known(self._operand(node, 0), "which branch runs"))
        return self._run(node, _body(node, "then_branch" if taken else "else_branch"), [], _label(node))

    def _loop(self, node: OnnxNode) -> list[Value] | None:
        body, label = _body(node, "body"), _label(node)
        most = int(_known(self._operand(node, 0), "when its loop ends")) if _has(node, 0) else None
        asked = _has(node, 1)
        goes_on = not asked or bool(_known(self._operand(node, 1), "when its loop ends"))
        carried = [self._operand(node, position) for position in range(2, len(node.inputs))]
        collected: list[list[Value]] = [[] for _ in body.outputs[1 + len(carried) :]]
        step = 0
        while goes_on and (most is None or step < most):
            if step == MOST_STEPS:
                raise RefusedError(f"its loop has more than {MOST_STEPS} steps, which are written out", _ADVICE)
            given = [np.array(step, np.int64), np.array(True), *carried]
            ran = self._run(node, body, given, f"{label}/{step}")
            if ran is None:
                return None
            goes_on = not asked or bool(_known(ran[0], "when its loop ends"))
            carried, parts = ran[1 : 1 + len(carried)], ran[1 + len(carried) :]
            for values, value in zip(collected, parts, strict=True):
                values.append(value)
            step += 1
        self._b.place = label
        return [*carried, *(self._stacked(values, 0) for values in collected)]

    def _scan(self, node: OnnxNode) -> list[Value] | None:
        body, label = _body(node, "body"), _label(node)
        n = NodeContext(node, self._b, self._values, 0)
        count = n.integer("num_scan_inputs", 0)
        states = len(node.inputs) - count
        made = len(body.outputs) - states
        if count < 1 or states < 0 or made < 0 or not all(node.inputs):
            raise RefusedError("its graph does not fit its inputs; Scan is read from opset 9 on")
        axes, turns = (n.ints(f"scan_input_{what}", (0,) * count) or () for what in ("axes", "directions"))
        ends, flips = (n.ints(f"scan_output_{what}", (0,) * made) or () for what in ("axes", "directions"))
        if not len(axes) == len(turns) == count or not len(ends) == len(flips) == made:
            raise RefusedError("its axes or directions do not fit its inputs and outputs")
        read = [self._operand(node, states + i) for i in range(count)]
        along = [axis_of(axis, len(x.shape)) for axis, x in zip(axes, read, strict=True)]
        lengths = {x.shape[axis] for axis, x in zip(along, read, strict=True)}
        if len(lengths) != 1 or max(lengths) > MOST_STEPS:
            raise RefusedError(f"it has {sorted(lengths)} steps; the same number, {MOST_STEPS} at most, is expected")
        steps = lengths.pop()
        carried = [self._operand(node, position) for position in range(states)]
        collected: list[list[Value]] = [[] for _ in range(made)]
        for step in range(steps):
            self._b.place = f"{label}/{step}"
            parts = [
                self._part(x, axis, steps - 1 - step if turned else step)
                for x, axis, turned in zip(read, along, turns, strict=True)
            ]
            ran = self._run(node, body, [*carried, *parts], f"{label}/{step}")
            if ran is None:
                return None
            carried = ran[:states]
            for values, value in zip(collected, ran[states:], strict=True):
                values.append(value)
        self._b.place = label
        joined = [
            self._stacked(values[::-1] if flipped else values, axis)
            for values, axis, flipped in zip(collected, ends, flips, strict=True)
        ]
        return [*carried, *joined]

    def _run(self, node: OnnxNode, body: OnnxBody, given: Sequence[Value], label: str) -> list[Value] | None:
        """Return the outputs of a body that is given values; None where a node in it is refused."""
        if len(given) != len(body.inputs):
            raise RefusedError(f"its graph has {len(body.inputs)} inputs, {len(given)} are expected")
        self._work += 1 + len(body.nodes)
        if self._work > _MOST_WORK:
            raise RefusedError("its loops run too long to be written out", _ADVICE)
        self._runs += 1
        inside = (*body.inputs, *body.constants, *(name for each in body.nodes for name in each.outputs if name))
        # A line break is in no name that anything else here has.
        own = {name: f"{self._runs}\n{name}" for name in inside}
        names = ChainMap(own, dict(node.scope))
        self._values.update((own[name], value) for name, value in body.constants.items())
        self._values.update((own[name], value) for name, value in zip(body.inputs, given, strict=True))
        for each in body.nodes:
            before = len(self._b.operators)
            self._convert(
                dataclasses.replace(
                    each,
                    name=f"{label}/{each.name or f'{each.kind.lower()}_{each.index}'}",
                    inputs=tuple(names.get(name, name) for name in each.inputs),
                    outputs=tuple(own.get(name, name) for name in each.outputs),
                    scope=names,
                    within=_label(node),
                )
            )
            if not each.bodies:
                self._share(before, (id(body), each.index))
        found = [self._values.get(names.get(name, name)) for name in body.outputs]
        for name in own.values():
            self._values.pop(name, None)
        known = [value for value in found if value is not None]
        return known if len(known) == len(found) else None

    def _share(self, before: int, place: tuple[int, int]) -> None:
        """Let the newest operators read the constants that the same node read a step before, where equal."""
        for index, op in enumerate(self._b.operators[before:]):
            found = {}
            for position, tensor in enumerate(op.inputs):
                if tensor.is_constant:
                    known = self._shared.setdefault((*place, index, position), tensor)
                    if known.shape == tensor.shape and np.array_equal(known.values, tensor.values):
                        found[tensor] = known
            self._b.operators[before + index] = op.with_tensors(found)

    def _operand(self, node: OnnxNode, position: int) -> Value:
        if not _has(node, position):
            raise RefusedError(f"input {position} is needed and absent")
        return self._values[node.inputs[position]]

    def _part(self, value: Value, axis: int, place: int) -> Value:
        if not isinstance(value, Tensor):
            taken: NDArray[Any] = np.take(value, place, axis)
            return taken
        shape = value.shape[:axis] + value.shape[axis + 1 :]
        return self._b.reshape(cut(self._b, value, axis, place, 1), shape)

    def _stacked(self, values: Sequence[Value], axis: int) -> Value:
        """Return the results of all steps, along a new dimension."""
        if not values:
            raise RefusedError("its loop has no steps, so that what it collects is empty")
        arrays = [value for value in values if not isinstance(value, Tensor)]
        first = values[0].shape
        if any(value.shape != first for value in values):
            raise RefusedError("what it collects has other shapes in other steps")
        if len(arrays) == len(values):
            if sum(value.size for value in arrays) > MAX_ELEMENTS:
                raise RefusedError("what it collects is too large")
            return np.stack(arrays, axis_of(axis, len(first) + 1))
        tensors = [value if isinstance(value, Tensor) else self._b.constant(value) for value in values]
        if any(tensor.dtype is not DType.FLOAT32 for tensor in tensors):
            raise RefusedError("it collects integers that its steps compute; float32 is expected")
        place = axis_of(axis, len(first) + 1)
        shape = (*first[:place], 1, *first[place:])
        return self._b.concatenation([self._b.reshape(tensor, shape) for tensor in tensors], place)


def _has(node: OnnxNode, position: int) -> bool:
    return position < len(node.inputs) and bool(node.inputs[position])


def _label(node: OnnxNode) -> str:
    return node.name or f"{node.kind.lower()}_{node.index}"


def _body(node: OnnxNode, name: str) -> OnnxBody:
    if name not in node.bodies:
        raise RefusedError(f"its graph '{name}' is missing")
    return node.bodies[name]


def _known(value: Value, what: str) -> NDArray[Any]:
    """Return the one number that decides."""
    if isinstance(value, Tensor):
        raise RefusedError(f"it branches at run time: {what} depends on its data", _ADVICE)
    if value.size != 1 or value.dtype.kind not in "biu":
        raise RefusedError(f"what decides {what} is {value.dtype}{list(value.shape)}, one value is expected")
    return value.reshape(())
