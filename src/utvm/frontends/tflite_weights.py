"""Constants of TFLite's layers: weights and biases, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from utvm.frontends.context import Context
from utvm.frontends.refusal import RefusedError
from utvm.frontends.tflite_scales import check_scales
from utvm.graph import DType, Quantization, Tensor

_BIASES: Mapping[DType, tuple[DType, ...]] = {
    DType.INT16: (DType.INT64, DType.INT32),
    DType.FLOAT32: (DType.FLOAT32,),
}
"""Types of a bias beside activations of each type; int32 for others."""


def layer_fields(c: Context, x: Tensor, weights: Tensor, y: Tensor, channels: int, activation: int) -> dict[str, Any]:
    """Return the fields that all layers with weights have; the bias is the third input.

    Args:
        c: the operator.
        x, weights, y: its tensors.
        channels: how many channels of results it has.
        activation: TFLite's number of its fused activation.

    Raises:
        RefusedError: the bias, the activation or the scales are not supported.
    """
    check_scales(x, weights, y)
    found = bias_of(c, 2, channels)
    return {"name": c.name, "x": x, "weights": weights, "bias": found, "y": y, "clamp": c.clamp(activation, y)}


def weights_of(c: Context, position: int, rank: int, axis: int, *, shifted: bool = False) -> Tensor:
    """Return constant weights: int8, symmetric, quantised as a whole or along `axis`; float32 beside float32.

    With `shifted`, weights may have a zero point, which is taken off: they are int16 where int8 does not hold them.
    Weights of int8 beside activations of float32 (a hybrid operator) become their real values, noted in `c.hybrid`.
    """
    tensor = c.any_input(position)
    if len(tensor.shape) != rank:
        raise RefusedError(f"tensor '{tensor.name}': weights of shape {list(tensor.shape)}, rank {rank} is expected")
    if c.dtype is DType.FLOAT32:
        return _real_weights(c, tensor)
    c.constant(position, DType.INT8)
    if tensor.quant is None:
        raise RefusedError(f"tensor '{tensor.name}': weights without quantisation")
    if any(tensor.quant.zero_point) and (shifted or c.unsigned) and len(tensor.quant.zero_point) == 1:
        return _without_zero_point(c, tensor)
    if any(tensor.quant.zero_point):
        raise RefusedError(f"tensor '{tensor.name}': weights with a zero point other than 0")
    if tensor.quant.axis not in (None, axis):
        raise RefusedError(f"tensor '{tensor.name}': quantised along dimension {tensor.quant.axis}, not {axis}")
    return tensor


def _without_zero_point(c: Context, tensor: Tensor) -> Tensor:
    """Return weights less their zero point."""
    values = tensor.values.astype(np.int64) - tensor.zero_point
    if abs(tensor.zero_point) > 128:
        raise RefusedError(f"tensor '{tensor.name}': its zero point {tensor.zero_point} is outside {tensor.dtype}")
    fits = values.min() >= -128 and values.max() <= 127
    return c.constant_made(
        "weights", values.astype(np.int8 if fits else np.int16), Quantization.per_tensor(tensor.scale)
    )


def _real_weights(c: Context, tensor: Tensor) -> Tensor:
    """Return weights as float32."""
    if not tensor.is_constant:
        raise RefusedError(f"tensor '{tensor.name}': it must be a constant")
    if tensor.dtype is DType.FLOAT32:
        return tensor
    if tensor.dtype is not DType.INT8 or tensor.quant is None:
        raise RefusedError(f"tensor '{tensor.name}': its type is {tensor.dtype}, float32 or int8 is expected")
    c.hybrid = tensor
    return c.constant_made("weights", tensor.quant.real(tensor.values).astype(np.float32))


def bias_of(c: Context, position: int, channels: int) -> Tensor | None:
    """Return a bias of `channels` elements, None where there is none.

    Its type goes with that of the activations: int32 for int8, int64 for int16, where tflite-micro's CONV_2D and
    FULLY_CONNECTED also take int32, float32 for float32.
    """
    if not c.has_input(position):
        return None
    types = _BIASES.get(c.dtype, (DType.INT32,))
    if c.dtype is DType.INT16 and c.raw.kind not in ("CONV_2D", "FULLY_CONNECTED"):
        types = (DType.INT64,)
    tensor = c.any_input(position)
    values = c.constant(position, tensor.dtype if tensor.dtype in types else types[0])
    if values.shape != (channels,):
        raise RefusedError(f"tensor '{tensor.name}': bias of shape {list(values.shape)}, [{channels}] is expected")
    return tensor
