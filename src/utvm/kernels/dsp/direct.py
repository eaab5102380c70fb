"""Direct convolution and fully connected layers for cores with the DSP extension: SMLAD on int16 lanes.

Each input row is expanded to int16 once, into a ring of as many rows as the kernel is high; an assembler micro-kernel
computes M pixels by N channels in registers. Scratch is the ring.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.cores.timing import Timing
from utvm.graph import Conv2D, FullyConnected, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.dsp.expand import write_expansion
from utvm.kernels.dsp.geometry import Rows, Window
from utvm.kernels.dsp.multiply import (
    MultiplySpec,
    multiply_code_bytes,
    multiply_cycles,
    multiply_kernel,
    plain_offsets,
)
from utvm.kernels.dsp.stream import (
    PAIR8_BOUND,
    Finish,
    Requantizer,
    UniformFinish,
    WeightForm,
    accumulator_bound,
    folded_bias,
    lane_words,
    requantizer,
    to_words,
    uniform_finish,
)
from utvm.kernels.overlap import ring_ahead
from utvm.kernels.workload import dims, workload

_BLOCKS = ((4, 2), (3, 2), (2, 4), (2, 3), (2, 2), (1, 8), (1, 6), (1, 4), (1, 2), (4, 1), (3, 1), (2, 1), (1, 1))
_MOST_CANDIDATES, _MOST_WITH_CACHES = 7, 21
_WIDE_WEIGHTS = 4096
_BLOCK_COST = 0.1
_EXPANSION_CYCLES = 1.5
_CALL_CYCLES, _CALL_CYCLES_PER_ROW = 40, 4
_UNROLL_LIMIT = 700
_UNROLL_MOST = 4000
_PARAMETERS = (
    CParameter(name="x", c_type="int8_t", role="input"),
    CParameter(name="stream", c_type="int32_t", role="constant"),
    CParameter(name="scratch", c_type="int16_t", role="scratch"),
    CParameter(name="y", c_type="int8_t", role="output"),
)


class DirectConvolution(KernelFamily):
    """Conv2D and FullyConnected by a scheduled M x N block of SMLAD.

    Knobs: `m` pixels and `n` channels of the register block, `form` of the weights (`pair8` costs one byte a weight,
    `int16` two), `unroll` (whether all rows of the kernel stand in one body).
    """

    name = "direct"

    def applies(self, op: Operator, core: Core) -> bool:
        """Whether `op` has the short exact requantisation, and its rows fit the offsets of a load."""
        if not (core.dsp and core.timing is not None) or not isinstance(op, Conv2D | FullyConnected):
            return False
        if isinstance(op, Conv2D) and op.groups != 1:
            return False
        return requantizer(op) is not None and Rows.of(Window.of(op)).split(1, _pairs(1, 1)) is not None

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs; combinations that do not fit are refused by `legal`."""
        del op, core
        return {"m": (1, 2, 3, 4), "n": (1, 2, 3, 4, 6, 8), "form": ("pair8", "int16"), "unroll": (0, 1)}

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config of the space can be built."""
        del core
        assert isinstance(op, Conv2D | FullyConnected)
        m, n, form = int(config["m"]), int(config["n"]), WeightForm(str(config["form"]))
        window = Window.of(op)
        rows = Rows.of(window)
        split = rows.split(m, _pairs(m, n))
        if m * n > 8 or m > window.out_width or n > window.out_channels or split is None:
            return False
        if rows.two_copies and m % 2:
            return False
        if form is WeightForm.PAIR8 and (n % 2 or not _pairs_exactly(op)):
            return False
        parts, taps = split
        work = window.kernel[0] * parts * len(taps) * m * n
        return work <= _UNROLL_MOST if int(config["unroll"]) else window.kernel[0] * parts > 1

    def default(self, op: Operator, core: Core) -> Config:
        """Return the block with the fewest modelled cycles of those that a bound on instructions lets through."""
        assert isinstance(op, Conv2D | FullyConnected)
        return self._fastest(op, core, self._candidates(op, core))

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the default, and the fastest with narrow weights and its rows in a loop, which needs less flash."""
        assert isinstance(op, Conv2D | FullyConnected)
        every = self._candidates(op, core)
        best = self._fastest(op, core, every)
        compact = [{**config, "unroll": 0} for config in every if config["form"] == WeightForm.PAIR8]
        compact = [config for config in compact if self.legal(op, core, config)]
        return (best, self._fastest(op, core, compact)) if compact else (best,)

    def _fastest(self, op: Conv2D | FullyConnected, core: Core, candidates: Sequence[Config]) -> Config:
        best: tuple[float, Config] | None = None
        for config in candidates:
            try:
                cycles = _Plan.of(op, config).cycles(core)
            except ScheduleError:
                continue
            if best is None or cycles < best[0]:
                best = cycles, config
        if best is None:
            raise ScheduleError(f"{op.kind} '{op.name}': no register block is legal")
        return best[1]

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all blocks, and of expanding each input row once."""
        assert isinstance(op, Conv2D | FullyConnected)
        return _Plan.of(op, config).cycles(core) + _EXPANSION_CYCLES * op.x.elements

    def _candidates(self, op: Conv2D | FullyConnected, core: Core) -> list[Config]:
        """Return the configs worth a schedule: the fewest instructions first, wide weights only where they are few."""
        window = Window.of(op)
        narrow = _pairs_exactly(op) and window.out_channels > 1
        forms = [WeightForm.PAIR8] if narrow else [WeightForm.INT16]
        if narrow and op.weights.values.nbytes <= _WIDE_WEIGHTS:
            forms.append(WeightForm.INT16)
        found: list[tuple[float, Config]] = []
        for (m, n), form in product(_BLOCKS, forms):
            split = Rows.of(window).split(m, _pairs(m, n))
            work = 0 if split is None else window.kernel[0] * split[0] * len(split[1]) * m * n
            for unroll in (1, 0) if work <= _UNROLL_LIMIT else (0, 1):
                config: Config = {"m": m, "n": n, "form": str(form), "unroll": unroll}
                if self.legal(op, core, config):
                    found.append((_rough_cost(window, m, n), config))
                    if core.caches is None:
                        break
        found.sort(key=lambda item: item[0])
        most = _MOST_CANDIDATES if core.caches is None else _MOST_WITH_CACHES
        return [config for _, config in found[:most]]

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        assert isinstance(op, Conv2D | FullyConnected)
        assert core.timing is not None
        plan = _Plan.of(op, config)
        w = CWriter()
        helpers = _write_function(w, plan)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{_stem(op)}_direct",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=_PARAMETERS,
                body=w.text,
                helpers=helpers,
                support=tuple(plan.kernel(block, core.timing) for block in plan.blocks()),
            ),
            constants={"stream": CArray(c_type="int32_t", values=plan.stream())},
            scratch_bytes=plan.scratch_bytes,
            ahead=ring_ahead(op, plan.window.slots) if isinstance(op, Conv2D) else op.y.nbytes - op.x.nbytes,
        )


def _rough_cost(window: Window, m: int, n: int) -> float:
    """Return instructions for one lane pair of every output, blocks at the edges counted as whole ones."""
    across, blocks = -(-window.out_width // m), -(-window.out_channels // n)
    return across * blocks * (m + 1.5 * n + m * n + _BLOCK_COST * max(1, 8 - m * n))


def _stem(op: Conv2D | FullyConnected) -> str:
    if isinstance(op, FullyConnected):
        return f"fully_connected_{op.weights.shape[1]}_{op.weights.shape[0]}"
    return f"conv2d_{dims(op.x.shape[1:])}_{op.weights.shape[0]}_k{op.weights.shape[1]}x{op.weights.shape[2]}"


def _weights4(op: Conv2D | FullyConnected) -> NDArray[np.int8]:
    values = op.weights.values
    return values if isinstance(op, Conv2D) else values.reshape(values.shape[0], 1, 1, values.shape[1])


def _pairs_exactly(op: Conv2D | FullyConnected) -> bool:
    """Whether two channels can share a lane: 256 * p + q fits int16 and the accumulators' high parts stay exact."""
    smallest = int(op.weights.values.min())
    addend = 1 << 30 if (found := requantizer(op)) is None else int(np.abs(found.bias_addend).max())
    return smallest >= -127 and bool((accumulator_bound(op, 0) + addend < PAIR8_BOUND).all())


