"""What the C, the micro-kernels and the stream of one layer of direct multiply-accumulate agree on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CSupport
from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.graph import Conv2D, FullyConnected
from utvm.kernels.base import INSTRUCTION_BYTES, Config
from utvm.kernels.dsp.assembly import short_digest
from utvm.kernels.dsp.finish import (
    Requantizer,
    UniformFinish,
    accumulator_bound,
    folded_bias,
    requantizer,
    uniform_finish,
)
from utvm.kernels.dsp.geometry import ExpandedRows, Window
from utvm.kernels.dsp.multiply import frame_lines, multiply_kernel
from utvm.kernels.dsp.multiply_estimates import BlockCost, multiply_cost, multiply_estimate
from utvm.kernels.dsp.multiply_spec import MultiplySpec
from utvm.kernels.dsp.stream import PAIR8_BOUND, WeightForm, lane_words, to_words

PAIRED = 2
"""The value of the knob `unroll` by which one body computes two blocks of channels."""
UNROLL_LIMIT = 700
"""Multiplications of one body beyond which its rows are repeated instead, where there is a choice."""
WIDE_WEIGHTS = 4096
"""Weights up to which the default considers two bytes for each where one is exact."""
_CALL_CYCLES, _CALL_CYCLES_PER_ROW = 40, 4


def weights4(op: Conv2D | FullyConnected) -> NDArray[np.int8]:
    """Return weights [OC, KH, KW, IC]; those of a fully connected layer as of a window of one pixel."""
    values = op.weights.values
    return values if isinstance(op, Conv2D) else values.reshape(values.shape[0], 1, 1, values.shape[1])


@lru_cache(maxsize=8)
def pairs_exactly(op: Conv2D | FullyConnected) -> bool:
    """Whether two channels can share a lane: 256 * p + q fits int16 and the accumulators' high parts stay exact.

    Weights that are shifted to the left do not leave the room.
    """
    found = requantizer(op)
    values = op.weights.values
    if found is None or found.left.any() or int(values.min()) < -127 or int(values.max()) > 127:
        return False
    return bool((accumulator_bound(op) + np.abs(found.bias_addend) < PAIR8_BOUND).all())


def most_pairs(m: int, n: int) -> int:
    """Return the most lane pairs of one body."""
    return max(UNROLL_LIMIT // (m * n), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSize:
    """One register block: M pixels, N channels."""

    m: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockPlan(ABC):
    """What the C and the micro-kernels of one layer in blocks of M pixels and N channels agree on."""

    op: Conv2D | FullyConnected
    rows: ExpandedRows
    m: int
    n: int
    form: WeightForm
    unrolled: bool
    paired: bool

    @property
    def window(self) -> Window:
        """The convolution's shape."""
        return self.rows.window

    @property
    def vertical_padding(self) -> bool:
        """Whether windows reach beyond the first or the last row."""
        return bool(self.window.padding.top or self.window.padding.bottom)

    @property
    def ring_bytes(self) -> int:
        """Bytes of the ring of expanded rows of all groups, and of one of padding if there is any."""
        return (self.window.slots * self.window.groups + self.vertical_padding) * self.rows.row_bytes

    @property
    def in_place(self) -> bool:
        """Whether micro-kernels read the input where it is."""
        return False

    @property
    def rows_bytes(self) -> int:
        """Bytes of the rows in scratch."""
        return 0 if self.in_place else self.ring_bytes

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch."""
        return self.rows_bytes

    @property
    def tail_channels(self) -> int:
        """Channels at the end that fill no block."""
        return self.window.out_channels % self.n

    def blocks(self) -> list[BlockSize]:
        """Return the register blocks needed: the main one, and those for the last pixels and channels."""
        widths = self._calls()
        heights = [self.n, *([self.tail_channels] if self.tail_channels else [])]
        return [BlockSize(m=m, n=n) for n in heights for m in widths]

    def _calls(self) -> dict[int, int]:
        """Return how many blocks of which numbers of pixels a group of all rows has."""
        found: dict[int, int] = {}
        for rows, pixels in ((self.window.out_height, self.window.out_width), (1, self.window.rest)):
            full, tail = divmod(pixels, self.m)
            for width, count in ((self.m, full), (tail, 1)):
                if width and count:
                    found[width] = found.get(width, 0) + rows * count
        return found

    @property
    def chunks(self) -> int:
        """Calls of a micro-kernel for one block of pixels and its channels, each for some of the terms."""
        return 1

    @property
    def shift(self) -> int:
        """A right shift that the micro-kernels know."""
        return 0

    def form_of(self, block: BlockSize) -> WeightForm:
        """Return the form of the weights of a block: an odd number of channels makes no pairs."""
        return WeightForm.INT16 if block.n % 2 else self.form

    @abstractmethod
    def spec(self, block: BlockSize) -> MultiplySpec:
        """Return what the micro-kernel of a block computes."""

    @abstractmethod
    def stream(self) -> NDArray[np.int32]:
        """Return the stream: for each group full blocks of N channels, then one of the remaining channels."""

    @property
    def split(self) -> tuple[int, tuple[int, ...]]:
        """The parts of a window's row, and the offsets of one part's lane pairs."""
        found = self.rows.split(self.m, most_pairs(self.m, self.n))
        assert found is not None
        return found

    @property
    def addresses(self) -> int:
        """Addresses in the table of a window's rows and their parts."""
        return self.window.kernel[0] * self.split[0]

    @property
    def stream_bytes(self) -> int:
        """Bytes of the stream."""
        return 4 * self.window.groups * self.group_words

    @property
    def group_words(self) -> int:
        """Words of the stream of one group."""
        full, tail = divmod(self.window.out_channels, self.n)
        words = full * self.spec(BlockSize(m=self.m, n=self.n)).stream_words if full else 0
        return self.chunks * (words + (self.spec(BlockSize(m=self.m, n=tail)).stream_words if tail else 0))

    def cost(self, core: Core, *, estimated: bool = False) -> BlockCost:
        """Return what all blocks and their calls take, the expansion of rows left out: all configs pay it.

        Where the core's caches are known, code and weights that do not stay in them are read again and again.
        If `estimated`, no block is scheduled that is longer than those of `multiply_estimate`.

        Raises:
            ScheduleError: a block does not fit the registers.
        """
        window, timing = self.window, core.timing
        assert timing is not None
        full_channels, calls_of = window.out_channels // self.n, self._calls()
        total, code_bytes, cost_of = 0.0, 0.0, multiply_estimate if estimated else multiply_cost
        for block in self.blocks():
            calls = calls_of[block.m] * self.chunks
            spec = self.spec(block)
            times = full_channels if block.n == self.n else 1
            turns = calls * (times // 2 if spec.paired else times)
            cost = cost_of(spec, timing, shift=self.shift)
            total += turns * cost.cycles
            code_bytes += cost.code_bytes + INSTRUCTION_BYTES * frame_lines(spec)
            total += calls * (_CALL_CYCLES + _CALL_CYCLES_PER_ROW * spec.rows)
            if core.caches is not None:
                total += core.caches.streaming(cost.code_bytes, 0, turns)
                total += core.caches.streaming(0, 4 * times * spec.stream_words, calls)
        return BlockCost(cycles=total * window.groups, code_bytes=code_bytes)

    def symbol(self, block: BlockSize) -> str:
        """Return the name of a block's micro-kernel, which says everything that its code depends on."""
        spec = self.spec(block)
        paired = "x2" if spec.paired else ""
        return f"utvm_multiply_m{block.m}n{block.n}{paired}_{spec.rows}x{spec.pairs}_{short_digest(spec, self.shift)}"

    def kernel(self, block: BlockSize, timing: Timing) -> CSupport:
        """Return the micro-kernel of a block."""
        return multiply_kernel(self.symbol(block), self.spec(block), timing, shift=self.shift)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DirectPlan(BlockPlan):
    """Everything that the C, the micro-kernels and the stream of one layer agree on."""

    requantizer: Requantizer
    uniform: UniformFinish | None

    @staticmethod
    def of(op: Conv2D | FullyConnected, config: Config) -> DirectPlan:
        """Return the plan of an operator that `requantizer` can finish, under a legal config."""
        found = requantizer(op)
        assert found is not None
        m = int(config["m"])
        return DirectPlan(
            op=op, rows=ExpandedRows.of(Window.of(op, m)), requantizer=found,
            uniform=uniform_finish(op, found), m=m, n=int(config["n"]),
            form=WeightForm(str(config["form"])), unrolled=bool(int(config["unroll"])),
            paired=int(config["unroll"]) == PAIRED,
        )  # fmt: skip

    def spec(self, block: BlockSize) -> MultiplySpec:
        """Return what the micro-kernel of a block computes."""
        parts, taps = self.split
        starts = [self.rows.pixel_offset(m) for m in range(block.m)]
        offsets = tuple(tuple([start + tap for tap in taps]) for start in starts)
        return MultiplySpec(
            rows=self.window.kernel[0] * parts, offsets=offsets, channels=block.n,
            pixel_stride=self.window.out_pixel_elements, form=self.form_of(block), finish=self.requantizer.finish,
            saturation=self.requantizer.saturation,
            unrolled=self.unrolled, uniform=self.uniform is not None,
            paired=self.paired and block.n == self.n,
        )  # fmt: skip

    @property
    def shift(self) -> int:
        """The right shift of a uniform finish or of `Finish.SHIFT`; 0 for others."""
        return self.requantizer.shift if self.uniform is None else self.uniform.shift

    def stream(self) -> NDArray[np.int32]:
        """Return the stream: for each group full blocks of N channels, then one of the remaining channels."""
        left = self.requantizer.left
        bias = (folded_bias(self.op) + self.requantizer.bias_addend) << left
        lanes = self.rows.weight_lanes(weights4(self.op)) << left[:, None, None]
        channels, n = self.window.out_channels, self.n
        full = channels // n
        parts = []
        for first in range(0, self.window.groups * channels, channels):
            parts += [self._blocks_words(lanes, bias, first, full, n)] if full else []
            parts += [self._blocks_words(lanes, bias, first + full * n, 1, channels % n)] if channels % n else []
        return to_words(np.concatenate(parts))

    def _blocks_words(
        self, lanes: NDArray[np.int64], bias: NDArray[np.int64], start: int, blocks: int, n: int
    ) -> NDArray[np.int64]:
        """Return the words of blocks of `n` channels each, one block after the other."""
        chosen = lanes[start : start + blocks * n].reshape(blocks, n, -1, 2)
        starts = bias[start : start + blocks * n].reshape(blocks, n).copy()
        if self.form_of(BlockSize(m=1, n=n)) is WeightForm.PAIR8:
            chosen = 256 * chosen[:, 0::2] + chosen[:, 1::2]
            starts[:, 0::2] = 256 * starts[:, 0::2] + starts[:, 1::2]
        elif self.uniform is not None or self.requantizer.finish.doubles:
            chosen, starts = 2 * chosen, 2 * starts
        words = lane_words(chosen[..., 0], chosen[..., 1]).transpose(0, 2, 1).reshape(blocks, -1)
        if self.uniform is not None:
            shared, own = [self.uniform.multiplier, self.uniform.offset], np.zeros((blocks, 0), np.int64)
        else:
            shared = self.requantizer.shared_constants()
            own = self.requantizer.constants(start, start + blocks * n).reshape(blocks, -1)
        tail = np.tile(np.array(shared, np.int64), (blocks, 1))
        return np.concatenate([starts, words, tail, own], axis=1).reshape(-1)
