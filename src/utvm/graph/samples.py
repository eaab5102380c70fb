"""Seeded values for tensors, to run networks on when nobody gave an input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utvm.graph.tensor import DType, Tensor


def random_input(tensor: Tensor, seed: int) -> NDArray[np.generic]:
    """Return seeded values that cover the range of a tensor's type."""
    generator = np.random.default_rng(seed)
    if tensor.dtype is DType.FLOAT32:
        return generator.standard_normal(tensor.shape, dtype=np.float32)
    if tensor.dtype is DType.BOOL:
        return generator.integers(0, 2, tensor.shape).astype(np.bool_)
    dtype = np.dtype(tensor.dtype.value)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, tensor.shape, endpoint=True, dtype=dtype)
