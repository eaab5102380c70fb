"""Convolutions and fully connected layers of int16 activations and int8 weights: SMLAD on activations as they are.

The micro-kernels are those of int8 (`direct`). Where no window leaves the input and pixels are whole words they read
the input itself; else each row is copied once, with its padding, into a ring of as many rows as the kernel is high.
"""

from __future__ import annotations

from typing import ClassVar

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, DType, FullyConnected, Operator
from utvm.kernels.base import Config, Kernel, Outline
from utvm.kernels.dsp.direct import DirectConvolution
from utvm.kernels.dsp.direct_plan import BlockSize
from utvm.kernels.dsp.multiply_estimates import ESTIMATE_ERROR
from utvm.kernels.dsp.stream import WeightForm
from utvm.kernels.dsp.wide_finish import (
    finished_sum,
    sums_constants,
    sums_helpers,
    wide_refusal,
    wide_requantizer,
    wide_sums_refusal,
)
from utvm.kernels.dsp.wide_plan import WidePlan, plan_refusal, stores_reach
from utvm.kernels.overlap import nest_ahead, ring_ahead
from utvm.kernels.workload_keys import dims, workload

_UNROLL = 8


class WideConvolution(DirectConvolution):
    """Conv2D and FullyConnected on int16 by a scheduled M x N block of SMLAD; knobs as of `DirectConvolution`."""

    name = "wide"
    dtypes = (DType.INT16, DType.INT8)
    biases = (DType.INT64, DType.INT32)
    narrow: ClassVar[WeightForm] = WeightForm.BYTES

    def plan(self, op: Conv2D | FullyConnected, config: Config) -> WidePlan:
        """Return what the C, the micro-kernels and the stream agree on, under a legal config."""
        return WidePlan.of(op, config)

    def narrows(self, op: Conv2D | FullyConnected) -> bool:
        """Whether no channel's weights are shifted to the left."""
        found = wide_requantizer(op)
        return found is None or not found.left.any()

    def outside_signature(self, op: Operator) -> str | None:
        """Return which tensor this family lacks."""
        return wide_refusal(op) or super().outside_signature(op)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no plan; None where it has."""
        if not isinstance(op, Conv2D | FullyConnected):
            return f"it is not for {op.kind}"
        return self.lacks(core) or wide_sums_refusal(op) or plan_refusal(op, 1, 1)

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config of the space can be built."""
        assert isinstance(op, Conv2D | FullyConnected)
        m, n = int(config["m"]), int(config["n"])
        if not super().legal(op, core, config) or not stores_reach(op, m, n) or plan_refusal(op, m, n):
            return False
        plan = WidePlan.of(op, config)
        return plan.unrolled or plan.spec(BlockSize(m=m, n=n)).rows > 1

    def outline(self, op: Operator, core: Core, config: Config, *, scheduled: bool = False) -> Outline:
        """Return the cycles of all blocks, of copies and of what C finishes, and what the plan takes."""
        assert isinstance(op, Conv2D | FullyConnected)
        plan = WidePlan.of(op, config)
        cost = plan.cost(core, estimated=not scheduled)
        return Outline(
            cycles=cost.cycles + plan.around_cycles,
            error=0.0 if scheduled else ESTIMATE_ERROR,
            constant_bytes=plan.stream_bytes + sum(each.nbytes for each in _constants(plan).values()),
            code_bytes=round(cost.code_bytes),
            scratch_bytes=plan.scratch_bytes,
            ahead=_ahead(plan),
        )

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        assert isinstance(op, Conv2D | FullyConnected)
        assert core.timing is not None
        plan, timing = WidePlan.of(op, config), core.timing
        w = CWriter()
        _Writer(w, plan).write()
        constants = {"stream": CArray(c_type="int32_t", values=plan.stream()), **_constants(plan)}
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=_stem(op),
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=(
                    CParameter(name="x", c_type="int16_t", role="input"),
                    *(CParameter(name=n, c_type=each.c_type, role="constant") for n, each in constants.items()),
                    *([CParameter(name="scratch", c_type="int16_t", role="scratch")] if plan.scratch_bytes else []),
                    CParameter(name="y", c_type="int16_t", role="output"),
                ),
                body=w.text,
                helpers=sums_helpers(op) if plan.finish is None else (),
                support=tuple(plan.kernel(block, timing) for block in plan.blocks()),
            ),
            constants=constants,
            scratch_bytes=plan.scratch_bytes,
            ahead=_ahead(plan),
        )


def _constants(plan: WidePlan) -> dict[str, CArray]:
    return sums_constants(plan.op) if plan.finish is None else {}


def _stem(op: Conv2D | FullyConnected) -> str:
    if isinstance(op, FullyConnected):
        return f"fully_connected_{op.weights.shape[1]}_{op.weights.shape[0]}_wide"
    return f"conv2d_{dims(op.x.shape[1:])}_{op.weights.shape[0]}_k{op.weights.shape[1]}x{op.weights.shape[2]}_wide"


