"""A .tflite file as plain values. Everything that is read is bounded and checked; nothing is interpreted.

Source: TensorFlow Lite's schema (schema.fbs, version 3), read with the classes that the `tflite` package generates.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tflite
from flatbuffers import number_types
from numpy.typing import NDArray

from utvm.errors import warn
from utvm.frontends.errors import FrontendError
from utvm.graph import DType, Quantization
from utvm.graph.names import printable, short

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_OPERATORS = 20_000
MAX_TENSORS = 60_000
MAX_RANK = 8
MAX_ELEMENTS = 1 << 27
MAX_SUBGRAPHS = 1_000
_SHOWN_SIGNATURES = 8
_MOST_CLAIMED = 2
"""Bytes of vectors that are read for each byte of the file. Tables may share them, but not make a small file large."""

_IDENTIFIER = b"TFL3"
_TYPES = {
    tflite.TensorType.INT8: DType.INT8,
    tflite.TensorType.INT4: DType.INT8,
    tflite.TensorType.UINT8: DType.UINT8,
    tflite.TensorType.INT16: DType.INT16,
    tflite.TensorType.INT32: DType.INT32,
    tflite.TensorType.INT64: DType.INT64,
    tflite.TensorType.UINT32: DType.UINT32,
    tflite.TensorType.UINT64: DType.UINT64,
    tflite.TensorType.FLOAT32: DType.FLOAT32,
    tflite.TensorType.BOOL: DType.BOOL,
}
_TYPE_NAMES = {value: name for name, value in vars(tflite.TensorType).items() if isinstance(value, int)}
OPERATOR_NAMES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
_NIBBLES = np.dtype([("pair", np.uint8)])
"""Bytes of two values of 4 bits, so that they are another type than bytes."""
_BROKEN = (
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    KeyError,
    AssertionError,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawTensor:
    """A tensor as the file has it. `problem` says why it can't be used; only an operator that needs it minds.

    `signature` is its shape with -1 for dimensions that the model leaves open, empty where there are none. `packed`
    says that its int8 values are of 4 bits.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: DType | None
    quant: Quantization | None
    data: NDArray[Any] | None
    problem: str | None
    is_variable: bool = False
    is_resource: bool = False
    signature: tuple[int, ...] = ()
    packed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawOperator:
    """An operator as the file has it.

    Attributes:
        inputs: indices of tensors; -1 stands for an absent optional one.
        options: the table of its options, or None.
        options_type: which table that is, a value of `tflite.BuiltinOptions`.
        custom_options: the bytes of a custom operator's options.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any
    options_type: int
    custom_options: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawModel:
    """A subgraph of a file. `once` has those that it calls before its first run, by their indices.

    `called` has those that its loops and branches run. `unsigned` says that the file has uint8 where this has int8.
    """

    tensors: tuple[RawTensor, ...]
    operators: tuple[RawOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    once: Mapping[int, RawModel] = field(default_factory=dict)
    called: Mapping[int, RawModel] = field(default_factory=dict)
    unsigned: bool = False


def read_flatbuffer(data: bytes, source: str, signature: str | None = None) -> RawModel:
    """Read a file's bytes.

    Args:
        data: the file.
        source: its name, for messages.
        signature: which network of a file that has several.

    Raises:
        FrontendError: it is not a TFLite file, is truncated or damaged, or has a form that is not supported.
    """
    if len(data) > MAX_FILE_BYTES:
        raise FrontendError(source, [f"the file has {len(data):,} bytes; at most {MAX_FILE_BYTES:,} are read"])
    if len(data) < 16 or data[4:8] != _IDENTIFIER:
        raise FrontendError(source, ["this is not a TFLite file (its identifier TFL3 is missing)"])
    try:
        return _Reader(data, source, signature).read()
    except _BROKEN as error:
        problem = f"the file of {len(data):,} bytes is damaged or truncated: what it refers to is not there"
        raise FrontendError(source, [problem]) from error


class _Reader:
    def __init__(self, data: bytes, source: str, signature: str | None) -> None:
        self.data = data
        self.source = source
        self.signature = signature
        self.model = tflite.Model.GetRootAs(data, 0)
        self.names: set[str] = set()
        self.claimed = 0
        self.buffers: dict[tuple[int, np.dtype[Any]], NDArray[Any]] = {}

    def read(self) -> RawModel:
        model = self.model
        if model.Version() != 3:
            raise FrontendError(self.source, [f"schema version {model.Version()} is not supported, only 3"])
        self._limit("operator codes", model.OperatorCodesLength(), MAX_OPERATORS)
        self._limit("buffers", model.BuffersLength(), MAX_TENSORS)
        self._limit("subgraphs", model.SubgraphsLength(), MAX_SUBGRAPHS)
        if model.SubgraphsLength() == 0:
            advice = "Convert the model again: the file is empty or damaged."
            raise FrontendError(self.source, ["the file has no subgraph"], advice=[advice])
        main = self._subgraph(self._chosen())
        calls = [call for op in main.operators if op.kind == "CALL_ONCE" and (call := _called(op)) is not None]
        for index in calls:
            if not 0 <= index < model.SubgraphsLength():
                raise FrontendError(self.source, [f"CALL_ONCE names subgraph {index} of {model.SubgraphsLength()}"])
        once = {index: self._subgraph(index) for index in dict.fromkeys(calls)}
        return replace(main, once=once, called=self._run_by(main))

    def _run_by(self, main: RawModel) -> dict[int, RawModel]:
        """Return the subgraphs that loops and branches run, and those that these run."""
        found: dict[int, RawModel] = {}
        waiting = [main]
        while waiting:
            for index in [index for op in waiting.pop().operators for index in _run_subgraphs(op)]:
                if index not in found and 0 <= index < self.model.SubgraphsLength():
                    found[index] = self._subgraph(index)
                    waiting.append(found[index])
        return found

    def _chosen(self) -> int:
        """Return the subgraph that a signature was chosen for, or the main one.

        Raises:
            FrontendError: several signatures name networks of their own, or none has the name that was chosen.
        """
        places = self._signatures()
        if self.signature is not None:
            if self.signature not in places:
                known = ", ".join(places) or "none"
                raise FrontendError(self.source, [f"it has no signature '{self.signature}'; there are: {known}"])
            return self._inside(places[self.signature])
        if len(set(places.values())) > 1:
            shown = ", ".join([*places][:_SHOWN_SIGNATURES])
            raise FrontendError(
                self.source,
                [f"the file has {len(places)} signatures ({shown}), each a network of its own"],
                advice=[f"Choose one behind the file's name, as in 'model.tflite#{next(iter(places))}'."],
            )
        if len(places) > 1:
            warn(
                f"{self.source}: {len(places)} signatures ({', '.join([*places][:_SHOWN_SIGNATURES])}) name the same "
                "network: it is compiled once, with all of its inputs and outputs in the file's order"
            )
        return self._inside(next(iter(places.values()), 0))

    def _inside(self, subgraph: int) -> int:
        count = self.model.SubgraphsLength()
        if not 0 <= subgraph < count:
            raise FrontendError(self.source, [f"a signature names subgraph {subgraph} of {count}"])
        return subgraph

    def _signatures(self) -> dict[str, int]:
        """Return the subgraph of each signature by its name."""
        count = self.model.SignatureDefsLength()
        self._limit("signatures", count, MAX_SUBGRAPHS)
        every = [self.model.SignatureDefs(i) for i in range(count)]
        return {_text(each.SignatureKey()) or f"signature_{i}": each.SubgraphIndex() for i, each in enumerate(every)}

    def _subgraph(self, index: int) -> RawModel:
        graph = self.model.Subgraphs(index)
        self.names = set()
        self._limit("tensors", graph.TensorsLength(), MAX_TENSORS)
        self._limit("operators", graph.OperatorsLength(), MAX_OPERATORS)
        tensors = tuple(self._tensor(i, graph.Tensors(i)) for i in range(graph.TensorsLength()))
        operators = tuple(self._operator(i, graph.Operators(i), len(tensors)) for i in range(graph.OperatorsLength()))
        return RawModel(
            tensors=tensors,
            operators=operators,
            inputs=self._indices("the graph's inputs", graph.InputsLength(), graph.Inputs, len(tensors)),
            outputs=self._indices("the graph's outputs", graph.OutputsLength(), graph.Outputs, len(tensors)),
        )

    def _limit(self, what: str, count: int, most: int) -> None:
        self.claimed += count * 4
        if count > most or count * 4 > len(self.data) or self.claimed > _MOST_CLAIMED * len(self.data):
            raise FrontendError(self.source, [f"the file claims {count:,} {what}: it is damaged or too large"])

    def _indices(
        self, what: str, count: int, item: Callable[[int], int], limit: int, *, optional: bool = False
    ) -> tuple[int, ...]:
        self._limit(what, count, MAX_TENSORS)
        found = tuple(int(item(i)) for i in range(count))
        for index in found:
            if not (0 <= index < limit or (optional and index == -1)):
                raise FrontendError(self.source, [f"{what} name tensor {index}; there are {limit}"])
        return found

    def _operator(self, index: int, operator: Any, tensors: int) -> RawOperator:
        codes = self.model.OperatorCodesLength()
        if not 0 <= operator.OpcodeIndex() < codes:
            raise FrontendError(
                self.source, [f"operator {index} names operator code {operator.OpcodeIndex()} of {codes}"]
            )
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        number = max(_builtin_code(code), code.DeprecatedBuiltinCode())
        kind = OPERATOR_NAMES.get(number, f"operator code {number}")
        if kind == "CUSTOM":
            kind = f"custom operator {_text(code.CustomCode())}"
        return RawOperator(
            index=index,
            kind=kind,
            inputs=self._indices(
                f"the inputs of operator {index}",
                operator.InputsLength(),
                operator.Inputs,
                tensors,
                optional=True,
            ),
            outputs=self._indices(
                f"the outputs of operator {index}", operator.OutputsLength(), operator.Outputs, tensors
            ),
            options=operator.BuiltinOptions(),
            options_type=operator.BuiltinOptionsType(),
            custom_options=self._custom_options(index, operator),
        )

    def _custom_options(self, index: int, operator: Any) -> bytes:
        length = operator.CustomOptionsLength()
        self._limit(f"words of options in operator {index}", -(-length // 4), len(self.data))
        return bytes(operator.CustomOptionsAsNumpy()) if length else b""

    def _tensor(self, index: int, tensor: Any) -> RawTensor:
        self._limit(f"dimensions in tensor {index}", tensor.ShapeLength(), MAX_RANK)
        shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
        signature = self._signature_shape(index, tensor)
        if shape and shape[0] == -1:
            # Some writers leave the batch open in the shape itself: it is 1 where nothing else is chosen.
            signature, shape = signature or shape, (1, *shape[1:])
        halves, nibbles = (tensor.Type() == kind for kind in (tflite.TensorType.FLOAT16, tflite.TensorType.INT4))
        dtype = DType.FLOAT32 if halves else _TYPES.get(tensor.Type())
        quant, data, problem = None, None, self._shape_problem(shape)
        if dtype is None:
            problem = problem or f"its type {_TYPE_NAMES.get(tensor.Type(), tensor.Type())} is not supported"
        elif tensor.Sparsity() is not None:
            problem = problem or "it is sparse"
        if problem is None and dtype is not None:
            quant, problem = self._quantization(index, tensor.Quantization(), shape)
        if problem is None and dtype is not None:
            stored = _NIBBLES if nibbles else np.dtype(np.float16 if halves else dtype.value)
            data, problem = self._data(tensor.Buffer(), shape, dtype, stored)
            if (halves or nibbles) and data is None:
                kind = "FLOAT16" if halves else "INT4"
                problem = problem or f"its type {kind} is supported for constants alone"
        return RawTensor(
            index=index,
            name=self._unique_name(_text(tensor.Name()) or f"tensor_{index}", index),
            shape=shape,
            dtype=dtype,
            quant=quant,
            data=data,
            problem=problem,
            is_variable=bool(tensor.IsVariable()),
            is_resource=tensor.Type() == tflite.TensorType.RESOURCE,
            signature=signature,
            packed=nibbles,
        )

    def _signature_shape(self, index: int, tensor: Any) -> tuple[int, ...]:
        self._limit(f"dimensions in tensor {index}", tensor.ShapeSignatureLength(), MAX_RANK)
        return tuple(int(tensor.ShapeSignature(i)) for i in range(tensor.ShapeSignatureLength()))

    def _shape_problem(self, shape: tuple[int, ...]) -> str | None:
        if any(d <= 0 for d in shape):
            return f"its shape {list(shape)} is not static and positive"
        if math.prod(shape) > MAX_ELEMENTS:
            return f"its shape {list(shape)} has more than {MAX_ELEMENTS:,} elements"
        return None

    def _quantization(self, index: int, table: Any, shape: tuple[int, ...]) -> tuple[Quantization | None, str | None]:
        if table is None or table.ScaleLength() == 0:
            return None, None
        count = table.ScaleLength()
        self._limit(f"scales in tensor {index}", count, MAX_ELEMENTS)
        scales = tuple(float(v) for v in table.ScaleAsNumpy())
        if table.ZeroPointLength() not in (0, count):
            return None, f"it has {count} scales but {table.ZeroPointLength()} zero points"
        points = tuple(map(int, table.ZeroPointAsNumpy())) if table.ZeroPointLength() else (0,) * count
        if not all(math.isfinite(scale) and 1e-30 < scale < 1e30 for scale in scales):
            return None, "a scale is not a positive finite number"
        if not all(-(2**31) <= point < 2**31 for point in points):
            return None, "a zero point does not fit 32 bits"
        if count == 1:
            return Quantization(scale=scales, zero_point=points), None
        # A vector has one dimension, whatever the file says: some writers copy the number from the weights to the bias.
        axis = 0 if len(shape) == 1 else int(table.QuantizedDimension())
        if not 0 <= axis < len(shape) or shape[axis] != count:
            return None, f"it has {count} scales along dimension {axis} of shape {list(shape)}"
        return Quantization(scale=scales, zero_point=points, axis=axis), None

    def _data(
        self, buffer: int, shape: tuple[int, ...], dtype: DType, stored: np.dtype[Any]
    ) -> tuple[NDArray[Any] | None, str | None]:
        """Return the values of a buffer whose elements are `stored` as they are used, or the reason why not."""
        if buffer == 0:
            return None, None
        if not 0 <= buffer < self.model.BuffersLength():
            return None, f"it names buffer {buffer} of {self.model.BuffersLength()}"
        table = self.model.Buffers(buffer)
        if getattr(table, "Offset", lambda: 0)() > 1:
            return None, "its data lies outside the flatbuffer"
        length = table.DataLength()
        if length == 0:
            return None, None
        if length > len(self.data):
            return None, f"its buffer claims {length:,} bytes: the file is damaged or truncated"
        count = math.prod(shape)
        needed = -(-count // 2) if stored == _NIBBLES else count * stored.itemsize
        if length != needed:
            kind = "int4" if stored == _NIBBLES else stored
            return None, f"its buffer has {length:,} bytes, its shape {list(shape)} of {kind} needs {needed:,}"
        if (buffer, stored) not in self.buffers:
            raw = table.DataAsNumpy().tobytes()
            values = np.frombuffer(
                raw, np.uint8 if dtype is DType.BOOL or stored == _NIBBLES else stored.newbyteorder("<")
            )
            if stored == _NIBBLES:
                values = _unpacked(values)
            self.buffers[buffer, stored] = values != 0 if dtype is DType.BOOL else values.astype(dtype.value)
        return self.buffers[buffer, stored][:count].reshape(shape), None

    def _unique_name(self, name: str, index: int) -> str:
        name = short(name, numbered=True)
        unique = name if name not in self.names else f"{name}_{index}"
        while unique in self.names:
            unique += "_"
        self.names.add(unique)
        return unique


def _unpacked(pairs: NDArray[Any]) -> NDArray[np.int8]:
    """Return two values of 4 bits of each byte, the low half first."""
    halves = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1).astype(np.int8)
    values: NDArray[np.int8] = (halves ^ 8) - np.int8(8)
    return values


def _called(op: RawOperator) -> int | None:
    """Return the subgraph that a CALL_ONCE names; None where its options are another's."""
    options = _options(op, tflite.CallOnceOptions)
    return None if options is None else int(options.InitSubgraphIndex())


