"""Writers of the steps of a block over virtual registers: sums of products, requantisation, stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from utvm.cores.microkernel import Block
from utvm.kernels.helium.block_spec import LANES, BlockSpec
from utvm.kernels.helium.code import move

SUMS = ("r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr")
LOW, HIGH, ZERO = 0, 16, 32
"""Offsets in the frame: vectors of the clamp's ends, and of the zero point or of where a block's outputs are."""
_POST_WORDS, _POST_HALVES = 508, 254
"""By how much loads of words, and stores of halves, move an address at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """What is where while blocks are computed.

    Attributes:
        pixels: the addresses of the pixels.
        stream, output: those of the constants and of the outputs.
        loop, turn: what counts the inner loop and the outer one.
        entry: the moves of arguments before and after the fourth, the number of turns, is kept.
    """

    pixels: tuple[str, str]
    stream: str
    output: str
    loop: str
    turn: str
    entry: tuple[tuple[str, ...], tuple[str, ...]]


class StepWriter:
    """Blocks of int8."""

    registers: ClassVar[Registers] = Registers(
        pixels=("r1", "r7"),
        stream="r3",
        output="r5",
        loop="r9",
        turn="r11",
        entry=(("mov r5, r1",), ("mov r3, r2", "mov r1, r0")),
    )
    load: ClassVar[tuple[str, int]] = ("vldrb.u8", 127)
    """What loads activations that are at no multiples of 4, and by how much it moves an address at most."""
    lane: ClassVar[str] = "s8"
    """What is multiplied, and clamped."""

    def __init__(self, spec: BlockSpec) -> None:
        self.spec, self.block, self._names = spec, Block(), 0
        self._load, self._post = ("vldrw.u32", _POST_WORDS) if spec.words else self.load

    def new(self) -> str:
        self._names += 1
        return f"%q{self._names}"

    def from_stream(self) -> str:
        register = self.new()
        self.block(f"vldrw.u32 {register}, [r3], #16")
        return register

    def constants(self) -> list[str]:
        """Return the lines that keep the clamp's ends and the zero point in the frame, the latter in r9 too."""
        zero = "0x8080" if self.spec.finish.unsigned else str(self.spec.finish.zero_point & 0xFFFF)
        return [*self.ends(8), f"movw r9, #{zero}", "vdup.16 q0, r9", f"vstrw.32 q0, [sp, #{ZERO}]"]

    def ends(self, bits: int) -> list[str]:
        """Return the lines that keep the clamp's ends in the frame, in lanes of `bits`."""
        finish, lines = self.spec.finish, list[str]()
        for needed, value, at in ((finish.clamps_low, finish.low, LOW), (finish.clamps_high, finish.high, HIGH)):
            if needed:
                lines += [f"movw r9, #{value & ((1 << bits) - 1)}", f"vdup.{bits} q0, r9", f"vstrw.32 q0, [sp, #{at}]"]
        return lines

    def starts(self) -> list[str]:
        """Return the lines that begin sums with their biases."""
        first, second = (f"ldrd {a}, {b}, [r3], #8" for a, b in (SUMS[0:2], SUMS[2:4]))
        if self.spec.pixels == 2:
            return [first, second, *(f"mov {to}, {of}" for to, of in zip(SUMS[4:], SUMS[:4], strict=True))]
        more = [f"ldrd {a}, {b}, [r3], #8" for a, b in (SUMS[4:6], SUMS[6:8])]
        return [first, second, *more]

    def weights(self) -> str:
        """Write the load of a step's weights of a channel; returns the register."""
        return self.from_stream()

    def activations(self, moved: int) -> list[str]:
        """Write the loads of a step's activations, after which addresses move by `moved`; returns their registers."""
        spec, block = self.spec, self.block
        pixels = [self.new() for _ in range(spec.pixels)]
        for register, base in zip(pixels, self.registers.pixels, strict=False):
            if abs(moved) <= self._post and not (spec.words and moved % 4):
                block(f"{self._load} {register}, [{base}], #{moved}" if moved else f"{self._load} {register}, [{base}]")
            else:
                block(f"{self._load} {register}, [{base}]", *move(base, moved))
        return pixels

    def step(self, half: int, moved: int, *, first: bool) -> None:
        """Write a step of a vector of taps of a half; the pixels' addresses move by `moved` after it."""
        pixels = self.activations(moved)
        count = 8 // self.spec.pixels
        for channel in self.spec.present(half):
            weights = self.weights()
            for pixel, register in enumerate(pixels):
                total = SUMS[pixel * count + channel]
                self.block(f"vmladav{'' if first else 'a'}.{self.lane} {total}, {register}, {weights}")

    def requantize(self, *, biased: bool) -> list[str]:
        """Write the way from eight sums to a vector of int16; returns its register.

        Args:
            biased: whether the sums began with the bias.
        """
        block, finish = self.block, self.spec.finish
        values = self.scaled(biased=biased)
        narrow = "vqmovun" if finish.unsigned else "vqmovn"
        packed = self.new()
        block(f"{narrow}b.s32 {packed}, {values[0]}", f"{narrow}t.s32 {packed}, {values[1]}")
        if not finish.unsigned and finish.zero_point:
            block(f"vqadd.s16 {packed}, {packed}, {self._constant(ZERO, 'r9')}")
        return [packed]

    def scaled(self, *, biased: bool) -> list[str]:
        """Write the way from eight sums to two vectors of scaled ones; returns their registers."""
        values = [self.new(), self.new()]
        for register, sums in zip(values, (SUMS[:4], SUMS[4:]), strict=True):
            self.block(f"vmov {register}[2], {register}[0], {sums[0]}, {sums[2]}")
            self.block(f"vmov {register}[3], {register}[1], {sums[1]}, {sums[3]}")
        self.scale(values, (0, 0) if self.spec.pixels == 2 else (0, 1), biased=biased)
        return values

    def scale(self, values: Sequence[str], sets: Sequence[int], *, biased: bool) -> None:
        """Write the scaling of vectors of sums.

        Args:
            values: their registers.
            sets: which of the vectors of each constant belongs to each of them.
            biased: whether the sums began with the bias.
        """
        block, finish = self.block, self.spec.finish

        def constants() -> Iterator[tuple[str, str]]:
            read: dict[int, str] = {}
            for register, which in zip(values, sets, strict=True):
                if which not in read:
                    read[which] = self.from_stream()
                yield register, read[which]

        def each(name: str) -> None:
            for register, constant in constants():
                block(f"{name} {register}, {register}, {constant}")

        if not biased:
            each("vadd.i32")
        if finish.left:
            each("vshl.s32")
        if finish.multiplies:
            each(f"{finish.product}.s32")
        if finish.adds:
            each("vadd.i32")
        if not finish.shifts:
            return
        for register, shift in constants():
            if finish.lowers:
                sign = self.new()
                if finish.lowers == "some":
                    block(f"vand {sign}, {register}, {shift}", f"vshr.s32 {sign}, {sign}, #31")
                else:
                    block(f"vshr.s32 {sign}, {register}, #31")
                block(f"vadd.i32 {register}, {register}, {sign}")
            block(f"vrshl.s32 {register}, {register}, {shift}")

    def _constant(self, at: int, register: str | None) -> str:
        if register is not None and not self.spec.turns[0]:
            return register
        vector = self.new()
        self.block(f"vldrw.u32 {vector}, [sp, #{at}]")
        return vector

    def clamp(self, result: str) -> None:
        """Write the ends of the clamp that saturation leaves out."""
        finish = self.spec.finish
        if finish.clamps_low:
            self.block(f"vmax.{self.lane} {result}, {result}, {self._constant(LOW, None)}")
        if finish.clamps_high:
            self.block(f"vmin.{self.lane} {result}, {result}, {self._constant(HIGH, None)}")

    def store(self, halves: Sequence[str]) -> None:
        """Write the way from two vectors of int16 to sixteen bytes of the output."""
        spec, block, finish = self.spec, self.block, self.spec.finish
        width = "u16" if finish.unsigned else "s16"
        result = self.new()
        block(f"vqmovnb.{width} {result}, {halves[0]}", f"vqmovnt.{width} {result}, {halves[1]}")
        if finish.unsigned:
            block(f"vadd.i8 {result}, {result}, {self._constant(ZERO, 'r9')}")
        self.clamp(result)
        if spec.pixels == 1:
            block(f"vstrb.8 {result}, [r5], #16")
            return
        second = self.new()
        block(f"vrev32.16 {second}, {result}")
        self.store_both(result, second)

    def store_both(self, first: str, second: str) -> None:
        """Write the stores of four outputs of both pixels."""
        pitch, by, block = self.spec.out_pitch, self.spec.block_out_bytes, self.block
        if pitch <= _POST_HALVES:
            block(f"vstrh.32 {second}, [r5, #{pitch}]", f"vstrh.32 {first}, [r5], #{by}")
        else:
            block(f"vstrh.32 {first}, [r5]", *move("r5", pitch), f"vstrh.32 {second}, [r5]")
            block(*move("r5", by - pitch))


