"""Units of tensors that follow from the operator that makes them."""

from __future__ import annotations

from collections.abc import Mapping

from utvm.graph.general import L2Normalize
from utvm.graph.operators import Logistic, Operator, Relu, Relu6, Softmax, Tanh
from utvm.graph.tensor import Quantization

PRESCRIBED_UNITS: Mapping[type[Operator], Quantization] = {
    Softmax: Quantization.per_tensor(1 / 256, -128),
    Logistic: Quantization.per_tensor(1 / 256, -128),
    Tanh: Quantization.per_tensor(1 / 128, 0),
    L2Normalize: Quantization.per_tensor(1 / 128, 0),
}
"""Operators whose result has a scale and a zero point that TFLite prescribes, in int8."""

PRESCRIBED_INT16_UNITS = Quantization.per_tensor(1 / 32768)
"""The same of results in int16, for all of these operators."""

REAL_RANGES: Mapping[type[Operator], tuple[float, float | None]] = {Relu: (0.0, None), Relu6: (0.0, 6.0)}
"""Activations that clamp, and to which real values; None is no end."""
