"""Exact integer Winograd convolution along rows alone: one dimension at a time, for any height of the kernel.

The weights need fewer bits than in two dimensions, so it serves where those do not fit int16, and it costs less flash
and scratch. Each input row is expanded and transformed once, into a ring of as many rows as the kernel is high; at each
point of the transform the sums over the kernel's rows and channels are a direct convolution of columns. Scales and
their removal are those of `utvm.kernels.dsp.winograd`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.cores.timing import Timing
from utvm.graph import Conv2D, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.dsp.assembly import loop_cycles
from utvm.kernels.dsp.multiply import MultiplySpec, multiply_cycles, multiply_kernel
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
from utvm.kernels.overlap import ring_ahead
from utvm.kernels.workload import dims, workload

_STREAM_WORDS = 5
_MAX_OFFSET = 4095
_MOST_SCRATCH = 48 * 1024
_UNROLL_LIMIT = 1400
_BLOCKS = ((4, 2), (2, 4), (3, 2), (2, 3), (2, 2), (1, 8), (1, 6), (1, 4), (4, 1), (1, 2), (2, 1), (1, 1))
_EXPANSION_CYCLES, _LANE_CYCLES, _CALL_CYCLES, _MULTIPLY_CALL_CYCLES = 3, 8, 30, 60
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
        return core.dsp and core.timing is not None and isinstance(op, Conv2D) and bool(_tiles(op))

    def space(self, op: Operator, core: Core) -> Space:
        """Return the tile sizes that are exact."""
        del core
        assert isinstance(op, Conv2D)
        return {"tile": _tiles(op)}

    def default(self, op: Operator, core: Core) -> Config:
        """Return the fastest tile by the estimate."""
        return min(self.contenders(op, core), key=lambda config: self.estimate(op, core, config) or 0.0)

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return every tile size: larger ones need more flash and scratch."""
        del core
        assert isinstance(op, Conv2D)
        return tuple({"tile": tile} for tile in _tiles(op))

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all stages."""
        assert isinstance(op, Conv2D)
        assert core.timing is not None
        return _Plan.of(op, int(config["tile"]), core.timing).cycles(core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a convolution."""
        assert isinstance(op, Conv2D)
        assert core.timing is not None
        plan = _Plan.of(op, int(config["tile"]), core.timing)
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


def _tiles(op: Conv2D) -> tuple[int, ...]:
    """Return the tile sizes that suit a convolution: shape, room, and proof of exactness."""
    _, height, width, _ = op.weights.shape
    if op.stride[1] != 1 or op.dilation != (1, 1) or op.groups != 1 or height < 2 or requantizer(op) is None:
        return ()
    found = []
    for (size, outputs), transform in ROW_TRANSFORMS.items():
        if size != width or op.y.shape[2] % outputs:
            continue
        plan = _Plan(op=op, transform=transform, requantizer=_requantizer(op), m=1, n=1)
        if _is_exact(plan) and plan.chunk and plan.reachable and plan.scratch_bytes <= _MOST_SCRATCH:
            found.append(outputs)
    return tuple(found)


def _is_exact(plan: _Plan) -> bool:
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
class _Plan:
    """Everything that the C, the micro-kernels and the constants of one layer agree on. Sizes in bytes.

    `m` tiles by `n` channels are summed in registers at a time.
    """

    op: Conv2D
    transform: Transform
    requantizer: Requantizer
    m: int
    n: int

    @staticmethod
    def of(op: Conv2D, outputs: int, timing: Timing) -> _Plan:
        """Return the plan with the block that is fastest on a core."""
        best: tuple[float, _Plan] | None = None
        for m, n in _BLOCKS:
            plan = _Plan(
                op=op, transform=ROW_TRANSFORMS[op.weights.shape[2], outputs], requantizer=_requantizer(op), m=m, n=n
            )
            if plan.tiles % m or plan.chunk % n:
                continue
            try:
                cycles = (multiply_cycles(plan.products, timing) + _MULTIPLY_CALL_CYCLES * n / plan.chunk) / (m * n)
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
            unrolled=self.kernel_rows * self.words * self.m * self.n <= _UNROLL_LIMIT,
            uniform=False,
        )

    @property
    def ending(self) -> Ending:
        channels = self.op.y.shape[3]
        return Ending(
            points=self.points,
            point_bytes=4 * self.tiles * self.chunk,
            sum_step=4,
            stream_step=4 * _STREAM_WORDS,
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
        calls = channels // self.chunk * self.points * (self.tiles // self.m)
        row_out: float = calls * _MULTIPLY_CALL_CYCLES
        row_out += calls * self.chunk // self.n * multiply_cycles(self.products, timing)
        row_out += self.tiles * channels * loop_cycles(ending, timing)
        row_out += self.tiles * channels // self.chunk * _CALL_CYCLES
        if core.caches is not None:
            row_out += core.caches.streaming(0, 4 * self.points * channels * self.kernel_rows * self.words, 1)
        return batch * (height * row_in + out_height * row_out)


@lru_cache(maxsize=1024)
def _transform(symbol: str, t: Transform, source: Strided, target: Strided, timing: Timing) -> CSupport:
    return transform_loop(symbol, t.data, source, target, timing, what="data transform of a tile")


@lru_cache(maxsize=1024)
def _products(symbol: str, spec: MultiplySpec, timing: Timing) -> CSupport:
    return multiply_kernel(symbol, spec, timing)


@lru_cache(maxsize=1024)
def _ending(symbol: str, t: Transform, spec: Ending, timing: Timing) -> CSupport:
    return ending_loop(symbol, t.inverse, spec, timing)


def _write_function(w: CWriter, plan: _Plan) -> tuple[str, ...]:
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
                    constants = f"stream + chunk * {plan.chunk * _STREAM_WORDS}"
                    w(f"{plan.symbol('ending')}(sums + tile * {plan.chunk}, {constants}, {target}, {plan.chunk});")
    return helpers


def _write_products(w: CWriter, plan: _Plan) -> None:
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


def _write_transform(w: CWriter, plan: _Plan, target: str) -> None:
    """Write the transform of the expanded row into a slot."""
    step = plan.transform.outputs * plan.words
    with w.loop("tile", plan.tiles):
        w(f"{plan.symbol('across')}(line + tile * {step}, {target} + tile * {plan.words}, {plan.words});")


def _write_expansion(w: CWriter, plan: _Plan) -> tuple[str, ...]:
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
