"""Graph → .tflite bytes.

Source of the format: TensorFlow Lite's schema (schema.fbs, version 3), through the `tflite` package's builders.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import tflite

from utvm.frontends.errors import FrontendError
from utvm.frontends.tflite_encoded import EncodedOperator, UnwritableError
from utvm.frontends.tflite_encoders import ENCODERS
from utvm.graph import DType, Graph, Quantization, Tensor

SCHEMA_VERSION = 3
ALIGNMENT = 16
"""Bytes; of every constant's data from the start of the file."""

_TYPES = {
    DType.INT8: tflite.TensorType.INT8,
    DType.UINT8: tflite.TensorType.UINT8,
    DType.INT16: tflite.TensorType.INT16,
    DType.INT32: tflite.TensorType.INT32,
    DType.INT64: tflite.TensorType.INT64,
    DType.UINT32: tflite.TensorType.UINT32,
    DType.UINT64: tflite.TensorType.UINT64,
    DType.FLOAT32: tflite.TensorType.FLOAT32,
    DType.BOOL: tflite.TensorType.BOOL,
}


def write_tflite(graph: Graph) -> bytes:
    """Return the graph as a .tflite file; the same graph gives the same bytes.

    Raises:
        FrontendError: what the format can't say, all of it: explicit padding that is neither SAME nor VALID, clamps
            that are no fused activation, roundings other than TFLite's, unequal splits.
    """
    encoded: list[EncodedOperator] = []
    problems: list[str] = []
    advice: dict[str, None] = {}
    for op in graph.operators:
        try:
            encode = ENCODERS.get(type(op))
            if encode is None:
                raise UnwritableError("it is read, but not written", "Keep the file that the graph came from.")
            encoded.append(encode(op))
        except UnwritableError as error:
            problems.append(f"operator '{op.name}' ({op.kind}): {error}")
            advice[error.advice] = None
    if problems:
        raise FrontendError(f"graph '{graph.name}'", problems, advice=list(advice), action="written as .tflite")
    return write_encoded(graph.name, graph.inputs, graph.outputs, encoded)


