"""Models of uint8 throughout, as TensorFlow made them before version 2.3: the same values as int8, 128 less.

Only what is stored moves: every sum, quotient and rounding is that of the model. The inputs and outputs stay uint8.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from utvm.frontends.flatbuffer import RawModel, RawOperator, RawTensor
from utvm.frontends.tflite_types import TYPES
from utvm.graph import DType, Quantization

_SHIFT = 128
_ENDS = ("QUANTIZE", "DEQUANTIZE")


def signed(raw: RawModel) -> RawModel:
    """Return a model in int8 where operators compute on uint8; others as they are."""
    computes = any(_on_bytes(raw, op) and DType.UINT8 not in TYPES.get(op.kind, ()) for op in raw.operators)
    mixed = any(tensor.dtype is DType.INT8 for tensor in raw.tensors)
    if not computes or mixed or any(op.kind == "CAST" and _on_bytes(raw, op) for op in raw.operators):
        return raw
    tensors = [_signed(tensor) for tensor in raw.tensors]
    before, inputs = _ends(raw, tensors, raw.inputs, is_input=True)
    after, outputs = _ends(raw, tensors, raw.outputs, is_input=False)
    return dataclasses.replace(
        raw,
        tensors=tuple(tensors),
        operators=(*before, *raw.operators, *after),
        inputs=inputs,
        outputs=outputs,
        unsigned=True,
    )


def _on_bytes(raw: RawModel, op: RawOperator) -> bool:
    """Whether an operator that is not at an end reads or makes uint8."""
    used = (raw.tensors[index] for index in (*op.inputs, *op.outputs) if index >= 0)
    return op.kind not in _ENDS and any(tensor.dtype is DType.UINT8 for tensor in used)


def _signed(tensor: RawTensor) -> RawTensor:
    if tensor.dtype is not DType.UINT8:
        return tensor
    quant = tensor.quant
    if quant is not None:
        points = tuple(point - _SHIFT for point in quant.zero_point)
        quant = Quantization(scale=quant.scale, zero_point=points, axis=quant.axis)
    data = None if tensor.data is None else (tensor.data.astype(np.int16) - _SHIFT).astype(np.int8)
    return dataclasses.replace(tensor, dtype=DType.INT8, quant=quant, data=data)


def _ends(
    raw: RawModel, tensors: list[RawTensor], ports: tuple[int, ...], *, is_input: bool
) -> tuple[list[RawOperator], tuple[int, ...]]:
    """Return operators between the ports as they were and as they are now, and the ports; adds tensors."""
    operators: list[RawOperator] = []
    found: dict[int, int] = {}
    for index in ports:
        was = raw.tensors[index]
        if was.dtype is not DType.UINT8 or was.data is not None or index in found:
            continue
        place = len(tensors)
        tensors.append(dataclasses.replace(was, index=place))
        tensors[index] = dataclasses.replace(tensors[index], name=f"{was.name}/int8")
        found[index] = place
        operators.append(
            RawOperator(
                index=place,
                kind="QUANTIZE",
                inputs=(place if is_input else index,),
                outputs=(index if is_input else place,),
                options=None,
                options_type=0,
            )
        )
    return operators, tuple(found.get(index, index) for index in ports)
