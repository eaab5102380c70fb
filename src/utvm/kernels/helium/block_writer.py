"""Writers of the steps of a block over virtual registers: sums of products, requantisation, stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from utvm.cores.microkernel import Block
from utvm.kernels.helium.block_spec import BlockSpec
from utvm.kernels.helium.code import move

SUMS = ("r0", "r2", "r4", "r6", "r8", "r10", "r12", "lr")
LOW, HIGH, ZERO = 0, 16, 32
"""Offsets in the frame: vectors of the clamp's ends and the zero point."""
_POST_WORDS, _POST_HALVES = 508, 254
"""By how much loads of words, and stores of halves, move an address at most."""


class StepWriter:
    """Blocks of int8. r1 and r7 are the pixels' addresses, r3 is the stream's, r5 the output's."""

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

    def weights(self) -> str:
        """Write the load of a step's weights of a channel; returns the register."""
        return self.from_stream()

    def step(self, half: int, moved: int, *, first: bool) -> None:
        """Write a step of a vector of taps of a half; the pixels' addresses move by `moved` after it."""
        spec, block = self.spec, self.block
        pixels = [self.new() for _ in range(spec.pixels)]
        for register, base in zip(pixels, ("r1", "r7"), strict=False):
            if abs(moved) <= self._post and not (spec.words and moved % 4):
                block(f"{self._load} {register}, [{base}], #{moved}" if moved else f"{self._load} {register}, [{base}]")
            else:
                block(f"{self._load} {register}, [{base}]", *move(base, moved))
        count = 8 // spec.pixels
        for channel in spec.present(half):
            weights = self.weights()
            for pixel, register in enumerate(pixels):
                total = SUMS[pixel * count + channel]
                block(f"vmladav{'' if first else 'a'}.{self.lane} {total}, {register}, {weights}")

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
        spec, block, finish = self.spec, self.block, self.spec.finish
        values = [self.new(), self.new()]
        for register, sums in zip(values, (SUMS[:4], SUMS[4:]), strict=True):
            block(f"vmov {register}[2], {register}[0], {sums[0]}, {sums[2]}")
            block(f"vmov {register}[3], {register}[1], {sums[1]}, {sums[3]}")

        def each(line: str) -> None:
            both = self.from_stream() if spec.pixels == 2 else ""
            for register in values:
                block(line.format(v=register, w=both or self.from_stream()))

        if not biased:
            each("vadd.i32 {v}, {v}, {w}")
        if finish.left:
            each("vshl.s32 {v}, {v}, {w}")
        if finish.multiplies:
            each(finish.product + ".s32 {v}, {v}, {w}")
        if not finish.shifts:
            return values
        shared = self.from_stream() if spec.pixels == 2 else ""
        for register in values:
            shift = shared or self.from_stream()
            if finish.lowers:
                sign = self.new()
                if finish.lowers == "some":
                    block(f"vand {sign}, {register}, {shift}", f"vshr.s32 {sign}, {sign}, #31")
                else:
                    block(f"vshr.s32 {sign}, {register}, #31")
                block(f"vadd.i32 {register}, {register}, {sign}")
            block(f"vrshl.s32 {register}, {register}, {shift}")
        return values

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
        pitch, block = self.spec.out_pitch, self.block
        if pitch <= _POST_HALVES:
            block(f"vstrh.32 {second}, [r5, #{pitch}]", f"vstrh.32 {first}, [r5], #8")
        else:
            block(f"vstrh.32 {first}, [r5]", *move("r5", pitch), f"vstrh.32 {second}, [r5]")
            block(*move("r5", 8 - pitch))


class WideStepWriter(StepWriter):
    """Blocks of int16, whose weights are widened while they are read."""

    load = ("vldrh.u16", 254)
    lane = "s16"

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
            block(f"vstrh.32 {first}, [r5], #8", f"vstrh.32 {second}, [r5], #8")
        else:
            self.store_both(first, second)