class WideStepWriter(StepWriter):
    """Blocks of int16, whose weights are widened while they are read."""

    load = ("vldrh.u16", 254)
    lane = "s16"

    def constants(self) -> list[str]:
        """Return the lines that keep the clamp's ends in the frame."""
        return self.ends(16)

    def weights(self) -> str:
        """Write the load of a step's weights of a channel; returns the register."""
        register = self.new()
        self.block(f"vldrb.s16 {register}, [r3], #8")
        return register

    def requantize(self, *, biased: bool) -> list[str]:
        """Write the way from eight sums to two vectors of int16 in lanes of 32 bits; returns their registers."""
        values = self.scaled(biased=biased)
        for value in values:
            self.block(f"vqmovnb.s32 {value}, {value}")
            self.clamp(value)
        return values

    def store(self, halves: Sequence[str]) -> None:
        """Write the stores of a block."""
        spec, block = self.spec, self.block
        first, second = halves
        if spec.pixels == 1:
            rest = [f"vstrh.32 {second}, [r5, #8]"] if spec.channels > 4 else []
            block(*rest, f"vstrh.32 {first}, [r5], #{spec.block_out_bytes}")
        else:
            self.store_both(first, second)


class DepthwiseStepWriter(WideStepWriter):
    """Blocks of eight channels by themselves: products of the even ones and of the odd ones, four a vector."""

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__(spec)
        self._totals: list[str] = []

    def step(self, half: int, moved: int, *, first: bool) -> None:
        """Write a tap of all channels of a block; the pixels' addresses move by `moved` after it."""
        del half
        pixels, weights = self.activations(moved), self.weights()
        products = []
        for pixel in pixels:
            for part in "bt":
                products.append(self.new())
                self.block(f"vmull{part}.s16 {products[-1]}, {pixel}, {weights}")
        if first:
            self._totals = products
            return
        for total, product in zip(self._totals, products, strict=True):
            self.block(f"vadd.i32 {total}, {total}, {product}")

    def requantize(self, *, biased: bool) -> list[str]:
        """Write the way from the sums to a vector of int16 of each pixel; returns their registers."""
        values, results = self._totals, list[str]()
        self.scale(values, [0, 1] * self.spec.pixels, biased=biased)
        for even, odd in zip(values[::2], values[1::2], strict=True):
            results.append(self.new())
            self.block(f"vqmovnb.s32 {results[-1]}, {even}", f"vqmovnt.s32 {results[-1]}, {odd}")
            self.clamp(results[-1])
        return results

    def store(self, halves: Sequence[str]) -> None:
        """Write the stores of a block."""
        pitch, block = self.spec.out_pitch, self.block
        first, *others = halves
        if not others:
            block(f"vstrh.16 {first}, [r5], #16")
        elif pitch <= _POST_HALVES:
            block(f"vstrh.16 {others[0]}, [r5, #{pitch}]", f"vstrh.16 {first}, [r5], #16")
        else:
            block(f"vstrh.16 {first}, [r5]", *move("r5", pitch), f"vstrh.16 {others[0]}, [r5]")
            block(*move("r5", LANES - pitch))
