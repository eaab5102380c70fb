"""The assembler of depthwise convolutions by patches: interleaving of rows, sums of patches, and the way back.

Four rows lie interleaved: a word holds a channel of one column, and a gather of four words a patch of 4 x 4 pixels.
Where windows move by one pixel, four shifted copies of the weights make 2 x 2 outputs of a patch of up to 3 x 3 taps.
Elsewhere each output has patches of its own, and four outputs of a row are finished together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from utvm.codegen import CSupport
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.kernels.dsp.assembly import assembler_function, short_digest
from utvm.kernels.helium.code import constant, framed, move
from utvm.kernels.helium.finish import VectorFinish

_CONSTANTS = 8
"""Words behind a channel's weights: bias, multiplier, shift, left shift, and the step to the next channel's word."""
_FIRST = ("r0", "r2", "r4", "r6")
_SECOND = ("r8", "r10", "r12", "lr")
_FRAME = 52
_T, _STREAM, _OUT, _COUNT, _LOW, _HIGH = 0, 4, 8, 12, 16, 32
_CHANNEL_CYCLES, _TAIL_CYCLES = 22, 7
WRITTEN, _AT_ONCE = 9, 2
"""Sets of outputs up to which there is no loop, and those of a turn of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchSpec:
    """What a micro-kernel computes. Offsets in bytes.

    Attributes:
        square: whether a patch makes 2 x 2 outputs.
        taps: where the patches of an output begin, relative to its first one.
        between: from column to column of a patch.
        step: from one patch to the next: of two columns, or of the next output.
        out_step: from four outputs of a channel to the next four.
        steps: sets of four outputs.
        lines: rows of patches, if there are few sets.
        jump: from the last set of a row of patches to the first of the next, beside a step.
    """

    square: bool
    taps: tuple[int, ...]
    between: int
    step: int
    out_step: int
    steps: int
    finish: VectorFinish
    lines: int = 1
    jump: int = 0

    @property
    def vectors(self) -> int:
        """Vectors of weights of a channel."""
        return 4 if self.square else len(self.taps)

    @property
    def kept(self) -> int:
        """Vectors of weights that stay in registers, from q0 on."""
        return self.vectors if self.square or len(self.taps) == 1 else 0

    @property
    def alternates(self) -> bool:
        """Whether sets of outputs take turns with two sets of sums: the finish needs no constant in a register."""
        return self.square and self.finish.unsigned and not self.finish.left


