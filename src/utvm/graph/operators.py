"""One frozen dataclass per operator. All parameters are resolved: padding in pixels, clamps in quantised units.

An operator holds its tensors directly, so a kernel can be built from the operator alone. Semantics are TFLite's int8
kernels' (numpy form: `utvm.graph.reference`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from utvm.graph.tensor import Tensor


class Rounding(StrEnum):
    """How an int32 accumulator becomes int8 (a property of the model)."""

    DOUBLE = "double"
    """TFLite: saturating rounding doubling high multiply, then a rounding right shift."""
    SINGLE = "single"
    """TFLite with TFLITE_SINGLE_ROUNDING: one rounding, half up, of the 64-bit product."""
    HALF_UP_SHIFT = "half-up-shift"
    """CMSIS-NN's q7 networks: scales are powers of two; (acc + 2^(s-1)) >> s."""


class AverageRounding(StrEnum):
    """How the sum of a pooling window is divided by its count."""

    HALF_AWAY = "half-away"
    """TFLite: to nearest, halves away from zero."""
    HALF_UP = "half-up"
    """TFLite's on uint8, whose halves away from zero are halves upward here."""
    TOWARD_ZERO = "toward-zero"
    """CMSIS-NN's q7 networks: C's integer division."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """Padding of the two spatial dimensions, in pixels."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def any(self) -> bool:
        """Whether there is any padding."""
        return any((self.top, self.bottom, self.left, self.right))


def same_padding(size: int, span: int, stride: int) -> tuple[int, int, int]:
    """Return (before, after, outputs) of one dimension for TensorFlow's SAME.

    Args:
        size: pixels of the input.
        span: pixels that a window covers, dilation included.
        stride: pixels from window to window.
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + span - size, 0)
    return total // 2, total - total // 2, outputs


FULL_INT8 = (-128, 127)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operator:
    """Base of all operators. `name` is unique in the graph and says where the operator came from."""

    name: str

    input_fields: ClassVar[tuple[str, ...]]
    output_fields: ClassVar[tuple[str, ...]] = ("y",)

    @property
    def kind(self) -> str:
        """The operator's type, as messages name it."""
        return type(self).__name__

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All inputs in order, constants included, absent ones left out."""
        return self._tensors(self.input_fields)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """All outputs in order."""
        return self._tensors(self.output_fields)

    @property
    def activations(self) -> tuple[Tensor, ...]:
        """The inputs that are not constants."""
        return tuple(t for t in self.inputs if not t.is_constant)

    def with_tensors(self, mapping: Mapping[Tensor, Tensor]) -> Self:
        """Return the operator with each tensor that is a key of `mapping` replaced by its value."""
        changes: dict[str, Any] = {}
        for field in (*self.input_fields, *self.output_fields):
            value = getattr(self, field)
            if isinstance(value, Tensor) and value in mapping:
                changes[field] = mapping[value]
            elif isinstance(value, tuple) and any(t in mapping for t in value):
                changes[field] = tuple(mapping.get(t, t) for t in value)
        return dataclasses.replace(self, **changes) if changes else self

    def _tensors(self, fields: tuple[str, ...]) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        for field in fields:
            value = getattr(self, field)
            if isinstance(value, Tensor):
                found.append(value)
            elif isinstance(value, tuple):
                found.extend(value)
            elif value is not None:
                found.append(value)  # which is no tensor: the graph says so
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Unary(Operator):
    x: Tensor
    y: Tensor

    input_fields: ClassVar[tuple[str, ...]] = ("x",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Weighted(Operator):
    x: Tensor
    weights: Tensor
    bias: Tensor | None
    y: Tensor
    clamp: tuple[int, int] = FULL_INT8
    rounding: Rounding = Rounding.DOUBLE

    input_fields: ClassVar[tuple[str, ...]] = ("x", "weights", "bias")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conv2D(_Weighted):
    """x [N,H,W,IC], weights [OC,KH,KW,IC/groups], bias int32 [OC] or None, y [N,OH,OW,OC]."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Padding = Padding()

    @property
    def groups(self) -> int:
        """Number of channel groups."""
        return self.x.shape[3] // self.weights.shape[3]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthwiseConv2D(_Weighted):
    """x [N,H,W,C], weights [1,KH,KW,C*multiplier], bias int32 or None, y [N,OH,OW,C*multiplier]."""

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Padding = Padding()

    @property
    def multiplier(self) -> int:
        """Output channels per input channel."""
        return self.weights.shape[3] // self.x.shape[3]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FullyConnected(_Weighted):
    """x flattened to [N,I], weights [O,I], bias int32 [O] or None, y with O elements a row."""


