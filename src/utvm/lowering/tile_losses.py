"""Convolutions whose shape suits Winograd, but whose scales or weights keep it out, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from utvm.cores import Core
from utvm.graph import Conv2D, DType
from utvm.kernels import FAMILIES, KernelFamily
from utvm.kernels.dsp.winograd.family import WinogradFamily

_USUAL_SCALE = 0.125
"""An effective scale that every finish takes."""
_USUAL_WEIGHTS = 8
"""Weights divided by this are exact in all transforms."""
_WORTH = 1.02
"""A loss below is within what estimates are off by."""


def lost_tiles(
    op: Conv2D, family: str, cycles: float, core: Core, families: Sequence[KernelFamily] = FAMILIES
) -> tuple[tuple[str, ...], float] | None:
    """Return why no Winograd family takes a convolution of a suitable shape, and how many times its cycles are.

    None where one takes it, where no shape of its kind suits, or where the gain would be small.

    Args:
        op: the convolution.
        family: what computes it.
        cycles: what it takes, measured or estimated.
        core: where.
        families: what might have been chosen.
    """
    if op.weights.dtype is not DType.INT8:
        return None
    every = [each for each in families if isinstance(each, WinogradFamily) and each.lacks(core) is None]
    if not every or any(each.name == family or each.applies(op, core) for each in every):
        return None
    for tamed in _tamed(op):
        best = min((_estimate(each, tamed, core) for each in every if each.applies(tamed, core)), default=None)
        if best is not None:
            refusals = tuple(f"{each.name}: {each.refusal(op, core)}" for each in every if each.applies(tamed, core))
            times = cycles / best
            return (refusals, times) if times > _WORTH else None
    return None


def _estimate(family: KernelFamily, op: Conv2D, core: Core) -> float:
    return min(family.estimate(op, core, config) or 0.0 for config in family.contenders(op, core))


def _tamed(op: Conv2D) -> Iterator[Conv2D]:
    """Yield the convolution with moderate scales, with small weights, and with both."""
    weights = op.weights
    assert weights.quant is not None
    most = _USUAL_SCALE * op.y.scale / op.x.scale
    quant = replace(weights.quant, scale=tuple(min(scale, most) for scale in weights.quant.scale))
    small = (weights.values // _USUAL_WEIGHTS).astype(np.int8)
    for changed in (
        replace(weights, quant=quant),
        replace(weights, data=small),
        replace(weights, quant=quant, data=small),
    ):
        yield replace(op, weights=changed)
