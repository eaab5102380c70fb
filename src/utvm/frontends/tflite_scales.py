"""Ratios of scales that TFLite's shifts express."""

from __future__ import annotations

from utvm.frontends.refusal import RefusedError
from utvm.graph import DType, Tensor

_LARGEST_RATIO = 2.0**22
_LARGEST_OF_PRODUCTS = {DType.INT8: 2.0**30, DType.INT16: 2.0**14}
"""From these ratios of scales on TFLite's shift of a sum is not defined: it has 32 bits, for int16 15."""


def check_ratio(ratio: float) -> None:
    """Refuse a ratio of an input's scales to its output's that TFLite's shift of 32 bits can't express."""
    if ratio >= _LARGEST_RATIO:
        raise RefusedError(f"its inputs' scales are too large beside its output's: {ratio} does not fit 32 bits")


def check_scales(x: Tensor, weights: Tensor, y: Tensor) -> None:
    """Refuse a product of integers whose scales need a larger shift than TFLite has."""
    if x.dtype in _LARGEST_OF_PRODUCTS and weights.quant is not None:
        ratio = x.scale * max(weights.quant.scale) / y.scale
        if ratio >= _LARGEST_OF_PRODUCTS[x.dtype]:
            raise RefusedError(
                f"its input's and weights' scales are {ratio} times its output's: too large for {x.dtype}"
            )
