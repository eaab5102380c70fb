"""Exact integer Winograd convolution along rows alone: one dimension at a time, for any height of the kernel.

The weights need fewer bits than in two dimensions, so it serves where those do not fit int16, and it costs less flash
and scratch. Each input row is expanded and transformed once, into a ring of as many rows as the kernel is high; at each
point of the transform the sums over the kernel's rows and channels are a direct convolution of columns. Scales and
their removal are those of `utvm.kernels.dsp.winograd`.
"""

from __future__ import annotations

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.dsp.winograd_rows_plan import STREAM_WORDS, RowsPlan, exact_tiles
from utvm.kernels.overlap import ring_ahead
from utvm.kernels.workload import dims, workload

_PARAMETERS = (
    CParameter(name="x", c_type="int8_t", role="input"),
    CParameter(name="weights", c_type="int32_t", role="constant"),
    CParameter(name="stream", c_type="int32_t", role="constant"),
    CParameter(name="scratch", c_type="int32_t", role="scratch"),
    CParameter(name="y", c_type="int8_t", role="output"),
)


class WinogradRows(KernelFamily):
    """Conv2D with a kernel 3 or 5 wide, without dilation and with stride 1 across, whose rows divide into tiles.

    Knob: `tile`, the outputs of a tile.
    """

    name = "winograd-rows"

    def applies(self, op: Operator, core: Core) -> bool:
        """Whether some tile size is proven exact for `op`'s weights and fits its shape."""
        return core.dsp and core.timing is not None and isinstance(op, Conv2D) and bool(exact_tiles(op))

    def space(self, op: Operator, core: Core) -> Space:
        """Return the tile sizes that are exact."""
        del core
        assert isinstance(op, Conv2D)
        return {"tile": exact_tiles(op)}

    def default(self, op: Operator, core: Core) -> Config:
        """Return the fastest tile by the estimate."""
        return min(self.contenders(op, core), key=lambda config: self.estimate(op, core, config) or 0.0)

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return every tile size: larger ones need more flash and scratch."""
        del core
        assert isinstance(op, Conv2D)
        return tuple({"tile": tile} for tile in exact_tiles(op))

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all stages."""
        assert isinstance(op, Conv2D)
        return RowsPlan.of(op, int(config["tile"]), core).cycles(core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a convolution."""
        assert isinstance(op, Conv2D)
        assert core.timing is not None
        plan = RowsPlan.of(op, int(config["tile"]), core)
        w = CWriter()
        helpers = _write_function(w, plan)
        t = plan.transform
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"conv2d_{dims(op.x.shape[1:])}_{op.y.shape[3]}_rows{t.outputs}",
                comment=f"{workload(op)}\nfamily {self.name}, F({t.outputs},{t.taps}), blocks of {plan.m} x {plan.n}",
                parameters=_PARAMETERS,
                body=w.text,
                helpers=helpers,
                support=plan.stages(core.timing),
            ),
            constants={
                "weights": CArray(c_type="int32_t", values=plan.weight_words()),
                "stream": CArray(c_type="int32_t", values=plan.stream()),
            },
            scratch_bytes=plan.scratch_bytes,
            ahead=ring_ahead(op, op.weights.shape[1]),
        )


def _write_function(w: CWriter, plan: RowsPlan) -> tuple[str, ...]:
    op = plan.op
    batch, height, width, channels = op.x.shape
    _, out_height, out_width, out_channels = op.y.shape
    rows, slot, line = plan.kernel_rows, plan.slot_bytes // 4, plan.line_bytes // 4
    zero = op.x.zero_point & 0xFFFF
    w("uint32_t *const line = (uint32_t *)(void *)scratch;", f"uint32_t *const ring = line + {line};")
    w(f"int32_t *const sums = scratch + {plan.sums_at // 4};")
    # The padding at both sides of the expanded row is never written again.
    with w.loop("i", line):
        w(f"line[i] = 0x{zero << 16 | zero:08x}u;")
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
                with w.loop("tile", plan.tiles):
                    target = f"out + tile * {plan.transform.outputs * out_channels} + chunk * {plan.chunk}"
                    constants = f"stream + chunk * {plan.chunk * STREAM_WORDS}"
                    w(f"{plan.symbol('ending')}(sums + tile * {plan.chunk}, {constants}, {target}, {plan.chunk});")
    return helpers


def _write_products(w: CWriter, plan: RowsPlan) -> None:
    rows, slot, point = plan.kernel_rows, plan.slot_bytes // 4, plan.point_bytes // 4
    spec = plan.products
    step = plan.chunk // plan.n * spec.stream_words
    with w.loop("point", plan.points), w.loop("block", plan.tiles // plan.m):
        w(f"const void *rows[{rows}];")
        with w.loop("k", rows):
            w("const int32_t iy = top + k;")
            line = f"ring + (iy % {rows}) * {slot}"
            if plan.vertical_padding:
                line = f"(iy >= 0 && iy < {plan.op.x.shape[1]} ? {line} : padding)"
            w(f"rows[k] = {line} + point * {point} + block * {plan.m * plan.words};")
        weights = f"weights + (chunk * {plan.points} + point) * {step}"
        sums = f"sums + (point * {plan.tiles} + block * {plan.m}) * {plan.chunk}"
        w(f"{plan.symbol('products')}((const void *const *)rows, {weights}, {sums}, {plan.chunk // plan.n});")


def _write_transform(w: CWriter, plan: RowsPlan, target: str) -> None:
    """Write the transform of the expanded row into a slot."""
    step = plan.transform.outputs * plan.words
    with w.loop("tile", plan.tiles):
        w(f"{plan.symbol('across')}(line + tile * {step}, {target} + tile * {plan.words}, {plan.words});")


def _write_expansion(w: CWriter, plan: RowsPlan) -> tuple[str, ...]:
    """Write the expansion of the row at `from_row` between the padding; an odd channel's partner stays as it is."""
    _, _, width, channels = plan.op.x.shape
    if channels % 4:
        w(f"int16_t *to_lane = (int16_t *)(void *)(line + {plan.op.padding.left * plan.words});")
        with w.loop("i", width), w.loop("c", channels):
            w(f"to_lane[i * {2 * plan.words} + c] = from_row[i * {channels} + c];")
        return ()
    w("const uint32_t *from = (const uint32_t *)(const void *)from_row;")
    w(f"uint32_t *to = line + {plan.op.padding.left * plan.words};")
    with w.loop("i", width * channels // 4):
        w("const uint32_t four = from[i];")
        w("to[2 * i] = utvm_extend_even(four);", "to[2 * i + 1] = utvm_extend_odd(four);")
    return ("utvm_extend_even", "utvm_extend_odd")
