"""The writer of steps whose sums have 64 bits: VMLALDAVA.S16, and a finish by core registers.

An output is (sum * R + 2^(t - 1)) >> t: a sum of a product with the lower half (UMLAL) that begins with the half, the
upper half's product added (MLA), and one long shift (ASRL). VLDRB.S16 takes low registers as addresses, VMLALDAVA
even ones for lower halves and odd ones for upper halves; what stays in the others is in a vector meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

from utvm.kernels.helium.block_writer import ZERO, Registers, WideStepWriter
from utvm.kernels.helium.code import constant, move

_SUMS = (("r8", "r5"), ("r10", "r7"), ("r12", "r9"), ("lr", "r11"))
"""The lower and the upper half of each sum."""
_CONSTANT_BYTES = 16
"""Of a channel: the half of 64 bits, the multiplier and the shift."""


class LongStepWriter(WideStepWriter):
    """Blocks of int16 whose sums may leave 32 bits."""

    registers = Registers(
        pixels=("r0", "r1"),
        stream="r3",
        output="r2",
        loop="r4",
        turn="r6",
        entry=((), ("mov r3, r2", "mov r2, r1")),
    )

    def constants(self) -> list[str]:
        """Return the lines that keep the clamp's ends, and where the outputs of two pixels are, in the frame."""
        if self.spec.pixels == 1:
            return super().constants()
        return [
            *super().constants(),
            *constant("r9", 0),
            *constant("r11", self.spec.out_pitch),
            "vmov q0[2], q0[0], r9, r11",
            "add.w r9, r9, #2",
            "add.w r11, r11, #2",
            "vmov q0[3], q0[1], r9, r11",
            f"vstrw.32 q0, [sp, #{ZERO}]",
        ]

    def starts(self) -> list[str]:
        """Return the lines that begin sums with their biases."""
        count = self.spec.places
        lines = [f"ldrd {low}, {high}, [r3], #8" for low, high in _SUMS[:count]]
        for to, of in zip(_SUMS[count:], _SUMS, strict=False):
            lines += [f"mov {a}, {b}" for a, b in zip(to, of, strict=True)]
        return lines

    def step(self, half: int, moved: int, *, first: bool) -> None:
        """Write a step of eight taps; the pixels' addresses move by `moved` after it."""
        del first
        pixels = self.activations(moved)
        for channel in self.spec.present(half):
            weights = self.weights()
            for pixel, register in enumerate(pixels):
                low, high = _SUMS[pixel * self.spec.places + channel]
                self.block(f"vmlaldava.s16 {low}, {high}, {register}, {weights}")

    def requantize(self, *, biased: bool) -> list[str]:
        """Write the way from four sums to a vector of int16 in lanes of 32 bits; returns its register."""
        assert biased
        block, channels = self.block, self.spec.places
        kept, value = self.new(), self.new()
        block(f"vmov {kept}[2], {kept}[0], r0, r1", f"vmov {kept}[3], {kept}[1], r6, r6")
        for channel in range(channels):
            at = channel * _CONSTANT_BYTES
            block(f"ldrd r4, r6, [r3, #{at + 8}]")
            for low, high in _SUMS[channel::channels]:
                block(f"ldrd r0, r1, [r3, #{at}]")
                block(f"umlal r0, r1, {low}, r4", f"mla r1, {high}, r4, r1", "asrl r0, r1, r6", f"mov {low}, r0")
        block(*move("r3", channels * _CONSTANT_BYTES))
        block(f"vmov r0, r1, {kept}[2], {kept}[0]", f"vmov r6, r4, {kept}[3], {kept}[1]")
        first, second, third, fourth = (low for low, _ in _SUMS)
        block(f"vmov {value}[2], {value}[0], {first}, {third}", f"vmov {value}[3], {value}[1], {second}, {fourth}")
        block(f"vqmovnb.s32 {value}, {value}")
        self.clamp(value)
        return [value]

    def store(self, halves: Sequence[str]) -> None:
        """Write the stores of a block."""
        (value,) = halves
        by = self.spec.block_out_bytes
        if self.spec.pixels == 1:
            self.block(f"vstrh.32 {value}, [r2], #{by}")
            return
        places = self.new()
        self.block(f"vldrw.u32 {places}, [sp, #{ZERO}]", f"vstrh.32 {value}, [r2, {places}]", f"add.w r2, r2, #{by}")