def write_encoded(
    name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], operators: Sequence[EncodedOperator]
) -> bytes:
    """Return a .tflite file of operators in TFLite's own form, also of those that no graph has."""
    return write_subgraphs([Subgraph(name=name, inputs=inputs, outputs=outputs, operators=operators)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subgraph:
    """A subgraph in TFLite's own form.

    Attributes:
        name: of the subgraph.
        inputs, outputs: what its caller gives and takes.
        operators: in execution order.
        variables: tensors that operators keep from run to run.
        resources: tensors that stand for variables, whatever their type.
        opened: tensors whose first dimension the file leaves open.
    """

    name: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    operators: Sequence[EncodedOperator]
    variables: Collection[Tensor] = ()
    resources: Collection[Tensor] = ()
    opened: Collection[Tensor] = ()

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, each once."""
        used = [t for op in self.operators for t in (*op.inputs, *op.outputs) if t is not None]
        return tuple(dict.fromkeys((*self.inputs, *used, *self.outputs)))


def write_subgraphs(subgraphs: Sequence[Subgraph], signatures: Mapping[str, int] | None = None) -> bytes:
    """Return a .tflite file of subgraphs, the main one first; `signatures` names some."""
    return _Writer(subgraphs, signatures or {}).file()


class _Writer:
    def __init__(self, subgraphs: Sequence[Subgraph], signatures: Mapping[str, int]) -> None:
        self._subgraphs, self._signatures = subgraphs, signatures
        constants = dict.fromkeys(t for subgraph in subgraphs for t in subgraph.tensors if t.is_constant)
        # Buffer 0 is empty by convention: tensors without data refer to it.
        self._buffer_of = {tensor: index for index, tensor in enumerate(constants, 1)}
        operators = [op for subgraph in subgraphs for op in subgraph.operators]
        self._codes = list(dict.fromkeys((op.code, op.version, op.custom) for op in operators))
        self._builder = flatbuffers.Builder(1 << 16)

    def file(self) -> bytes:
        """Return the file's content."""
        b = self._builder
        buffers = self._tables([self._buffer(b""), *(self._buffer(_little_endian(t)) for t in self._buffer_of)])
        codes = self._tables([self._code(*code) for code in self._codes])
        subgraphs = self._tables([self._subgraph(subgraph) for subgraph in self._subgraphs])
        description = b.CreateString("written by utvm")
        named = {}
        if self._signatures:
            named["SignatureDefs"] = self._tables([self._signature(*each) for each in self._signatures.items()])
        model = self._table(
            "Model",
            Version=SCHEMA_VERSION,
            OperatorCodes=codes,
            Subgraphs=subgraphs,
            Description=description,
            Buffers=buffers,
            **named,
        )
        b.Finish(model, b"TFL3")
        return bytes(b.Output())

    def _signature(self, name: str, subgraph: int) -> int:
        made = self._subgraphs[subgraph]
        places = {tensor: place for place, tensor in enumerate(made.tensors)}
        maps = {
            what: self._tables([self._tensor_map(t.name, places[t]) for t in tensors])
            for what, tensors in (("Inputs", made.inputs), ("Outputs", made.outputs))
        }
        key = self._builder.CreateString(name)
        return self._table("SignatureDef", SignatureKey=key, SubgraphIndex=subgraph, **maps)

    def _tensor_map(self, name: str, place: int) -> int:
        return self._table("TensorMap", Name=self._builder.CreateString(name), TensorIndex=place)

    def _subgraph(self, subgraph: Subgraph) -> int:
        index = {tensor: place for place, tensor in enumerate(subgraph.tensors)}
        tensors = self._tables([self._tensor(t, subgraph) for t in subgraph.tensors])
        operators = self._tables([self._operator(op, index) for op in subgraph.operators])
        inputs = self._integers([index[t] for t in subgraph.inputs])
        outputs = self._integers([index[t] for t in subgraph.outputs])
        name = self._builder.CreateString(subgraph.name)
        return self._table("SubGraph", Tensors=tensors, Inputs=inputs, Outputs=outputs, Operators=operators, Name=name)

    def _tensor(self, tensor: Tensor, subgraph: Subgraph) -> int:
        fields: dict[str, int] = {"Name": self._builder.CreateString(tensor.name)}
        fields["Shape"] = self._integers(tensor.shape)
        fields["Type"] = tflite.TensorType.RESOURCE if tensor in subgraph.resources else _TYPES[tensor.dtype]
        fields["Buffer"] = self._buffer_of.get(tensor, 0)
        if tensor.packed:
            fields["Type"] = tflite.TensorType.INT4
        if tensor in subgraph.opened:
            fields["ShapeSignature"] = self._integers((-1, *tensor.shape[1:]))
        if tensor in subgraph.variables:
            fields["IsVariable"] = True
        if tensor.quant is not None:
            fields["Quantization"] = self._quantization(tensor.quant)
        return self._table("Tensor", **fields)

    def _quantization(self, quant: Quantization) -> int:
        scale = self._builder.CreateNumpyVector(np.array(quant.scale, np.float32))
        zero_point = self._builder.CreateNumpyVector(np.array(quant.zero_point, np.int64))
        return self._table(
            "QuantizationParameters", Scale=scale, ZeroPoint=zero_point, QuantizedDimension=quant.axis or 0
        )

    def _operator(self, op: EncodedOperator, index: Mapping[Tensor, int]) -> int:
        fields: dict[str, int] = {
            "OpcodeIndex": self._codes.index((op.code, op.version, op.custom)),
            "Inputs": self._integers([-1 if t is None else index[t] for t in op.inputs]),
            "Outputs": self._integers([index[t] for t in op.outputs]),
        }
        if op.options is not None:
            values = {name: self._value(value) for name, value in op.fields.items()}
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, op.options)
            fields["BuiltinOptions"] = self._table(op.options, **values)
        if op.custom_options:
            fields["CustomOptions"] = self._builder.CreateByteVector(op.custom_options)
        return self._table("Operator", **fields)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._builder.CreateString(value)
        return self._integers(value) if isinstance(value, tuple) else value

    def _code(self, code: int, version: int, custom: str | None) -> int:
        # The deprecated field has eight bits and holds 127 for codes beyond.
        named = {} if custom is None else {"CustomCode": self._builder.CreateString(custom)}
        return self._table(
            "OperatorCode", DeprecatedBuiltinCode=min(code, 127), Version=version, BuiltinCode=code, **named
        )

    def _buffer(self, data: bytes) -> int:
        if not data:
            return self._table("Buffer")
        b = self._builder
        b.StartVector(1, len(data), ALIGNMENT)
        b.head = b.Head() - len(data)
        b.Bytes[b.Head() : b.Head() + len(data)] = data
        return self._table("Buffer", Data=int(b.EndVector()))

    def _table(self, kind: str, **fields: Any) -> int:
        """Write a table by the functions that the schema's compiler made for it."""
        getattr(tflite, f"{kind}Start")(self._builder)
        for name, value in fields.items():
            getattr(tflite, f"{kind}Add{name}")(self._builder, value)
        return int(getattr(tflite, f"{kind}End")(self._builder))

    def _integers(self, values: Sequence[int]) -> int:
        return int(self._builder.CreateNumpyVector(np.array(values, np.int32)))

    def _tables(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())


def _little_endian(tensor: Tensor) -> bytes:
    values = np.ascontiguousarray(tensor.values)
    if tensor.packed:
        flat = np.append(values.reshape(-1), [0] * (values.size % 2)).astype(np.uint8) & 15
        return (flat[0::2] | flat[1::2] << 4).astype(np.uint8).tobytes()
    return values.astype(values.dtype.newbyteorder("<")).tobytes()
