"""Convolutions and fully connected layers by vectors of channels.

Where the taps of all pixels lie in memory as runs of one distance, they are read there; others are copied first, with
the zero point around the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, FullyConnected, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.dsp.finish import folded_bias
from utvm.kernels.helium.finish import ROUNDINGS, Finish, refusal
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.rvv.code import COPY, FILL, RvvFamily
from utvm.kernels.rvv.finish import constants
from utvm.kernels.rvv.product_code import (
    MOST_PIXELS,
    SHAPE_WORDS,
    ProductSpec,
    product_function,
    product_instructions,
    shape,
)
from utvm.kernels.weighted import offset
from utvm.kernels.workload import dims, workload

_COPY_INSTRUCTIONS = 16
"""Of a call that copies or fills a few bytes."""


class RvvProduct(RvvFamily):
    """Conv2D and FullyConnected of any shape. Knobs: `m` pixels at once, `group` registers of a vector of sums."""

    name = "rvv"
    kinds = (Conv2D, FullyConnected)
    roundings = ROUNDINGS

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact finish."""
        if not isinstance(op, Conv2D | FullyConnected):
            return super().refusal(op, core)
        return self.lacks(core) or refusal(op)

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs."""
        del op, core
        return {"m": tuple(range(1, max(MOST_PIXELS.values()) + 1)), "group": tuple(MOST_PIXELS)}

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether the sums of all pixels have registers."""
        del core
        assert isinstance(op, Conv2D | FullyConnected)
        m = int(config["m"])
        return m <= MOST_PIXELS[int(config["group"])] and m <= _Plan.of(op, config).longest

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config of the fewest instructions."""
        return min(self._configs(op, core), key=lambda config: self.estimate(op, core, config))

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the fastest config, and the one that copies least at once."""
        best = self.default(op, core)
        least = {**best, "m": 1}
        return (best,) if best["m"] == 1 else (best, least)

    def _configs(self, op: Operator, core: Core) -> list[Config]:
        every = [{"m": m, "group": size} for size, most in MOST_PIXELS.items() for m in range(1, most + 1)]
        return [config for config in every if self.legal(op, core, config)]

    def estimate(self, op: Operator, core: Core, config: Config) -> float:
        """Return the instructions of all calls and copies."""
        assert isinstance(op, Conv2D | FullyConnected)
        return _Plan.of(op, config).instructions(core.zve32x // 32)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        del core
        assert isinstance(op, Conv2D | FullyConnected)
        plan = _Plan.of(op, config)
        w = CWriter()
        plan.write(w)
        functions = tuple(product_function(plan.spec(pixels)) for pixels in plan.sizes)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{_stem(op)}_rvv",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="weights", c_type="int8_t", role="constant"),
                    CParameter(name="finish", c_type="int32_t", role="constant"),
                    CParameter(name="shape", c_type="int32_t", role="constant"),
                    *([CParameter(name="taps", c_type="int8_t", role="scratch")] if plan.copies else []),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                support=(*((COPY, FILL) if plan.copies else ()), *functions),
            ),
            constants={
                "weights": CArray(c_type="int8_t", values=plan.weights()),
                "finish": CArray(c_type="int32_t", values=plan.finish()),
                "shape": CArray(c_type="int32_t", values=plan.shapes()),
            },
            scratch_bytes=plan.m * plan.depth if plan.copies else 0,
            ahead=nest_ahead(op) if isinstance(op, Conv2D) else None,
        )