def _ahead(plan: WidePlan) -> int:
    """Return the bytes by which the output must start before the input; see `Kernel`."""
    window, op, size = plan.window, plan.op, 2
    if not window.strips:
        assert isinstance(op, Conv2D)
        return size * (nest_ahead(op) if plan.in_place else ring_ahead(op, window.slots))
    grows, pixels = window.out_channels - window.channels, window.height * window.width + window.rest
    if plan.in_place:
        # A block's inputs are read again for each block of channels.
        return size * (plan.m * window.out_channels + max(0, (pixels - 1) * grows))
    return size * max(window.width * grows, pixels * grows)


class _Writer:
    """Writes the C around the micro-kernels of one layer."""

    def __init__(self, w: CWriter, plan: WidePlan) -> None:
        self.w, self.plan, self.window, self.rows = w, plan, plan.window, plan.rows
        self.lanes = plan.rows.row_bytes // 2
        self.row = self.window.width * self.window.channels * self.window.groups

    def write(self) -> None:
        """Write the whole layer."""
        w, plan = self.w, self.plan
        if plan.finish is None:
            start = f"scratch + {plan.rows_bytes // 2}" if plan.rows_bytes else "scratch"
            w(f"int32_t *const sums = (int32_t *)(void *)({start});")
        if self.window.strips:
            self._write_strips()
        elif plan.in_place:
            self._write_rows(copied=False)
        else:
            self._write_rows(copied=True)

    def _write_strips(self) -> None:
        """Write the loop over strips of pixels, then the rest."""
        window = self.window
        with self.w.loop("strip", window.height):
            self._write_strip("strip", window.width)
        if window.rest:
            with self.w.block(""):
                self._write_strip(str(window.height), window.rest)

    def _write_strip(self, strip: str, pixels: int) -> None:
        w, window, rows = self.w, self.window, self.rows
        w(f"const int16_t *const from_row = x + {strip} * {self.row};")
        source = "from_row"
        if not self.plan.in_place:
            self._write_copy("scratch", pixels)
            source = "scratch"
        parts = self.plan.split[0]
        addresses = ", ".join(f"{source} + {rows.part_offset(part, parts) // 2}" for part in range(parts))
        w(f"const void *rows[{parts}] = {{{addresses}}};")
        w(f"int16_t *out = y + {strip} * {window.out_width * window.out_pixel_bytes};")
        self._write_blocks(pixels, parts)

    def _write_rows(self, *, copied: bool) -> None:
        """Write the loops over images and rows of the output."""
        w, window, plan = self.w, self.window, self.plan
        slots, groups = window.slots, window.groups
        image, out_image = window.height * self.row, window.out_height * window.out_width * window.out_pixel_bytes
        if copied and window.padding.any:
            with w.loop("i", plan.rows_bytes // 4):
                w("((uint32_t *)(void *)scratch)[i] = 0;")
        if copied and plan.vertical_padding:
            w(f"const int16_t *const padding = scratch + {slots * groups * self.lanes};")
        with w.loop("n", plan.op.x.shape[0]):
            w(f"const int16_t *const image = x + n * {image};")
            if copied:
                w("int32_t next = 0;")
            with w.loop("oy", window.out_height):
                w(f"const int32_t top = oy * {window.stride[0]} - {window.padding.top};")
                if copied:
                    self._write_ring()
                if groups == 1:
                    self._write_row(out_image, "", copied=copied)
                else:
                    with w.loop("g", groups):
                        w(f"const int32_t *const weights = stream + g * {plan.group_words};")
                        self._write_row(out_image, f" + g * {window.out_channels}", copied=copied)

    def _write_ring(self) -> None:
        """Write the copies of rows that the next row of the output needs."""
        w, window = self.w, self.window
        slots, groups = window.slots, window.groups
        w(f"int32_t last = top + {slots};", f"last = last < {window.height} ? last : {window.height};")
        w("next = next > top ? next : top;")
        with w.block("for (; next < last; next++)"):
            w(f"const int16_t *from_row = image + next * {self.row};")
            w(f"int16_t *to_row = scratch + (next % {slots}) * {groups * self.lanes};")
            with w.block("") if groups == 1 else w.loop("g", groups):
                self._write_copy("to_row", window.width)
                if groups > 1:
                    w(f"from_row += {window.channels};", f"to_row += {self.lanes};")

    def _write_copy(self, target: str, pixels: int) -> None:
        """Write the copy of `pixels` of one group from `from_row`; padding at both sides is not touched."""
        w, window, rows = self.w, self.window, self.rows
        channels, pixel = window.channels, window.channels * window.groups
        starts = [rows.interior, *([rows.lanes + rows.interior - 1] if rows.two_copies else [])]
        run = pixels * channels if rows.pitch == pixel else channels
        together = run == pixels * channels
        steps = (run, self.row, rows.interior, *(() if together else (pixel, rows.pitch)))
        words = not rows.two_copies and not any(step % 2 for step in steps)
        with w.block("") if together else w.loop("i", pixels):
            source = "from_row" if together else f"from_row + i * {pixel}"
            place = "" if together else f" + i * {rows.pitch}"
            if words:
                w(f"const uint32_t *const from = (const uint32_t *)(const void *)({source});")
                w(f"uint32_t *const to = (uint32_t *)(void *)({target} + {starts[0]}{place});")
                _unroll(w, run // 2)
                with w.loop("c", run // 2):
                    w("to[c] = from[c];")
                return
            w(f"const int16_t *const from = {source};")
            w(f"int16_t *const to = {target} + {starts[0]}{place};")
            _unroll(w, run)
            with w.loop("c", run):
                w("to[c] = from[c];")
                if rows.two_copies:
                    w(f"to[c + {starts[1] - starts[0]}] = from[c];")

    def _write_row(self, out_image: int, first: str, *, copied: bool) -> None:
        """Write the blocks of one output row of the group `g`, whose first channel is `first`, if there are groups."""
        w, window, rows = self.w, self.window, self.rows
        parts, height, groups = self.plan.split[0], window.kernel[0], window.groups
        w(f"const void *rows[{height * parts}];")
        with w.loop("k", height):
            w(f"const int32_t iy = top + k * {window.dilation[0]};")
            row = f"image + iy * {self.row}"
            if copied:
                row = f"scratch + (iy % {window.slots}) * {groups * self.lanes}"
                row += f" + g * {self.lanes}" if groups > 1 else ""
                if self.plan.vertical_padding:
                    row = f"iy >= 0 && iy < {window.height} ? {row} : padding"
            w(f"const int16_t *const row = {row};")
            if parts == 1:
                w("rows[k] = row;")
            else:
                with w.loop("part", parts):
                    w(f"rows[k * {parts} + part] = row + part * {rows.part_offset(1, parts) // 2};")
        w(f"int16_t *out = y + n * {out_image} + oy * {window.out_width * window.out_pixel_bytes}{first};")
        self._write_blocks(window.out_width, height * parts)

    def _write_blocks(self, pixels: int, addresses: int) -> None:
        """Write the blocks of `pixels` from the `addresses` in `rows` on."""
        w, plan = self.w, self.plan
        full, tail = divmod(pixels, plan.m)
        with w.loop("block", full):
            self._write_calls(plan.m, addresses)
            w(f"out += {plan.m * self.window.out_pixel_bytes};")
            with w.loop("k", addresses):
                w(f"rows[k] = (const int8_t *)rows[k] + {plan.rows.advance_bytes(plan.m)};")
        if tail:
            self._write_calls(tail, addresses)

    def _write_calls(self, pixels: int, addresses: int) -> None:
        w, plan, window = self.w, self.plan, self.window
        blocks, remaining = divmod(window.out_channels, plan.n)
        stream = "stream" if window.groups == 1 else "weights"
        words = plan.group_words // plan.parts
        for part in range(plan.parts):
            rows = _plus("(const void *const *)rows", part * addresses // plan.parts)
            out = "out" if plan.finish else _plus("sums", part * pixels * window.out_channels)
            first = part * words
            for n, count, done in ((plan.n, blocks, 0), (remaining, 1, blocks)):
                if n and count:
                    block = BlockSize(m=pixels, n=n)
                    before = done * plan.spec(BlockSize(m=pixels, n=plan.n)).stream_words
                    place = f"{_plus(stream, first + before)}, {_plus(out, done * plan.n)}"
                    w(f"{plan.symbol(block)}({rows}, {place}, {count});")
        if plan.finish is None:
            self._write_finish(pixels)

    def _write_finish(self, pixels: int) -> None:
        w, window = self.w, self.window
        channels = window.out_channels
        with w.loop("p", pixels), w.loop("c", channels):
            if window.groups > 1:
                w(f"const int32_t oc = g * {channels} + c;")
            parts = [
                f"sums[{part * pixels * channels} + p * {channels} + c]" if part else f"sums[p * {channels} + c]"
                for part in range(self.plan.parts)
            ]
            value = finished_sum(self.plan.op, parts, "c" if window.groups == 1 else "oc")
            w(f"out[p * {window.out_pixel_bytes} + c] = {value};")


def _plus(place: str, count: int) -> str:
    return f"{place} + {count}" if count else place


def _unroll(w: CWriter, count: int) -> None:
    """Let the compiler unroll the loop that follows: a copy is a load and a store."""
    if count > 1:
        w(f"#pragma GCC unroll {min(count, _UNROLL)}")
