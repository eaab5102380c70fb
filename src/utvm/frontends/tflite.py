"""TFLite: a flatbuffer → Graph. All problems of a file are told in one error."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from utvm.errors import warn
from utvm.frontends.context import OPERATOR_ADVICE, Context, make_tensor
from utvm.frontends.errors import FrontendError
from utvm.frontends.flatbuffer import RawModel, RawOperator, RawTensor, read_flatbuffer
from utvm.frontends.problems import Problems
from utvm.frontends.reading import model_bytes
from utvm.frontends.refusal import RefusedError, ShapeRefusedError
from utvm.frontends.tflite_calls import CALLS, DECIDING, CalledGraphs
from utvm.frontends.tflite_custom import PREFIX, convert_custom
from utvm.frontends.tflite_operators import CONVERTERS
from utvm.frontends.tflite_parts import Converted
from utvm.frontends.tflite_shapes import folded
from utvm.frontends.tflite_state import Variables
from utvm.frontends.tflite_unsigned import signed
from utvm.graph import DType, Graph, GraphError, Operator, Tensor
from utvm.graph.names import Names
from utvm.passes import remove_dead_operators


def load_tflite(
    model: Path | bytes, *, name: str | None = None, signature: str | None = None, batch: int | None = None
) -> Graph:
    """Import a model of int8, int16, float32, or a mixture.

    Args:
        model: a file, or its bytes.
        name: the graph's name; the file's stem if None.
        signature: which network of a file that has several.
        batch: the size of the batch that the file leaves open; what the file has, mostly 1, if None.

    Raises:
        FrontendError: with every problem found: operator, index, tensor, reason.
    """
    source = model.name if isinstance(model, Path) else (name or "the model")
    data = model_bytes(model) if isinstance(model, Path) else model
    raw = read_flatbuffer(data, source, signature)
    return _Importer(raw, source, name or (model.stem if isinstance(model, Path) else "model"), batch).graph()


class _Importer:
    def __init__(self, raw: RawModel, source: str, name: str, batch: int | None) -> None:
        self.raw = signed(raw)
        self.source = source
        self.name = name
        self.batch = batch
        self.tensors: dict[int, Tensor] = {}
        self.names = Names(tensor.name for tensor in self.raw.tensors)
        self.problems = Problems()
        self.hybrid: dict[Tensor, None] = {}
        self.calls = CalledGraphs(self.raw.called, self.names, self._known)
        self.variables = Variables()

    def graph(self) -> Graph:
        if self.batch is not None:
            self._open(self.batch)
        for once in self.raw.once.values():
            self._run_once(once)
        operators = [op for raw in self.raw.operators for op in self._operators(self._context(raw))]
        inputs = [t for index in self.raw.inputs if (t := self._port("input", index)) is not None]
        outputs = [t for index in self.raw.outputs if (t := self._port("output", index)) is not None]
        if not self.raw.outputs:
            self.problems.of_file("the model has no outputs")
        for tensor in inputs:
            if tensor.is_constant:
                self.problems.of_file(f"input '{tensor.name}' is a constant")
        if self.problems.texts:
            raise FrontendError(self.source, self.problems.texts, advice=self.problems.advice)
        self._say_hybrid()
        try:
            states, known = self.variables.states()
            fixed = {**known, **(self._named(operators, outputs) if self.raw.called else {})}
            operators = [op.with_tensors(fixed) for op in operators]
            outputs = [fixed.get(t, t) for t in outputs]
            graph = Graph(
                name=self.name,
                operators=tuple(operators),
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                states=tuple(state.with_tensors(fixed) for state in states),
            )
            return remove_dead_operators(graph) if self.raw.called else graph
        except (GraphError, RefusedError) as error:
            raise FrontendError(self.source, [str(error)]) from error

    def _named(self, operators: Sequence[Operator], outputs: Sequence[Tensor]) -> dict[Tensor, Tensor]:
        """Return outputs that a step of a loop makes, by the names that the file has for them."""
        made = {y for op in operators for y in op.outputs}
        found: dict[Tensor, Tensor] = {}
        for index, tensor in zip(self.raw.outputs, outputs, strict=True):
            if tensor in made:
                found.setdefault(tensor, dataclasses.replace(tensor, name=self.raw.tensors[index].name))
        return found

    def _open(self, batch: int) -> None:
        """Give the inputs whose first dimension the file leaves open a size there."""
        opened = [self.raw.tensors[i] for i in self.raw.inputs if _is_open(self.raw.tensors[i])]
        if not opened:
            self.problems.of_file("no input has a batch that the file leaves open", "Leave --batch out.")
        for raw in opened:
            try:
                tensor = make_tensor(raw)
                self.tensors[raw.index] = dataclasses.replace(tensor, shape=(batch, *tensor.shape[1:]))
            except RefusedError as reason:
                self.problems.of_file(f"graph input: {reason}", reason.advice)

    def _context(self, raw: RawOperator) -> Context:
        return Context(self.raw, raw, self.tensors, self.names, self.variables)

    def _run_once(self, raw: RawModel) -> None:
        """Evaluate what the model runs before its first run: constants that it assigns to variables."""
        tensors: dict[int, Tensor] = {}
        for each in raw.operators:
            context = Context(raw, each, tensors, self.names, self.variables, is_once=True)
            try:
                rest = context.compute(self._operators(context), tuple(DType))
            except RefusedError as reason:
                self.problems.of_operator(each.index, each.kind, str(reason))
                continue
            if rest:
                self.problems.of_operator(each.index, each.kind, "what runs once reads more than constants")
        self.variables.forget_handles()

    def _operators(self, context: Context) -> tuple[Operator, ...]:
        """Return what an operator of the file becomes; nothing where it is folded or refused."""
        return self._known(context) or ()

    def _known(self, context: Context) -> tuple[Operator, ...] | None:
        """Return what an operator of the file becomes; None where it is refused, which is noted."""
        raw, index = context.raw, context.raw.index
        convert = CONVERTERS.get(raw.kind)
        try:
            if folded(context):
                return ()
            if raw.kind in CALLS:
                return self.calls.written_out(context)
            if convert is None and raw.kind.startswith(PREFIX):
                convert = convert_custom
            if convert is None:
                raise RefusedError("this operator is not supported", OPERATOR_ADVICE)
            converted = self._converted(context, convert)
            if context.hybrid is not None:
                self.hybrid[context.hybrid] = None
            made = context.finished(converted if isinstance(converted, tuple) else (converted,))
            return context.compute(made, DECIDING) if self.raw.called and not context.is_once else made
        except RefusedError as reason:
            self.problems.of_operator(index, context.kind, str(reason), reason.advice)
        except Exception as error:
            self.problems.of_operator(index, context.kind, f"its options are damaged ({type(error).__name__})")
        return None

    def _converted(self, context: Context, convert: Callable[[Context], Converted]) -> Converted:
        """Convert an operator. A batch that the file leaves open is as large as the operator makes it."""
        try:
            return convert(context)
        except ShapeRefusedError as reason:
            # tflite-micro makes as many rows as y has, whatever is read: only a batch that was asked for changes them.
            rows_are_fixed = self.batch is None and not context.place and not context.is_opened(0)
            if context.raw.kind == "FULLY_CONNECTED" and rows_are_fixed:
                raise
            if not context.open_output(reason.shape):
                raise
            return convert(context)

    def _say_hybrid(self) -> None:
        if self.hybrid:
            elements, first = sum(tensor.elements for tensor in self.hybrid), next(iter(self.hybrid))
            warn(
                f"{self.source}: {len(self.hybrid)} layers ('{first.name}' first) have int8 weights beside "
                f"float32 activations: they compute in float32, by weights of {4 * elements:,} bytes in place of "
                f"{elements:,} (`utvm quantize` makes the whole network int8)"
            )

    def _port(self, kind: str, index: int) -> Tensor | None:
        if index not in self.tensors:
            try:
                self.tensors[index] = make_tensor(self.raw.tensors[index])
            except RefusedError as reason:
                self.problems.of_file(f"graph {kind}: {reason}", reason.advice)
                return None
        return self.tensors[index]


def _is_open(raw: RawTensor) -> bool:
    """Whether the file leaves the first dimension of a tensor open."""
    return len(raw.signature) == len(raw.shape) > 0 and raw.signature[0] == -1
