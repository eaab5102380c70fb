"""A .tflite file as plain values. Everything that is read is bounded and checked; nothing is interpreted.

Source: TensorFlow Lite's schema (schema.fbs, version 3), read with the classes that the `tflite` package generates.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from utvm.errors import UtvmWarning
from utvm.frontends.errors import FrontendError
from utvm.graph import DType, Quantization
from utvm.graph.names import printable

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_OPERATORS = 20_000
MAX_TENSORS = 60_000
MAX_RANK = 8
MAX_ELEMENTS = 1 << 27

_IDENTIFIER = b"TFL3"
_TYPES = {
    tflite.TensorType.INT8: DType.INT8,
    tflite.TensorType.UINT8: DType.UINT8,
    tflite.TensorType.INT16: DType.INT16,
    tflite.TensorType.INT32: DType.INT32,
    tflite.TensorType.INT64: DType.INT64,
    tflite.TensorType.FLOAT32: DType.FLOAT32,
    tflite.TensorType.BOOL: DType.BOOL,
}
_TYPE_NAMES = {value: name for name, value in vars(tflite.TensorType).items() if isinstance(value, int)}
_CONTROL_FLOW = frozenset(("IF", "WHILE", "STABLEHLO_WHILE", "STABLEHLO_CASE", "CALL"))
_VARIABLES = frozenset(("CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"))
OPERATOR_NAMES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
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
    """A tensor as the file has it. `problem` says why it can't be used; only an operator that needs it minds."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: DType | None
    quant: Quantization | None
    data: NDArray[Any] | None
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawOperator:
    """An operator as the file has it.

    Attributes:
        inputs: indices of tensors; -1 stands for an absent optional one.
        options: the table of its options, or None.
        options_type: which table that is, a value of `tflite.BuiltinOptions`.
    """

    index: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any
    options_type: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawModel:
    """The one subgraph of a file."""

    tensors: tuple[RawTensor, ...]
    operators: tuple[RawOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_flatbuffer(data: bytes, source: str) -> RawModel:
    """Read a file's bytes.

    Raises:
        FrontendError: it is not a TFLite file, is truncated or damaged, or has a form that is not supported.
    """
    if len(data) > MAX_FILE_BYTES:
        raise FrontendError(source, [f"the file has {len(data):,} bytes; at most {MAX_FILE_BYTES:,} are read"])
    if len(data) < 16 or data[4:8] != _IDENTIFIER:
        raise FrontendError(source, ["this is not a TFLite file (its identifier TFL3 is missing)"])
    try:
        return _Reader(data, source).read()
    except _BROKEN as error:
        problem = f"the file of {len(data):,} bytes is damaged or truncated: what it refers to is not there"
        raise FrontendError(source, [problem]) from error


class _Reader:
    def __init__(self, data: bytes, source: str) -> None:
        self.data = data
        self.source = source
        self.model = tflite.Model.GetRootAs(data, 0)
        self.names: set[str] = set()

    def read(self) -> RawModel:
        model = self.model
        if model.Version() != 3:
            raise FrontendError(self.source, [f"schema version {model.Version()} is not supported, only 3"])
        if model.SubgraphsLength() != 1:
            problem, advice = self._several_subgraphs()
            raise FrontendError(self.source, [problem], advice=[advice])
        if model.SignatureDefsLength() > 1:
            count, keys = model.SignatureDefsLength(), ", ".join(self._signatures())
            warnings.warn(
                f"{self.source}: {count} signatures ({keys}) name the same network: it is compiled once, "
                "with all of its inputs and outputs in the file's order",
                UtvmWarning,
                stacklevel=2,
            )
        graph = model.Subgraphs(0)
        self._limit("tensors", graph.TensorsLength(), MAX_TENSORS)
        self._limit("operators", graph.OperatorsLength(), MAX_OPERATORS)
        self._limit("operator codes", model.OperatorCodesLength(), MAX_OPERATORS)
        self._limit("buffers", model.BuffersLength(), MAX_TENSORS)
        tensors = tuple(self._tensor(i, graph.Tensors(i)) for i in range(graph.TensorsLength()))
        operators = tuple(self._operator(i, graph.Operators(i)) for i in range(graph.OperatorsLength()))
        return RawModel(
            tensors=tensors,
            operators=operators,
            inputs=self._indices("the graph's inputs", graph.InputsLength(), graph.Inputs, len(tensors)),
            outputs=self._indices("the graph's outputs", graph.OutputsLength(), graph.Outputs, len(tensors)),
        )

    def _several_subgraphs(self) -> tuple[str, str]:
        """Return why a file has another number of subgraphs than one, and what to do."""
        model = self.model
        count = model.SubgraphsLength()
        self._limit("operator codes", model.OperatorCodesLength(), MAX_OPERATORS)
        codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
        kinds = {OPERATOR_NAMES.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "") for code in codes}
        flow, variables = sorted(kinds & _CONTROL_FLOW), sorted(kinds & _VARIABLES)
        if count == 0:
            return "the file has no subgraph", "Convert the model again: the file is empty or damaged."
        if flow:
            return (
                f"the model branches at run time: {count} subgraphs, called by {', '.join(flow)}",
                "Convert a model without tf.while_loop and tf.cond, or unroll its loops (unroll=True of Keras's RNNs).",
            )
        if variables:
            return (
                f"the model keeps state in variables: {count} subgraphs, with {', '.join(variables)}",
                "Make the state an input and an output of the model, and carry it over yourself.",
            )
        signatures = model.SignatureDefsLength()
        if signatures > 1:
            return (
                f"the file has {signatures} signatures ({', '.join(self._signatures())}), each a network of its own",
                "Convert one signature at a time (from_concrete_functions with one function).",
            )
        return f"the file has {count} subgraphs, one is expected", "Convert the main network alone."

    def _signatures(self) -> list[str]:
        """Return the names of the first signatures."""
        count = self.model.SignatureDefsLength()
        self._limit("signatures", count, MAX_OPERATORS)
        return [_text(self.model.SignatureDefs(i).SignatureKey()) for i in range(min(count, 8))]

    def _limit(self, what: str, count: int, most: int) -> None:
        if count > most or count * 4 > len(self.data):
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

    def _operator(self, index: int, operator: Any) -> RawOperator:
        codes = self.model.OperatorCodesLength()
        if not 0 <= operator.OpcodeIndex() < codes:
            raise FrontendError(
                self.source, [f"operator {index} names operator code {operator.OpcodeIndex()} of {codes}"]
            )
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = OPERATOR_NAMES.get(number, f"operator code {number}")
        if kind == "CUSTOM":
            kind = f"custom operator {_text(code.CustomCode())}"
        tensors = self.model.Subgraphs(0).TensorsLength()
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
        )

    def _tensor(self, index: int, tensor: Any) -> RawTensor:
        self._limit(f"dimensions in tensor {index}", tensor.ShapeLength(), MAX_RANK)
        shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
        halves = tensor.Type() == tflite.TensorType.FLOAT16
        dtype = DType.FLOAT32 if halves else _TYPES.get(tensor.Type())
        quant, data, problem = None, None, self._shape_problem(shape)
        if dtype is None:
            problem = problem or f"its type {_TYPE_NAMES.get(tensor.Type(), tensor.Type())} is not supported"
        elif tensor.Sparsity() is not None:
            problem = problem or "it is sparse"
        elif tensor.IsVariable():
            problem = problem or "it is a variable"
        if problem is None and dtype is not None:
            quant, problem = self._quantization(index, tensor.Quantization(), shape)
        if problem is None and dtype is not None:
            stored = np.dtype(np.float16 if halves else dtype.value)
            data, problem = self._data(tensor.Buffer(), shape, dtype, stored)
            if halves and data is None:
                problem = problem or "its type FLOAT16 is supported for constants alone"
        return RawTensor(
            index=index,
            name=self._unique_name(_text(tensor.Name()) or f"tensor_{index}", index),
            shape=shape,
            dtype=dtype,
            quant=quant,
            data=data,
            problem=problem,
        )

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
        raw = table.DataAsNumpy()
        needed = math.prod(shape) * stored.itemsize
        if raw.nbytes != needed:
            return (
                None,
                f"its buffer has {raw.nbytes:,} bytes, its shape {list(shape)} of {stored} needs {needed:,}",
            )
        if dtype is DType.BOOL:
            return (np.frombuffer(raw.tobytes(), np.uint8) != 0).reshape(shape), None
        values = np.frombuffer(raw.tobytes(), dtype=stored.newbyteorder("<")).reshape(shape)
        return values.astype(dtype.value), None

    def _unique_name(self, name: str, index: int) -> str:
        unique = name if name not in self.names else f"{name}_{index}"
        while unique in self.names:
            unique += "_"
        self.names.add(unique)
        return unique


def _text(raw: bytes | None) -> str:
    if not raw:
        return ""
    decoded = bytes(raw[:256]).decode("utf-8", errors="replace")
    return printable(decoded)