def _run_subgraphs(op: RawOperator) -> tuple[int, ...]:
    """Return the subgraphs that a WHILE or an IF names."""
    if op.kind == "WHILE" and (loop := _options(op, tflite.WhileOptions)) is not None:
        return loop.CondSubgraphIndex(), loop.BodySubgraphIndex()
    if op.kind == "IF" and (branch := _options(op, tflite.IfOptions)) is not None:
        return branch.ThenSubgraphIndex(), branch.ElseSubgraphIndex()
    return ()


def _options(op: RawOperator, kind: type[Any]) -> Any:
    """Return an operator's options as `kind`, a class of the schema's tables; None where they are another's."""
    if op.options is None or op.options_type != getattr(tflite.BuiltinOptions, kind.__name__):
        return None
    options = kind()
    options.Init(op.options.Bytes, op.options.Pos)
    return options


def _text(raw: bytes | None) -> str:
    if not raw:
        return ""
    decoded = bytes(raw[:256]).decode("utf-8", errors="replace")
    return printable(decoded)


def _builtin_code(code: Any) -> int:
    """Return a code's newer field, which holds small codes alone in files of ai-edge-quantizer.

    The package's reader takes it for absent below 127; TFLite takes the larger of both fields (GetBuiltinCode).
    """
    place = code._tab.Offset(10)
    return int(code._tab.Get(number_types.Int32Flags, place + code._tab.Pos)) if place else 0
