"""What one layer of the Winograd convolution along rows agrees on: tiles, scratch, micro-kernels, constants, cycles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CSupport
from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.graph import Conv2D
from utvm.kernels.base import INSTRUCTION_BYTES
from utvm.kernels.dsp.assembly import MAX_OFFSET, loop_cycles, short_digest
from utvm.kernels.dsp.choosing import fastest
from utvm.kernels.dsp.finish import INT8, Finish, requantizer
from utvm.kernels.dsp.geometry import extension_order
from utvm.kernels.dsp.multiply import frame_lines, multiply_kernel
from utvm.kernels.dsp.multiply_estimates import ESTIMATE_ERROR, BlockCost, multiply_cost, multiply_estimate
from utvm.kernels.dsp.multiply_spec import MultiplySpec, plain_offsets
from utvm.kernels.dsp.stream import WeightForm, lane_words, to_words
from utvm.kernels.dsp.winograd.exactness import FINISH_WORDS
from utvm.kernels.dsp.winograd.family import WinogradPlan
from utvm.kernels.dsp.winograd.stages import Ending, Strided, ending_loop, transform_loop
from utvm.kernels.dsp.winograd.transforms import ROW_TRANSFORMS

_UNROLL_LIMIT = 1400
"""Multiplications beyond which a block is a loop over its rows."""
_BLOCKS = ((4, 2), (2, 4), (3, 2), (2, 3), (2, 2), (1, 8), (1, 6), (1, 4), (4, 1), (1, 2), (2, 1), (1, 1))
_EXPANSION_CYCLES, _LANE_CYCLES, _CALL_CYCLES, _MULTIPLY_CALL_CYCLES = 3, 8, 30, 60


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowsPlan(WinogradPlan):
    """The layout of F(m, r) along rows. Places in scratch hold, one after the other:

    - an input row, expanded to int16 lanes with its padding, `line_bytes`;
    - `slots` transformed rows, [point][tile][word], `slot_bytes` each: a ring, and one of padding if there is any;
    - the sums of `chunk` channels at all points, [point][tile][channel].

    `m` tiles by `n` channels are summed in registers at a time, by a loop over words where it is not `unrolled`.
    """

    dimensions = 1

    m: int
    n: int
    unrolled: bool

    @staticmethod
    def of(op: Conv2D, outputs: int, core: Core, *, estimated: bool = False) -> RowsPlan:
        """Return the plan with the block that is fastest on a core, or about so if `estimated`.

        Raises:
            ScheduleError: no block fits the registers.
        """
        return fastest(
            _blocked(op, outputs, core),
            lambda plan: plan.product_cost(core, estimated=estimated).cycles,
            f"{op.kind} '{op.name}': no block of tiles and channels fits the registers",
            estimate=lambda plan: plan.product_cost(core, estimated=True).cycles,
            error=ESTIMATE_ERROR,
        )

    @property
    def kernel_rows(self) -> int:
        """Rows of the kernel."""
        return self.op.weights.shape[1]

    @property
    def tiles(self) -> int:
        """Tiles of a row."""
        return self.op.y.shape[2] // self.transform.outputs

    @property
    def chunk(self) -> int:
        """Channels whose sums at all points are held at once: as many as offsets reach, in equal parts; 0 if none."""
        most = MAX_OFFSET // (4 * (self.points - 1) * self.tiles)
        channels = self.op.y.shape[3]
        return next((c for c in range(min(most, channels), 0, -1) if channels % c == 0), 0)

    @property
    def line_bytes(self) -> int:
        """Bytes of an expanded row."""
        read = self.op.y.shape[2] + self.transform.taps - 1
        filled = self.op.padding.left + self.op.x.shape[2]
        return max(read, filled) * self.words * 4

    @property
    def point_bytes(self) -> int:
        """Bytes of a transformed row at one point."""
        return self.tiles * self.words * 4

    @property
    def slot_bytes(self) -> int:
        """Bytes of a transformed row."""
        return self.points * self.point_bytes

    @property
    def vertical_padding(self) -> bool:
        """Whether windows reach beyond the first or the last row."""
        return bool(self.op.padding.top or self.op.padding.bottom)

    @property
    def slots(self) -> int:
        """Transformed rows in scratch."""
        return self.kernel_rows + self.vertical_padding

    @property
    def sums_at(self) -> int:
        """Where the sums start."""
        return self.line_bytes + self.slots * self.slot_bytes

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch."""
        return self.sums_at + 4 * self.points * self.tiles * self.chunk

    @property
    def across(self) -> tuple[Strided, Strided]:
        """The words that the transform of a tile reads and writes."""
        return (
            Strided(stride=self.words * 4, count=self.points),
            Strided(stride=self.point_bytes, count=self.points),
        )

    @property
    def reachable(self) -> bool:
        """Whether all offsets fit the instructions of the micro-kernels."""
        far = 4 * max(8 * self.words, 4 * self.chunk, self.transform.outputs * self.op.y.shape[3])
        return self.chunk > 0 and all(places.reachable for places in self.across) and far <= MAX_OFFSET

    @property
    def products(self) -> MultiplySpec:
        """The sums at one point of M tiles for all channels of a chunk."""
        return MultiplySpec(
            rows=self.kernel_rows,
            offsets=plain_offsets(self.m, 4 * self.words, [4 * word for word in range(self.words)]),
            channels=self.n,
            pixel_stride=self.chunk,
            form=WeightForm.INT16,
            finish=Finish.SUM,
            saturation=INT8,
            unrolled=self.unrolled,
            uniform=False,
        )

    @property
    def last_stage(self) -> Ending:
        """The inverse transform and the finish of a tile, channel by channel."""
        return self.ending(
            point_bytes=4 * self.tiles * self.chunk, sum_step=4, stream_step=4 * FINISH_WORDS, out_step=1
        )

    @property
    def weight_count(self) -> int:
        """Words of the transformed weights."""
        return self.points * self.op.y.shape[3] * self.kernel_rows * self.words

    def point_weights(self) -> NDArray[np.int64]:
        """Return G g, row by row: [point, OC, row, IC]."""
        transformed: NDArray[np.int64] = np.einsum(
            "pk,oykc->poyc", self.transform.weights, self.op.weights.values.astype(np.int64)
        )
        return transformed

    def weight_words(self) -> NDArray[np.int32]:
        """Return the weights in the order of the products: [chunk][point][block of channels][row][word][channel]."""
        weights = self.point_weights()
        points, channels, rows, inputs = weights.shape
        lanes = np.pad(weights, ((0, 0), (0, 0), (0, 0), (0, 2 * self.words - inputs)))
        if inputs % 4 == 0:
            lanes = extension_order(lanes)
        blocks = lanes.reshape(points, channels // self.chunk, self.chunk // self.n, self.n, rows, self.words, 2)
        ordered = blocks.transpose(1, 0, 2, 4, 5, 3, 6)
        return to_words(lane_words(ordered[..., 0], ordered[..., 1]).reshape(-1))

    def symbol(self, stage: str) -> str:
        """Return the name of a stage's micro-kernel."""
        t = self.transform
        return (
            f"utvm_winograd_row_{stage}_{short_digest(t.outputs, t.taps, self.across, self.products, self.last_stage)}"
        )

    def stages(self, timing: Timing) -> tuple[CSupport, ...]:
        """Return the micro-kernels: transform, products, ending."""
        return (
            self._across(timing),
            multiply_kernel(self.symbol("products"), self.products, timing),
            self._ending(timing),
        )

    def _across(self, timing: Timing) -> CSupport:
        return transform_loop(
            self.symbol("across"), self.transform.data, *self.across, timing, "data transform of a tile"
        )

    def _ending(self, timing: Timing) -> CSupport:
        return ending_loop(self.symbol("ending"), self.transform.inverse, self.last_stage, timing)

    def cost(self, core: Core, *, estimated: bool = False) -> BlockCost:
        """Return what one call takes: each stage's loop as often as it turns, and weights from flash."""
        timing = core.timing
        assert timing is not None
        across, ending, product = (
            self._across(timing),
            self._ending(timing),
            self.product_cost(core, estimated=estimated),
        )
        batch, height, width, inputs = self.op.x.shape
        _, out_height, _, channels = self.op.y.shape
        expansion = width * self.words * _EXPANSION_CYCLES if inputs % 4 == 0 else width * inputs * _LANE_CYCLES
        row_in = expansion + self.tiles * (self.words * loop_cycles(across, timing) + _CALL_CYCLES)
        row_out = product.cycles
        row_out += self.tiles * channels * loop_cycles(ending, timing)
        row_out += self.tiles * channels // self.chunk * _CALL_CYCLES
        lines = len(across.assembly) + len(ending.assembly) + frame_lines(self.products)
        return BlockCost(
            cycles=batch * (height * row_in + out_height * row_out),
            code_bytes=product.code_bytes + INSTRUCTION_BYTES * lines,
        )

    def product_cost(self, core: Core, *, estimated: bool = False) -> BlockCost:
        """Return what the products of one output row take, with what its caches make of code and weights.

        If `estimated`, no block is scheduled that is longer than those of `multiply_estimate`.

        Raises:
            ScheduleError: the block does not fit the registers.
        """
        timing, spec = core.timing, self.products
        assert timing is not None
        chunks = self.op.y.shape[3] // self.chunk
        calls, turns = chunks * self.points * (self.tiles // self.m), self.chunk // self.n
        cost = (multiply_estimate if estimated else multiply_cost)(spec, timing)
        total: float = calls * (_MULTIPLY_CALL_CYCLES + turns * cost.cycles)
        if core.caches is not None:
            call_bytes = 4 * turns * spec.stream_words
            row_bytes = chunks * self.points * call_bytes
            # What a call reads is there for the next tiles if it fits the cache; the weights of all points seldom are.
            total += max(core.caches.streaming(0, call_bytes, calls), core.caches.streaming(0, row_bytes, 1))
            total += core.caches.streaming(cost.code_bytes, 0, calls * turns)
        return BlockCost(cycles=total, code_bytes=cost.code_bytes)


def _blocked(op: Conv2D, outputs: int, core: Core) -> Iterator[RowsPlan]:
    """Yield the plan with each block that divides tiles and channels; in both forms where either may be faster."""
    transform, found = ROW_TRANSFORMS[op.weights.shape[2], outputs], requantizer(op)
    assert found is not None
    for m, n in _BLOCKS:
        few = op.weights.shape[1] * ((op.x.shape[3] + 1) // 2) * m * n <= _UNROLL_LIMIT
        # Long code pays its way through a cache of a part: there a loop competes with it.
        for unrolled in sorted({few, few and core.caches is None}):
            plan = RowsPlan(op=op, transform=transform, requantizer=found, m=m, n=n, unrolled=unrolled)
            if plan.tiles % m == 0 and plan.chunk % n == 0:
                yield plan
