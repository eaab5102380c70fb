"""The instructions of a multiply-accumulate micro-kernel: the products of one row, and the way from sums to outputs."""

from __future__ import annotations

from utvm.cores.microkernel import Block
from utvm.kernels.dsp.assembly import MAX_OFFSET
from utvm.kernels.dsp.finish import UniformFinish
from utvm.kernels.dsp.multiply_spec import END_IN_FRAME, OUT_IN_FRAME, ROW_IN_FRAME, MultiplySpec, RowSource
from utvm.kernels.dsp.stream import WeightForm


class StreamPosition:
    """The position in the stream, and the additions to its pointer when offsets grow too large."""

    def __init__(self, block: Block, start: int = 0) -> None:
        self.block = block
        self.offset = start

    def take(self) -> int:
        """Return the offset of the next word."""
        if self.offset > MAX_OFFSET - 3:
            self.flush()
        self.offset += 4
        return self.offset - 4

    def flush(self) -> None:
        """Move the pointer to the next word."""
        left = self.offset
        while left:
            step = min(left, MAX_OFFSET - 3)
            self.block(f"add %pw, %pw, #{step}")
            left -= step
        self.offset = 0


def accumulators(spec: MultiplySpec, first: int = 0) -> list[list[str]]:
    """Return the names of the sums of the channels from `first` on: [pixel][channel]."""
    return [[f"%c{m}_{first + n}" for n in range(spec.channels)] for m in range(spec.pixels)]


def multiply_row(
    block: Block,
    stream: StreamPosition,
    spec: MultiplySpec,
    row: int,
    started: set[str],
    *,
    reuse: bool,
    first: int = 0,
) -> None:
    """Append one row for the channels from `first` on.

    An accumulator that has not started takes the bias from the last pixel's, if there are biases.
    With `reuse`, lanes that two pixels share are loaded once; that keeps more registers busy.
    """
    sums = accumulators(spec, first)
    last = sums[-1]
    tag = f"_{first}" if first else ""
    loaded: dict[int, tuple[str, int]] = {}

    def multiply(m: int, n: int, lanes: str, weight: str) -> None:
        target = sums[m][n]
        if target in started or spec.biases:
            block(f"smlad {target}, {lanes}, {weight}, {target if target in started else last[n]}")
        else:
            block(f"smuad {target}, {lanes}, {weight}")
        started.add(target)

    for pair in range(spec.pairs):
        weights = _Weights(block, stream, spec, f"{row}_{pair}{tag}")
        if spec.channels > spec.pixels:
            lanes = [
                _load_lanes(block, spec, f"{row}_{pair}{tag}", pair, m, loaded if reuse else {})
                for m in range(spec.pixels)
            ]
            for n in range(spec.channels):
                weight = weights.load(n)
                for m in range(spec.pixels):
                    multiply(m, n, lanes[m], weight)
        else:
            ready: list[str] = []
            for m in range(spec.pixels):
                fresh = _load_lanes(block, spec, f"{row}_{pair}{tag}", pair, m, loaded if reuse else {})
                for n in range(spec.channels):
                    if m == 0:
                        ready.append(weights.load(n))
                    multiply(m, n, fresh, ready[n])


class _Weights:
    """The weights of one lane pair, loaded channel by channel."""

    def __init__(self, block: Block, stream: StreamPosition, spec: MultiplySpec, tag: str) -> None:
        self._block, self._stream, self._form, self._tag = block, stream, spec.form, tag

    def load(self, n: int) -> str:
        """Load or extract channel n's weights; channels come in order."""
        name = f"%w{self._tag}_{n}"
        if self._form is WeightForm.BYTES:
            both = f"%v{self._tag}_{n // 2}"
            if n % 2 == 0:
                self._block(f"ldr {both}, [%pw, #{self._stream.take()}]")
            self._block(f"sxtb16 {name}, {both}" + (", ror #8" if n % 2 else ""))
        elif self._form is WeightForm.INT16 or n % 2 == 0:
            self._block(f"ldr {name}, [%pw, #{self._stream.take()}]")
        else:
            self._block(f"sxtb16 {name}, %w{self._tag}_{n - 1}")
        return name


