"""Depthwise convolution for cores with the DSP extension: four channels of one output at a time, straight from memory.

Channels stand next to each other in memory, so a word of the input holds a pixel's four, and needs no rearrangement:
SXTB16 makes lanes of them, SMLABB and SMLATT multiply each by its channel's weight; int16 are lanes already. That is
more multiplications than pairs of pixels need (`depthwise`), but nothing has to be gathered into a plane before: it
wins where outputs are few or windows are columns. Outputs at an edge, which see a part of the kernel, have
micro-kernels and biases of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.graph import DepthwiseConv2D, DType, Operator
from utvm.kernels.base import INSTRUCTION_BYTES, Config, Kernel, Outline
from utvm.kernels.dsp.assembly import (
    LOOP_REGISTERS,
    MAX_OFFSET,
    assembler_loop,
    frame_cycles,
    loop_cycles,
    short_digest,
    with_aligned_form,
)
from utvm.kernels.dsp.finish import Finish, Requantizer, Saturation, folded_bias, requantizer_refusal
from utvm.kernels.dsp.scheduled import ScheduledFamily
from utvm.kernels.dsp.stream import lane_words, to_words
from utvm.kernels.dsp.wide_finish import finish_of
from utvm.kernels.misaligned import misaligned_cycles
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.runs import WORD
from utvm.kernels.workload_keys import dims, workload

AT_ONCE = 4
"""Channels of a word."""
_MOST_PARTS = 9
"""Micro-kernels of a layer: a 3x3 kernel with padding has so many, and larger ones are not worth their code."""
_CALLER_CYCLES = 12
_FIXED = {"%x": "r0", "%stream": "r1", "%out": "r2", "%groups": "r3"}


class ChannelDepthwise(ScheduledFamily):
    """DepthwiseConv2D of four or more channels without multiplier; any kernel, stride, dilation and padding.

    It has no knobs and needs no scratch.
    """

    name = "channels"
    kinds = (DepthwiseConv2D,)
    nine_bits = True

    def finish_refusal(self, op: DepthwiseConv2D) -> str | None:
        """Return why no finish is exact for `op`; None where one is."""
        return requantizer_refusal(op)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact finish, many kinds of edges, or windows out of a load's reach."""
        if not isinstance(op, DepthwiseConv2D):
            return super().refusal(op, core)
        reason = self.lacks(core) or self.finish_refusal(op)
        if reason is not None:
            return reason
        if op.multiplier != 1 or op.x.shape[3] < AT_ONCE:
            return f"it has a multiplier or fewer than {AT_ONCE} channels"
        plan = _ChannelsPlan.of(op)
        if len(plan.parts) > _MOST_PARTS:
            return f"its outputs see more than {_MOST_PARTS} different parts of the kernel"
        reached = all(spec.reach <= MAX_OFFSET for spec in map(plan.spec, plan.parts))
        return None if reached else "its windows have more taps than a load reaches weights"

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all outputs."""
        return self.outline(op, core, config).cycles

    def outline(self, op: Operator, core: Core, config: Config, *, scheduled: bool = False) -> Outline:
        """Return the cycles of all outputs, and what the plan takes; all micro-kernels are scheduled for it."""
        del config, scheduled
        assert isinstance(op, DepthwiseConv2D)
        plan = _ChannelsPlan.of(op)
        lines = sum(len(kernel.assembly) for kernel in plan.kernels(core))
        return Outline(
            cycles=plan.cycles(core),
            constant_bytes=4 * len(plan.starts) * plan.spec(plan.parts[0]).words,
            code_bytes=INSTRUCTION_BYTES * lines,
            ahead=nest_ahead(op),
        )

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a depthwise convolution."""
        assert isinstance(op, DepthwiseConv2D)
        assert core.timing is not None
        plan = _ChannelsPlan.of(op)
        w = CWriter()
        _write_function(w, plan)
        height, width = op.weights.shape[1:3]
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"depthwise_{dims(op.x.shape[1:])}_k{height}x{width}_channels",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type=op.x.dtype.c_type, role="input"),
                    CParameter(name="stream", c_type="int32_t", role="constant"),
                    CParameter(name="y", c_type=op.y.dtype.c_type, role="output"),
                ),
                body=w.text,
                support=plan.kernels(core),
            ),
            constants={"stream": CArray(c_type="int32_t", values=plan.stream())},
            ahead=nest_ahead(op),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Band:
    """Outputs `start` to below `stop` of one dimension, which see the taps `first` to below `last` inside the input."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def count(self) -> int:
        return self.stop - self.start


Part = tuple[_Band, _Band]
"""Rows and columns of outputs that see the same taps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelsSpec:
    """What a micro-kernel computes.

    `taps` holds, for each tap that the outputs see, its byte offset in the input and the position of its two words
    among the weights. A group of channels has `words` words in the stream: biases of all parts (these outputs' are at
    `bias`), weights from `weights` on, constants of the finish from `tail` on. `anywhere` is whether pixels start at
    any address.
    """

    taps: tuple[tuple[int, int], ...]
    bias: int
    weights: int
    tail: int
    words: int
    finish: Finish
    saturation: Saturation
    shift: int
    anywhere: bool

    @property
    def size(self) -> int:
        """Bytes of an activation."""
        return self.finish.out_bytes

    @property
    def reach(self) -> int:
        """The largest offset in the stream; taps that are farther from x have pointers of their own."""
        return 4 * self.words


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ChannelsPlan:
    """Everything that the C, the micro-kernels and the stream of one layer agree on."""

    op: DepthwiseConv2D
    requantizer: Requantizer
    rows: tuple[_Band, ...]
    columns: tuple[_Band, ...]

    @staticmethod
    def of(op: DepthwiseConv2D) -> _ChannelsPlan:
        found = finish_of(op)
        assert found is not None
        return _ChannelsPlan(
            op=op,
            requantizer=found,
            rows=_bands(op, 0, op.padding.top),
            columns=_bands(op, 1, op.padding.left),
        )

    @property
    def parts(self) -> list[Part]:
        return list(product(self.rows, self.columns))

    @property
    def starts(self) -> list[int]:
        """The first channel of each group; the last group repeats channels where they do not divide into fours."""
        channels = self.op.x.shape[3]
        return [*range(0, channels - AT_ONCE + 1, AT_ONCE), *([channels - AT_ONCE] if channels % AT_ONCE else [])]

    def spec(self, part: Part) -> ChannelsSpec:
        op, (rows, columns) = self.op, part
        size = op.x.dtype.itemsize
        _, kernel_height, kernel_width, channels = op.weights.shape
        down, across = op.x.shape[2] * channels * op.dilation[0], channels * op.dilation[1]
        weights = AT_ONCE * len(self.parts)
        tail = weights + 2 * kernel_height * kernel_width
        finish = self.requantizer.finish
        return ChannelsSpec(
            taps=tuple(
                (size * ((ky - rows.first) * down + (kx - columns.first) * across), ky * kernel_width + kx)
                for ky in range(rows.first, rows.last)
                for kx in range(columns.first, columns.last)
            ),
            bias=AT_ONCE * self.parts.index(part),
            weights=weights,
            tail=tail,
            words=tail + finish.shared_words + finish.channel_words * AT_ONCE,
            finish=finish,
            saturation=self.requantizer.saturation,
            shift=self.requantizer.shift,
            anywhere=channels * size % WORD != 0,
        )

    def cycles(self, core: Core) -> float:
        """Return the modelled cycles of all outputs and their calls."""
        timing = core.timing
        assert timing is not None
        groups, left = divmod(self.op.x.shape[3], AT_ONCE)
        call = frame_cycles(timing) + _CALLER_CYCLES
        total = 0.0
        for part in self.parts:
            spec = self.spec(part)
            _, turn = self.kernel(part, core)
            outputs = part[0].count * part[1].count
            total += outputs * (groups * turn + call + (turn + call if left else 0))
            if core.caches is not None:
                total += core.caches.streaming(0, 4 * spec.words * (groups + bool(left)), outputs)
        return self.op.x.shape[0] * total

    def symbol(self, part: Part) -> str:
        return _symbol(self.spec(part))

    def kernel(self, part: Part, core: Core) -> tuple[CSupport, float]:
        """Return the micro-kernel of a part and the modelled cycles of a turn.

        Where pixels start at any address it reads bytes, unless words are faster for all that they cost there.
        """
        timing = core.timing
        assert timing is not None
        name, spec = self.symbol(part), self.spec(part)
        words = _channels_kernel(name, spec, timing, by_bytes=False)
        turn = loop_cycles(words, timing)
        if not spec.anywhere:
            return words, turn
        turn += spec.size * len(spec.taps) * misaligned_cycles(timing, self.op.x.shape[3] * spec.size)
        by_bytes = _channels_kernel(name, spec, timing, by_bytes=True)
        turn_by_bytes = loop_cycles(by_bytes, timing)
        if turn_by_bytes <= turn:
            return by_bytes, turn_by_bytes
        both = with_aligned_form(words, by_bytes, unaligned=core.unaligned)
        return both, turn if core.unaligned else turn_by_bytes

    def kernels(self, core: Core) -> tuple[CSupport, ...]:
        """Return the micro-kernels of all parts, each once."""
        found = {kernel.name: kernel for kernel, _ in (self.kernel(part, core) for part in self.parts)}
        return tuple(found.values())

    def stream(self) -> NDArray[np.int32]:
        """Return biases, weight words and requantisation of each group of channels."""
        found = self.requantizer
        weights = self.op.weights.values[0].astype(np.int64) << found.lanes_left
        whole = (folded_bias(self.op) + found.bias_addend) << found.lanes_left
        biases = [whole + self.op.x.zero_point * _unseen(weights, part) for part in self.parts]
        groups: list[NDArray[np.int64]] = []
        for start in self.starts:
            four = slice(start, start + AT_ONCE)
            lanes = weights[:, :, four].reshape(-1, AT_ONCE)
            words = lane_words(lanes[:, :2], lanes[:, 2:])
            if self.op.x.dtype is DType.INT16:
                words = lane_words(lanes[:, 0::2], lanes[:, 1::2])
            groups += [bias[four] for bias in biases] + [words.reshape(-1)]
            groups.append(np.array(found.shared_constants(), np.int64))
            groups.append(found.constants(start, start + AT_ONCE).reshape(-1))
        return to_words(np.concatenate(groups))


