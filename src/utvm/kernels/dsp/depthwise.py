"""Depthwise convolution for cores with the DSP extension: a channel at a time, as a padded int16 plane in scratch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.graph import DepthwiseConv2D, Operator
from utvm.kernels.base import INSTRUCTION_BYTES, Config, Kernel, Outline, Space
from utvm.kernels.dsp.assembly import frame_cycles, loop_cycles, short_digest
from utvm.kernels.dsp.choosing import fastest
from utvm.kernels.dsp.finish import Requantizer, folded_bias, requantizer_refusal
from utvm.kernels.dsp.plane import (
    PlaneKernel,
    PlaneSpec,
    extract_kernel,
    fits_offsets,
    most_pixels,
    pair_words,
    plane_kernel,
)
from utvm.kernels.dsp.scheduled import ScheduledFamily
from utvm.kernels.dsp.stream import lane_words, to_words
from utvm.kernels.dsp.wide_finish import finish_of
from utvm.kernels.workload_keys import dims, workload

_MOST_ROWS = 4
_CALLER_CYCLES, _FILL_CYCLES = 9, 2


class PlaneDepthwise(ScheduledFamily):
    """DepthwiseConv2D of any kernel, stride, padding, dilation and multiplier.

    Knobs: `rows` and `columns` of outputs that a micro-kernel computes at once. Scratch is one channel's padded plane.
    With stride 1 and equal sizes the output may take the input's place: a channel is read whole before it is written.
    """

    name = "plane"
    kinds = (DepthwiseConv2D,)
    nine_bits = True

    def finish_refusal(self, op: DepthwiseConv2D) -> str | None:
        """Return why no finish is exact for `op`; None where one is."""
        return requantizer_refusal(op)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact finish, or why its rows do not fit the offsets of a load."""
        if not isinstance(op, DepthwiseConv2D):
            return super().refusal(op, core)
        reason = self.lacks(core) or self.finish_refusal(op)
        if reason is not None:
            return reason
        reached = any(self.legal(op, core, {"rows": 1, "columns": columns}) for columns in (1, 2))
        return None if reached else "a window or a row of outputs is out of a load's reach"

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs; combinations that do not fit the registers are refused by `build`."""
        del op, core
        return {"rows": tuple(range(1, _MOST_ROWS + 1)), "columns": (1, 2)}

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether each step starts at a word of the plane, and loads and stores reach all of it."""
        del core
        assert isinstance(op, DepthwiseConv2D)
        plan = _PlanePlan.of(op, config)
        aligned = plan.columns * op.stride[1] % 2 == 0 or op.y.shape[2] == 1
        inside = plan.columns <= op.y.shape[2]
        return aligned and inside and fits_offsets(plan.spec(plan.rows, plan.columns))

    def default(self, op: Operator, core: Core) -> Config:
        """Return the block of outputs with the fewest modelled cycles.

        Raises:
            ScheduleError: no block fits the registers.
        """
        assert isinstance(op, DepthwiseConv2D)
        timing = core.timing
        assert timing is not None
        configs: list[Config] = []
        for rows, columns in product(range(1, min(_MOST_ROWS, op.y.shape[1]) + 1), (1, 2)):
            config: Config = {"rows": rows, "columns": columns}
            if self.legal(op, core, config):
                configs.append(config)
        return fastest(
            configs,
            lambda config: _PlanePlan.of(op, config).plane_cycles(timing),
            f"{op.kind} '{op.name}': no block of outputs fits the registers",
        )

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of extracting and of computing all planes."""
        return self.outline(op, core, config).cycles

    def outline(self, op: Operator, core: Core, config: Config, *, scheduled: bool = False) -> Outline:
        """Return the cycles of all planes, and what the plan takes; all micro-kernels are scheduled for it."""
        del scheduled
        assert isinstance(op, DepthwiseConv2D)
        assert core.timing is not None
        plan = _PlanePlan.of(op, config)
        return Outline(
            cycles=plan.cycles(core.timing),
            constant_bytes=4 * plan.stream_words * op.y.shape[3],
            code_bytes=INSTRUCTION_BYTES * sum(len(kernel.assembly) for kernel in plan.kernels(core.timing)),
            scratch_bytes=plan.scratch_bytes,
            in_place=plan.in_place,
        )

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a depthwise convolution."""
        assert isinstance(op, DepthwiseConv2D)
        assert core.timing is not None
        plan = _PlanePlan.of(op, config)
        w = CWriter()
        _write_function(w, plan, core.timing)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"depthwise_{dims(op.x.shape[1:])}_{op.y.shape[3]}_k{plan.kernel_size[0]}x{plan.kernel_size[1]}",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=(
                    CParameter(name="x", c_type=op.x.dtype.c_type, role="input"),
                    CParameter(name="stream", c_type="int32_t", role="constant"),
                    CParameter(name="plane", c_type="int16_t", role="scratch"),
                    CParameter(name="y", c_type=op.y.dtype.c_type, role="output"),
                ),
                body=w.text,
                support=plan.kernels(core.timing),
            ),
            constants={"stream": CArray(c_type="int32_t", values=plan.stream())},
            scratch_bytes=plan.scratch_bytes,
            in_place=plan.in_place,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _PlanePlan:
    """Everything that the C, the micro-kernels and the stream of one layer agree on."""

    op: DepthwiseConv2D
    requantizer: Requantizer
    rows: int
    columns: int

    @staticmethod
    def of(op: DepthwiseConv2D, config: Config) -> _PlanePlan:
        found = finish_of(op)
        assert found is not None
        return _PlanePlan(op=op, requantizer=found, rows=int(config["rows"]), columns=int(config["columns"]))

    @property
    def kernel_size(self) -> tuple[int, int]:
        return self.op.weights.shape[1], self.op.weights.shape[2]

    @property
    def pitch(self) -> int:
        """Bytes of a plane's row, a multiple of a word."""
        op = self.op
        read = (op.y.shape[2] - 1) * op.stride[1] + (self.kernel_size[1] - 1) * op.dilation[1] + 2
        filled = op.padding.left + op.x.shape[2]
        return (max(read, filled) + 1) // 2 * 4

    @property
    def plane_rows(self) -> int:
        op = self.op
        span = (self.kernel_size[0] - 1) * op.dilation[0] + 1
        return max((op.y.shape[1] - 1) * op.stride[0] + span, op.padding.top + op.x.shape[1])

    @property
    def scratch_bytes(self) -> int:
        """Bytes of one channel's plane."""
        return self.plane_rows * self.pitch

    @property
    def in_place(self) -> tuple[int, ...]:
        """As of `Kernel`."""
        op = self.op
        return (0,) if op.multiplier == 1 and op.stride == (1, 1) and op.x.shape == op.y.shape else ()

    @property
    def size(self) -> int:
        """Bytes of an activation."""
        return self.op.x.dtype.itemsize

    @property
    def stream_words(self) -> int:
        """Words of one channel's stream."""
        return self.spec(self.rows, self.columns).head_words + self.kernel_size[0] * pair_words(
            self.kernel_size[1], self.op.dilation[1]
        )

    def heights(self) -> dict[int, int]:
        """Return the rows of outputs of each micro-kernel that the layer needs, and how many blocks of them it has."""
        blocks, left = divmod(self.op.y.shape[1], self.rows)
        return {rows: count for rows, count in ((self.rows, blocks), (left, 1)) if rows and count}

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Yield (pixels, first pixel) of the parts in which a row is extracted."""
        most, width = most_pixels(self.op.x.shape[3] * self.size), self.op.x.shape[2]
        parts = -(-width // most)
        start = 0
        for part in range(parts):
            count = (width - start) // (parts - part)
            yield count, start
            start += count

    def spec(self, rows: int, columns: int) -> PlaneSpec:
        _, _, width, channels = self.op.y.shape
        return PlaneSpec(
            rows=rows,
            columns=columns,
            kernel=self.kernel_size,
            stride=self.op.stride,
            dilation=self.op.dilation,
            plane_pitch=self.pitch,
            out_row=width * channels * self.size,
            out_pixel=channels * self.size,
            finish=self.requantizer.finish,
            saturation=self.requantizer.saturation,
            shift=self.requantizer.shift,
        )

    def plane_cycles(self, timing: Timing) -> float:
        """Return the modelled cycles of the outputs that one plane gives a channel, its extraction left out.

        Raises:
            ScheduleError: so many outputs at once do not fit the registers.
        """
        return sum(
            count * self.kernel(rows, timing).cycles + _call_cycles(timing) for rows, count in self.heights().items()
        )

    def cycles(self, timing: Timing) -> float:
        """Return the modelled cycles of all channels, the extraction of their planes included.

        Raises:
            ScheduleError: so many outputs at once do not fit the registers.
        """
        extraction = sum(
            _call_cycles(timing) + self.op.x.shape[1] * loop_cycles(self.extraction(count, start, timing), timing)
            for count, start in self.chunks()
        )
        channel = extraction + self.op.multiplier * self.plane_cycles(timing)
        filling = _FILL_CYCLES * self.plane_rows * self.pitch / 4
        return filling + self.op.x.shape[0] * self.op.x.shape[3] * channel

    def symbol(self, rows: int) -> str:
        width = self.op.y.shape[2]
        digest = short_digest(self.spec(rows, self.columns), width)
        return f"utvm_plane_{rows}x{self.columns}_k{self.kernel_size[0]}x{self.kernel_size[1]}_{digest}"

    def kernel(self, rows: int, timing: Timing) -> PlaneKernel:
        return _plane_kernel(self.symbol(rows), self.spec(rows, self.columns), timing, self.op.y.shape[2])

    def kernels(self, timing: Timing) -> tuple[CSupport, ...]:
        """Return the micro-kernels of extractions and of planes."""
        extractions = (self.extraction(count, start, timing) for count, start in self.chunks())
        return (*extractions, *(self.kernel(rows, timing).function for rows in self.heights()))

    def extraction(self, count: int, start: int, timing: Timing) -> CSupport:
        """Return the micro-kernel that extracts `count` pixels from pixel `start` on."""
        _, _, width, channels = self.op.x.shape
        wide = "" if self.size == 1 else "_wide"
        symbol = f"utvm_extract_{count}_of_{dims(self.op.x.shape[2:])}_{self.pitch}{wide}"
        odd = (self.op.padding.left + start) % 2 == 1
        return _extract_kernel(
            symbol, count, self.size, channels, width * channels * self.size, self.pitch, odd, timing
        )

    def stream(self) -> NDArray[np.int32]:
        """Return bias, the constants of the finish and weight words of each output channel."""
        height, width = self.kernel_size
        channels, found = self.op.weights.shape[3], self.requantizer
        weights = self.op.weights.values[0].astype(np.int64) << found.lanes_left
        padded = np.concatenate([weights, np.zeros((height, 1, channels), np.int64)], axis=1)
        pairs, step = pair_words(width, self.op.dilation[1]), 1 if self.op.dilation[1] == 1 else 2
        low, high = (padded[:, first : first + step * (pairs - 1) + 1 : step] for first in (0, 1))
        words = lane_words(low, high).reshape(-1, channels)
        bias = (folded_bias(self.op) + found.bias_addend) << found.lanes_left
        third = [np.full_like(bias, value) for value in found.shared] or [found.second, found.third]
        head = np.stack([bias, found.first, *third])
        return to_words(np.concatenate([head, words]).T.reshape(-1))


def _call_cycles(timing: Timing) -> float:
    return frame_cycles(timing) + _CALLER_CYCLES


@lru_cache(maxsize=1024)
def _plane_kernel(symbol: str, spec: PlaneSpec, timing: Timing, width: int) -> PlaneKernel:
    return plane_kernel(symbol, spec, timing, width=width)


@lru_cache(maxsize=1024)
def _extract_kernel(
    symbol: str, count: int, size: int, channels: int, source_row: int, pitch: int, odd: bool, timing: Timing
) -> CSupport:
    return extract_kernel(
        symbol,
        count=count,
        size=size,
        channels=channels,
        source_row=source_row,
        plane_pitch=pitch,
        odd=odd,
        timing=timing,
    )


def _write_function(w: CWriter, plan: _PlanePlan, timing: Timing) -> None:
    op = plan.op
    batch, height, width, channels = op.x.shape
    _, out_height, out_width, out_channels = op.y.shape
    zero, pitch = op.x.zero_point & 0xFFFF, plan.pitch // 2
    with w.loop("i", plan.plane_rows * plan.pitch // 4):
        w(f"((uint32_t *)(void *)plane)[i] = 0x{zero << 16 | zero:08x}u;")
    with w.loop("n", batch), w.loop("c", channels):
        source = f"x + n * {height * width * channels} + c"
        for count, start in plan.chunks():
            target = op.padding.top * pitch + op.padding.left + start
            extract = plan.extraction(count, start, timing).name
            w(f"{extract}({source} + {start * channels}, plane + {target}, {height});")
        with w.loop("j", op.multiplier):
            w(f"const int32_t oc = c * {op.multiplier} + j;")
            w(f"const int32_t *weights = stream + oc * {plan.stream_words};")
            w(f"{op.y.dtype.c_type} *out = y + n * {out_height * out_width * out_channels} + oc;")
            done = 0
            for rows, count in plan.heights().items():
                first = f"plane + {done * op.stride[0] * pitch}", f"out + {done * out_width * out_channels}"
                w(f"{plan.symbol(rows)}({first[0]}, weights, {first[1]}, {count});")
                done += rows * count
