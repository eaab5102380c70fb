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
    """Return weights, bias (zeros if there is none) and the requantisation of each output channel.

    Where all channels share one requantisation, its arrays have one element: `write_requantized` knows.
    """
    table = channel_requantization(op)
    bias = np.zeros(table.multiplier.size, np.int32) if op.bias is None else op.bias.values
    stored = slice(1) if table.uniform else slice(None)
    return {
        "weights": CArray(c_type="int8_t", values=op.weights.values),
        "bias": CArray(c_type="int32_t", values=bias),
        "multiplier": CArray(c_type="int32_t", values=table.multiplier[stored]),
        "shift": CArray(c_type="int8_t", values=table.shift[stored].astype(np.int8)),
    }


def outputs_at_once(channels: int) -> int:
    """Return how many output channels to compute together: 4, 2 or 1, so that all blocks are full."""
    return next(count for count in (4, 2, 1) if channels % count == 0)


def accumulators(w: CWriter, count: int, channel: str) -> None:
    """Write `acc0` and on, one for each output channel from `channel`, with the biases in them."""
    for k in range(count):
        w(f"int32_t acc{k} = bias[{channel}{offset(k)}];")


def write_products(w: CWriter, op: Weighted, *, block: int, run: int | str, apart: int) -> None:
    """Write the sums of `run` products of `px` and `pw`; output channels are `apart` elements of `pw` apart."""
    with w.loop("i", run) if isinstance(run, int) else w.block(f"for (int32_t i = 0; i < {run}; i++)"):
        w(f"const int32_t value = px[i]{offset(-op.x.zero_point)};")
        for k in range(block):
            w(f"acc{k} += value * pw[i{offset(k * apart)}];")


def write_requantized(w: CWriter, op: Weighted, *, count: int, channel: str, target: str) -> tuple[str, ...]:
    """Write the stores of `acc0` and on as int8; returns the helpers used. `target` is an element without its `]`."""
    helper = f"utvm_requantize_{op.rounding.value.replace('-', '_')}"
    uniform = channel_requantization(op).uniform
    for k in range(count):
        place = "0" if uniform else f"{channel}{offset(k)}"
        w(f"acc{k} = {helper}(acc{k}, multiplier[{place}], shift[{place}]){offset(op.y.zero_point)};")
        w(f"{target}{offset(k)}] = (int8_t)utvm_clamp(acc{k}, {op.clamp[0]}, {op.clamp[1]});")
    return helper, "utvm_clamp"


def offset(value: int) -> str:
    """Return ` + value`, ` - value` or nothing."""
    return "" if value == 0 else f" {'+' if value > 0 else '-'} {abs(value)}"
