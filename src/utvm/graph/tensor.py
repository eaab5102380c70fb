"""Tensors: shape, type, quantisation and, for constants, the data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.notebook import shortened


class DType(StrEnum):
    """Element types; the value is numpy's name for the type."""

    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    BOOL = "bool"

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return np.dtype(self.value).itemsize

    @property
    def c_type(self) -> str:
        """The C type of one element."""
        return {DType.FLOAT32: "float", DType.BOOL: "uint8_t"}.get(self, f"{self.value}_t")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """Affine quantisation, real = scale * (q - zero_point); per tensor, or per channel along `axis`.

    Scales are float32 values held in Python floats, exactly as the model file has them.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.zero_point) or not self.scale:
            raise ValueError(f"{len(self.scale)} scales but {len(self.zero_point)} zero points")
        if self.axis is None and len(self.scale) != 1:
            raise ValueError(f"{len(self.scale)} scales need an axis")

    @staticmethod
    def per_tensor(scale: float, zero_point: int = 0) -> Quantization:
        """Return one scale and zero point for the whole tensor."""
        return Quantization(scale=(float(np.float32(scale)),), zero_point=(int(zero_point),))

    @staticmethod
    def symmetric(scales: NDArray[np.float64], axis: int) -> Quantization:
        """Return scales along `axis`, or one for the whole tensor, without zero points."""
        return Quantization(
            scale=tuple(scales.tolist()), zero_point=(0,) * len(scales), axis=axis if len(scales) > 1 else None
        )

    def real(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Return the real values that integers stand for."""
        shape = [1] * stored.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        scales, zero_points = (np.array(v).reshape(shape) for v in (self.scale, self.zero_point))
        result: NDArray[np.float64] = (stored.astype(np.float64) - zero_points) * scales
        return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """A named value of the graph. Activations are NHWC; `data` is None unless the tensor is a constant.

    Two tensors are the same only if they are the same object; a `Graph` has one object for each name. `packed` says
    that a model file has these int8 values in 4 bits, and that flash shall hold them two a byte.

    Example:
        (x,) = utvm.load("model.tflite").inputs
        print(x.name, x.shape, x.dtype, x.scale, x.zero_point)
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    quant: Quantization | None = None
    data: NDArray[Any] | None = None
    packed: bool = False

    def __post_init__(self) -> None:
        if self.data is None:
            return
        if self.data.shape != self.shape or self.data.dtype != np.dtype(self.dtype.value):
            raise ValueError(
                f"tensor '{self.name}' is {self.dtype}{list(self.shape)}, "
                f"its data {self.data.dtype}{list(self.data.shape)}"
            )
        self.data.setflags(write=False)

    def __repr__(self) -> str:
        """One line without the data."""
        kind = ", constant" if self.is_constant else ""
        return f"Tensor({shortened(self.name)!r}, {self.dtype}{list(self.shape)}{kind})"

    @property
    def is_constant(self) -> bool:
        """Whether the value is known at compile time."""
        return self.data is not None

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.elements * self.dtype.itemsize

    @property
    def scale(self) -> float:
        """The scale of a tensor quantised as a whole."""
        return self._per_tensor().scale[0]

    @property
    def zero_point(self) -> int:
        """The zero point of a tensor quantised as a whole; 0 for one without quantisation."""
        return 0 if self.quant is None else self._per_tensor().zero_point[0]

    @property
    def values(self) -> NDArray[Any]:
        """The data of a constant."""
        if self.data is None:
            raise ValueError(f"tensor '{self.name}' is not a constant")
        return self.data

    def channel_scales(self, channels: int) -> tuple[float, ...]:
        """Return one scale for each of `channels` channels, whichever way the tensor is quantised."""
        if self.quant is None:
            raise ValueError(f"tensor '{self.name}' has no quantisation")
        return self.quant.scale * channels if len(self.quant.scale) == 1 else self.quant.scale

    def _per_tensor(self) -> Quantization:
        if self.quant is None or len(self.quant.scale) != 1:
            raise ValueError(f"tensor '{self.name}' is not quantised per tensor")
        return self.quant
