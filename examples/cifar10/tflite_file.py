"""Writes the quantised network as a .tflite file: the four operators that it needs.

Source of the format: TensorFlow Lite's schema (schema.fbs, version 3), through the `tflite` package's builders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import flatbuffers
import numpy as np
import tflite

from utvm.graph import AveragePool2D, Conv2D, DType, FullyConnected, Graph, MaxPool2D, Operator, Quantization

SCHEMA_VERSION = 3
ALIGNMENT = 16

# Builtin code, and the operator version with int8 and (convolution) a scale for each channel.
_CODES = {
    Conv2D: (tflite.BuiltinOperator.CONV_2D, 3),
    MaxPool2D: (tflite.BuiltinOperator.MAX_POOL_2D, 2),
    AveragePool2D: (tflite.BuiltinOperator.AVERAGE_POOL_2D, 2),
    FullyConnected: (tflite.BuiltinOperator.FULLY_CONNECTED, 4),
}
_TYPES = {DType.INT8: tflite.TensorType.INT8, DType.INT32: tflite.TensorType.INT32}


def write_tflite(graph: Graph, path: Path) -> None:
    """Write a graph of int8 convolutions, poolings (all with SAME padding) and fully connected layers.

    Convolutions are written with a fused ReLU, fully connected layers without. The same graph gives the same bytes.

    Raises:
        KeyError: an operator or type beyond these.
    """
    path.write_bytes(_Writer(graph).model())


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._builder = flatbuffers.Builder(1 << 17)
        self._index = {tensor: i for i, tensor in enumerate(graph.tensors)}
        self._kinds = list(dict.fromkeys(type(op) for op in graph.operators))

    def model(self) -> bytes:
        """Return the file's content."""
        b = self._builder
        # Buffer 0 is empty by convention: tensors without data refer to it.
        constants = [t for t in self._graph.tensors if t.is_constant]
        buffers = [self._buffer(b""), *(self._buffer(t.values.tobytes()) for t in constants)]
        codes = [self._code(*_CODES[kind]) for kind in self._kinds]
        buffers_at = self._offsets(buffers, tflite.ModelStartBuffersVector)
        codes_at = self._offsets(codes, tflite.ModelStartOperatorCodesVector)
        subgraphs_at = self._offsets([self._subgraph()], tflite.ModelStartSubgraphsVector)
        description = b.CreateString("CIFAR-10 example of µTVM")
        tflite.ModelStart(b)
        tflite.ModelAddVersion(b, SCHEMA_VERSION)
        tflite.ModelAddOperatorCodes(b, codes_at)
        tflite.ModelAddSubgraphs(b, subgraphs_at)
        tflite.ModelAddDescription(b, description)
        tflite.ModelAddBuffers(b, buffers_at)
        b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
        return bytes(b.Output())

    def _subgraph(self) -> int:
        b, graph = self._builder, self._graph
        tensors_at = self._offsets(self._tensors(), tflite.SubGraphStartTensorsVector)
        operators = [self._operator(op) for op in graph.operators]
        operators_at = self._offsets(operators, tflite.SubGraphStartOperatorsVector)
        inputs_at = self._integers([self._index[t] for t in graph.inputs])
        outputs_at = self._integers([self._index[t] for t in graph.outputs])
        name_at = b.CreateString(graph.name)
        tflite.SubGraphStart(b)
        tflite.SubGraphAddTensors(b, tensors_at)
        tflite.SubGraphAddInputs(b, inputs_at)
        tflite.SubGraphAddOutputs(b, outputs_at)
        tflite.SubGraphAddOperators(b, operators_at)
        tflite.SubGraphAddName(b, name_at)
        return int(tflite.SubGraphEnd(b))

    def _tensors(self) -> list[int]:
        b, written, buffers = self._builder, [], 0
        for tensor in self._graph.tensors:
            buffers += tensor.is_constant
            name_at, shape_at = b.CreateString(tensor.name), self._integers(tensor.shape)
            quant_at = self._quantization(tensor.quant) if tensor.quant else None
            tflite.TensorStart(b)
            tflite.TensorAddShape(b, shape_at)
            tflite.TensorAddType(b, _TYPES[tensor.dtype])
            tflite.TensorAddBuffer(b, buffers if tensor.is_constant else 0)
            tflite.TensorAddName(b, name_at)
            if quant_at is not None:
                tflite.TensorAddQuantization(b, quant_at)
            written.append(int(tflite.TensorEnd(b)))
        return written

    def _quantization(self, quant: Quantization) -> int:
        b = self._builder
        scale_at = b.CreateNumpyVector(np.array(quant.scale, np.float32))
        zero_at = b.CreateNumpyVector(np.array(quant.zero_point, np.int64))
        tflite.QuantizationParametersStart(b)
        tflite.QuantizationParametersAddScale(b, scale_at)
        tflite.QuantizationParametersAddZeroPoint(b, zero_at)
        tflite.QuantizationParametersAddQuantizedDimension(b, quant.axis or 0)
        return int(tflite.QuantizationParametersEnd(b))

    def _operator(self, op: Operator) -> int:
        b = self._builder
        inputs_at = self._integers([self._index[t] for t in op.inputs])
        outputs_at = self._integers([self._index[t] for t in op.outputs])
        options_type, options_at = self._options(op)
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, self._kinds.index(type(op)))
        tflite.OperatorAddInputs(b, inputs_at)
        tflite.OperatorAddOutputs(b, outputs_at)
        tflite.OperatorAddBuiltinOptionsType(b, options_type)
        tflite.OperatorAddBuiltinOptions(b, options_at)
        return int(tflite.OperatorEnd(b))

    def _options(self, op: Operator) -> tuple[int, int]:
        b = self._builder
        if isinstance(op, Conv2D):
            tflite.Conv2DOptionsStart(b)
            tflite.Conv2DOptionsAddPadding(b, tflite.Padding.SAME)
            tflite.Conv2DOptionsAddStrideH(b, op.stride[0])
            tflite.Conv2DOptionsAddStrideW(b, op.stride[1])
            tflite.Conv2DOptionsAddDilationHFactor(b, op.dilation[0])
            tflite.Conv2DOptionsAddDilationWFactor(b, op.dilation[1])
            tflite.Conv2DOptionsAddFusedActivationFunction(b, tflite.ActivationFunctionType.RELU)
            return tflite.BuiltinOptions.Conv2DOptions, int(tflite.Conv2DOptionsEnd(b))
        if isinstance(op, MaxPool2D | AveragePool2D):
            tflite.Pool2DOptionsStart(b)
            tflite.Pool2DOptionsAddPadding(b, tflite.Padding.SAME)
            tflite.Pool2DOptionsAddStrideH(b, op.stride[0])
            tflite.Pool2DOptionsAddStrideW(b, op.stride[1])
            tflite.Pool2DOptionsAddFilterHeight(b, op.filter[0])
            tflite.Pool2DOptionsAddFilterWidth(b, op.filter[1])
            return tflite.BuiltinOptions.Pool2DOptions, int(tflite.Pool2DOptionsEnd(b))
        tflite.FullyConnectedOptionsStart(b)
        return tflite.BuiltinOptions.FullyConnectedOptions, int(tflite.FullyConnectedOptionsEnd(b))

    def _code(self, code: int, version: int) -> int:
        b = self._builder
        tflite.OperatorCodeStart(b)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(b, code)
        tflite.OperatorCodeAddVersion(b, version)
        tflite.OperatorCodeAddBuiltinCode(b, code)
        return int(tflite.OperatorCodeEnd(b))

    def _buffer(self, content: bytes) -> int:
        b, data_at = self._builder, None
        if content:
            b.StartVector(1, len(content), ALIGNMENT)
            b.head -= len(content)
            b.Bytes[b.head : b.head + len(content)] = content
            data_at = b.EndVector()
        tflite.BufferStart(b)
        if data_at is not None:
            tflite.BufferAddData(b, data_at)
        return int(tflite.BufferEnd(b))

    def _integers(self, values: Sequence[int]) -> int:
        return int(self._builder.CreateNumpyVector(np.array(values, np.int32)))

    def _offsets(self, values: Sequence[int], start: Callable[[flatbuffers.Builder, int], int]) -> int:
        start(self._builder, len(values))
        for value in reversed(values):
            self._builder.PrependUOffsetTRelative(value)
        return int(self._builder.EndVector())
