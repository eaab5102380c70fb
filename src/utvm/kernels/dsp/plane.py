"""Micro-kernels of the depthwise convolution: one channel's plane in, V x N outputs of it at a time.

The plane holds int16 lanes, so that a word is two neighbouring pixels. The weights of a kernel row w0, w1, … come as
the words (w0,w1), (w1,w2), …: an output that starts at an even lane takes every second of them from the first on, one
that starts at an odd lane from the second on; SMLABT and SMLATB take the single pixel that is left at an end. Of a
dilated kernel each word has at most one pixel, and the weights come as (w0,w1), (w2,w3), …
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from utvm.codegen import CSupport
from utvm.cores.microkernel import Block, schedule
from utvm.cores.thumb import parse
from utvm.cores.thumb.placing import to_word
from utvm.cores.timing import Timing
from utvm.kernels.dsp.assembly import LOOP_REGISTERS, MAX_OFFSET, assembler_loop, loop_cycles
from utvm.kernels.dsp.finish import WIDE_FINISHES, Finish, Saturation

HEAD_WORDS = 4
"""Words of a channel's stream before its weights: bias, first, second, third; more where a finish shares more."""

_BLOCKS_IN_FRAME, _ROW_IN_FRAME, _FRAME = 0, 4, 12
"""Where the blocks that are left and the bytes of an output row lie, and the size of the stack frame, in bytes."""
_MOST_ROW = 0xFFFF
"""The largest constant of MOV, for the bytes of an output row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneSpec:
    """What a micro-kernel computes. Strides in bytes: of a plane's row, of an output row, of an output pixel."""

    rows: int
    columns: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    plane_pitch: int
    out_row: int
    out_pixel: int
    finish: Finish
    saturation: Saturation
    shift: int

    @property
    def head_words(self) -> int:
        """Words of a channel's stream before its weights."""
        return max(HEAD_WORDS, 1 + self.finish.channel_words + self.finish.shared_words)

    @property
    def pair_words(self) -> int:
        """Weight words of one kernel row."""
        return pair_words(self.kernel[1], self.dilation[1])

    @property
    def span(self) -> tuple[int, int]:
        """Rows and columns of the plane from the first tap of a window to its last."""
        return (self.kernel[0] - 1) * self.dilation[0] + 1, (self.kernel[1] - 1) * self.dilation[1] + 1

    @property
    def lines(self) -> int:
        """Rows of the plane from the first that the outputs read to the last."""
        return (self.rows - 1) * self.stride[0] + self.span[0]

    @property
    def words(self) -> int:
        """Words of each such row."""
        return ((self.columns - 1) * self.stride[1] + self.span[1] + 1) // 2

    @property
    def far(self) -> bool:
        """Whether output rows are too far from each other for offsets: each gets an address of its own."""
        return (self.rows - 1) * self.out_row + (self.columns - 1) * self.out_pixel > MAX_OFFSET


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneKernel:
    """The micro-kernel of all outputs of a plane, and the modelled cycles of one turn of its outer loop."""

    function: CSupport
    cycles: float


