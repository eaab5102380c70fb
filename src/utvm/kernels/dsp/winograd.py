"""Exact integer Winograd convolution for cores with the DSP extension: fewer products, not one bit of difference.

Everything is computed modulo 2^32 with scaled integer transforms, and the scale is divided out exactly at the end: by a
shift, and by a multiplication with the modular inverse of its odd factor. That holds while the true sums fit, which
`applies` proves for each channel from its weights. It costs flash (int16 weights at every point) and scratch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.graph import Conv2D, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.dsp.assembly import loop_cycles
from utvm.kernels.dsp.stream import Finish, Requantizer, accumulator_bound, folded_bias, requantizer, to_words
from utvm.kernels.dsp.winograd_stages import (
    Ending,
    Products,
    Strided,
    ending_loop,
    products_loop,
    transform_loop,
)
from utvm.kernels.dsp.winograd_transforms import TRANSFORMS, Transform
from utvm.kernels.overlap import line_ahead
from utvm.kernels.workload import dims, workload

CHANNELS = 2
_STREAM_WORDS = 5
_EXPANSION_CYCLES, _CALL_CYCLES = 3, 30
_MOST_SCRATCH = 48 * 1024
_PARAMETERS = (
    CParameter(name="x", c_type="int8_t", role="input"),
    CParameter(name="weights", c_type="int32_t", role="constant"),
    CParameter(name="stream", c_type="int32_t", role="constant"),
    CParameter(name="scratch", c_type="int32_t", role="scratch"),
    CParameter(name="y", c_type="int8_t", role="output"),
)


class WinogradConvolution(KernelFamily):
    """Conv2D 3x3 and 5x5, stride 1, whose output divides into tiles. Knob: `tile`, the outputs of a tile's side."""

    name = "winograd"

    def applies(self, op: Operator, core: Core) -> bool:
        """Whether some tile size is proven exact for `op`'s weights and fits its shape."""
        return core.dsp and core.timing is not None and isinstance(op, Conv2D) and bool(_tiles(op))

    def space(self, op: Operator, core: Core) -> Space:
        """Return the tile sizes that are exact."""
        del core
        assert isinstance(op, Conv2D)
        return {"tile": _tiles(op)}

    def default(self, op: Operator, core: Core) -> Config:
        """Return the largest tile."""
        del core
        assert isinstance(op, Conv2D)
        return {"tile": max(_tiles(op))}

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return every tile size: larger ones need more flash and scratch."""
        del core
        assert isinstance(op, Conv2D)
        return tuple({"tile": tile} for tile in _tiles(op))

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all stages."""
        assert isinstance(op, Conv2D)
        return _Plan.of(op, int(config["tile"])).cycles(core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a convolution."""
        assert isinstance(op, Conv2D)
        assert core.timing is not None
        plan = _Plan.of(op, int(config["tile"]))
        w = CWriter()
        _write_function(w, plan)
        size = f"F({plan.transform.outputs}x{plan.transform.outputs},{plan.transform.taps}x{plan.transform.taps})"
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"conv2d_{dims(op.x.shape[1:])}_{op.y.shape[3]}_winograd{plan.transform.outputs}",
                comment=f"{workload(op)}\nfamily {self.name}, {size}",
                parameters=_PARAMETERS,
                body=w.text,
                helpers=("utvm_extend_even", "utvm_extend_odd"),
                support=plan.stages(core.timing),
            ),
            constants={
                "weights": CArray(c_type="int32_t", values=plan.weight_words()),
                "stream": CArray(c_type="int32_t", values=plan.stream()),
            },
            scratch_bytes=plan.scratch_bytes,
            ahead=line_ahead(op, rows=plan.transform.outputs * plan.tile_rows),
        )


def _tiles(op: Conv2D) -> tuple[int, ...]:
    """Return the tile sizes that suit a convolution: shape, room, and proof of exactness."""
    _, out_height, out_width, out_channels = op.y.shape
    taps = op.weights.shape[1]
    if op.weights.shape[2] != taps or op.stride != (1, 1) or op.dilation != (1, 1) or op.groups != 1:
        return ()
    if op.x.shape[3] % 4 or out_channels % CHANNELS or requantizer(op) is None:
        return ()
    found = []
    for (size, outputs), transform in TRANSFORMS.items():
        if size != taps or out_height % outputs or out_width % outputs:
            continue
        plan = _Plan.of(op, outputs)
        if _is_exact(op, transform, plan) and plan.reachable and plan.scratch_bytes <= _MOST_SCRATCH:
            found.append(outputs)
    return tuple(found)


def _is_exact(op: Conv2D, transform: Transform, plan: _Plan) -> bool:
    """Whether transformed weights and data fit int16, and the scaled sums fit int32 once the odd factor is gone."""
    data_fits = transform.data_gain**2 * 128 < 1 << 15
    points = plan.point_weights()
    weights_fit = bool((np.abs(points) < 1 << 15).all())
    room = (1 << 31) >> plan.right
    sums = accumulator_bound(op, 0) + np.abs(plan.requantizer.bias_addend)
    return data_fits and weights_fit and bool((sums < room).all())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plan:
    """Everything that the C, the micro-kernels and the constants of one layer agree on. Sizes in bytes."""

    op: Conv2D
    transform: Transform
    requantizer: Requantizer

    @staticmethod
    def of(op: Conv2D, outputs: int) -> _Plan:
        found = requantizer(op)
        assert found is not None
        return _Plan(op=op, transform=TRANSFORMS[op.weights.shape[1], outputs], requantizer=found)

    @property
    def right(self) -> int:
        """The power of two in the scale of both dimensions."""
        scale = self.transform.scale**2
        return (scale & -scale).bit_length() - 1

    @property
    def odd(self) -> int:
        return self.transform.scale**2 >> self.right

    @property
    def points(self) -> int:
        return self.transform.points

    @property
    def words(self) -> int:
        """Lane pairs of a pixel's channels."""
        return self.op.x.shape[3] // 2

    @property
    def tiles_across(self) -> int:
        return self.op.y.shape[2] // self.transform.outputs

    @property
    def tile_rows(self) -> int:
        """Rows of tiles that are computed together, so that blocks of four tiles are full where that is possible."""
        down = self.op.y.shape[1] // self.transform.outputs
        return 2 if self.tiles_across % 4 and self.tiles_across * 2 % 4 == 0 and down % 2 == 0 else 1

    @property
    def tiles(self) -> int:
        return self.tiles_across * self.tile_rows

    @property
    def tiles_at_once(self) -> int:
        return next(m for m in (4, 3, 2, 1) if self.tiles % m == 0)

    @property
    def padded_width(self) -> int:
        return self.op.y.shape[2] + self.transform.taps - 1

    @property
    def row_bytes(self) -> int:
        return self.padded_width * self.words * 4

    @property
    def data_point_bytes(self) -> int:
        return self.tiles * self.words * 4

    @property
    def sum_point_bytes(self) -> int:
        return self.tiles * CHANNELS * 4

    @property
    def data_at(self) -> int:
        return 2 * self.points * self.row_bytes

    @property
    def sums_at(self) -> int:
        return self.data_at + self.points**2 * self.data_point_bytes

    @property
    def scratch_bytes(self) -> int:
        """Rows, rows transformed down, data at all points, sums at all points."""
        return self.sums_at + self.points**2 * self.sum_point_bytes

    @property
    def vertical(self) -> Strided:
        return Strided(stride=self.row_bytes, count=self.points)

    @property
    def horizontal(self) -> tuple[Strided, Strided]:
        return (
            Strided(stride=self.words * 4, count=self.points),
            Strided(stride=self.data_point_bytes, count=self.points),
        )

    @property
    def back(self) -> tuple[Strided, Strided]:
        stride = self.points * self.sum_point_bytes
        return Strided(stride=stride, count=self.points), Strided(stride=stride, count=self.transform.outputs)

    @property
    def reachable(self) -> bool:
        """Whether all offsets fit."""
        far = (self.points - 1) * self.sum_point_bytes
        products = 4 * max(self.tiles_at_once, CHANNELS) * self.words
        reach = all(s.reachable for s in (self.vertical, *self.horizontal, *self.back))
        return reach and far <= 4095 and products <= 4095 and self.transform.outputs * self.op.y.shape[3] <= 4095

    def point_weights(self) -> NDArray[np.int64]:
        """Return the transformed weights: [points, points, OC, IC]."""
        weights, matrix = self.op.weights.values.astype(np.int64), self.transform.weights
        transformed: NDArray[np.int64] = np.einsum("ak,oklc,bl->aboc", matrix, weights, matrix)
        return transformed

    def weight_words(self) -> NDArray[np.int32]:
        """Return the weights in the order of the products: [pair of channels][point][word][channel]."""
        points = self.point_weights().reshape(self.points**2, self.op.y.shape[3], -1, 4)[..., [0, 2, 1, 3]]
        lanes = points.reshape(self.points**2, -1, CHANNELS, self.words, 2).transpose(1, 0, 3, 2, 4)
        return np.ascontiguousarray(lanes.astype(np.int16)).reshape(-1).view(np.int32)

    def stream(self) -> NDArray[np.int32]:
        """Return the constants of each channel's finish."""
        bias = (folded_bias(self.op, 0) + self.requantizer.bias_addend) << self.right
        channels = bias.size
        inverse = np.full(channels, pow(self.odd, -1, 1 << 32), np.int64)
        zero = np.full(channels, self.op.y.zero_point, np.int64)
        table = np.stack([bias, inverse, self.requantizer.first, self.requantizer.second, zero])
        return to_words(table.T.reshape(-1))

    def symbol(self, stage: str) -> str:
        parts = (self.transform.outputs, self.transform.taps, self.op.x.shape, self.op.y.shape, self.tiles, self.shift)
        digest = hashlib.sha256(
            repr((parts, self.requantizer.finish, self.requantizer.saturation)).encode()
        ).hexdigest()[:8]
        return f"utvm_winograd_{stage}_{digest}"

    def cycles(self, core: Core) -> float:
        """Return the modelled cycles of one call: each stage's loop as often as it turns, and weights from flash."""
        timing = core.timing
        assert timing is not None
        down, across, products, back, ending = (loop_cycles(stage, timing) for stage in self.stages(timing))
        _, out_height, _, out_channels = self.op.y.shape
        row_words, pairs, points = self.row_bytes // 4, out_channels // CHANNELS, self.points
        tile_rows = self.tile_rows * points * (row_words * _EXPANSION_CYCLES + self.tiles_across * self.words * across)
        tile_rows += self.tile_rows * (row_words * down + points * self.tiles_across * _CALL_CYCLES)
        tile_rows += pairs * points**2 * (self.tiles // self.tiles_at_once) * products
        tile_rows += pairs * (points * self.sum_point_bytes // 4) * back
        tile_rows += (
            out_channels * self.tile_rows * self.transform.outputs * (self.tiles_across * ending + _CALL_CYCLES)
        )
        if core.caches is not None:
            tile_rows += core.caches.streaming(0, 4 * self.points**2 * self.words * out_channels, 1)
        return self.op.x.shape[0] * (out_height // (self.transform.outputs * self.tile_rows)) * tile_rows

    @property
    def shift(self) -> int:
        return int(self.requantizer.first[0]) if self.requantizer.finish is Finish.SHIFT else 0

    def stages(self, timing: Timing) -> tuple[CSupport, ...]:
        """Return the micro-kernels."""
        t = self.transform
        across, spread = self.horizontal
        ending = Ending(
            points=self.points,
            point_bytes=self.sum_point_bytes,
            sum_step=CHANNELS * 4,
            stream_step=0,
            out_step=t.outputs * self.op.y.shape[3],
            out_pixel=self.op.y.shape[3],
            outputs=t.outputs,
            odd=self.odd,
            right=self.right,
            finish=self.requantizer.finish,
            saturation=self.requantizer.saturation,
            shift=self.shift,
        )
        products = Products(
            tiles=self.tiles_at_once,
            channels=CHANNELS,
            words=self.words,
            blocks=self.tiles // self.tiles_at_once,
        )
        return (
            _transform(self.symbol("down"), t, False, self.vertical, self.vertical, timing, "data transform, down"),
            _transform(self.symbol("across"), t, False, across, spread, timing, "data transform, across"),
            _products(self.symbol("products"), products, timing),
            _transform(self.symbol("back"), t, True, *self.back, timing, "inverse transform, down"),
            _ending(self.symbol("ending"), t, ending, timing),
        )


@lru_cache(maxsize=1024)
def _transform(
    symbol: str, t: Transform, inverse: bool, source: Strided, target: Strided, timing: Timing, what: str
) -> CSupport:
    return transform_loop(symbol, t.inverse if inverse else t.data, source, target, timing, what=what)


@lru_cache(maxsize=1024)
def _products(symbol: str, spec: Products, timing: Timing) -> CSupport:
    return products_loop(symbol, spec, timing)


@lru_cache(maxsize=1024)
def _ending(symbol: str, t: Transform, spec: Ending, timing: Timing) -> CSupport:
    return ending_loop(symbol, t.inverse, spec, timing)


def _write_function(w: CWriter, plan: _Plan) -> None:
    op, t = plan.op, plan.transform
    batch = op.x.shape[0]
    _, out_height, out_width, out_channels = op.y.shape
    row, points = plan.row_bytes // 4, plan.points
    w("uint32_t *const rows = (uint32_t *)(void *)scratch;", f"uint32_t *const down = rows + {points * row};")
    w(f"uint32_t *const data = rows + {plan.data_at // 4};", f"int32_t *const sums = scratch + {plan.sums_at // 4};")
    with w.loop("n", batch), w.loop("ty", out_height // (t.outputs * plan.tile_rows)):
        with w.loop("tr", plan.tile_rows):
            w(f"const int32_t top = (ty * {plan.tile_rows} + tr) * {t.outputs} - {op.padding.top};")
            with w.loop("i", points):
                _write_row(w, plan)
            w(f"{plan.symbol('down')}(rows, down, {row});")
            with w.loop("i", points), w.loop("tile", plan.tiles_across):
                source = f"down + i * {row} + tile * {t.outputs * plan.words}"
                target = (
                    f"data + i * {points * plan.data_point_bytes // 4} + "
                    f"(tr * {plan.tiles_across} + tile) * {plan.words}"
                )
                w(f"{plan.symbol('across')}({source}, {target}, {plan.words});")
        with w.loop("o", out_channels // CHANNELS):
            step = points**2 * plan.words * CHANNELS
            w(f"{plan.symbol('products')}(data, weights + o * {step}, sums, {points**2});")
            w(f"{plan.symbol('back')}(sums, sums, {points * plan.sum_point_bytes // 4});")
            with w.loop("j", CHANNELS), w.loop("tr", plan.tile_rows), w.loop("k", t.outputs):
                w(f"const int32_t oy = (ty * {plan.tile_rows} + tr) * {t.outputs} + k;")
                source = f"sums + k * {points * plan.sum_point_bytes // 4} + tr * {plan.tiles_across * CHANNELS} + j"
                target = f"y + (n * {out_height} + oy) * {out_width * out_channels} + o * {CHANNELS} + j"
                w(f"const int32_t *const channel = stream + (o * {CHANNELS} + j) * {_STREAM_WORDS};")
                w(f"{plan.symbol('ending')}({source}, channel, {target}, {plan.tiles_across});")


def _write_row(w: CWriter, plan: _Plan) -> None:
    """Write the expansion of one input row with its padding, all of it new: rows move by less than they are many."""
    op = plan.op
    _, height, width, channels = op.x.shape
    zero = op.x.zero_point & 0xFFFF
    both = f"0x{zero << 16 | zero:08x}u"
    left = op.padding.left * plan.words
    inside = width * plan.words
    right = plan.padded_width * plan.words - left - inside
    w(f"uint32_t *to = rows + i * {plan.row_bytes // 4};", "const int32_t iy = top + i;")
    with w.block(f"if (iy < 0 || iy >= {height})"), w.loop("k", plan.row_bytes // 4):
        w(f"to[k] = {both};")
    with w.block("else"):
        for start, count in ((0, left), (left + inside, right)):
            if count > 0:
                with w.loop("k", count):
                    w(f"to[{start} + k] = {both};")
        w(f"const uint32_t *from = (const uint32_t *)(const void *)(x + (n * {height} + iy) * {width * channels});")
        w(f"to += {left};")
        with w.loop("k", inside // 2):
            w("const uint32_t four = from[k];")
            w("to[2 * k] = utvm_extend_even(four);", "to[2 * k + 1] = utvm_extend_odd(four);")
