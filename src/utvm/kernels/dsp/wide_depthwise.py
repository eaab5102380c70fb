"""Depthwise convolutions of int16 activations and int8 weights, by the micro-kernels of int8."""

from __future__ import annotations

from utvm.graph import DepthwiseConv2D, DType, Operator
from utvm.kernels.base import KernelFamily
from utvm.kernels.dsp.channels import ChannelDepthwise
from utvm.kernels.dsp.depthwise import PlaneDepthwise
from utvm.kernels.dsp.wide_finish import is_wrapping, wide_refusal, wide_requantizer


class _Wide(KernelFamily):
    """What both families ask of a layer."""

    dtypes = (DType.INT16, DType.INT8)
    biases = (DType.INT64,)
    nine_bits = False

    def outside_signature(self, op: Operator) -> str | None:
        """Return which tensor this family lacks."""
        return wide_refusal(op) or super().outside_signature(op)

    def finish_refusal(self, op: DepthwiseConv2D) -> str | None:
        """Return why no finish is exact for `op`; None where one is."""
        if is_wrapping(op):
            return "its sums wrap"
        return (
            None
            if wide_requantizer(op) is not None
            else "a sum may leave 32 bits, or its scales fit no rounding multiply"
        )


class WidePlaneDepthwise(_Wide, PlaneDepthwise):
    """`PlaneDepthwise` on int16."""

    name = "wide-plane"


class WideChannelDepthwise(_Wide, ChannelDepthwise):
    """`ChannelDepthwise` on int16."""

    name = "wide-channels"
