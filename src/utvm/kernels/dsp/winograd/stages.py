"""The micro-kernels of exact integer Winograd convolution: transforms, the products of a point, and the finish."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.cores.microkernel import Block, schedule
from utvm.cores.thumb import Kind
from utvm.cores.timing import Timing
from utvm.kernels.dsp.assembly import LOOP_REGISTERS, MAX_OFFSET, assembler_function, assembler_loop
from utvm.kernels.dsp.finish import Finish, Saturation
from utvm.kernels.dsp.winograd.transforms import Emit


@dataclass(frozen=True, slots=True, kw_only=True)
class Strided:
    """Words at `count` places, `stride` bytes apart; reached from one base address or, if too far, from two."""

    stride: int
    count: int

    @property
    def two(self) -> bool:
        """Whether a second base is needed."""
        return (self.count - 1) * self.stride > MAX_OFFSET

    @property
    def half(self) -> int:
        """The places that the first base reaches, if there are two."""
        return (self.count + 1) // 2

    @property
    def reachable(self) -> bool:
        """Whether two bases are enough."""
        return (self.half - 1) * self.stride <= MAX_OFFSET

    def place(self, base: str, index: int) -> str:
        """Return the address operand of a place."""
        if self.two and index >= self.half:
            return f"[%{base}_far, #{(index - self.half) * self.stride}]"
        return f"[%{base}, #{index * self.stride}]"


@lru_cache(maxsize=1024)
def transform_loop(name: str, emit: Emit, source: Strided, target: Strided, timing: Timing, what: str) -> CSupport:
    """Return `void name(const void *source, void *target, int32_t words)`: one word of each place a turn.

    Args:
        name: the symbol.
        emit: the transform, of as many words as `source` has places, to as many as `target` has.
        source: the places that are read, from `source` on; the next turn's are a word behind.
        target: the places that are written, likewise.
        timing: the core to schedule for.
        what: the comment over the function.

    Raises:
        ScheduleError: the transform does not fit the registers.
    """
    block = Block()
    inputs = [f"%d{i}" for i in range(source.count)]
    for i, value in enumerate(inputs):
        block(f"ldr {value}, {source.place('source', i)}")
    for i, value in enumerate(emit(block, inputs)):
        block(f"str {value}, {target.place('target', i)}")
    fixed = {"%source": "r0", "%target": "r1", "%words": "r2"}
    entry = []
    spare = ["r3", *LOOP_REGISTERS]
    block("add %source, %source, #4", "add %target, %target, #4")
    for base, strided, register in (("source", source, "r0"), ("target", target, "r1")):
        if strided.two:
            far = spare.pop(0)
            fixed[f"%{base}_far"] = far
            entry += _add_constant(far, register, strided.half * strided.stride)
            block(f"add %{base}_far, %{base}_far, #4")
    block("subs %words, %words, #1")
    body = schedule(_loads_late(block), timing, pool=spare, fixed=fixed)
    return assembler_loop(name, "const void *source, void *target, int32_t words", body.lines, what, entry=entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """The products of all points for N channels: `blocks` blocks of `tiles` tiles, `words` lane pairs deep."""

    tiles: int
    channels: int
    words: int
    blocks: int


@lru_cache(maxsize=1024)
def products_loop(name: str, spec: Products, timing: Timing) -> CSupport:
    """Return `void name(const void *data, const int32_t *weights, int32_t *sums, int32_t points)`.

    Data is [point][tile][word], weights [point][word][channel], sums [point][tile][channel], in words: lane pairs of
    int16 for data and weights, int32 for sums. A turn makes the sums of one block of tiles at one point.

    Raises:
        ScheduleError: so many tiles and channels do not fit the registers.
    """
    block = Block()
    tiles, channels = range(spec.tiles), range(spec.channels)
    for word in range(spec.words):
        for m in tiles:
            block(f"ldr %a{word}_{m}, [%data, #{4 * (m * spec.words + word)}]")
            for n in channels:
                if m == 0:
                    block(f"ldr %w{word}_{n}, [%weights, #{4 * (word * spec.channels + n)}]")
                total = f"%c{m}_{n}"
                if word == 0:
                    block(f"smuad {total}, %a{word}_{m}, %w{word}_{n}")
                else:
                    block(f"smlad {total}, %a{word}_{m}, %w{word}_{n}, {total}")
    block("ldr %sums, [sp, #8]")
    for m in tiles:
        for n in channels:
            block(f"str %c{m}_{n}, [%sums, #{4 * (m * spec.channels + n)}]")
    block(
        *_advance("%data", 4 * spec.tiles * spec.words),
        f"add %sums, %sums, #{4 * spec.tiles * spec.channels}",
        "str %sums, [sp, #8]",
    )
    step = 4 * spec.words * spec.channels
    if spec.blocks == 1:
        block(*_advance("%weights", step))
    block("ldr %left, [sp, #0]", "subs %left, %left, #1", "str %left, [sp, #0]")
    body = schedule(block, timing, pool=("r2", "r3", *LOOP_REGISTERS), fixed={"%data": "r0", "%weights": "r1"})
    loop = [".balign 8", "1:", *body.lines, "bne.w 1b"]
    if spec.blocks == 1:
        lines = ["str r3, [sp, #0]", *loop]
    else:
        again = [*_advance("r1", step), "ldr r4, [sp, #4]", "subs r4, r4, #1", "str r4, [sp, #4]", "bne.w 2b"]
        lines = ["str r3, [sp, #4]", "2:", f"mov r4, #{spec.blocks}", "str r4, [sp, #0]", *loop, *again]
    return assembler_function(
        name,
        f"void {name}(const void *data, const int32_t *weights, int32_t *sums, int32_t points)",
        ["push {r4-r11, lr}", "sub sp, sp, #12", "str r2, [sp, #8]", *lines, "add sp, sp, #12", "pop {r4-r11, pc}"],
        f"{spec.tiles} tiles x {spec.channels} channels, {spec.words} lane pairs",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The last stage of one output row: one tile of one channel a turn, either tile by tile or channel by channel.

    `odd` is the odd factor of the scale (1 if there is none), `right` its power of two. The steps are from turn to
    turn, all in bytes: of the sums, of the channel's constants, of the output.
    """

    points: int
    point_bytes: int
    sum_step: int
    stream_step: int
    out_step: int
    out_pixel: int
    outputs: int
    odd: int
    right: int
    finish: Finish
    saturation: Saturation
    shift: int


