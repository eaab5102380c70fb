"""What one layer of the Winograd convolution along rows agrees on: tiles, scratch, micro-kernels, constants, cycles."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CSupport
from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.cores.timing import Timing
from utvm.graph import Conv2D
from utvm.kernels.dsp.assembly import loop_cycles
from utvm.kernels.dsp.multiply import MultiplySpec, multiply_code_bytes, multiply_cycles, multiply_kernel
from utvm.kernels.dsp.stream import (
    Finish,
    Requantizer,
    Saturation,
    WeightForm,
    accumulator_bound,
    folded_bias,
    requantizer,
    to_words,
)
from utvm.kernels.dsp.winograd_stages import Ending, Strided, ending_loop, transform_loop
from utvm.kernels.dsp.winograd_transforms import ROW_TRANSFORMS, Transform

STREAM_WORDS = 5
"""Words of a channel's constants for its finish."""
_MAX_OFFSET = 4095
_MOST_SCRATCH = 48 * 1024
_UNROLL_LIMIT = 1400
_BLOCKS = ((4, 2), (2, 4), (3, 2), (2, 3), (2, 2), (1, 8), (1, 6), (1, 4), (4, 1), (1, 2), (2, 1), (1, 1))
_EXPANSION_CYCLES, _LANE_CYCLES, _CALL_CYCLES, _MULTIPLY_CALL_CYCLES = 3, 8, 30, 60


def exact_tiles(op: Conv2D) -> tuple[int, ...]:
    """Return the tile sizes that suit a convolution: shape, room, and proof of exactness."""
    _, height, width, _ = op.weights.shape
    if op.stride[1] != 1 or op.dilation != (1, 1) or op.groups != 1 or height < 2 or requantizer(op) is None:
        return ()
    found = []
    for (size, outputs), transform in ROW_TRANSFORMS.items():
        if size != width or op.y.shape[2] % outputs:
            continue
        plan = RowsPlan(op=op, transform=transform, requantizer=_requantizer(op), m=1, n=1, unrolled=False)
        if _is_exact(plan) and plan.chunk and plan.reachable and plan.scratch_bytes <= _MOST_SCRATCH:
            found.append(outputs)
    return tuple(found)


def _is_exact(plan: RowsPlan) -> bool:
    """Whether transformed weights and data fit int16, and the scaled sums fit int32 once the odd factor is gone."""
    data_fits = plan.transform.data_gain * 128 < 1 << 15
    weights_fit = bool((np.abs(plan.point_weights()) < 1 << 15).all())
    room = (1 << 31) >> plan.right
    sums = accumulator_bound(plan.op, 0) + np.abs(plan.requantizer.bias_addend)
    return data_fits and weights_fit and bool((sums < room).all())


