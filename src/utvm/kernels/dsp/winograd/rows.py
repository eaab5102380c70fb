"""Exact Winograd convolution along rows alone, F(m, r): one dimension at a time, for any height that fits the stack.

The weights need fewer bits than in two dimensions, so it serves where those do not fit int16, and it costs less flash
and scratch. Each input row is expanded and transformed once, into a ring of as many rows as the kernel is high; at each
point of the transform the sums over the kernel's rows and channels are a direct convolution of columns.
"""

from __future__ import annotations

from collections.abc import Iterator

from utvm.codegen import CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, Operator
from utvm.kernels.base import Config
from utvm.kernels.dsp.expand import both_lanes, write_quads
from utvm.kernels.dsp.finish import requantizer
from utvm.kernels.dsp.multiply_spec import MOST_ADDRESSES
from utvm.kernels.dsp.winograd.exactness import FINISH_WORDS
from utvm.kernels.dsp.winograd.family import WinogradFamily
from utvm.kernels.dsp.winograd.rows_plan import RowsPlan
from utvm.kernels.dsp.winograd.transforms import ROW_TRANSFORMS
from utvm.kernels.overlap import ring_ahead


class WinogradRows(WinogradFamily[RowsPlan]):
    """Conv2D with a kernel 3 or 5 wide, without dilation and with stride 1 across, whose rows divide into tiles.

    Knob: `tile`, the outputs of a tile.
    """

    name = "winograd-rows"
    mark = "rows"

    def default(self, op: Operator, core: Core) -> Config:
        """Return the fastest tile by the estimate."""
        return min(self.contenders(op, core), key=lambda config: self.estimate(op, core, config) or 0.0)

    def candidates(self, op: Conv2D) -> Iterator[RowsPlan]:
        """Yield a plan with the smallest block for each tile that suits the shape and the attributes of `op`."""
        _, height, width, _ = op.weights.shape
        found = requantizer(op)
        if (
            found is None
            or found.left.any()
            or op.stride[1] != 1
            or op.dilation != (1, 1)
            or op.groups != 1
            or not 2 <= height <= MOST_ADDRESSES
        ):
            return
        for (taps, outputs), transform in ROW_TRANSFORMS.items():
            if taps == width and op.y.shape[2] % outputs == 0:
                yield RowsPlan(op=op, transform=transform, requantizer=found, m=1, n=1, unrolled=False)

    def plan(self, op: Conv2D, tile: int, core: Core, *, estimated: bool = False) -> RowsPlan:
        """Return the plan for a tile, with the block that is fastest on a core."""
        return RowsPlan.of(op, tile, core, estimated=estimated)

    def summary(self, plan: RowsPlan) -> str:
        """Return F(m, r) and the block."""
        return f"F({plan.transform.outputs},{plan.transform.taps}), blocks of {plan.m} x {plan.n}"

    def ahead(self, plan: RowsPlan) -> int:
        """Return what a kernel needs that reads each row once, into a ring."""
        return ring_ahead(plan.op, plan.kernel_rows)

    def write(self, w: CWriter, plan: RowsPlan) -> tuple[str, ...]:
        """Write the body of a kernel; returns the helpers that it calls."""
        op, rows = plan.op, plan.kernel_rows
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, out_channels = op.y.shape
        slot, line = plan.slot_bytes // 4, plan.line_bytes // 4
        w("uint32_t *const line = (uint32_t *)(void *)scratch;", f"uint32_t *const ring = line + {line};")
        w(f"int32_t *const sums = scratch + {plan.sums_at // 4};")
        # The padding at both sides of the expanded row is never written again.
        with w.loop("i", line):
            w(f"line[i] = {both_lanes(op.x.zero_point)};")
        if plan.vertical_padding:
            w(f"const uint32_t *const padding = ring + {rows * slot};")
            _write_transform(w, plan, f"ring + {rows * slot}")
        with w.loop("n", batch):
            w(f"const int8_t *image = x + n * {height * width * channels};", "int32_t next = 0;")
            with w.loop("oy", out_height):
                w(f"const int32_t top = oy * {op.stride[0]} - {op.padding.top};")
                w(f"int32_t last = top + {rows};", f"last = last < {height} ? last : {height};")
                w("next = next > top ? next : top;")
                with w.block("for (; next < last; next++)"):
                    w(f"const int8_t *from_row = image + next * {width * channels};")
                    helpers = _write_expansion(w, plan)
                    _write_transform(w, plan, f"ring + (next % {rows}) * {slot}")
                w(f"int8_t *out = y + (n * {out_height} + oy) * {out_width * out_channels};")
                with w.loop("chunk", out_channels // plan.chunk):
                    _write_products(w, plan)
                    _write_endings(w, plan)
        return helpers


def _write_expansion(w: CWriter, plan: RowsPlan) -> tuple[str, ...]:
    """Write the expansion of the row at `from_row` between the padding; an odd channel's partner stays as it is."""
    _, _, width, channels = plan.op.x.shape
    left = plan.op.padding.left * plan.words
    if channels % 4:
        w(f"int16_t *to_lane = (int16_t *)(void *)(line + {left});")
        with w.loop("i", width), w.loop("c", channels):
            w(f"to_lane[i * {2 * plan.words} + c] = from_row[i * {channels} + c];")
        return ()
    w("const uint32_t *from = (const uint32_t *)(const void *)from_row;", f"uint32_t *to = line + {left};")
    return write_quads(w, "i", width * channels // 4)


def _write_transform(w: CWriter, plan: RowsPlan, target: str) -> None:
    """Write the transform of the expanded row into a slot."""
    step = plan.transform.outputs * plan.words
    with w.loop("tile", plan.tiles):
        w(f"{plan.symbol('across')}(line + tile * {step}, {target} + tile * {plan.words}, {plan.words});")


def _write_products(w: CWriter, plan: RowsPlan) -> None:
    """Write the sums of a chunk of channels at all points of an output row."""
    rows, slot, point = plan.kernel_rows, plan.slot_bytes // 4, plan.point_bytes // 4
    turns = plan.chunk // plan.n
    with w.loop("point", plan.points), w.loop("block", plan.tiles // plan.m):
        w(f"const void *rows[{rows}];")
        with w.loop("k", rows):
            w("const int32_t iy = top + k;")
            line = f"ring + (iy % {rows}) * {slot}"
            if plan.vertical_padding:
                line = f"(iy >= 0 && iy < {plan.op.x.shape[1]} ? {line} : padding)"
            w(f"rows[k] = {line} + point * {point} + block * {plan.m * plan.words};")
        weights = f"weights + (chunk * {plan.points} + point) * {turns * plan.products.stream_words}"
        sums = f"sums + (point * {plan.tiles} + block * {plan.m}) * {plan.chunk}"
        w(f"{plan.symbol('products')}((const void *const *)rows, {weights}, {sums}, {turns});")


def _write_endings(w: CWriter, plan: RowsPlan) -> None:
    """Write the inverse transform and the finish of a chunk of channels, tile by tile."""
    with w.loop("tile", plan.tiles):
        target = f"out + tile * {plan.transform.outputs * plan.op.y.shape[3]} + chunk * {plan.chunk}"
        constants = f"stream + chunk * {plan.chunk * FINISH_WORDS}"
        w(f"{plan.symbol('ending')}(sums + tile * {plan.chunk}, {constants}, {target}, {plan.chunk});")