def _stem(op: Conv2D | FullyConnected) -> str:
    if isinstance(op, FullyConnected):
        return f"fully_connected_{op.weights.shape[1]}_{op.weights.shape[0]}"
    return f"conv2d_{dims(op.x.shape[1:])}_{op.weights.shape[0]}_k{op.weights.shape[1]}x{op.weights.shape[2]}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plan:
    """What the C and the constants of one layer agree on.

    Attributes:
        op: the layer.
        m, group: the config.
        lines: rows of pixels, and `across` pixels of each.
        inside: the first pixel of a row, and the first one behind it, whose taps lie in memory as runs.
        rows_inside: the same of rows of pixels.
    """

    op: Conv2D | FullyConnected
    m: int
    group: int
    across: int
    inside: tuple[int, int]
    rows_inside: tuple[int, int]

    @staticmethod
    def of(op: Conv2D | FullyConnected, config: Config) -> _Plan:
        m, size = int(config["m"]), int(config["group"])
        if isinstance(op, FullyConnected) or _is_flat(op):
            pixels = op.y.elements // op.weights.shape[0]
            return _Plan(op=op, m=m, group=size, across=pixels, inside=(0, pixels), rows_inside=(0, 1))
        _, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        down = inside(out_height, height, op.stride[0], op.padding.top, (op.weights.shape[1] - 1) * op.dilation[0])
        along = inside(out_width, width, op.stride[1], op.padding.left, (op.weights.shape[2] - 1) * op.dilation[1])
        if op.weights.shape[2] > 1 and (op.dilation[1] > 1 or op.weights.shape[3] < channels):
            along = (0, 0)
        if along[0] == along[1] or down[0] == down[1]:
            along = down = (0, 0)
        return _Plan(op=op, m=m, group=size, across=out_width, inside=along, rows_inside=down)

    @property
    def flat(self) -> bool:
        """Whether all pixels are one row."""
        return isinstance(self.op, FullyConnected) or _is_flat(self.op)

    @property
    def groups(self) -> int:
        """Groups of channels."""
        return 1 if isinstance(self.op, FullyConnected) else self.op.groups

    @property
    def depth(self) -> int:
        """Taps of an output."""
        return prod(self.op.weights.shape[1:])

    @property
    def channels(self) -> int:
        """Outputs of a group."""
        return self.op.weights.shape[0] // self.groups

    @property
    def segments(self) -> list[tuple[int, int, bool]]:
        """First and end of the runs of pixels of a row inside, and whether they are read in place."""
        start, end = self.inside
        every = [(0, start, False), (start, end, True), (end, self.across, False)]
        return [each for each in every if each[0] < each[1]]

    @property
    def longest(self) -> int:
        """Pixels of the longest run."""
        whole = [self.across] if self.rows_inside != (0, self._lines) else []
        return max([end - start for start, end, _ in self.segments] + whole)

    @property
    def _lines(self) -> int:
        return 1 if self.flat else self.op.y.shape[1]

    @property
    def copies(self) -> bool:
        """Whether some taps are copied."""
        return not self.flat and (self.rows_inside != (0, self._lines) or self.inside != (0, self.across))

    @property
    def _counts(self) -> list[tuple[int, bool, int]]:
        """Lengths of runs of pixels, whether they are read in place, and how many there are in an image."""
        down = self.rows_inside[1] - self.rows_inside[0]
        found = [(end - start, there, down) for start, end, there in self.segments] if down else []
        return found + ([(self.across, False, self._lines - down)] if down < self._lines else [])

    @property
    def sizes(self) -> tuple[int, ...]:
        """The pixels at once of the functions that are called."""
        lengths = [length for length, _, _ in self._counts]
        large = any(length >= self.m for length in lengths)
        single = any(length % self.m for length in lengths)
        return tuple(sorted({*([self.m] if large else []), *([1] if single else [])}, reverse=True))

    def spec(self, pixels: int) -> ProductSpec:
        """Return the function of so many pixels; single ones always have the wider vectors."""
        return ProductSpec(pixels=pixels, group=self.group, finish=Finish.of(self.op))

    def instructions(self, lanes: int) -> float:
        """Return about how many instructions a call takes, for vector registers of so many words."""
        op = self.op
        images = 1 if self.flat else op.x.shape[0]
        in_place = self._runs
        total = 0.0
        for length, there, lines in self._counts:
            rows, run = in_place if there else (1, self.depth)
            for pixels, times in ((self.m, length // self.m), (1, length % self.m)):
                call = product_instructions(self.spec(pixels), rows=rows, run=run, channels=self.channels, lanes=lanes)
                total += lines * times * (call + (0.0 if there else pixels * self._copy_instructions))
        return images * self.groups * total

    @property
    def _runs(self) -> tuple[int, int]:
        """How many runs the taps of a pixel are in memory, and the bytes of each."""
        if self.flat:
            return 1, self.depth
        height, width, channels = self.op.weights.shape[1:]
        return height, width * channels

    @property
    def _copy_instructions(self) -> float:
        height, width, _ = self.op.weights.shape[1:]
        return height * (width if self._by_taps else 3) * (_COPY_INSTRUCTIONS + 8) + self.depth / 8

    @property
    def _by_taps(self) -> bool:
        op = self.op
        assert isinstance(op, Conv2D)
        return op.dilation[1] > 1 or op.groups > 1

    def weights(self) -> NDArray[np.int8]:
        """Return the weights as [group, tap, channel]."""
        values = self.op.weights.values.reshape(self.groups, self.channels, self.depth)
        return np.ascontiguousarray(values.transpose(0, 2, 1)).astype(np.int8)

    def finish(self) -> NDArray[np.int32]:
        """Return biases and constants of the finish as [group, which, channel]."""
        rows = np.stack([folded_bias(self.op), *constants(self.op)])
        by_group = rows.reshape(len(rows), self.groups, self.channels).transpose(1, 0, 2)
        return np.ascontiguousarray(by_group).astype(np.int32)

    def shapes(self) -> NDArray[np.int32]:
        """Return the words of taps in place, and of copied ones."""
        op = self.op
        if self.flat:
            pitch = op.weights.shape[1] if isinstance(op, FullyConnected) else op.x.shape[3]
            row_stride = self.depth
        else:
            assert isinstance(op, Conv2D)
            pitch, row_stride = op.stride[1] * op.x.shape[3], op.dilation[0] * op.x.shape[2] * op.x.shape[3]

        def words(rows: int, run: int, row_stride: int, pitch: int) -> tuple[int, ...]:
            return shape(
                rows=rows, run=run, row_stride=row_stride, pitch=pitch, channels=self.channels,
                out_pitch=op.weights.shape[0], finish=Finish.of(op),
            )  # fmt: skip

        copied = words(1, self.depth, self.depth, self.depth) if self.copies else ()
        return np.array([*words(*self._runs, row_stride, pitch), *copied], np.int32)

    def write(self, w: CWriter) -> None:
        """Write the body of the kernel."""
        op = self.op
        if self.flat:
            pitch = op.weights.shape[1] if isinstance(op, FullyConnected) else op.x.shape[3]
            self._write_run(w, 0, self.across, f"x + i * {pitch}", f"y + i * {op.weights.shape[0]}")
            return
        assert isinstance(op, Conv2D)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, out_channels = op.y.shape
        first, last = self.rows_inside
        with w.loop("n", batch), w.loop("oy", out_height):
            w(f"const int32_t top = oy * {op.stride[0]}{offset(-op.padding.top)};")
            w(f"int8_t *row = y + (n * {out_height} + oy) * {out_width * out_channels};")
            if first == last:
                self._write_copied(w, 0, out_width)
                return
            outside = [*([f"oy < {first}"] if first else []), *([f"oy >= {last}"] if last < out_height else [])]
            if outside:
                with w.block(f"if ({' || '.join(outside)})"):
                    self._write_copied(w, 0, out_width)
                    w("continue;")
            for start, end, there in self.segments:
                if not there:
                    self._write_copied(w, start, end)
                    continue
                pixel = f"(i * {op.stride[1]}{offset(-op.padding.left)}) * {channels}"
                place = f"(n * {height} + top) * {width * channels} + {pixel}"
                self._write_run(w, start, end, f"x + {place}", f"row + i * {out_channels}")

    def _write_run(self, w: CWriter, start: int, end: int, x: str, y: str) -> None:
        """Write the calls for pixels whose taps are read in place."""
        for pixels, begin, stop in _parts(start, end, self.m):
            with w.block(f"for (int32_t i = {begin}; i < {stop}; i += {pixels})"):
                self._write_groups(w, pixels, x, y)

    def _write_groups(self, w: CWriter, pixels: int, x: str | None, y: str) -> None:
        """Write the calls for `pixels` pixels of all groups; their taps are copied first where `x` is None."""
        name, inner = self.spec(pixels).name, self.op.weights.shape[-1]
        shape_at = "shape" if x is not None else f"shape + {SHAPE_WORDS}"
        if self.groups == 1:
            if x is None:
                self._write_taps(w, pixels, "")
            w(f"{name}({x or 'taps'}, weights, finish, {shape_at}, {y});")
            return
        arrays = 1 + len(constants(self.op))
        with w.loop("g", self.groups):
            if x is None:
                self._write_taps(w, pixels, f" + g * {inner}")
            given = "taps" if x is None else f"{x} + g * {inner}"
            w(f"{name}({given}, weights + g * {self.depth * self.channels}, finish + g * {arrays * self.channels},")
            w(f"  {shape_at}, {y} + g * {self.channels});")

    def _write_copied(self, w: CWriter, start: int, end: int) -> None:
        """Write the copies of taps and the calls for the pixels of a row from `start` to before `end`."""
        for pixels, begin, stop in _parts(start, end, self.m):
            with w.block(f"for (int32_t i = {begin}; i < {stop}; i += {pixels})"):
                self._write_groups(w, pixels, None, f"row + i * {self.op.weights.shape[0]}")

    def _write_taps(self, w: CWriter, pixels: int, group_offset: str) -> None:
        """Write the copy of the taps of pixels i and on, the zero point where they lie outside the input."""
        op = self.op
        assert isinstance(op, Conv2D)
        _, height, width, channels = op.x.shape
        _, rows, columns, inner = op.weights.shape
        zero = op.x.zero_point
        w("int8_t *to = taps;")
        with w.block(f"for (int32_t p = i; p < i + {pixels}; p++)"):
            w(f"const int32_t left = p * {op.stride[1]}{offset(-op.padding.left)};")
            with w.loop("ky", rows):
                w(f"const int32_t iy = top + ky * {op.dilation[0]};")
                if self._by_taps:
                    with w.loop("kx", columns):
                        w(f"const int32_t ix = left + kx * {op.dilation[1]};")
                        with w.block(f"if (iy >= 0 && iy < {height} && ix >= 0 && ix < {width})"):
                            pixel = f"((n * {height} + iy) * {width} + ix) * {channels}{group_offset}"
                            w(f"{COPY.name}(to, x + {pixel}, {inner});")
                        with w.block("else"):
                            w(f"{FILL.name}(to, {zero}, {inner});")
                        w(f"to += {inner};")
                    return
                w(f"const int32_t inside = iy >= 0 && iy < {height};")
                w(f"const int32_t before = left < -{columns} ? {columns} : (left < 0 ? -left : 0);")
                w(f"const int32_t first = inside ? before : {columns};")
                w(f"const int32_t room = {width} - left;")
                w(f"const int32_t end = room < first ? first : (room < {columns} ? room : {columns});")
                w(f"{FILL.name}(to, {zero}, first * {inner});")
                with w.block("if (first < end)"):
                    w(f"const int8_t *from = x + ((n * {height} + iy) * {width} + left + first) * {channels};")
                    w(f"{COPY.name}(to + first * {inner}, from, (end - first) * {inner});")
                w(f"{FILL.name}(to + end * {inner}, {zero}, ({columns} - end) * {inner});")
                w(f"to += {columns * inner};")


def _parts(start: int, end: int, size: int) -> list[tuple[int, int, int]]:
    """Return pixels at once, first and end of whole blocks and of what is left, without the empty ones."""
    whole = start + (end - start) // size * size
    every = [(size, start, whole), (1, whole, end)]
    return [part for part in every if part[1] < part[2]]


def _is_flat(op: Conv2D) -> bool:
    return op.weights.shape[1:3] == op.stride == (1, 1) and not op.padding.any


def inside(outputs: int, size: int, stride: int, before: int, reach: int) -> tuple[int, int]:
    """Return the first window that begins inside, and the first behind it that ends outside."""
    found = [o for o in range(outputs) if o * stride >= before and o * stride - before + reach < size]
    return (found[0], found[-1] + 1) if found else (0, 0)