def plane_kernel(name: str, spec: PlaneSpec, timing: Timing, *, width: int) -> PlaneKernel:
    """Return `void name(const int16_t *plane, const int32_t *stream, int8_t *out, int32_t blocks)`, or to int16.

    A block is `spec.rows` rows of `width` outputs: as many turns as fit, then the columns that are left one by one.

    Raises:
        ScheduleError: so many outputs at once do not fit the registers.
    """
    steps, left = divmod(width, spec.columns)
    step = spec.columns * spec.out_pixel, 2 * spec.columns * spec.stride[1]
    block = _outputs(spec)
    block(f"add %plane, %plane, #{step[1]}", f"add %out, %out, #{step[0]}", "subs %steps, %steps, #1")
    fixed = {"%plane": "r0", "%stream": "r1", "%out": "r2", "%steps": "r3"}
    turn = schedule(block, timing, pool=LOOP_REGISTERS, fixed=fixed).lines
    last: tuple[str, ...] = ()
    if left:
        assert left == 1
        last = schedule(_outputs(replace(spec, columns=1)), timing, pool=("r3", *LOOP_REGISTERS), fixed=fixed).lines
    entry = f"mov r3, #{steps}"
    # Scheduled code begins at a word: its loads lie off words otherwise.
    aligned = to_word((*turn, "bne.w 1b")) if last and timing.loads_at_words else ()
    after = (
        *last,
        f"ldr r3, [sp, #{_BLOCKS_IN_FRAME}]",
        *_moved("r0", spec.rows * spec.stride[0] * spec.plane_pitch - steps * step[1]),
        *_moved("r2", spec.rows * spec.out_row - steps * step[0]),
        "subs r3, r3, #1",
        f"str r3, [sp, #{_BLOCKS_IN_FRAME}]",
        "bne.w 2b",
    )
    function = assembler_loop(
        name,
        f"const int16_t *plane, const int32_t *stream, int{8 * spec.finish.out_bytes}_t *out, int32_t blocks",
        turn,
        f"{spec.rows} rows of {width} outputs of one channel, {spec.columns} at a time, "
        f"kernel {spec.kernel[0]}x{spec.kernel[1]}, stride {spec.stride[0]}x{spec.stride[1]}",
        entry=[
            *([f"mov r4, #{spec.out_row}", f"str r4, [sp, #{_ROW_IN_FRAME}]"] if spec.far else []),
            f"str r3, [sp, #{_BLOCKS_IN_FRAME}]",
            "2:",
            entry,
        ],
        after=(*aligned, *after),
        frame=_FRAME,
    )
    around = timing.cost((), [parse(line) for line in (entry, *after)])
    inner = steps * loop_cycles(function, timing) + timing.mispredict_cycles * (steps > 1)
    return PlaneKernel(function=function, cycles=inner + around)


def _outputs(spec: PlaneSpec) -> Block:
    block = Block()
    _multiply(block, spec)
    _finish(block, spec)
    return block


def _moved(register: str, distance: int) -> Iterator[str]:
    """Yield the additions that move an address."""
    left = abs(distance)
    while left:
        step = min(left, MAX_OFFSET)
        yield f"{'add' if distance > 0 else 'sub'} {register}, {register}, #{step}"
        left -= step


def _accumulator(row: int, column: int) -> str:
    return f"%c{row}_{column}"


def _multiply(block: Block, spec: PlaneSpec) -> None:
    """Append all products: word by word along the row, so that few weights are live at a time."""
    height, width = spec.kernel
    down, across = spec.dilation
    last = _accumulator(spec.rows - 1, spec.columns - 1)
    block(f"ldr {last}, [%stream, #0]")
    started = {last}
    for word in range(spec.words):
        loaded: set[str] = set()
        for line in range(spec.lines):
            lanes = f"%x{word}_{line}"
            for row in range(spec.rows):
                tap, between = divmod(line - row * spec.stride[0], down)
                if between or not 0 <= tap < height:
                    continue
                for column in range(spec.columns):
                    product = _product(word, column * spec.stride[1], width, across)
                    if product is None:
                        continue
                    operation, pair = product
                    if lanes not in loaded:
                        loaded.add(lanes)
                        block(f"ldr {lanes}, [%plane, #{line * spec.plane_pitch + 4 * word}]")
                    weights = f"%w{word}_{tap}_{pair}"
                    if weights not in loaded:
                        loaded.add(weights)
                        block(f"ldr {weights}, [%stream, #{4 * (spec.head_words + tap * spec.pair_words + pair)}]")
                    target = _accumulator(row, column)
                    addend = target if target in started else last
                    started.add(target)
                    block(f"{operation} {target}, {lanes}, {weights}, {addend}")


def pair_words(width: int, dilation: int) -> int:
    """Return the weight words of a kernel row: neighbours that overlap, or taps two by two where these are dilated."""
    return max(width - 1, 1) if dilation == 1 else (width + 1) // 2


def _product(word: int, start: int, width: int, dilation: int) -> tuple[str, int] | None:
    """Return (instruction, weight word) for what word `word` of a row adds to an output that starts at lane `start`."""
    first = 2 * word - start
    if dilation > 1:
        # Of two neighbours a dilated kernel takes one at most.
        for half in range(2):
            tap, between = divmod(first + half, dilation)
            if not between and 0 <= tap < width:
                return f"smla{'bt'[half]}{'bt'[tap % 2]}", tap // 2
        return None
    if first < -1 or first >= width:
        return None
    if width == 1:
        return ("smlabb" if first == 0 else "smlatb"), 0
    if first == -1:
        return "smlatb", 0
    if first == width - 1:
        return "smlabt", width - 2
    return "smlad", first


