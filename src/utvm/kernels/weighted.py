"""What the portable kernels of weighted operators share: their parameters, constants and the way to int8."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from utvm.codegen import CArray, CParameter, CWriter
from utvm.graph import Conv2D, DepthwiseConv2D, FullyConnected
from utvm.graph.arithmetic import channel_requantization

Weighted = Conv2D | DepthwiseConv2D | FullyConnected

WEIGHTED_PARAMETERS = (
    CParameter(name="x", c_type="int8_t", role="input"),
    CParameter(name="weights", c_type="int8_t", role="constant"),
    CParameter(name="bias", c_type="int32_t", role="constant"),
    CParameter(name="multiplier", c_type="int32_t", role="constant"),
    CParameter(name="shift", c_type="int8_t", role="constant"),
    CParameter(name="y", c_type="int8_t", role="output"),
)


def weighted_constants(op: Weighted) -> Mapping[str, CArray]:
    """Return weights, bias (zeros if there is none) and the requantisation of each output channel."""
    table = channel_requantization(op)
    channels = table.multiplier.size
    bias = np.zeros(channels, np.int32) if op.bias is None else op.bias.values
    return {
        "weights": CArray(c_type="int8_t", values=op.weights.values),
        "bias": CArray(c_type="int32_t", values=bias),
        "multiplier": CArray(c_type="int32_t", values=table.multiplier),
        "shift": CArray(c_type="int8_t", values=table.shift.astype(np.int8)),
    }


def write_requantized(w: CWriter, op: Weighted, *, channel: str, target: str) -> tuple[str, ...]:
    """Write the store of `acc` as int8 into `target`; returns the helpers used."""
    helper = f"utvm_requantize_{op.rounding.value.replace('-', '_')}"
    w(f"acc = {helper}(acc, multiplier[{channel}], shift[{channel}]){offset(op.y.zero_point)};")
    w(f"{target} = (int8_t)utvm_clamp(acc, {op.clamp[0]}, {op.clamp[1]});")
    return helper, "utvm_clamp"


def offset(value: int) -> str:
    """Return ` + value`, ` - value` or nothing."""
    return "" if value == 0 else f" {'+' if value > 0 else '-'} {abs(value)}"
