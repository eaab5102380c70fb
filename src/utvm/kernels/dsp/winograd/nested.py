"""Exact Winograd convolution in two dimensions, F(m x m, r x r): a transform of rows nested in one of columns.

Input rows are expanded and transformed down once for each row of tiles, then across for each tile. At each of the
(m + r - 1)^2 points the sums over the input channels are products of matrices, for two output channels at a time; the
inverse transforms, down in place and across in the registers of the ending, yield the outputs.
"""

from __future__ import annotations

from collections.abc import Iterator

from utvm.codegen import CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, Operator
from utvm.kernels.base import Config
from utvm.kernels.dsp.expand import both_lanes, write_quads
from utvm.kernels.dsp.finish import requantizer
from utvm.kernels.dsp.winograd.exactness import FINISH_WORDS
from utvm.kernels.dsp.winograd.family import WinogradFamily
from utvm.kernels.dsp.winograd.nested_plan import CHANNELS, NestedPlan
from utvm.kernels.dsp.winograd.transforms import TRANSFORMS
from utvm.kernels.overlap import line_ahead


class WinogradConvolution(WinogradFamily[NestedPlan]):
    """Conv2D 3x3 and 5x5, stride 1, whose output divides into tiles. Knob: `tile`, the outputs of a tile's side."""

    name = "winograd"
    mark = "winograd"

    def default(self, op: Operator, core: Core) -> Config:
        """Return the largest tile."""
        return max(self.contenders(op, core), key=lambda config: int(config["tile"]))

    def candidates(self, op: Conv2D) -> Iterator[NestedPlan]:
        """Yield a plan for each tile that suits the shape and the attributes of `op`."""
        _, height, width, channels = op.weights.shape
        _, out_height, out_width, out_channels = op.y.shape
        found = requantizer(op)
        if found is None or height != width or op.stride != (1, 1) or op.dilation != (1, 1) or op.groups != 1:
            return
        if found.left.any() or channels % 4 or out_channels % CHANNELS:
            return
        for (taps, outputs), transform in TRANSFORMS.items():
            if taps == width and out_height % outputs == 0 and out_width % outputs == 0:
                yield NestedPlan(op=op, transform=transform, requantizer=found)

    def plan(self, op: Conv2D, tile: int, core: Core, *, estimated: bool = False) -> NestedPlan:
        """Return the plan for a tile."""
        del core, estimated
        found = requantizer(op)
        assert found is not None
        return NestedPlan(op=op, transform=TRANSFORMS[op.weights.shape[2], tile], requantizer=found)

    def summary(self, plan: NestedPlan) -> str:
        """Return F(m x m, r x r)."""
        m, r = plan.transform.outputs, plan.transform.taps
        return f"F({m}x{m},{r}x{r})"

    def ahead(self, plan: NestedPlan) -> int:
        """Return what a kernel needs that reads the input of some rows of tiles before it writes them."""
        return line_ahead(plan.op, rows=plan.transform.outputs * plan.tile_rows)

    def write(self, w: CWriter, plan: NestedPlan) -> tuple[str, ...]:
        """Write the body of a kernel; returns the helpers that it calls."""
        op, outputs, points = plan.op, plan.transform.outputs, plan.points
        row = plan.row_bytes // 4
        w("uint32_t *const rows = (uint32_t *)(void *)scratch;", f"uint32_t *const down = rows + {points * row};")
        w(
            f"uint32_t *const data = rows + {plan.data_at // 4};",
            f"int32_t *const sums = scratch + {plan.sums_at // 4};",
        )
        with w.loop("n", op.x.shape[0]), w.loop("ty", op.y.shape[1] // (outputs * plan.tile_rows)):
            with w.loop("tr", plan.tile_rows):
                w(f"const int32_t top = (ty * {plan.tile_rows} + tr) * {outputs} - {op.padding.top};")
                with w.loop("i", points):
                    helpers = _write_row(w, plan)
                w(f"{plan.symbol('down')}(rows, down, {row});")
                _write_across(w, plan)
            with w.loop("o", op.y.shape[3] // CHANNELS):
                step = points**2 * plan.words * CHANNELS
                w(f"{plan.symbol('products')}(data, weights + o * {step}, sums, {points**2});")
                w(f"{plan.symbol('back')}(sums, sums, {points * plan.sum_point_bytes // 4});")
                _write_endings(w, plan)
        return helpers


def _write_row(w: CWriter, plan: NestedPlan) -> tuple[str, ...]:
    """Write the expansion of one input row with its padding, all of it new: rows move by less than they are many."""
    op = plan.op
    _, height, width, channels = op.x.shape
    padding = both_lanes(op.x.zero_point)
    left, inside = op.padding.left * plan.words, width * plan.words
    right = plan.padded_width * plan.words - left - inside
    w(f"uint32_t *to = rows + i * {plan.row_bytes // 4};", "const int32_t iy = top + i;")
    with w.block(f"if (iy < 0 || iy >= {height})"), w.loop("k", plan.row_bytes // 4):
        w(f"to[k] = {padding};")
    with w.block("else"):
        for start, count in ((0, left), (left + inside, right)):
            if count > 0:
                with w.loop("k", count):
                    w(f"to[{start} + k] = {padding};")
        w(f"const uint32_t *from = (const uint32_t *)(const void *)(x + (n * {height} + iy) * {width * channels});")
        w(f"to += {left};")
        return write_quads(w, "k", inside // 2)


def _write_across(w: CWriter, plan: NestedPlan) -> None:
    """Write the transform of each row that was transformed down, tile by tile, to its points."""
    with w.loop("i", plan.points), w.loop("tile", plan.tiles_across):
        source = f"down + i * {plan.row_bytes // 4} + tile * {plan.transform.outputs * plan.words}"
        point_row = plan.points * plan.data_point_bytes // 4
        target = f"data + i * {point_row} + (tr * {plan.tiles_across} + tile) * {plan.words}"
        w(f"{plan.symbol('across')}({source}, {target}, {plan.words});")


def _write_endings(w: CWriter, plan: NestedPlan) -> None:
    """Write the inverse transform across and the finish of each output row of both channels."""
    _, out_height, out_width, out_channels = plan.op.y.shape
    outputs = plan.transform.outputs
    with w.loop("j", CHANNELS), w.loop("tr", plan.tile_rows), w.loop("k", outputs):
        w(f"const int32_t oy = (ty * {plan.tile_rows} + tr) * {outputs} + k;")
        point_row = plan.points * plan.sum_point_bytes // 4
        source = f"sums + k * {point_row} + tr * {plan.tiles_across * CHANNELS} + j"
        target = f"y + (n * {out_height} + oy) * {out_width * out_channels} + o * {CHANNELS} + j"
        w(f"const int32_t *const channel = stream + (o * {CHANNELS} + j) * {FINISH_WORDS};")
        w(f"{plan.symbol('ending')}({source}, channel, {target}, {plan.tiles_across});")
