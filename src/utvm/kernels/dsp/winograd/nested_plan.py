"""What one layer of the Winograd convolution in two dimensions agrees on: tiles, scratch, micro-kernels, cycles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CSupport
from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.kernels.base import INSTRUCTION_BYTES
from utvm.kernels.dsp.assembly import MAX_OFFSET, loop_cycles, short_digest
from utvm.kernels.dsp.geometry import extension_order
from utvm.kernels.dsp.multiply_estimates import BlockCost
from utvm.kernels.dsp.stream import lane_words, to_words
from utvm.kernels.dsp.winograd.family import WinogradPlan
from utvm.kernels.dsp.winograd.stages import Products, Strided, ending_loop, products_loop, transform_loop

CHANNELS = 2
"""Output channels whose sums are made, and held in scratch, together."""
_TILES_AT_ONCE = 4
_EXPANSION_CYCLES, _CALL_CYCLES = 3, 30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NestedPlan(WinogradPlan):
    """The layout of F(m x m, r x r). Places in scratch hold, one after the other:

    - `points` input rows, expanded to int16 lanes with their padding, `row_bytes` each;
    - the same rows transformed down;
    - the data at all points: [point down][point across][tile][word], `data_point_bytes` a point;
    - the sums at all points of `CHANNELS` channels: [point down][point across][tile][channel], `sum_point_bytes` each.
    """

    dimensions = 2

    @property
    def tiles_across(self) -> int:
        """Tiles of a row of tiles."""
        return self.op.y.shape[2] // self.transform.outputs

    @property
    def tile_rows(self) -> int:
        """Rows of tiles that are computed together, so that blocks of tiles are full where that is possible."""
        down = self.op.y.shape[1] // self.transform.outputs
        fills = self.tiles_across % _TILES_AT_ONCE and self.tiles_across * 2 % _TILES_AT_ONCE == 0
        return 2 if fills and down % 2 == 0 else 1

    @property
    def tiles(self) -> int:
        """Tiles that are computed together."""
        return self.tiles_across * self.tile_rows

    @property
    def tiles_at_once(self) -> int:
        """Tiles whose sums are in registers at once."""
        return next(m for m in range(_TILES_AT_ONCE, 0, -1) if self.tiles % m == 0)

    @property
    def padded_width(self) -> int:
        """Pixels of an expanded row."""
        return self.op.y.shape[2] + self.transform.taps - 1

    @property
    def row_bytes(self) -> int:
        """Bytes of an expanded row."""
        return self.padded_width * self.words * 4

    @property
    def data_point_bytes(self) -> int:
        """Bytes of all tiles' data at one point."""
        return self.tiles * self.words * 4

    @property
    def sum_point_bytes(self) -> int:
        """Bytes of all tiles' sums at one point."""
        return self.tiles * CHANNELS * 4

    @property
    def data_at(self) -> int:
        """Where the data at all points start."""
        return 2 * self.points * self.row_bytes

    @property
    def sums_at(self) -> int:
        """Where the sums start."""
        return self.data_at + self.points**2 * self.data_point_bytes

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch."""
        return self.sums_at + self.points**2 * self.sum_point_bytes

    @property
    def down(self) -> Strided:
        """The words that the transform down reads and writes."""
        return Strided(stride=self.row_bytes, count=self.points)

    @property
    def across(self) -> tuple[Strided, Strided]:
        """The words that the transform of a row reads and writes."""
        return (
            Strided(stride=self.words * 4, count=self.points),
            Strided(stride=self.data_point_bytes, count=self.points),
        )

    @property
    def back(self) -> tuple[Strided, Strided]:
        """The sums that the inverse transform down reads and, in their place, writes."""
        stride = self.points * self.sum_point_bytes
        return Strided(stride=stride, count=self.points), Strided(stride=stride, count=self.transform.outputs)

    @property
    def reachable(self) -> bool:
        """Whether all offsets fit the instructions of the micro-kernels."""
        sums = (self.points - 1) * self.sum_point_bytes
        products = 4 * max(self.tiles_at_once, CHANNELS) * self.words
        outputs = self.transform.outputs * self.op.y.shape[3]
        return (
            all(places.reachable for places in (self.down, *self.across, *self.back))
            and max(sums, products, outputs) <= MAX_OFFSET
        )

    @property
    def weight_count(self) -> int:
        """Words of the transformed weights."""
        return self.points**2 * self.op.y.shape[3] * self.words

    def point_weights(self) -> NDArray[np.int64]:
        """Return G g G^T: [point down, point across, OC, IC]."""
        weights, matrix = self.op.weights.values.astype(np.int64), self.transform.weights
        transformed: NDArray[np.int64] = np.einsum("ak,oklc,bl->aboc", matrix, weights, matrix)
        return transformed

    def weight_words(self) -> NDArray[np.int32]:
        """Return the weights in the order of the products: [pair of channels][point][word][channel]."""
        lanes = extension_order(self.point_weights()).reshape(self.points**2, -1, CHANNELS, self.words, 2)
        ordered = lanes.transpose(1, 0, 3, 2, 4)
        return to_words(lane_words(ordered[..., 0], ordered[..., 1]).reshape(-1))

    def symbol(self, stage: str) -> str:
        """Return the name of a stage's micro-kernel."""
        op, t, found = self.op, self.transform, self.requantizer
        parts = (t.outputs, t.taps, op.x.shape, op.y.shape, self.tiles, found.shift)
        return f"utvm_winograd_{stage}_{short_digest(parts, found.finish, found.saturation)}"

    def stages(self, timing: Timing) -> tuple[CSupport, ...]:
        """Return the micro-kernels: transforms down and across, products, inverse transform down, ending."""
        t = self.transform
        ending = self.ending(
            point_bytes=self.sum_point_bytes,
            sum_step=CHANNELS * 4,
            stream_step=0,
            out_step=t.outputs * self.op.y.shape[3],
        )
        products = Products(
            tiles=self.tiles_at_once,
            channels=CHANNELS,
            words=self.words,
            blocks=self.tiles // self.tiles_at_once,
        )
        names = (self.symbol(stage) for stage in ("down", "across", "products", "back", "ending"))
        down, across, multiplied, back, ended = names
        return (
            transform_loop(down, t.data, self.down, self.down, timing, "data transform, down"),
            transform_loop(across, t.data, *self.across, timing, "data transform, across"),
            products_loop(multiplied, products, timing),
            transform_loop(back, t.inverse, *self.back, timing, "inverse transform, down"),
            ending_loop(ended, t.inverse, ending, timing),
        )

    def cost(self, core: Core, *, estimated: bool = False) -> BlockCost:
        """Return what one call takes: each stage's loop as often as it turns, and weights from flash."""
        del estimated
        timing = core.timing
        assert timing is not None
        stages = self.stages(timing)
        down, across, products, back, ending = (loop_cycles(stage, timing) for stage in stages)
        images, out_height, _, out_channels = self.op.y.shape
        outputs, points, pairs = self.transform.outputs, self.points, out_channels // CHANNELS
        row_words = self.row_bytes // 4
        total = self.tile_rows * points * (row_words * _EXPANSION_CYCLES + self.tiles_across * self.words * across)
        total += self.tile_rows * (row_words * down + points * self.tiles_across * _CALL_CYCLES)
        total += pairs * points**2 * (self.tiles // self.tiles_at_once) * products
        total += pairs * (points * self.sum_point_bytes // 4) * back
        total += out_channels * self.tile_rows * outputs * (self.tiles_across * ending + _CALL_CYCLES)
        if core.caches is not None:
            total += core.caches.streaming(0, 4 * points**2 * self.words * out_channels, 1)
        return BlockCost(
            cycles=images * (out_height // (outputs * self.tile_rows)) * total,
            code_bytes=INSTRUCTION_BYTES * sum(len(stage.assembly) for stage in stages),
        )
