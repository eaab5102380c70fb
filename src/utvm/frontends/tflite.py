"""TFLite: a flatbuffer → Graph. All problems of a file are told in one error."""

from __future__ import annotations

from pathlib import Path

from utvm.frontends.context import Context, RefusedError, make_tensor
from utvm.frontends.errors import FrontendError
from utvm.frontends.flatbuffer import RawModel, read_flatbuffer
from utvm.frontends.tflite_operators import CONVERTERS
from utvm.graph import Graph, GraphError, Operator, Tensor


def load_tflite(model: Path | bytes, *, name: str | None = None) -> Graph:
    """Import an int8 model.

    Args:
        model: a file, or its bytes.
        name: the graph's name; the file's stem if None.

    Raises:
        FrontendError: with every problem found: operator, index, tensor, reason.
    """
    source = model.name if isinstance(model, Path) else (name or "the model")
    try:
        data = model.read_bytes() if isinstance(model, Path) else model
    except OSError as error:
        raise FrontendError(source, [f"the file can't be read: {error.strerror}"]) from error
    raw = read_flatbuffer(data, source)
    return _Importer(raw, source, name or (model.stem if isinstance(model, Path) else "model")).graph()


class _Importer:
    def __init__(self, raw: RawModel, source: str, name: str) -> None:
        self.raw = raw
        self.source = source
        self.name = name
        self.tensors: dict[int, Tensor] = {}
        self.problems: list[str] = []

    def graph(self) -> Graph:
        if not self.raw.operators:
            self.problems.append("the model has no operators")
        operators = [op for index in range(len(self.raw.operators)) if (op := self._operator(index)) is not None]
        inputs = [t for index in self.raw.inputs if (t := self._port("input", index)) is not None]
        outputs = [t for index in self.raw.outputs if (t := self._port("output", index)) is not None]
        if not self.raw.outputs:
            self.problems.append("the model has no outputs")
        self.problems += [f"input '{t.name}' is a constant" for t in inputs if t.is_constant]
        if self.problems:
            raise FrontendError(self.source, self.problems)
        try:
            return Graph(name=self.name, operators=tuple(operators), inputs=tuple(inputs), outputs=tuple(outputs))
        except GraphError as error:
            raise FrontendError(self.source, [str(error)]) from error

    def _operator(self, index: int) -> Operator | None:
        raw = self.raw.operators[index]
        convert = CONVERTERS.get(raw.kind)
        if convert is None:
            self.problems.append(f"operator {index} {raw.kind}: this operator is not supported")
            return None
        try:
            return convert(Context(self.raw, raw, self.tensors))
        except RefusedError as reason:
            self.problems.append(f"operator {index} {raw.kind}: {reason}")
        except Exception as error:
            self.problems.append(f"operator {index} {raw.kind}: its options are damaged ({type(error).__name__})")
        return None

    def _port(self, kind: str, index: int) -> Tensor | None:
        if index not in self.tensors:
            try:
                self.tensors[index] = make_tensor(self.raw.tensors[index])
            except RefusedError as reason:
                self.problems.append(f"graph {kind}: {reason}")
                return None
        return self.tensors[index]
