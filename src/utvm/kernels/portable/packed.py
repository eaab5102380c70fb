"""Weighted operators whose weights are 4 bits, two a byte in flash, in plain C.

A fully connected layer multiplies by 16 times each weight, which a byte gives without a shift of its sign. Convolutions
unpack the weights of a few output channels, which all pixels then read.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, DepthwiseConv2D, FullyConnected, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.portable.conv2d import windows, write_row
from utvm.kernels.portable.depthwise import write_pixels
from utvm.kernels.weighted import (
    WEIGHTED_PARAMETERS,
    Weighted,
    accumulators,
    offset,
    outputs_at_once,
    weighted_constants,
    write_requantized,
)
from utvm.kernels.workload_keys import dims, workload

MOST_TERMS = 1 << 16
"""Terms of a sum of 16 times each product that fit 32 bits."""


class PortablePacked(KernelFamily):
    """Conv2D, DepthwiseConv2D and FullyConnected with weights of 4 bits."""

    name = "packed"
    kinds = (Conv2D, DepthwiseConv2D, FullyConnected)
    packs = True

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that the weights are not of 4 bits."""
        found = super().refusal(op, core)
        if found is None and isinstance(op, Weighted) and not op.weights.packed:
            return "its weights are not of 4 bits"
        return found

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a weighted operator."""
        del core
        assert isinstance(op, Weighted)
        w = CWriter()
        if isinstance(op, FullyConnected):
            helpers, scratch = _write_fully_connected(w, op), 0
        elif isinstance(op, Conv2D):
            helpers, scratch = _write_conv2d(w, op)
        else:
            helpers, scratch = _write_depthwise(w, op)
        x, _, *others, y = WEIGHTED_PARAMETERS
        values = op.weights.values.reshape(1 if isinstance(op, DepthwiseConv2D) else op.weights.shape[0], -1)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.x.shape)}_{op.y.shape[-1]}_packed",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    x,
                    CParameter(name="packed", c_type="uint8_t", role="constant"),
                    *others,
                    *((CParameter(name="scratch", c_type="int8_t", role="scratch"),) if scratch else ()),
                    y,
                ),
                body=w.text,
                helpers=helpers,
            ),
            constants={
                "packed": CArray(c_type="uint8_t", values=_packed(values)),
                **{name: array for name, array in weighted_constants(op).items() if name != "weights"},
            },
            scratch_bytes=scratch,
        )


def _packed(rows: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return rows of values two a byte, the first in the low half; each row begins a byte."""
    padded = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).astype(np.uint8) & 15
    packed: NDArray[np.uint8] = (padded[:, 0::2] | padded[:, 1::2] << 4).astype(np.uint8)
    return packed


def _write_fully_connected(w: CWriter, op: FullyConnected) -> tuple[str, ...]:
    units, inputs = op.weights.shape
    block, stride = outputs_at_once(units), -(-inputs // 2)
    zero = offset(-op.x.zero_point)
    with w.loop("n", op.x.elements // inputs), w.loop("o", units, step=block):
        w(f"const int8_t *px = x + n * {inputs};", f"const uint8_t *pw = packed + o * {stride};")
        for k in range(block):
            w(f"int32_t acc{k} = 0;")
        if inputs > 1:
            with w.loop("i", inputs // 2):
                w(f"const int32_t first = px[2 * i]{zero};", f"const int32_t second = px[2 * i + 1]{zero};")
                for k in range(block):
                    w(f"const uint32_t pair{k} = pw[i{offset(k * stride)}];")
                    w(f"acc{k} += first * (int8_t)(pair{k} << 4) + second * (int8_t)(pair{k} & 0xF0u);")
        if inputs % 2:
            w(f"const int32_t last = px[{inputs - 1}]{zero};")
            for k in range(block):
                w(f"acc{k} += last * (int8_t)(pw[{k * stride + inputs // 2}] << 4);")
        for k in range(block):
            w(f"acc{k} = acc{k} / 16 + bias[o{offset(k)}];")
        return write_requantized(w, op, count=block, channel="o", target=f"y[n * {units} + o")


def _write_conv2d(w: CWriter, op: Conv2D) -> tuple[tuple[str, ...], int]:
    """Write a convolution, one block of output channels after another."""
    channels = op.weights.shape[0]
    block, terms = outputs_at_once(channels // op.groups), op.weights.elements // channels
    w("const int8_t *const weights = scratch;")
    with w.loop("oc", channels, step=block):
        for k in range(block):
            _write_unpacked(w, terms, f"packed + (oc{offset(k)}) * {-(-terms // 2)}", f"scratch{offset(k * terms)}")
        with windows(w, op) as (ty, tx):
            accumulators(w, block, "oc")
            with ty.loop(w) as ky:
                write_row(w, op, block, ky, (ty, tx), "0")
            target = f"y[((n * {op.y.shape[1]} + oy) * {op.y.shape[2]} + ox) * {channels} + oc"
            helpers = write_requantized(w, op, count=block, channel="oc", target=target)
    return helpers, block * terms


def _write_depthwise(w: CWriter, op: DepthwiseConv2D) -> tuple[tuple[str, ...], int]:
    w("const int8_t *const weights = scratch;")
    _write_unpacked(w, op.weights.elements, "packed", "scratch")
    return write_pixels(w, op), op.weights.elements


def _write_unpacked(w: CWriter, count: int, source: str, target: str) -> None:
    with w.block(""):
        w(f"const uint8_t *from = {source};", f"int8_t *to = {target};")
        if count > 1:
            with w.loop("i", count // 2):
                w("const int32_t pair = from[i];")
                w("to[2 * i] = (int8_t)(((pair & 15) ^ 8) - 8);", "to[2 * i + 1] = (int8_t)((pair >> 4 ^ 8) - 8);")
        if count % 2:
            w(f"to[{count - 1}] = (int8_t)(((from[{count // 2}] & 15) ^ 8) - 8);")
