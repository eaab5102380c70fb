"""Convolutions and fully connected layers by blocks of VMLADAVA.S8 (`block`).

Where each output pixel reads just the input pixel of its number, inputs are read where they lie, and the last pixels,
behind which a vector would read on, from a copy. Elsewhere rows are copied with their padding into a buffer of some
rows, whose newest are moved to its start when it is full.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from utvm.codegen import CArray, CFunction, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, FullyConnected, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.dsp.finish import folded_bias
from utvm.kernels.helium.block import LANES, OUTPUTS, BlockSpec, micro_kernel, stream
from utvm.kernels.helium.family import WEIGHTED_PARAMETERS, ScheduledVectors
from utvm.kernels.helium.finish import VectorFinish, constants, refusal
from utvm.kernels.helium.move import COPY, FILL, copy_cycles, fill_cycles, unfold, unfold_cycles
from utvm.kernels.overlap import ring_ahead
from utvm.kernels.workload_keys import dims, workload

_STRIP = 32
"""Pixels of a stretch whose outputs are packed together."""
_MOST_STEPS = 64
"""Steps of 16 taps that may be written out in a turn."""
_SLACK = 16


class HeliumConvolution(ScheduledVectors):
    """Any kernel, stride, dilation, padding and grouping. Knobs: `m` pixels at once, 2 or 1; `rows`: whether the
    buffer holds a `window` of rows, twice as many (`double`) or the whole `image`; `taps`: whether those of a pixel are
    read from their `rows`, or `packed` first, which suits rows of few.
    """

    name = "helium"
    kinds = (Conv2D, FullyConnected)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact finish, or that its kernel is too large."""
        if not isinstance(op, Conv2D | FullyConnected):
            return super().refusal(op, core)
        lacking = self.lacks(core) or refusal(op)
        if lacking is not None:
            return lacking
        spec = _ConvolutionPlan.of(op, {"m": 1, "rows": "window", "taps": "rows"}).spec
        return "its kernel has too many taps in a row" if _written(spec) > _MOST_STEPS else None

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs; a stretch of pixels has no buffer of rows."""
        del core
        assert isinstance(op, Conv2D | FullyConnected)
        if _is_stretch(op):
            return {"m": (2, 1), "rows": ("window",), "taps": ("rows",)}
        taps = ("rows", "packed") if _can_pack(op) else ("rows",)
        return {"m": (2, 1), "rows": ("window", "double", "image"), "taps": taps}

    def default(self, op: Operator, core: Core) -> Config:
        """Return the fastest of the contenders."""
        return min(self.contenders(op, core), key=lambda config: self.estimate(op, core, config) or 0.0)

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return all configs but those of one pixel where there are enough."""
        assert isinstance(op, Conv2D | FullyConnected)
        plan, space = _ConvolutionPlan.of(op, {"m": 2, "rows": "window", "taps": "rows"}), self.space(op, core)
        ms = (2,) if plan.across > 2 else (2, 1)
        return tuple({"m": m, "rows": r, "taps": t} for m, r, t in product(ms, space["rows"], space["taps"]))

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all blocks and copies."""
        assert isinstance(op, Conv2D | FullyConnected)
        return _ConvolutionPlan.of(op, config).cycles(core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        assert isinstance(op, Conv2D | FullyConnected)
        assert core.timing is not None
        plan = _ConvolutionPlan.of(op, config)
        w = CWriter()
        kernel = micro_kernel(plan.block, core.timing)[0]
        (_write_stretch if plan.stretch else _write_rows)(w, plan, kernel.name)
        scratch = plan.scratch_bytes
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{_stem(op)}_helium",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=tuple(p for p in WEIGHTED_PARAMETERS if scratch or p.role != "scratch"),
                body=w.text,
                support=(
                    *((COPY,) if scratch else ()),
                    *(() if plan.stretch else (FILL,)),
                    *((unfold(plan.spec, plan.block.pitch),) if plan.packed else ()),
                    kernel,
                ),
            ),
            constants={"stream": CArray(c_type="int32_t", values=plan.stream())},
            scratch_bytes=scratch,
            ahead=plan.ahead,
        )


def _written(spec: BlockSpec) -> int:
    turns, length = spec.turns
    return max(length, len(spec.steps) - turns * length) if turns else len(spec.steps)


def _is_stretch(op: Conv2D | FullyConnected) -> bool:
    if isinstance(op, FullyConnected):
        return True
    ones = op.weights.shape[1:3] == op.stride == (1, 1)
    return ones and op.groups == 1 and not op.padding.any


def _can_pack(op: Conv2D | FullyConnected) -> bool:
    if isinstance(op, FullyConnected) or op.groups > 1 or op.dilation[1] > 1:
        return False
    return op.weights.shape[1] > 1 and op.weights.shape[2] * op.weights.shape[3] < LANES


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ConvolutionPlan:
    """What the C, the micro-kernel and the stream of one layer agree on. Sizes in bytes.

    `spec` is the block that reads rows, `block` the one that is called: where taps are `packed`, that of their copy.
    `across` is the pixels of a row, or of the stretch; `buffer_rows` those of the input that the buffer holds.
    """

    op: Conv2D | FullyConnected
    spec: BlockSpec
    packed: bool
    stretch: bool
    across: int
    groups: int
    out_channels: int
    buffer_rows: int

    @staticmethod
    def of(op: Conv2D | FullyConnected, config: Config) -> _ConvolutionPlan:
        m, stretch = int(config["m"]), _is_stretch(op)
        groups = 1 if isinstance(op, FullyConnected) else op.groups
        channels = op.weights.shape[-1]
        out_channels = op.weights.shape[0] // groups
        blocks = -(-out_channels // (OUTPUTS // m))
        padded = blocks * (OUTPUTS // m) != out_channels
        out_pitch = blocks * (OUTPUTS // m) if padded else out_channels * groups
        spec = BlockSpec(
            pixels=m, rows=1, row_stride=0, runs=(0,), run=channels, pitch=channels, out_pitch=out_pitch,
            groups=blocks, words=channels % 4 == 0, finish=VectorFinish.of(op),
            few=out_channels if padded and blocks == 1 else 0,
        )  # fmt: skip
        if stretch:
            pixels = op.x.elements // channels
            return _ConvolutionPlan(
                op=op, spec=spec, packed=False, stretch=True, across=pixels, groups=1, out_channels=out_channels,
                buffer_rows=0,
            )  # fmt: skip
        assert isinstance(op, Conv2D)
        height, width, total = op.x.shape[1], op.x.shape[2], op.x.shape[3]
        kernel_height, kernel_width = op.weights.shape[1:3]
        row = (width + op.padding.left + op.padding.right) * total
        whole = op.dilation[1] == 1 and groups == 1
        spec = replace(
            spec,
            rows=kernel_height,
            row_stride=row * op.dilation[0],
            runs=(0,) if whole else tuple(k * op.dilation[1] * total for k in range(kernel_width)),
            run=kernel_width * channels if whole else channels,
            pitch=op.stride[1] * total,
            words=total % 4 == 0 and channels % 4 == 0,
        )
        window = (kernel_height - 1) * op.dilation[0] + 1
        image = max(height + op.padding.top + op.padding.bottom, window)
        rows = {"window": window, "double": 2 * window, "image": image}[str(config["rows"])]
        return _ConvolutionPlan(
            op=op, spec=spec, packed=config["taps"] == "packed", stretch=False,
            across=op.y.shape[2], groups=groups, out_channels=out_channels,
            buffer_rows=min(rows, image),
        )  # fmt: skip

    @property
    def block(self) -> BlockSpec:
        """The block that is called."""
        if not self.packed:
            return self.spec
        taps = self.spec.rows * self.spec.run
        pitch = -(-taps // LANES) * LANES
        return replace(self.spec, rows=1, row_stride=0, runs=(0,), run=taps, pitch=pitch, words=True)

    @property
    def unfolded_bytes(self) -> int:
        """Bytes of the taps of a row of pixels, and what is read or written behind them."""
        return (self.across + 1) * self.block.pitch + LANES if self.packed else 0

    @property
    def window(self) -> int:
        """Input rows that one output row reads."""
        return self.spec.row_stride // self.row_bytes * (self.spec.rows - 1) + 1

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the buffer."""
        assert isinstance(self.op, Conv2D)
        return (self.op.x.shape[2] + self.op.padding.left + self.op.padding.right) * self.op.x.shape[3]

    @property
    def packs(self) -> bool:
        """Whether outputs go through the scratch, since blocks have more channels than the layer."""
        return self.spec.groups * self.spec.channels != self.out_channels

    @property
    def tail(self) -> int:
        """The last pixels of a stretch, which vectors would read beyond."""
        over = self.spec.read_bytes - self.spec.pitch
        return min(-(-over // self.spec.pitch), self.across) if over > 0 else 0

    @property
    def main(self) -> int:
        """Pixels of a stretch that are read where they lie."""
        main = self.across - self.tail
        if self.spec.pixels == 2 and main % 2 and (self.tail or self.packs or main == 1):
            main -= 1
        return main

    @property
    def rest(self) -> int:
        """Pixels of a stretch that are read from a copy."""
        return self.across - self.main

    @property
    def rest_bytes(self) -> int:
        """Bytes of that copy, with what is read behind it."""
        if not self.rest:
            return 0
        return (-(-self.rest // self.spec.pixels) * self.spec.pixels - 1) * self.spec.pitch + self.spec.read_bytes

    @property
    def line_bytes(self) -> int:
        """Bytes of outputs in the scratch."""
        m = self.spec.pixels
        if self.packs:
            pixels = min(self.across, _STRIP) if self.stretch else self.across
            pixels = max(pixels, self.rest)
            return -(-pixels // m) * m * self.spec.out_pitch
        rest = self.rest if self.stretch else (1 if self.across < m else 0)
        return -(-rest // m) * m * self.spec.out_pitch

    @property
    def buffer_bytes(self) -> int:
        """Bytes of the buffer of rows, or of the copy of the last pixels."""
        if self.stretch:
            return -(-self.rest_bytes // _SLACK) * _SLACK
        # Behind the last row: what a second pixel that does not exist, and a padded run, read.
        beyond = max(self.spec.read_bytes - self.window * self.row_bytes, 0) + self.spec.pitch + LANES
        return -(-(self.buffer_rows * self.row_bytes + beyond) // _SLACK) * _SLACK

    @property
    def scratch_bytes(self) -> int:
        return self.buffer_bytes + self.unfolded_bytes + self.line_bytes

    @property
    def ahead(self) -> int:
        """Bytes by which the output must start before the input; see `Kernel`."""
        if not self.stretch:
            assert isinstance(self.op, Conv2D)
            return ring_ahead(self.op, self.window)
        m, channels = min(self.spec.pixels, self.across), self.spec.pitch
        return max(m * self.out_channels, self.across * self.out_channels - (self.across - m) * channels)

    def stream(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        """Return the constants of all groups."""
        spec, op = self.block, self.op
        weights = op.weights.values.astype(np.int64).reshape(-1, spec.rows, len(spec.runs), spec.run)
        bias, others = folded_bias(op), constants(op)
        parts = [slice(g * self.out_channels, (g + 1) * self.out_channels) for g in range(self.groups)]
        return np.concatenate([stream(spec, weights[p], bias[p], [each[p] for each in others]) for p in parts])

    def cycles(self, core: Core) -> float:
        """Return the modelled cycles."""
        assert core.timing is not None
        _, call, turn = micro_kernel(self.block, core.timing)
        m = self.spec.pixels
        pack = (copy_cycles(self.out_channels) + 8) * self.groups
        if self.stretch:
            calls = -(-self.main // _STRIP) if self.packs else 1
            turns = -(-self.main // m) + -(-self.rest // m)
            packed = self.across if self.packs else self.rest
            return (calls + bool(self.rest)) * call + turns * turn + packed * pack + copy_cycles(self.rest_bytes)
        op = self.op
        assert isinstance(op, Conv2D)
        images, out_height = op.x.shape[0], op.y.shape[1]
        calls = 1 + (self.across % m > 0 and self.across > m)
        row = self.groups * (calls * call + -(-self.across // m) * turn)
        row += pack * self.across if self.packs or self.across < m else 0
        row += unfold_cycles(self.spec) * self.across if self.packed else 0
        total = images * out_height * (row + 30)
        fill = sum(map(fill_cycles, (op.padding.left * op.x.shape[3], op.padding.right * op.x.shape[3])))
        total += images * op.x.shape[1] * (copy_cycles(op.x.shape[2] * op.x.shape[3]) + fill + 20)
        fresh = max(self.buffer_rows - self.window, 0) // op.stride[0] + 1
        kept = max(self.window - op.stride[0], 0) * self.row_bytes
        return total + images * (max(-(-out_height // fresh) - 1, 0)) * copy_cycles(kept)


def _stem(op: Conv2D | FullyConnected) -> str:
    if isinstance(op, FullyConnected):
        return f"fully_connected_{op.weights.shape[1]}_{op.weights.shape[0]}"
    return f"conv2d_{dims(op.x.shape[1:])}_{op.weights.shape[0]}_k{op.weights.shape[1]}x{op.weights.shape[2]}"


def _write_stretch(w: CWriter, plan: _ConvolutionPlan, name: str) -> None:
    m, pitch, out = plan.spec.pixels, plan.spec.pitch, plan.out_channels
    if plan.scratch_bytes:
        w(f"int8_t *const line = scratch + {plan.buffer_bytes};", "(void)line;")
    if plan.packs and plan.main:
        strip = min(_STRIP, plan.main)
        with w.block(f"for (int32_t first = 0; first < {plan.main}; first += {strip})"):
            w(f"const int32_t left = {plan.main} - first;", f"const int32_t count = left < {strip} ? left : {strip};")
            w(f"{name}(x + first * {pitch}, line, stream, count / {m});")
            _write_packing(w, plan, "count", f"y + first * {out}")
    elif plan.main >= m:
        w(f"{name}(x, y, stream, {plan.main // m});")
        if plan.main % m:
            first = plan.main - m
            w(f"{name}(x + {first * pitch}, y + {first * out}, stream, 1);")
    if plan.rest:
        w(f"utvm_helium_copy(scratch, x + {plan.main * pitch}, {plan.rest * pitch});")
        w(f"{name}(scratch, line, stream, {-(-plan.rest // m)});")
        _write_packing(w, plan, str(plan.rest), f"y + {plan.main * out}")


def _write_packing(w: CWriter, plan: _ConvolutionPlan, count: str, target: str) -> None:
    """Write the copy of `count` pixels from the scratch, where they are `out_pitch` apart."""
    total = plan.out_channels * plan.groups
    with w.block(f"for (int32_t i = 0; i < {count}; i++)"):
        w(f"utvm_helium_copy({target} + i * {total}, line + i * {plan.spec.out_pitch}, {plan.out_channels});")


def _write_rows(w: CWriter, plan: _ConvolutionPlan, name: str) -> None:
    op = plan.op
    assert isinstance(op, Conv2D)
    images, height, width, channels = op.x.shape
    _, out_height, out_width, out_channels = op.y.shape
    padding, row = op.padding, plan.row_bytes
    if plan.line_bytes:
        w(f"int8_t *const line = scratch + {plan.buffer_bytes + plan.unfolded_bytes};")
    if plan.packed:
        w(f"int8_t *const taps = scratch + {plan.buffer_bytes};")
    with w.loop("n", images):
        w("int32_t base = 0;", "int32_t filled = 0;")
        with w.loop("oy", out_height):
            w(f"const int32_t first = oy * {op.stride[0]};")
            with w.block(f"if (first + {plan.window} - base > {plan.buffer_rows})"):
                # Rows between windows of a larger stride need not be there.
                with w.block("if (filled > first)"):
                    w(f"utvm_helium_copy(scratch, scratch + (first - base) * {row}, (filled - first) * {row});")
                with w.block("else"):
                    w("filled = first;")
                w("base = first;")
            with w.block(f"for (; filled < first + {plan.window}; filled++)"):
                w(f"int8_t *to = scratch + (filled - base) * {row};", f"const int32_t iy = filled - {padding.top};")
                with w.block(f"if (iy < 0 || iy >= {height})"):
                    w(f"utvm_helium_fill(to, {op.x.zero_point}, {row});", "continue;")
                if padding.left:
                    w(f"utvm_helium_fill(to, {op.x.zero_point}, {padding.left * channels});")
                start = f"to + {padding.left * channels}" if padding.left else "to"
                w(f"utvm_helium_copy({start}, x + (n * {height} + iy) * {width * channels}, {width * channels});")
                if padding.right:
                    after = (padding.left + width) * channels
                    w(f"utvm_helium_fill(to + {after}, {op.x.zero_point}, {padding.right * channels});")
            w(f"int8_t *out = y + (n * {out_height} + oy) * {out_width * out_channels};")
            w(f"const int8_t *from = scratch + (first - base) * {row};")
            words = plan.block.groups * plan.block.block_bytes // 4
            if plan.packed:
                w(f"{unfold(plan.spec, plan.block.pitch).name}(taps, from, {plan.across});")
            source = "taps" if plan.packed else f"from + g * {op.weights.shape[3]}"
            with w.loop("g", plan.groups):
                _write_row(w, plan, name, source, f"stream + g * {words}")


def _write_row(w: CWriter, plan: _ConvolutionPlan, name: str, source: str, constants_: str) -> None:
    """Write the calls for a row of output of one group."""
    m, across = plan.spec.pixels, plan.across
    target = f"out + g * {plan.out_channels}"
    if plan.packs or across < m:
        w(f"{name}({source}, line, {constants_}, {-(-across // m)});")
        _write_packing(w, plan, str(across), target)
        return
    w(f"{name}({source}, {target}, {constants_}, {across // m});")
    if across % m:
        first = across - m
        w(f"{name}({source} + {first * plan.block.pitch}, {target} + {first * plan.spec.out_pitch}, {constants_}, 1);")