@lru_cache(maxsize=1024)
def ending_loop(name: str, emit: Emit, spec: Ending, timing: Timing) -> CSupport:
    """Return `void name(const int32_t *sums, const int32_t *stream, int8_t *out, int32_t turns)`.

    `stream` points to a channel's constants as `exactness.finish_constants` has them. A turn reads a tile's sums at all
    points of one row, and writes its outputs of that row.

    Raises:
        ScheduleError: the transform does not fit the registers.
    """
    block = Block()
    inputs = [f"%d{i}" for i in range(spec.points)]
    for i, value in enumerate(inputs):
        block(f"ldr {value}, [%sums, #{i * spec.point_bytes}]")
    results = emit(block, inputs)
    names = ["%bias", "%inverse", "%first", "%second", spec.finish.third()]
    wanted = {"%bias", *(["%inverse"] if spec.odd != 1 else [])}
    wanted |= set(names[2:]) if spec.finish.multiplies else set()
    for i, value in enumerate(names):
        if value in wanted:
            block(f"ldr {value}, [%stream, #{4 * i}]")
    for i, value in enumerate(results):
        y = f"%y{i}"
        block(f"add {y}, {value}, %bias" if spec.odd == 1 else f"mla {y}, {value}, %inverse, %bias")
        right = spec.right - spec.finish.doubles
        if spec.finish.multiplies and right:
            block(f"{'asr' if right > 0 else 'lsl'} {y}, {y}, #{abs(right)}")
        block(
            *spec.finish.lines(y, spec.saturation, shift=spec.right + spec.shift),
            f"strb {y}, [%out, #{i * spec.out_pixel}]",
        )
    block(
        f"add %sums, %sums, #{spec.sum_step}",
        *([f"add %stream, %stream, #{spec.stream_step}"] if spec.stream_step else []),
        f"add %out, %out, #{spec.out_step}",
        "subs %turns, %turns, #1",
    )
    fixed = {"%sums": "r0", "%stream": "r1", "%out": "r2", "%turns": "r3"}
    body = schedule(_loads_late(block), timing, pool=LOOP_REGISTERS, fixed=fixed)
    return assembler_loop(
        name,
        "const int32_t *sums, const int32_t *stream, int8_t *out, int32_t turns",
        body.lines,
        f"inverse along a row of tiles, bias, requantisation: {spec.outputs} outputs a tile",
    )


def _advance(register: str, nbytes: int) -> list[str]:
    return [
        f"add {register}, {register}, #{min(MAX_OFFSET - 3, nbytes - done)}"
        for done in range(0, nbytes, MAX_OFFSET - 3)
    ]


def _add_constant(target: str, source: str, nbytes: int) -> list[str]:
    return [f"mov {target}, {source}", *_advance(target, nbytes)]


def _loads_late(block: Block) -> Block:
    """Return the same code with each load moved to just before its first use and each store after its value."""
    loads = {i.writes[0]: i for i in block.code if i.kind is Kind.LOAD}
    stores: dict[str, list[str]] = {}
    for instruction in block.code:
        if instruction.kind is Kind.STORE:
            stores.setdefault(instruction.reads[0], []).append(instruction.text)
    final = {}
    for position, instruction in enumerate(block.code):
        for name in instruction.writes:
            final[name] = position
    ordered = Block()
    done: set[str] = set()
    for position, instruction in enumerate(block.code):
        if instruction.kind in (Kind.LOAD, Kind.STORE):
            continue
        for name in dict.fromkeys(instruction.uses):
            if name in loads and name not in done:
                done.add(name)
                ordered(loads[name].text)
        ordered(instruction.text)
        for name in instruction.writes:
            if final[name] == position:
                ordered(*stores.pop(name, []))
    return ordered