def _bands(op: DepthwiseConv2D, axis: int, before: int) -> tuple[_Band, ...]:
    size, outputs, taps = op.x.shape[1 + axis], op.y.shape[1 + axis], op.weights.shape[1 + axis]
    bands: list[_Band] = []
    for output in range(outputs):
        top = output * op.stride[axis] - before
        inside = [tap for tap in range(taps) if 0 <= top + tap * op.dilation[axis] < size]
        first, last = (inside[0], inside[-1] + 1) if inside else (0, 0)
        if bands and (bands[-1].first, bands[-1].last) == (first, last):
            bands[-1] = _Band(start=bands[-1].start, stop=output + 1, first=first, last=last)
        else:
            bands.append(_Band(start=output, stop=output + 1, first=first, last=last))
    return tuple(bands)


def _unseen(weights: NDArray[np.int64], part: Part) -> NDArray[np.int64]:
    """Return the sum of each channel's weights outside the taps of a part."""
    rows, columns = part
    seen = weights[rows.first : rows.last, columns.first : columns.last]
    unseen: NDArray[np.int64] = weights.sum(axis=(0, 1)) - seen.sum(axis=(0, 1))
    return unseen


@lru_cache(maxsize=1024)
def _symbol(spec: ChannelsSpec) -> str:
    """Return the name of a micro-kernel, which says everything that its code depends on."""
    return f"utvm_channels_{len(spec.taps)}_{short_digest(spec)}"