def _pairs(m: int, n: int) -> int:
    """Return the most lane pairs of one body."""
    return max(_UNROLL_LIMIT // (m * n), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _BlockSize:
    """One register block: M pixels, N channels."""

    m: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Plan:
    """Everything that the C, the micro-kernels and the stream of one layer agree on."""

    op: Conv2D | FullyConnected
    rows: Rows
    requantizer: Requantizer
    uniform: UniformFinish | None
    m: int
    n: int
    form: WeightForm
    unrolled: bool

    @staticmethod
    def of(op: Conv2D | FullyConnected, config: Config) -> _Plan:
        found = requantizer(op)
        assert found is not None
        return _Plan(
            op=op, rows=Rows.of(Window.of(op)), requantizer=found,
            uniform=uniform_finish(op, found), m=int(config["m"]), n=int(config["n"]),
            form=WeightForm(str(config["form"])), unrolled=bool(int(config["unroll"])),
        )  # fmt: skip

    @property
    def window(self) -> Window:
        return self.rows.window

    @property
    def vertical_padding(self) -> bool:
        return bool(self.window.padding.top or self.window.padding.bottom)

    @property
    def scratch_bytes(self) -> int:
        return (self.window.slots + self.vertical_padding) * self.rows.row_bytes

    @property
    def tail_pixels(self) -> int:
        return self.window.out_width % self.m

    @property
    def tail_channels(self) -> int:
        return self.window.out_channels % self.n

    def blocks(self) -> list[_BlockSize]:
        """Return the register blocks needed: the main one, and those for the last pixels and channels."""
        widths = [self.m, *([self.tail_pixels] if self.tail_pixels else [])]
        heights = [self.n, *([self.tail_channels] if self.tail_channels else [])]
        return [_BlockSize(m=m, n=n) for n in heights for m in widths]

    def form_of(self, block: _BlockSize) -> WeightForm:
        return WeightForm.INT16 if block.n % 2 else self.form

    def spec(self, block: _BlockSize) -> MultiplySpec:
        split = self.rows.split(self.m, _pairs(self.m, self.n))
        assert split is not None
        parts, taps = split
        offsets = tuple(
            plain_offsets(1, 0, [self.rows.pixel_offset(m) + tap for tap in taps])[0] for m in range(block.m)
        )
        return MultiplySpec(
            rows=self.window.kernel[0] * parts, offsets=offsets, channels=block.n,
            pixel_stride=self.window.out_channels, form=self.form_of(block), finish=self.requantizer.finish,
            saturation=self.requantizer.saturation,
            unrolled=self.unrolled, uniform=self.uniform is not None,
        )  # fmt: skip

    def cycles(self, core: Core) -> float:
        """Return the modelled cycles of all blocks and their calls, the expansion of rows left out: all configs pay it.

        Where the core's caches are known, code and weights that do not stay in them are read again and again.

        Raises:
            ScheduleError: a block does not fit the registers.
        """
        window, timing = self.window, core.timing
        assert timing is not None
        full_channels, full_pixels = window.out_channels // self.n, window.out_width // self.m
        total = 0.0
        for block in self.blocks():
            calls = full_pixels if block.m == self.m else 1
            spec = self.spec(block)
            times = full_channels if block.n == self.n else 1
            total += calls * times * multiply_cycles(spec, timing, shift=self.shift)
            total += calls * (_CALL_CYCLES + _CALL_CYCLES_PER_ROW * spec.rows)
            if core.caches is not None:
                code = multiply_code_bytes(spec, timing, shift=self.shift)
                total += core.caches.streaming(code, 0, calls * times)
                total += core.caches.streaming(0, 4 * times * spec.stream_words, calls)
        return total * window.out_height

    @property
    def shift(self) -> int:
        if self.uniform is not None:
            return self.uniform.shift
        return int(self.requantizer.first[0]) if self.requantizer.finish is Finish.SHIFT else 0

    def symbol(self, block: _BlockSize) -> str:
        spec = self.spec(block)
        digest = hashlib.sha256(repr((spec, self.shift)).encode()).hexdigest()[:8]
        return f"utvm_multiply_m{block.m}n{block.n}_{spec.rows}x{spec.pairs}_{digest}"

    def kernel(self, block: _BlockSize, timing: Timing) -> CSupport:
        return _cached_kernel(self.symbol(block), self.spec(block), timing, self.shift)

    def stream(self) -> NDArray[np.int32]:
        """Return the stream: full blocks of N channels, then one of the remaining channels."""
        bias = folded_bias(self.op, 0) + self.requantizer.bias_addend
        lanes = self.rows.weight_lanes(_weights4(self.op))
        parts = [
            self._block_words(lanes, bias, start, min(self.n, self.window.out_channels - start))
            for start in range(0, self.window.out_channels, self.n)
        ]
        return to_words(np.concatenate(parts))

    def _block_words(self, lanes: NDArray[np.int64], bias: NDArray[np.int64], start: int, n: int) -> NDArray[np.int64]:
        chosen = lanes[start : start + n].reshape(n, -1, 2)
        starts = bias[start : start + n].copy()
        if self.form_of(_BlockSize(m=1, n=n)) is WeightForm.PAIR8:
            chosen = 256 * chosen[0::2] + chosen[1::2]
            starts[0::2] = 256 * starts[0::2] + starts[1::2]
        elif self.uniform is not None:
            chosen, starts = 2 * chosen, 2 * starts
        words = lane_words(chosen[..., 0], chosen[..., 1]).T.reshape(-1)
        tail: list[int] = []
        if self.uniform is not None:
            tail += [self.uniform.multiplier, self.uniform.offset]
        elif self.requantizer.finish.multiplies:
            tail.append(self.op.y.zero_point)
            for channel in range(start, start + n):
                tail += [int(self.requantizer.first[channel]), int(self.requantizer.second[channel])]
        return np.concatenate([starts, words, np.array(tail, np.int64)])


@lru_cache(maxsize=4096)
def _cached_kernel(symbol: str, spec: MultiplySpec, timing: Timing, shift: int) -> CSupport:
    return multiply_kernel(symbol, spec, timing, shift=shift)


def _write_function(w: CWriter, plan: _Plan) -> tuple[str, ...]:
    window, rows = plan.window, plan.rows
    slots, lanes = window.slots, rows.row_bytes // 2
    zero = plan.op.x.zero_point & 0xFFFF
    words = plan.scratch_bytes // 4
    batch = plan.op.x.shape[0] if isinstance(plan.op, Conv2D) else 1
    image, out_image = (
        window.height * window.width * window.channels,
        window.out_height * window.out_width * window.out_channels,
    )
    if window.padding.any:
        with w.loop("i", words):
            w(f"((uint32_t *)(void *)scratch)[i] = 0x{zero << 16 | zero:08x}u;")
    if plan.vertical_padding:
        w(f"const int16_t *const padding = scratch + {slots * lanes};")
    with w.loop("n", batch):
        w(f"const int8_t *image = x + n * {image};", "int32_t next = 0;")
        with w.loop("oy", window.out_height):
            w(f"const int32_t top = oy * {window.stride[0]} - {window.padding.top};")
            w(f"int32_t last = top + {slots};", f"last = last < {window.height} ? last : {window.height};")
            w("next = next > top ? next : top;")
            with w.block("for (; next < last; next++)"):
                w(f"const int8_t *from_row = image + next * {window.width * window.channels};")
                w(f"int16_t *to_row = scratch + (next % {slots}) * {lanes};")
                with w.block(""):
                    helpers = write_expansion(
                        w, rows, source="from_row", target="to_row", zero_point=plan.op.x.zero_point
                    )
            _write_row(w, plan, out_image)
    return helpers


def _write_row(w: CWriter, plan: _Plan, out_image: int) -> None:
    window, rows = plan.window, plan.rows
    split = rows.split(plan.m, _pairs(plan.m, plan.n))
    assert split is not None
    parts = split[0]
    height = window.kernel[0]
    w(f"const void *rows[{height * parts}];")
    with w.loop("k", height):
        lanes = rows.row_bytes // 2
        w(f"const int32_t iy = top + k * {window.dilation[0]};")
        row = f"scratch + (iy % {window.slots}) * {lanes}"
        if plan.vertical_padding:
            w(f"const int16_t *row = iy >= 0 && iy < {window.height} ? {row} : padding;")
        else:
            w(f"const int16_t *row = {row};")
        if parts == 1:
            w("rows[k] = row;")
        else:
            with w.loop("part", parts):
                w(f"rows[k * {parts} + part] = row + part * {rows.part_offset(1, parts) // 2};")
    w(f"int8_t *out = y + n * {out_image} + oy * {window.out_width * window.out_channels};")
    full = window.out_width // plan.m
    with w.loop("block", full):
        _write_calls(w, plan, plan.m)
        w(f"out += {plan.m * window.out_channels};")
        with w.loop("k", height * parts):
            w(f"rows[k] = (const int8_t *)rows[k] + {rows.advance_bytes(plan.m)};")
    if plan.tail_pixels:
        _write_calls(w, plan, plan.tail_pixels)


def _write_calls(w: CWriter, plan: _Plan, pixels: int) -> None:
    blocks, remaining = divmod(plan.window.out_channels, plan.n)
    main = _BlockSize(m=pixels, n=plan.n)
    if blocks:
        w(f"{plan.symbol(main)}((const void *const *)rows, stream, out, {blocks});")
    if remaining:
        tail = _BlockSize(m=pixels, n=remaining)
        offset = blocks * plan.spec(main).stream_words
        w(f"{plan.symbol(tail)}((const void *const *)rows, stream + {offset}, out + {blocks * plan.n}, 1);")
