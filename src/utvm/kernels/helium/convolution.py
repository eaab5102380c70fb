"""Convolutions and fully connected layers by blocks of sums of products (`block`), and those of int16.

Where each output pixel reads just the input pixel of its number, inputs are read where they lie, and the last pixels,
behind which a vector would read on, from a copy. Elsewhere rows are copied with their padding into a buffer of some
rows, whose newest are moved to its start when it is full.
"""

from __future__ import annotations

from itertools import product
from typing import ClassVar

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, DepthwiseConv2D, DType, FullyConnected, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.dsp.wide_finish import wide_refusal
from utvm.kernels.helium.block import micro_kernel
from utvm.kernels.helium.block_spec import BlockSpec
from utvm.kernels.helium.convolution_plan import STRIP, ConvolutionPlan, Windowed, can_pack, is_stretch
from utvm.kernels.helium.family import WEIGHTED_PARAMETERS, WIDE_PARAMETERS, WIDE_START, ScheduledVectors
from utvm.kernels.helium.finish import Weighted, refusal
from utvm.kernels.helium.move import COPY, FILL, repeat, unfold
from utvm.kernels.helium.wide_finish import finish_refusal
from utvm.kernels.workload_keys import dims, workload

_LONG = 10
"""Pixels of a row from which half a pair is little."""
_MOST_STEPS = 64
"""Steps that may be written out in a turn: vectors of taps, or taps of a depthwise layer."""


class HeliumConvolution(ScheduledVectors):
    """Any stride, dilation, padding and grouping.

    Knobs:
        m: pixels at once, 2 or 1.
        rows: whether the buffer holds a `window` of rows, twice as many (`double`) or the whole `image`.
        taps: whether those of a pixel are read from their `rows`, or `packed` first, which suits rows of few.
    """

    name = "helium"
    kinds: ClassVar[tuple[type[Operator], ...]] = (Conv2D, FullyConnected)
    parameters: ClassVar[tuple[CParameter, ...]] = WEIGHTED_PARAMETERS
    start: ClassVar[str] = ""
    """What the function begins with."""
    too_large: ClassVar[str] = "its kernel has too many taps in a row"
    """Why a kernel of more steps than `_MOST_STEPS` is refused."""

    def finish_refusal(self, op: Weighted) -> str | None:
        """Return why `op` has no exact finish, as a clause; None where it has one."""
        return refusal(op)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact finish, or that its kernel is too large."""
        if not isinstance(op, self.kinds):
            return super().refusal(op, core)
        assert isinstance(op, Weighted)
        lacking = self.lacks(core) or self.finish_refusal(op)
        if lacking is not None:
            return lacking
        spec = ConvolutionPlan.of(op, {"m": 1, "rows": "window", "taps": "rows"}).spec
        return self.too_large if _written(spec) > _MOST_STEPS else None

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs; a stretch of pixels has no buffer of rows."""
        del core
        assert isinstance(op, Weighted)
        if is_stretch(op):
            return {"m": (2, 1), "rows": ("window",), "taps": ("rows",)}
        taps = ("rows", "packed") if can_pack(op) else ("rows",)
        return {"m": (2, 1), "rows": ("window", "double", "image"), "taps": taps}

    def default(self, op: Operator, core: Core) -> Config:
        """Return the fastest of the contenders."""
        return min(self.contenders(op, core), key=lambda config: self.estimate(op, core, config) or 0.0)

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return all configs but those of one pixel where pairs leave little of a row."""
        assert isinstance(op, Weighted)
        plan, space = ConvolutionPlan.of(op, {"m": 2, "rows": "window", "taps": "rows"}), self.space(op, core)
        few = plan.across <= 2 or (plan.across < _LONG and plan.across % 2)
        ms = (2, 1) if few else (2,)
        return tuple({"m": m, "rows": r, "taps": t} for m, r, t in product(ms, space["rows"], space["taps"]))

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all blocks and copies."""
        assert isinstance(op, Weighted)
        return ConvolutionPlan.of(op, config).cycles(core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        assert isinstance(op, Weighted)
        assert core.timing is not None
        plan = ConvolutionPlan.of(op, config)
        w = CWriter()
        if self.start:
            w(self.start)
        kernel = micro_kernel(plan.block, core.timing)[0]
        (_write_stretch if plan.stretch else _write_rows)(w, plan, kernel.name)
        scratch = plan.scratch_bytes
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{_stem(op)}_{self.name.replace('-', '_')}",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=tuple(p for p in self.parameters if scratch or p.role != "scratch"),
                body=w.text,
                support=(
                    *((COPY,) if scratch else ()),
                    *(() if plan.stretch else (FILL,)),
                    *((unfold(plan.spec, plan.block.pitch),) if plan.packed else ()),
                    *((repeat(plan.repeats),) if plan.repeats > 1 else ()),
                    kernel,
                ),
            ),
            constants={"stream": CArray(c_type="int32_t", values=plan.stream())},
            scratch_bytes=scratch,
            ahead=plan.ahead,
        )


