"""Elementwise functions and reductions in the form of a .tflite file: their names say how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import tflite

from utvm.frontends.tflite_encoded import EncodedOperator, UnwritableError, constant_of
from utvm.graph import FULL_INT8, DType, Elementwise, Reduction, Tensor
from utvm.graph.functions import FUNCTIONS, REDUCERS

_CODES = tflite.BuiltinOperator
_FILE_NAMES = {
    **{"Select": "SelectV2", "GeluTanh": "Gelu", "ReluN1To1": "ReluN1To_1", "Relu0To1": "Relu_0To_1"},
    **{f"{name}Integers": name for name in ("Add", "Sub", "Mul")},
}
"""Function → its name in files, where that is another."""
_OPTIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{f"{name}Integers": (f"{name}Options", {"FusedActivationFunction": 0}) for name in ("Add", "Sub", "Mul")},
    "Div": ("DivOptions", {"FusedActivationFunction": 0}),
    "Gelu": ("GeluOptions", {"Approximate": False}),
    "GeluTanh": ("GeluOptions", {"Approximate": True}),
}


def elementwise(op: Elementwise) -> EncodedOperator:
    """Encode a function of TFLite on each element."""
    name = _FILE_NAMES.get(op.function.name, op.function.name)
    code = getattr(_CODES, re.sub(r"(?<=.)(?=[A-Z])", "_", name).upper(), None)
    if code is None or op.function not in FUNCTIONS or op.clamp != FULL_INT8:
        raise UnwritableError(
            f"{op.kind} has no form in a file here", "Keep the model in the form that it was read from."
        )
    inputs: tuple[Tensor, ...] = op.xs
    if name == "BroadcastTo":
        inputs = (*op.xs, constant_of(op, "shape", op.y.shape))
    options, fields = _OPTIONS.get(op.function.name, (None, {}))
    version = 2 if op.xs[-1].dtype is DType.INT8 else 1
    return EncodedOperator(code=code, version=version, inputs=inputs, outputs=(op.y,), options=options, fields=fields)


def reduction(op: Reduction) -> EncodedOperator:
    """Encode a sum, an extreme or its place."""
    code = getattr(_CODES, re.sub(r"(?<=.)(?=[A-Z])", "_", op.reducer.name).upper(), None)
    if code is None or op.reducer not in REDUCERS:
        raise UnwritableError(
            f"{op.kind} has no form in a file here", "Keep the model in the form that it was read from."
        )
    version = 2 if op.x.dtype is DType.INT8 else 1
    if op.reducer.name in ("ArgMax", "ArgMin"):
        options, fields = f"{op.reducer.name}Options", {"OutputType": tflite.TensorType.INT32}
    else:
        options, fields = "ReducerOptions", {"KeepDims": len(op.y.shape) == len(op.x.shape)}
    inputs = (op.x, constant_of(op, "axes", op.axes))
    return EncodedOperator(code=code, version=version, inputs=inputs, outputs=(op.y,), options=options, fields=fields)