def _requantizer(op: Conv2D) -> Requantizer:
    found = requantizer(op)
    assert found is not None
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowsPlan:
    """Everything that the C, the micro-kernels and the constants of one layer agree on. Sizes in bytes.

    `m` tiles by `n` channels are summed in registers at a time, by a loop over words where it is not `unrolled`.
    """

    op: Conv2D
    transform: Transform
    requantizer: Requantizer
    m: int
    n: int
    unrolled: bool

    @staticmethod
    def of(op: Conv2D, outputs: int, core: Core) -> RowsPlan:
        """Return the plan with the block that is fastest on a core.

        Raises:
            ScheduleError: no block fits the registers.
        """
        transform, requantizer_of_op = ROW_TRANSFORMS[op.weights.shape[2], outputs], _requantizer(op)
        best: tuple[float, RowsPlan] | None = None
        for m, n in _BLOCKS:
            few = op.weights.shape[1] * ((op.x.shape[3] + 1) // 2) * m * n <= _UNROLL_LIMIT
            # Long code pays its way through a cache of a part: there a loop competes with it.
            for unrolled in {few, few and core.caches is None}:
                plan = RowsPlan(op=op, transform=transform, requantizer=requantizer_of_op, m=m, n=n, unrolled=unrolled)
                if plan.tiles % m or plan.chunk % n:
                    continue
                try:
                    cycles = plan.product_cycles(core)
                except ScheduleError:
                    continue
                if best is None or cycles < best[0]:
                    best = cycles, plan
        if best is None:
            raise ScheduleError(f"{op.kind} '{op.name}': no block of tiles and channels fits the registers")
        return best[1]

    @property
    def right(self) -> int:
        """The power of two in the scale."""
        scale = self.transform.scale
        return (scale & -scale).bit_length() - 1

    @property
    def odd(self) -> int:
        return self.transform.scale >> self.right

    @property
    def points(self) -> int:
        return self.transform.points

    @property
    def kernel_rows(self) -> int:
        return self.op.weights.shape[1]

    @property
    def words(self) -> int:
        """Lane pairs of a pixel's channels."""
        return (self.op.x.shape[3] + 1) // 2

    @property
    def tiles(self) -> int:
        return self.op.y.shape[2] // self.transform.outputs

    @property
    def chunk(self) -> int:
        """Channels whose sums at all points are held at once: as many as offsets reach, in equal parts."""
        most = _MAX_OFFSET // (4 * (self.points - 1) * self.tiles)
        channels = self.op.y.shape[3]
        return next((c for c in range(min(most, channels), 0, -1) if channels % c == 0), 0)

    @property
    def padded_width(self) -> int:
        return max(self.op.y.shape[2] + self.transform.taps - 1, self.op.padding.left + self.op.x.shape[2])

    @property
    def line_bytes(self) -> int:
        """Of an expanded row."""
        return self.padded_width * self.words * 4

    @property
    def point_bytes(self) -> int:
        """Of a transformed row at one point."""
        return self.tiles * self.words * 4

    @property
    def slot_bytes(self) -> int:
        """Of a transformed row."""
        return self.points * self.point_bytes

    @property
    def vertical_padding(self) -> bool:
        return bool(self.op.padding.top or self.op.padding.bottom)

    @property
    def slots(self) -> int:
        """Transformed rows in scratch: the ring, and one of padding."""
        return self.kernel_rows + self.vertical_padding

    @property
    def sums_at(self) -> int:
        return self.line_bytes + self.slots * self.slot_bytes

    @property
    def scratch_bytes(self) -> int:
        """An expanded row, transformed rows, sums at all points."""
        return self.sums_at + 4 * self.points * self.tiles * self.chunk

    @property
    def across(self) -> tuple[Strided, Strided]:
        return (
            Strided(stride=self.words * 4, count=self.points),
            Strided(stride=self.point_bytes, count=self.points),
        )

    @property
    def reachable(self) -> bool:
        """Whether all offsets fit."""
        far = 4 * max(8 * self.words, 4 * self.chunk, self.transform.outputs * self.op.y.shape[3])
        return all(s.reachable for s in self.across) and far <= _MAX_OFFSET

    @property
    def products(self) -> MultiplySpec:
        """The sums at one point of M tiles for all channels of a chunk."""
        offsets = tuple(tuple(4 * (m * self.words + word) for word in range(self.words)) for m in range(self.m))
        return MultiplySpec(
            rows=self.kernel_rows,
            offsets=offsets,
            channels=self.n,
            pixel_stride=self.chunk,
            form=WeightForm.INT16,
            finish=Finish.SUM,
            saturation=Saturation.INT8,
            unrolled=self.unrolled,
            uniform=False,
        )

    @property
    def ending(self) -> Ending:
        channels = self.op.y.shape[3]
        return Ending(
            points=self.points,
            point_bytes=4 * self.tiles * self.chunk,
            sum_step=4,
            stream_step=4 * STREAM_WORDS,
            out_step=1,
            out_pixel=channels,
            outputs=self.transform.outputs,
            odd=self.odd,
            right=self.right,
            finish=self.requantizer.finish,
            saturation=self.requantizer.saturation,
            shift=int(self.requantizer.first[0]) if self.requantizer.finish is Finish.SHIFT else 0,
        )

    def point_weights(self) -> NDArray[np.int64]:
        """Return the transformed weights: [points, OC, rows, IC]."""
        transformed: NDArray[np.int64] = np.einsum(
            "pk,oykc->poyc", self.transform.weights, self.op.weights.values.astype(np.int64)
        )
        return transformed

    def weight_words(self) -> NDArray[np.int32]:
        """Return the weights in the order of the products: [chunk][point][block of channels][row][word][channel]."""
        points = self.point_weights()
        _, channels, rows, inputs = points.shape
        lanes = np.pad(points, ((0, 0), (0, 0), (0, 0), (0, 2 * self.words - inputs)))
        if inputs % 4 == 0:
            lanes = lanes.reshape(self.points, channels, rows, -1, 4)[..., [0, 2, 1, 3]]
        blocks = lanes.reshape(
            self.points, channels // self.chunk, self.chunk // self.n, self.n, rows, self.words, 2
        ).transpose(1, 0, 2, 4, 5, 3, 6)
        return np.ascontiguousarray(blocks.astype(np.int16)).reshape(-1).view(np.int32)

    def stream(self) -> NDArray[np.int32]:
        """Return the constants of each channel's finish."""
        bias = (folded_bias(self.op, 0) + self.requantizer.bias_addend) << self.right
        channels = bias.size
        inverse = np.full(channels, pow(self.odd, -1, 1 << 32), np.int64)
        zero = np.full(channels, self.op.y.zero_point, np.int64)
        table = np.stack([bias, inverse, self.requantizer.first, self.requantizer.second, zero])
        return to_words(table.T.reshape(-1))

    def symbol(self, stage: str) -> str:
        parts = (self.transform.outputs, self.transform.taps, self.across, self.products, self.ending)
        return f"utvm_winograd_row_{stage}_{hashlib.sha256(repr(parts).encode()).hexdigest()[:8]}"

    def stages(self, timing: Timing) -> tuple[CSupport, ...]:
        """Return the micro-kernels: transform, products, ending."""
        source, target = self.across
        return (
            _transform(self.symbol("across"), self.transform, source, target, timing),
            _products(self.symbol("products"), self.products, timing),
            _ending(self.symbol("ending"), self.transform, self.ending, timing),
        )

    def cycles(self, core: Core) -> float:
        """Return the modelled cycles of one call: each stage's loop as often as it turns, and weights from flash."""
        timing = core.timing
        assert timing is not None
        across, _, ending = self.stages(timing)
        batch, height, width, inputs = self.op.x.shape
        _, out_height, _, channels = self.op.y.shape
        expansion = width * self.words * _EXPANSION_CYCLES if inputs % 4 == 0 else width * inputs * _LANE_CYCLES
        row_in = expansion + self.tiles * (self.words * loop_cycles(across, timing) + _CALL_CYCLES)
        row_out = self.product_cycles(core)
        row_out += self.tiles * channels * loop_cycles(ending, timing)
        row_out += self.tiles * channels // self.chunk * _CALL_CYCLES
        return batch * (height * row_in + out_height * row_out)

    def product_cycles(self, core: Core) -> float:
        """Return the modelled cycles of the products of one output row, with what its caches make of code and weights.

        Raises:
            ScheduleError: the block does not fit the registers.
        """
        timing, spec = core.timing, self.products
        assert timing is not None
        chunks = self.op.y.shape[3] // self.chunk
        calls, turns = chunks * self.points * (self.tiles // self.m), self.chunk // self.n
        total: float = calls * (_MULTIPLY_CALL_CYCLES + turns * multiply_cycles(spec, timing))
        if core.caches is not None:
            call_bytes = 4 * turns * spec.stream_words
            row_bytes = chunks * self.points * call_bytes
            # What a call reads is there for the next tiles if it fits the cache; the weights of all points seldom are.
            total += max(core.caches.streaming(0, call_bytes, calls), core.caches.streaming(0, row_bytes, 1))
            total += core.caches.streaming(multiply_code_bytes(spec, timing), 0, calls * turns)
        return total


@lru_cache(maxsize=1024)
def _transform(symbol: str, t: Transform, source: Strided, target: Strided, timing: Timing) -> CSupport:
    return transform_loop(symbol, t.data, source, target, timing, what="data transform of a tile")


@lru_cache(maxsize=1024)
def _products(symbol: str, spec: MultiplySpec, timing: Timing) -> CSupport:
    return multiply_kernel(symbol, spec, timing)


@lru_cache(maxsize=1024)
def _ending(symbol: str, t: Transform, spec: Ending, timing: Timing) -> CSupport:
    return ending_loop(symbol, t.inverse, spec, timing)
