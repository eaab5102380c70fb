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
from utvm.kernels.dsp.block_loops import BlockLoops
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
    nine_bits = False
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
        _Loops(w, plan).write()
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
        return nest_ahead(op) if plan.in_place else ring_ahead(op, window.slots)
    grows, pixels = window.out_channels - window.channels, window.height * window.width + window.rest
    if plan.in_place:
        # A block's inputs are read again for each block of channels.
        return size * (plan.m * window.out_channels + max(0, (pixels - 1) * grows))
    return size * max(window.width * grows, pixels * grows)


class _Loops(BlockLoops):
    """Loops around micro-kernels of int16."""

    element = "int16_t"

    def __init__(self, w: CWriter, plan: WidePlan) -> None:
        super().__init__(w, plan)
        self.sums = plan.finish is None
        self.results = "sums" if self.sums else "out"

    def write(self) -> None:
        """Write the whole layer."""
        if self.sums:
            lanes = self.plan.rows_bytes // 2
            start = f"scratch + {lanes}" if lanes else "scratch"
            self.w(f"int32_t *const sums = (int32_t *)(void *)({start});")
        super().write()

    def write_copy(self, target: str, pixels: int) -> None:
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

    def write_finish(self, pixels: int) -> None:
        """Write how C makes int16 of the sums of a block, if micro-kernels do not."""
        if not self.sums:
            return
        w, window = self.w, self.window
        channels = window.out_channels
        with w.loop("p", pixels), w.loop("c", channels):
            if window.groups > 1:
                w(f"const int32_t oc = g * {channels} + c;")
            parts = [
                f"sums[{part * pixels * channels} + p * {channels} + c]" if part else f"sums[p * {channels} + c]"
                for part in range(self.plan.chunks)
            ]
            value = finished_sum(self.plan.op, parts, "c" if window.groups == 1 else "oc")
            w(f"out[p * {window.out_pixel_elements} + c] = {value};")


def _unroll(w: CWriter, count: int) -> None:
    """Let the compiler unroll the loop that follows: a copy is a load and a store."""
    if count > 1:
        w(f"#pragma GCC unroll {min(count, _UNROLL)}")