@lru_cache(maxsize=1024)
def _channels_kernel(name: str, spec: ChannelsSpec, timing: Timing, *, by_bytes: bool) -> CSupport:
    """Return `void name(const int8_t *x, const int32_t *stream, int8_t *out, int32_t groups)`, or of int16.

    It reads four channels of a pixel by words, or one by one.
    """
    block = Block()
    for c in range(AT_ONCE):
        block(f"ldr %c{c}, [%stream, #{4 * (spec.bias + c)}]")
    multiply = _multiply_tap if spec.size == 1 else _multiply_wide_tap
    base, start = "%x", 0
    for offset, tap in spec.taps:
        while offset + (AT_ONCE - 1) * spec.size - start > MAX_OFFSET:
            step = min(offset - start, MAX_OFFSET // WORD * WORD)
            start += step
            block(f"add %at{start}, {base}, #{step}")
            base = f"%at{start}"
        multiply(block, base, offset - start, tap, 4 * (spec.weights + 2 * tap), by_bytes=by_bytes)
    for word, constant in enumerate(spec.finish.shared_names, spec.tail):
        block(f"ldr {constant}, [%stream, #{4 * word}]")
    for c in range(AT_ONCE):
        first = spec.tail + spec.finish.shared_words + spec.finish.channel_words * c
        names = (f"%first{c}", f"%second{c}", spec.finish.third(c))[: spec.finish.channel_words]
        block(*(f"ldr {name}, [%stream, #{4 * word}]" for word, name in enumerate(names, first)))
        block(
            *spec.finish.lines(f"%c{c}", spec.saturation, n=c, shift=spec.shift),
            f"{spec.finish.store} %c{c}, [%out, #{c * spec.size}]",
        )
    block(
        f"add %x, %x, #{AT_ONCE * spec.size}",
        f"add %stream, %stream, #{4 * spec.words}",
        f"add %out, %out, #{AT_ONCE * spec.size}",
        "subs %groups, %groups, #1",
    )
    body = schedule(block, timing, pool=LOOP_REGISTERS, fixed=_FIXED)
    element = f"int{8 * spec.size}_t"
    return assembler_loop(
        name,
        f"const {element} *x, const int32_t *stream, {element} *out, int32_t groups",
        body.lines,
        f"{AT_ONCE} channels of one output at a time, {len(spec.taps)} taps",
    )


def _multiply_tap(block: Block, base: str, offset: int, tap: int, weights: int, *, by_bytes: bool) -> None:
    """Append the products of one tap: its channels are `offset` bytes from `base`, its weights `weights` in the stream.

    The weights' words hold those of channels 0 and 2, and of channels 1 and 3.
    """
    low, high = f"%x{tap}", f"%h{tap}"
    if not by_bytes:
        block(f"ldr {low}, [{base}, #{offset}]", f"sxtb16 {high}, {low}, ror #8", f"sxtb16 {low}, {low}")
    for first, (lanes, pair) in enumerate(((low, f"%v{tap}"), (high, f"%w{tap}"))):
        block(f"ldr {pair}, [%stream, #{weights + 4 * first}]")
        for channel, half in ((first, "b"), (first + 2, "t")):
            value, operation = (f"%b{tap}_{channel}", f"smlab{half}") if by_bytes else (lanes, f"smla{half}{half}")
            if by_bytes:
                block(f"ldrsb {value}, [{base}, #{offset + channel}]")
            block(f"{operation} %c{channel}, {value}, {pair}, %c{channel}")


def _multiply_wide_tap(block: Block, base: str, offset: int, tap: int, weights: int, *, by_bytes: bool) -> None:
    """Append the products of one tap of int16; the weights' words hold those of channels 0 and 1, and of 2 and 3.

    With `by_bytes` halfwords are loaded one by one.
    """
    for word in range(2):
        pair = f"%w{tap}_{word}"
        block(f"ldr {pair}, [%stream, #{weights + 4 * word}]")
        if not by_bytes:
            block(f"ldr %x{tap}_{word}, [{base}, #{offset + 4 * word}]")
        for lane, half in enumerate("bt"):
            channel = 2 * word + lane
            value, operation = (
                (f"%h{tap}_{channel}", f"smlab{half}") if by_bytes else (f"%x{tap}_{word}", f"smla{half}{half}")
            )
            if by_bytes:
                block(f"ldrsh {value}, [{base}, #{offset + 2 * channel}]")
            block(f"{operation} %c{channel}, {value}, {pair}, %c{channel}")


def _write_function(w: CWriter, plan: _ChannelsPlan) -> None:
    op = plan.op
    batch, height, width, channels = op.x.shape
    _, out_height, out_width, _ = op.y.shape
    with w.loop("n", batch):
        for rows in plan.rows:
            with w.loop("oy", rows.stop, start=rows.start):
                for columns in plan.columns:
                    with w.loop("ox", columns.stop, start=columns.start):
                        top = f"oy * {op.stride[0]} + {rows.first * op.dilation[0] - op.padding.top}"
                        left = f"ox * {op.stride[1]} + {columns.first * op.dilation[1] - op.padding.left}"
                        place = f"((n * {height} + {top}) * {width} + {left}) * {channels}"
                        w(f"const {op.x.dtype.c_type} *from = x + {place};")
                        w(f"{op.y.dtype.c_type} *to = y + ((n * {out_height} + oy) * {out_width} + ox) * {channels};")
                        _write_calls(w, plan, (rows, columns))


def _write_calls(w: CWriter, plan: _ChannelsPlan, part: Part) -> None:
    channels, name = plan.op.x.shape[3], plan.symbol(part)
    groups = channels // AT_ONCE
    w(f"{name}(from, stream, to, {groups});")
    if channels % AT_ONCE:
        last = channels - AT_ONCE
        w(f"{name}(from + {last}, stream + {groups * plan.spec(part).words}, to + {last}, 1);")