def _finish(block: Block, spec: PlaneSpec) -> None:
    if spec.finish in WIDE_FINISHES:
        block(*(f"ldr {n}, [%stream, #{4 * word}]" for word, n in enumerate(("%first", *spec.finish.shared_names), 1)))
    elif spec.finish.multiplies:
        block("ldr %first, [%stream, #4]", "ldr %second, [%stream, #8]", f"ldr {spec.finish.third()}, [%stream, #12]")
    for row in range(spec.rows):
        base, offset = "%out", row * spec.out_row
        if spec.far and row:
            if row == 1:
                block(f"ldr %row, [sp, #{_ROW_IN_FRAME}]")
            base, offset = f"%out{row}", 0
            block(f"add {base}, {f'%out{row - 1}' if row > 1 else '%out'}, %row")
        for column in range(spec.columns):
            name = _accumulator(row, column)
            block(
                *spec.finish.lines(name, spec.saturation, shift=spec.shift),
                f"{spec.finish.store} {name}, [{base}, #{offset + column * spec.out_pixel}]",
            )


def fits_offsets(spec: PlaneSpec) -> bool:
    """Whether all offsets of a micro-kernel fit its loads, stores and additions."""
    largest = max(
        (spec.columns - 1) * spec.out_pixel,
        (spec.lines - 1) * spec.plane_pitch + 4 * (spec.words - 1),
        4 * (spec.head_words + spec.kernel[0] * spec.pair_words - 1),
        spec.columns * spec.out_pixel,
    )
    return largest <= MAX_OFFSET and not (spec.far and spec.out_row > _MOST_ROW)


def extract_kernel(
    name: str, *, count: int, size: int, channels: int, source_row: int, plane_pitch: int, odd: bool, timing: Timing
) -> CSupport:
    """Return `void name(const int8_t *x, int16_t *plane, int32_t rows)`: `count` pixels of one channel, each row.

    With a `size` of two bytes `x` points to int16_t.

    Two pixels are stored at once where that is faster: stores of halfwords wait for each other on some cores.

    Args:
        name: the symbol, to which is added where a plane must start if two pixels are stored at once.
        count: pixels a row; `count * channels * size` must fit a load's offset.
        size: bytes of an element of the input.
        channels: elements from pixel to pixel.
        source_row: bytes from row to row of the input.
        plane_pitch: bytes from row to row of the plane.
        odd: whether `plane` is two bytes behind a word.
    """
    fixed = {"%x": "r0", "%plane": "r1", "%rows": "r2"}
    body, by_words = (
        schedule(
            _extraction(count, size, channels, source_row, plane_pitch, first),
            timing,
            pool=("r3", *LOOP_REGISTERS),
            fixed=fixed,
        )
        for first in (count, int(odd))
    )
    if by_words.cycles < body.cycles:
        name, body = f"{name}_{'odd' if odd else 'even'}", by_words
    return assembler_loop(
        name,
        f"const int{8 * size}_t *x, int16_t *plane, int32_t rows",
        body.lines,
        f"{count} pixels a row of one of {channels} channels as int16",
    )


def _extraction(count: int, size: int, channels: int, source_row: int, plane_pitch: int, first: int) -> Block:
    """Return the block of one row; from pixel `first` on, pixels are stored by twos."""
    block = Block()
    load = "ldrsb" if size == 1 else "ldrh"
    pixel = 0
    while pixel < count:
        at = f"[%plane, #{2 * pixel}]"
        block(f"{load} %v{pixel}, [%x, #{pixel * channels * size}]")
        if pixel < first or pixel + 1 == count:
            block(f"strh %v{pixel}, {at}")
            pixel += 1
            continue
        block(f"{load} %v{pixel + 1}, [%x, #{(pixel + 1) * channels * size}]")
        block(f"pkhbt %v{pixel}, %v{pixel}, %v{pixel + 1}, lsl #16", f"str %v{pixel}, {at}")
        pixel += 2
    block(*_moved("%x", source_row), f"add %plane, %plane, #{plane_pitch}", "subs %rows, %rows, #1")
    return block


def most_pixels(pitch: int) -> int:
    """Return how many pixels of a row one extraction can reach, `pitch` bytes from one to the next."""
    return min(MAX_OFFSET // pitch + 1, 32)