class HeliumWideConvolution(HeliumConvolution):
    """`HeliumConvolution` on activations of int16: sums of 32 bits where these suffice, else of 64."""

    name = "helium-wide"
    dtypes = (DType.INT16, DType.INT8)
    biases: ClassVar[tuple[DType, ...]] = (DType.INT64, DType.INT32)
    parameters = WIDE_PARAMETERS
    start = WIDE_START

    def outside_signature(self, op: Operator) -> str | None:
        """Return which tensor this family lacks."""
        return wide_refusal(op) or super().outside_signature(op)

    def finish_refusal(self, op: Weighted) -> str | None:
        """Return why `op` has no exact finish, as a clause; None where it has one."""
        return finish_refusal(op)


class HeliumWideDepthwise(HeliumWideConvolution):
    """DepthwiseConv2D on activations of int16, by products of eight channels at once."""

    kinds = (DepthwiseConv2D,)
    biases = (DType.INT64,)
    too_large = f"its kernel has more than {_MOST_STEPS} taps"


def _written(spec: BlockSpec) -> int:
    turns, length = spec.turns
    return max(length, len(spec.steps) - turns * length) if turns else len(spec.steps)


def _stem(op: Weighted) -> str:
    if isinstance(op, FullyConnected):
        return f"fully_connected_{op.weights.shape[1]}_{op.weights.shape[0]}"
    kernel = f"k{op.weights.shape[1]}x{op.weights.shape[2]}"
    if isinstance(op, DepthwiseConv2D):
        return f"depthwise_{dims(op.x.shape[1:])}_{kernel}"
    return f"conv2d_{dims(op.x.shape[1:])}_{op.weights.shape[0]}_{kernel}"


def _write_stretch(w: CWriter, plan: ConvolutionPlan, name: str) -> None:
    m, pitch, out = plan.spec.pixels, plan.spec.pitch, plan.out_bytes
    if plan.scratch_bytes:
        w(f"int8_t *const line = scratch + {plan.buffer_bytes};", "(void)line;")
    if plan.packs and plan.main:
        strip = min(STRIP, plan.main)
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


def _write_packing(w: CWriter, plan: ConvolutionPlan, count: str, target: str) -> None:
    """Write the copy of `count` pixels from the scratch, where they are `out_pitch` apart."""
    total = plan.out_bytes * plan.groups
    with w.block(f"for (int32_t i = 0; i < {count}; i++)"):
        w(f"utvm_helium_copy({target} + i * {total}, line + i * {plan.spec.out_pitch}, {plan.out_bytes});")


def _write_rows(w: CWriter, plan: ConvolutionPlan, name: str) -> None:
    op = plan.op
    assert isinstance(op, Windowed)
    images, height, width, _ = op.x.shape
    _, out_height, out_width, _ = op.y.shape
    padding, row, channels = op.padding, plan.row_bytes, plan.in_pixel
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
                inside = width * channels // plan.repeats
                source = f"x + (n * {height} + iy) * {inside}"
                if plan.repeats > 1:
                    w(f"{repeat(plan.repeats).name}({start}, {source}, {inside // plan.spec.element});")
                else:
                    w(f"utvm_helium_copy({start}, {source}, {inside});")
                if padding.right:
                    after = (padding.left + width) * channels
                    w(f"utvm_helium_fill(to + {after}, {op.x.zero_point}, {padding.right * channels});")
            w(f"int8_t *out = y + (n * {out_height} + oy) * {out_width * plan.groups * plan.out_bytes};")
            w(f"const int8_t *from = scratch + (first - base) * {row};")
            words = plan.block.groups * plan.block.block_bytes // 4
            if plan.packed:
                w(f"{unfold(plan.spec, plan.block.pitch).name}(taps, from, {plan.across});")
            source = "taps" if plan.packed else f"from + g * {op.weights.shape[3] * plan.spec.element}"
            with w.loop("g", plan.groups):
                _write_row(w, plan, name, source, f"stream + g * {words}")


def _write_row(w: CWriter, plan: ConvolutionPlan, name: str, source: str, constants_: str) -> None:
    """Write the calls for a row of output of one group."""
    m, across = plan.spec.pixels, plan.across
    target = f"out + g * {plan.out_bytes}"
    if plan.packs or across < m:
        w(f"{name}({source}, line, {constants_}, {-(-across // m)});")
        _write_packing(w, plan, str(across), target)
        return
    w(f"{name}({source}, {target}, {constants_}, {across // m});")
    if across % m:
        first = across - m
        w(f"{name}({source} + {first * plan.block.pitch}, {target} + {first * plan.spec.out_pitch}, {constants_}, 1);")