class _Steps:
    """Writes sets of four outputs."""

    def __init__(self, spec: PatchSpec) -> None:
        self.spec, self.block, self._names = spec, Block(), 0
        self._sums = (_FIRST, _SECOND) if spec.alternates else (_FIRST,)

    def new(self) -> str:
        self._names += 1
        return f"%q{self._names}"

    def sum(self, turn: int) -> None:
        """Write the sums of a set."""
        sums = self._sums[turn % len(self._sums)]
        if self.spec.square:
            patch = self.new()
            row_ends = (turn + 1) % (self.spec.steps // self.spec.lines) == 0
            by = self.spec.step + (self.spec.jump if row_ends else 0)
            self.block(f"vldrw.u32 {patch}, [r1, q7]", *move("r1", by))
            for total, weights in zip(sums, ("q0", "q1", "q2", "q3"), strict=True):
                self.block(f"vmladav.s8 {total}, {patch}, {weights}")
        else:
            self._write_patches(sums)

    def _write_patches(self, sums: tuple[str, ...]) -> None:
        spec, at = self.spec, 0
        for index, tap in enumerate(spec.taps):
            if len(spec.taps) == 1:
                weights = "q0"
            else:
                weights = self.new()
                self.block(f"vldrw.u32 {weights}, [r3, #{16 * index}]")
            for place, total in enumerate(sums):
                self.block(*move("r1", tap + place * spec.step - at))
                at = tap + place * spec.step
                patch = self.new()
                self.block(f"vldrw.u32 {patch}, [r1, q7]")
                self.block(f"vmladav{'a' if index else ''}.s8 {total}, {patch}, {weights}")
        self.block(*move("r1", len(sums) * spec.step - at))

    def finish(self, turn: int) -> None:
        """Write the way from the sums of a set to its outputs."""
        sums = self._sums[turn % len(self._sums)]
        block, finish, value = self.block, self.spec.finish, self.new()
        block(
            f"vmov {value}[2], {value}[0], {sums[0]}, {sums[2]}", f"vmov {value}[3], {value}[1], {sums[1]}, {sums[3]}"
        )
        block(f"vadd.i32 {value}, {value}, {_bias(self.spec)}")
        if finish.left:
            block(f"vshl.s32 {value}, r10")
        if finish.product == "vmulh":
            # It takes no scalar.
            factor = self.new()
            block(f"vdup.32 {factor}, r5", f"vmulh.s32 {value}, {value}, {factor}")
        elif finish.multiplies:
            block(f"{finish.product}.s32 {value}, {value}, r5")
        if finish.lowers:
            sign = self.new()
            # Channels that are not shifted have no negative value lowered: r9 is 0 there.
            if finish.lowers == "some":
                block(f"vdup.32 {sign}, r9", f"vand {sign}, {sign}, {value}", f"vshr.s32 {sign}, {sign}, #31")
            else:
                block(f"vshr.s32 {sign}, {value}, #31")
            block(f"vadd.i32 {value}, {value}, {sign}")
        block(f"vrshl.s32 {value}, r9")
        if finish.unsigned:
            block(f"vqmovunb.s32 {value}, {value}", f"vqmovnb.u16 {value}, {value}")
        else:
            if finish.zero_point:
                block(f"vadd.i32 {value}, {value}, r8")
            for at, name in ((_LOW, "vmax"), (_HIGH, "vmin")):
                limit = self.new()
                block(f"vldrw.u32 {limit}, [sp, #{at}]", f"{name}.s32 {value}, {value}, {limit}")
        block(f"vstrb.32 {value}, [r7]", *move("r7", self.spec.out_step))


def _bias(spec: PatchSpec) -> str:
    """Return the register of the bias: patches read their weights by r3."""
    return "r3" if spec.square else "r12"


def _pool(spec: PatchSpec) -> tuple[str, ...]:
    return tuple(f"q{number}" for number in range(spec.kept, 7))


_Step = Callable[[_Steps, int], None]


def _parts(spec: PatchSpec) -> tuple[list[tuple[int, list[tuple[_Step, int]]]], bool]:
    """Return the parts of a channel, each (turns, what is written of which set), and whether the first has the head.

    Where sets take turns with two sets of sums, one is finished while the next is summed, from turn to turn too.
    """
    whole: list[_Step] = [_Steps.sum, _Steps.finish]
    if spec.steps <= WRITTEN:
        return [(1, [(step, k) for k in range(spec.steps) for step in whole])], True
    if not spec.alternates:
        turns, rest = divmod(spec.steps, _AT_ONCE)
        parts = [(n, [(step, k) for k in range(sets) for step in whole]) for n, sets in ((turns, _AT_ONCE), (1, rest))]
        return [part for part in parts if part[1]], False
    turns, rest = divmod(spec.steps - 1, _AT_ONCE)
    ahead: list[tuple[_Step, int]] = [
        each for k in range(_AT_ONCE) for each in ((_Steps.sum, k + 1), (_Steps.finish, k))
    ]
    return [(1, [(_Steps.sum, 0)]), (turns, ahead), (1, [*ahead[: 2 * rest], (_Steps.finish, rest)])], True


@lru_cache(maxsize=512)
def patch_kernel(spec: PatchSpec, timing: Timing) -> tuple[CSupport, float]:
    """Return `void name(const int8_t *rows, const int32_t *stream, int8_t *out, int32_t channels)`, and the cycles
    of a channel.

    Raises:
        ScheduleError: it can't be scheduled.
    """
    name = f"utvm_helium_patches_{spec.steps}_{short_digest(spec, 2)}"
    head = [
        f"ldrd r1, r3, [sp, #{_T}]",
        f"ldr r7, [sp, #{_OUT}]",
        *_channel(spec),
        "add.w r11, r7, #4",
        f"str r11, [sp, #{_OUT}]",
    ]
    parts, with_head = _parts(spec)
    lines = [] if with_head else list(head)
    cycles = float(_TAIL_CYCLES if with_head else _CHANNEL_CYCLES + 2 * spec.vectors)
    for number, (turns, steps) in enumerate(parts):
        writer = _Steps(spec)
        if with_head and number == 0:
            writer.block(*head)
        for step, set_ in steps:
            step(writer, set_)
        done = schedule(writer.block, timing, pool=_pool(spec))
        if turns > 1:
            lines += [f"movw r11, #{turns}", ".balign 4", "2:", *done.lines, "subs.w r11, r11, #1", "bne.w 2b"]
        else:
            lines += done.lines
        cycles += turns * (done.cycles + 3 * (turns > 1))
    function = [
        f"strd r0, r1, [sp, #{_T}]",
        f"strd r2, r3, [sp, #{_OUT}]",
        *_clamp(spec.finish),
        *(line for place, register in enumerate(_FIRST) for line in constant(register, place * spec.between)),
        "vmov q7[2], q7[0], r0, r4",
        "vmov q7[3], q7[1], r2, r6",
        ".balign 4",
        "1:",
        *lines,
        f"ldr r11, [sp, #{_COUNT}]",
        "subs.w r11, r11, #1",
        f"str r11, [sp, #{_COUNT}]",
        "bne.w 1b",
    ]
    prototype = f"void {name}(const int8_t *rows, const int32_t *stream, int8_t *out, int32_t channels)"
    comment = f"{spec.steps} sets of four outputs of each channel, {spec.vectors} vectors of weights"
    return assembler_function(name, prototype, framed(_FRAME, function), comment), cycles


def _clamp(finish: VectorFinish) -> list[str]:
    if finish.unsigned:
        return []
    lines = []
    for value, at in ((finish.low, _LOW), (finish.high, _HIGH)):
        lines += [f"mvn.w r4, #{-value - 1}" if value < 0 else f"mov.w r4, #{value}", "vdup.32 q0, r4"]
        lines += [f"vstrw.32 q0, [sp, #{at}]"]
    return lines


def _channel(spec: PatchSpec) -> list[str]:
    """Return the loads of a channel's constants: r3 is the stream, r1 the channel's first word."""
    words = 16 * spec.vectors
    lines = [f"vldrw.u32 q{index}, [r3, #{16 * index}]" for index in range(spec.kept)]
    lines += move("r3", words) if spec.square else [f"add.w r11, r3, #{words}"]
    base = "r3" if spec.square else "r11"
    lines.append(f"ldrd r5, r9, [{base}, #4]")
    if not spec.alternates:
        lines.append(f"ldr r10, [{base}, #12]")
        lines += [f"mvn.w r8, #{-spec.finish.zero_point - 1}" if spec.finish.zero_point < 0 else
                  f"mov.w r8, #{spec.finish.zero_point}"]  # fmt: skip
    lines += [f"ldr r0, [{base}, #16]", "add.w r0, r0, r1", f"add.w r2, {base}, #{4 * _CONSTANTS}"]
    lines += [f"strd r0, r2, [sp, #{_T}]", f"ldr {_bias(spec)}, [{base}]"]
    return lines


INTERLEAVE = assembler_function(
    "utvm_helium_interleave",
    "void utvm_helium_interleave(int8_t *to, const int8_t *const *rows, int32_t count)",
    [
        "push {r4-r8, lr}",
        "ldrd r4, r5, [r1]",
        "ldrd r6, r7, [r1, #8]",
        "1:",
        "vctp.8 r2",
        "vpstttt",
        "vldrbt.u8 q0, [r4], #16",
        "vldrbt.u8 q1, [r5], #16",
        "vldrbt.u8 q2, [r6], #16",
        "vldrbt.u8 q3, [r7], #16",
        "vst40.8 {q0, q1, q2, q3}, [r0]",
        "vst41.8 {q0, q1, q2, q3}, [r0]",
        "vst42.8 {q0, q1, q2, q3}, [r0]",
        "vst43.8 {q0, q1, q2, q3}, [r0]!",
        "subs r2, r2, #16",
        "bgt 1b",
        "pop {r4-r8, pc}",
    ],
    "count bytes of each of four rows, byte by byte in turn; whole blocks of 64 bytes are written",
)


def interleave_cycles(count: int) -> float:
    """Return about how many cycles `INTERLEAVE` takes."""
    return 20 + 22 * -(-count // 16)


def separate(channels: int, apart: int, *, flip: bool) -> CSupport:
    """Return `void name(const int8_t *from, int8_t *const *to, int32_t steps)`: the way back of `steps` sets.

    Args:
        channels: of a pixel.
        apart: bytes from a set's outputs to the next's.
        flip: whether 128 is added to each byte.
    """
    name = f"utvm_helium_separate_{channels}_{apart}{'_flip' if flip else ''}"
    pointers = ("r4", "r5", "r6", "r7")
    back = -(-channels // 16) * 16
    lines = [
        "push {r4-r9, lr}",
        "sub sp, sp, #4",
        "ldrd r4, r5, [r1]",
        "ldrd r6, r7, [r1, #8]",
        "movw r9, #128",
        "2:",
        *constant("r8", channels),
        "1:",
        *(f"vld4{part}.8 {{q0, q1, q2, q3}}, [r0]{'!' if part == 3 else ''}" for part in range(4)),
        *(f"vadd.i8 q{part}, q{part}, r9" for part in range(4) if flip),
        "vctp.8 r8",
        "vpstttt",
        *(f"vstrbt.8 q{part}, [{register}], #16" for part, register in enumerate(pointers)),
        "subs r8, r8, #16",
        "bgt 1b",
        *move("r0", -4 * (back - channels)),
        *(line for register in pointers for line in move(register, apart - back)),
        "subs r2, r2, #1",
        "bne 2b",
        "add sp, sp, #4",
        "pop {r4-r9, pc}",
    ]
    prototype = f"void {name}(const int8_t *from, int8_t *const *to, int32_t steps)"
    return assembler_function(
        name, prototype, lines, f"{channels} channels of four outputs, from in turn to one by one"
    )


def separate_cycles(channels: int, steps: int) -> float:
    """Return about how many cycles `separate` takes."""
    return 24 + steps * (10 + 27 * -(-channels // 16))
