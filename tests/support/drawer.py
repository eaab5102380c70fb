"""Random numbers, scales, tensors and clamps, of which random operators are made."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from utvm.graph import DType, Graph, Quantization, Tensor

Array = NDArray[Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Pick = TypeVar("Pick")


def new_drawer(draw: Draw, tflite: bool) -> Drawer:
    """Return the source of one example, from what Hypothesis draws."""
    largest = draw(st.sampled_from([1, 2, 4] + [12] * 25))
    return Drawer(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), tflite, largest)


@dataclass(frozen=True, slots=True)
class Drawer:
    """Everything random about one example."""

    rng: np.random.Generator
    tflite: bool
    largest: int

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def size(self, high: int) -> int:
        """A dimension, at most `high`."""
        return self.integer(1, min(high, self.largest))

    def pick(self, *choices: Pick) -> Pick:
        return choices[self.integer(0, len(choices) - 1)]

    def flag(self) -> bool:
        return self.integer(0, 1) == 1

    def log_uniform(self, low: float, high: float) -> float:
        """A float32 value in [low, high]."""
        return float(np.float32(2.0 ** self.rng.uniform(math.log2(low), math.log2(high))))

    def zero_point(self) -> int:
        return self.pick(-128, 127, 0, *[self.integer(-128, 127)] * 4)

    def int8(self, shape: tuple[int, ...], low: int = -128) -> Array:
        if self.integer(0, 3) == 0:
            return self.rng.choice(np.array([low, 127, 0], np.int8), shape)
        return self.rng.integers(low, 128, shape).astype(np.int8)

    def int16(self, shape: tuple[int, ...]) -> Array:
        if self.integer(0, 3) == 0:
            return self.rng.choice(np.array([-32768, 32767, 0], np.int16), shape)
        return self.rng.integers(-32768, 32768, shape).astype(np.int16)

    def bytes(self, tensor: Tensor) -> Array:
        """Values of an int8 or uint8 tensor."""
        values = self.int8(tensor.shape)
        return (values.astype(np.int16) + 128).astype(np.uint8) if tensor.dtype is DType.UINT8 else values

    def float32(self, graph: Graph, shape: tuple[int, ...]) -> Array:
        """Multiples of half the scale (ties), or anything; some beyond the range of int8."""
        scale = graph.operators[0].outputs[0].scale
        steps = self.rng.uniform(-330, 330, shape)
        return (np.float32(scale) * (np.round(steps * 2) / 2 if self.flag() else steps)).astype(np.float32)

    def shape(self, low: int = 1, high: int = 4, largest: int = 6) -> tuple[int, ...]:
        """Of any rank in the range, more often of the higher ones."""
        rank = max(self.integer(low, high), self.integer(low, high))
        return tuple(self.size(largest) for _ in range(rank))

    def scale(self) -> float:
        """Of activations; often a power of two, so that results fall on ties."""
        return 2.0 ** -self.integer(3, 6) if self.integer(0, 2) == 0 else self.log_uniform(2**-9, 0.5)

    def quantization(self) -> Quantization:
        return Quantization.per_tensor(self.scale(), self.zero_point())

    def tensor(self, name: str, shape: tuple[int, ...], quant: Quantization | None = None) -> Tensor:
        return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=quant or self.quantization())

    def clamp(self, quant: Quantization) -> tuple[int, int]:
        """The limits of a fused activation, or any; seldom narrow ones."""
        (scale,), (zero,) = quant.scale, quant.zero_point
        if not self.tflite and self.flag():
            low = self.pick(zero, zero, -128, self.integer(-128, 127))
            return low, self.integer(min(127, low + self.pick(30, 30, 100, 0)), 127)
        low, high = self.pick((None, None), (0.0, None), (0.0, 6.0), (-1.0, 1.0))
        return (
            -128 if low is None else max(-128, zero + _quantized(low, scale)),
            127 if high is None else min(127, zero + _quantized(high, scale)),
        )


def _quantized(value: float, scale: float) -> int:
    quotient = float(np.float32(value) / np.float32(scale))
    return int(math.copysign(math.floor(abs(quotient) + 0.5), quotient))