def _load_lanes(
    block: Block, spec: MultiplySpec, tag: str, pair: int, m: int, loaded: dict[int, tuple[str, int]]
) -> str:
    """Load the lanes of pixel m, unless the pair before or this one has just loaded the same word."""
    offset = spec.offsets[m][pair]
    name, when = loaded.get(offset, ("", -9))
    if pair - when > 1:
        name = f"%a{tag}_{m}"
        match spec.source:
            case RowSource.TABLE:
                block(f"ldr {name}, [%pa, #{offset}]")
            case RowSource.FRAME:
                block(f"ldr {name}, [sp, #{ROW_IN_FRAME + offset}]")
            case RowSource.BYTES if pair % 2 == 0:
                block(*_load_bytes(f"%x{pair}", 2 * pair, spec.tail if pair + 2 == spec.pairs else 0))
                block(f"sxtb16 {name}, %x{pair}")
            case RowSource.BYTES:
                block(f"sxtb16 {name}, %x{pair - 1}, ror #8")
    loaded[offset] = (name, pair)
    return name


def _load_bytes(word: str, offset: int, tail: int) -> tuple[str, ...]:
    """Return the loads of a word of int8 of which `tail` bytes exist; 0 are all four. Others have weights of zero."""
    if tail == 0:
        return (f"ldr {word}, [%pa, #{offset}]",)
    if tail == 1:
        return (f"ldrb {word}, [%pa, #{offset}]",)
    first = f"ldrh {word}, [%pa, #{offset}]"
    if tail == 2:
        return (first,)
    return (first, f"ldrb {word}_last, [%pa, #{offset + 2}]", f"orr {word}, {word}, {word}_last, lsl #16")


def finish(block: Block, stream: StreamPosition, spec: MultiplySpec, shift: int) -> None:
    """Append requantisation, stores, and the step to the next block of channels; leaves Z set after the last."""
    finish_channels(block, stream, spec, shift)
    next_channels(block, stream, spec)


def finish_channels(block: Block, stream: StreamPosition, spec: MultiplySpec, shift: int, first: int = 0) -> None:
    """Append requantisation and stores of the channels from `first` on, which are 0 or N."""
    sums = accumulators(spec, first)
    # Not kept from block to block: products need the register.
    out = f"%out{first}" if first else "%out"
    block(f"ldr {out}, [sp, #{OUT_IN_FRAME}]")
    if spec.form is WeightForm.PAIR8:
        for n in range(0, spec.channels, 2):
            for m in range(spec.pixels):
                _separate(block, sums[m][n], sums[m][n + 1], doubled=spec.doubled)
    if spec.uniform:
        block(f"ldr %first, [%pw, #{stream.take()}]", f"ldr %offset, [%pw, #{stream.take()}]")
    else:
        block(*(f"ldr {name}, [%pw, #{stream.take()}]" for name in spec.finish.shared_names))
    for n in range(spec.channels):
        channel = first + n
        if not spec.uniform:
            names = (f"%first{channel}", f"%second{channel}", spec.finish.third(channel))
            block(*(f"ldr {name}, [%pw, #{stream.take()}]" for name in names[: spec.finish.channel_words]))
        for m in range(spec.pixels):
            name = sums[m][n]
            if spec.uniform:
                block(*UniformFinish.lines(name, spec.finish, spec.saturation, shift))
            else:
                block(*spec.finish.lines(name, spec.saturation, n=channel, shift=shift))
            block(f"{spec.finish.store} {name}, [{out}, #{spec.out_bytes * (m * spec.pixel_stride + channel)}]")


def next_channels(block: Block, stream: StreamPosition, spec: MultiplySpec) -> None:
    """Append the step to the next turn's channels; leaves Z set after the last."""
    out = f"%out{spec.channels}" if spec.paired else "%out"
    block(
        f"add {out}, {out}, #{spec.out_bytes * spec.channels * (1 + spec.paired)}",
        f"str {out}, [sp, #{OUT_IN_FRAME}]",
    )
    stream.flush()
    block(
        f"ldr %end, [sp, #{END_IN_FRAME}]",
        f"cmp {out}, %end",
    )


def _separate(block: Block, mixed: str, odd: str, *, doubled: bool) -> None:
    """Append the way from 256 * P + Q and Q to P and Q, or to twice both."""
    block(f"sub {mixed}, {mixed}, {odd}", f"asr {mixed}, {mixed}, #{7 if doubled else 8}")
    if doubled:
        block(f"add {odd}, {odd}, {odd}")