Weighted = Conv2D | DepthwiseConv2D | FullyConnected
"""Layers with weights, a bias and a sum for each output."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Binary(Operator):
    a: Tensor
    b: Tensor
    y: Tensor
    clamp: tuple[int, int] = FULL_INT8

    input_fields: ClassVar[tuple[str, ...]] = ("a", "b")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Add(_Binary):
    """y = a + b with numpy's broadcasting; either may be a constant."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sub(_Binary):
    """y = a - b with numpy's broadcasting; either may be a constant."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mul(_Binary):
    """y = a * b with numpy's broadcasting; either may be a constant."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pool2D(_Unary):
    filter: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: Padding = Padding()
    clamp: tuple[int, int] = FULL_INT8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaxPool2D(_Pool2D):
    """x [N,H,W,C] -> y [N,OH,OW,C]; padding never wins a maximum; x and y share their quantisation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AveragePool2D(_Pool2D):
    """x [N,H,W,C] -> y [N,OH,OW,C]; the divisor counts the pixels inside the input, of which each window has one.

    Values are averaged as they are stored, without subtracting the zero point; x and y share their quantisation.
    """

    rounding: AverageRounding = AverageRounding.HALF_AWAY


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mean(_Unary):
    """Mean over `axes` (non-negative, sorted); y keeps them as 1 or drops them, as its shape says."""

    axes: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Softmax(_Unary):
    """Softmax over the last dimension, int8 to int8; y has scale 1/256 and zero point -128."""

    beta: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Logistic(_Unary):
    """Sigmoid, int8 to int8; y has scale 1/256 and zero point -128."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tanh(_Unary):
    """Hyperbolic tangent, int8 to int8; y has scale 1/128 and zero point 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relu(_Unary):
    """max(x, 0), requantised to y."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relu6(_Unary):
    """min(max(x, 0), 6) as tflite-micro computes it: x clamped in its own units, no requantisation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeakyRelu(_Unary):
    """x if x > 0 else alpha * x, requantised to y; alpha may be negative."""

    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reshape(_Unary):
    """The same elements in y's shape."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Store(_Unary):
    """The same elements, in the memory of a state: y lies where the next run reads. Lowering puts it in."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pad(_Unary):
    """Constant padding; `paddings` holds (before, after) for each dimension, `value` is in x's units."""

    paddings: tuple[tuple[int, int], ...]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concatenation(Operator):
    """Inputs joined along `axis` (non-negative); all share y's quantisation."""

    xs: tuple[Tensor, ...]
    y: Tensor
    axis: int

    input_fields: ClassVar[tuple[str, ...]] = ("xs",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Split(Operator):
    """x cut along `axis` (non-negative) into `ys`, in order; sizes are those of the outputs."""

    x: Tensor
    ys: tuple[Tensor, ...]
    axis: int

    input_fields: ClassVar[tuple[str, ...]] = ("x",)
    output_fields: ClassVar[tuple[str, ...]] = ("ys",)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StridedSlice(_Unary):
    """y[i, ...] = x[begin + i * stride, ...]; masks and negative indices are resolved.

    For each dimension `begin` is the first index and `strides` the (possibly negative) step; y has the extents, with
    the dimensions of `shrink` (single indices) left out of its shape.
    """

    begin: tuple[int, ...]
    strides: tuple[int, ...]
    shrink: tuple[int, ...] = ()

    @property
    def extents(self) -> tuple[int, ...]:
        """The result's shape before the dimensions of `shrink` are dropped."""
        kept = iter(self.y.shape)
        return tuple(1 if d in self.shrink else next(kept) for d in range(len(self.begin)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transpose(_Unary):
    """y dimension i is x dimension perm[i]."""

    perm: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResizeNearestNeighbor(_Unary):
    """x [N,H,W,C] -> y [N,OH,OW,C]."""

    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ResizeBilinear(_Unary):
    """x [N,H,W,C] -> y [N,OH,OW,C], in x's units; fractions have ten bits."""

    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpaceToBatch(_Unary):
    """x [N,H,W,C], padded by x's zero point and cut into blocks -> y [N*BH*BW,H'/BH,W'/BW,C].

    Image (i * BW + j) * N + n of y holds the pixels (i, j) of all blocks of image n. The padding is TFLite's;
    tflite-micro pads with what happens to be in memory (it never sets `output_offset`, 2026-10).
    """

    block: tuple[int, int]
    padding: Padding = Padding()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchToSpace(_Unary):
    """The inverse of SpaceToBatch; `crop` is cut off from the result. x and y share their quantisation."""

    block: tuple[int, int]
    crop: Padding = Padding()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantize(_Unary):
    """float32 to int8 or uint8; or between int8 and uint8, or int8 and int8 of another scale."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dequantize(_Unary):
    """int8 or uint8 to float32."""
