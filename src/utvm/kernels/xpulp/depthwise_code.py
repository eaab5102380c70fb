"""Depthwise products of a block of pixels, four channels at once, by dot products.

A word holds four channels of one tap. Two of them, packed by halves, hold two channels of both taps each; weights with
zeros in between add the products of one of these channels: 16 instructions for 16 products. A last tap without another
takes weights with three zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CSupport
from utvm.kernels.xpulp.code import (
    REGISTERS,
    add_dot,
    load_step,
    load_step_by,
    pack_high,
    pack_low,
    repeat,
    xpulp_function,
)
from utvm.kernels.xpulp.finish import FinishForm
from utvm.kernels.xpulp.finish_code import SPARE, cycles, finished, stored

CHANNELS = 4
MOST_PIXELS = 3
SHAPE = ("tap", "row", "pitch", "out_pitch", "inner", "outer", "step_x", "step_y", "next_x", "next_y")
"""The words of `shape`, before those of the finish: bytes from tap to tap, from the last of a row to the next row, from
pixel to pixel, and of the output; turns of the loop in hardware and of the loop around it; bytes from a turn of the one
and of the other to the next."""
_AT = {name: 4 * place for place, name in enumerate(SHAPE)}
_WORD = 4
_FRAME = 38
_WAITS = 4
_TAKEN = 3
"""Cycles of a branch that is taken."""
_KEPT = ("x", "weights", "finish", "shape", "y", "start", "left")
"""What the stack holds: the arguments, where a row's words of the finish start, and what is left of the outer loop."""
_WEIGHTS, _COUNT = "a1", "a5"


@dataclass(frozen=True, slots=True, kw_only=True)
class TapsSpec:
    """A function.

    Attributes:
        pixels: at once.
        window: rows and columns of taps.
        by_rows: whether rows of taps are turns of a loop, else all taps are written out.
        along: whether the loop in hardware goes over blocks of pixels, else over blocks of channels.
        once: whether the loop around it has one turn.
        form, saturates: the way to int8.
    """

    pixels: int
    window: tuple[int, int]
    by_rows: bool
    along: bool
    once: bool
    form: FinishForm
    saturates: bool

    @property
    def name(self) -> str:
        """Its symbol."""
        way = "r" * self.by_rows + "p" * self.along + "1" * self.once
        ends = f"{self.form.name}{'' if self.saturates else 'c'}"
        return f"utvm_xpulp_depthwise_{self.window[0]}x{self.window[1]}_{self.pixels}{way}_{ends}"

    @property
    def row_taps(self) -> int:
        """Taps that are written out."""
        return self.window[1] if self.by_rows else self.window[0] * self.window[1]

    @property
    def turns(self) -> int:
        """How often what is written out is done."""
        return self.window[0] if self.by_rows else 1

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights of a block of channels."""
        return self.turns * -(-self.row_taps // 2) * CHANNELS * _WORD

    @property
    def finish_bytes(self) -> int:
        """Bytes of the words of a block's finish."""
        return CHANNELS * (1 + self.form.words) * _WORD


@lru_cache(maxsize=64)
def depthwise_function(spec: TapsSpec) -> CSupport:
    """Return `void name(x, weights, finish, shape, y)`: weights as `packed` makes them, `finish` as for products."""
    code = _Code(spec)
    operands = "const int8_t *x, const int8_t *weights, const int32_t *finish, const int32_t *shape, int8_t *y"
    return xpulp_function(
        spec.name,
        f"void {spec.name}({operands})",
        code.lines(),
        f"{spec.pixels} pixels by {CHANNELS} channels at once; shape: {', '.join(SHAPE)}, ...",
        locals_bytes=_WORD * len(_KEPT),
    )


@lru_cache(maxsize=256)
def depthwise_cycles(spec: TapsSpec, *, inner: int, outer: int) -> float:
    """Return the cycles of a call whose words are aligned; `inner` and `outer` as in `SHAPE`."""
    code = _Code(spec)
    turn = cycles(code.block()) + (spec.turns - 1) * cycles(code.taps()) + _WAITS
    around = 0 if spec.once else cycles(code.around()) + _TAKEN + _WAITS
    return _FRAME + cycles(code.entry()) + outer * (inner * turn + around)


def packed(weights: NDArray[np.int8], spec: TapsSpec) -> NDArray[np.int8]:
    """Return weights [taps, channels], a multiple of four, as bytes [block, turn of taps, word, 4]."""
    channels = weights.shape[1]
    turns = weights.reshape(spec.turns, spec.row_taps, channels)
    return np.stack([_packed_turn(turn) for turn in turns], axis=1)


def _packed_turn(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the weights [taps, channels] that are written out as [block, word, byte]."""
    taps, channels = weights.shape
    blocks = channels // CHANNELS
    values = weights.reshape(taps, blocks, CHANNELS)
    words = np.zeros((blocks, (taps + 1) // 2 * CHANNELS, _WORD), np.int8)
    for tap in range(taps):
        for channel in range(CHANNELS):
            last = tap == taps - 1 and taps % 2 == 1
            place = channel if last else channel % 2 + 2 * (tap % 2)
            words[:, tap // 2 * CHANNELS + channel, place] = values[tap, :, channel]
    return words


class _Code:
    """The parts of a function and where its values are."""

    def __init__(self, spec: TapsSpec) -> None:
        self.spec = spec
        free = [register for register in REGISTERS if register != _WEIGHTS]

        def take(count: int) -> list[str]:
            taken = free[:count]
            del free[:count]
            return taken

        self.sums = [take(CHANNELS) for _ in range(spec.pixels)]
        self.places, self.words, self.values, self.steps = take(spec.pixels), take(CHANNELS), take(4), take(2)
        self.spare = [*self.places, *self.words, *self.values, *self.steps, *free]

    def lines(self) -> list[str]:
        """Return the function."""
        turn = repeat(_COUNT, self.block(), outer=self.spec.by_rows)
        if self.spec.once:
            return [*self.entry(), f"lw {_COUNT}, {_AT['inner']}(a3)", *turn]
        left = self.spare[0]
        count = [f"lw {left}, {self._slot('shape')}(sp)", f"lw {_COUNT}, {_AT['inner']}({left})"]
        return [*self.entry(), "1:", *count, *turn, *self.around(), f"bnez {left}, 1b"]

    def entry(self) -> list[str]:
        """Return what is done once."""
        lines = [f"sw a{place}, {_WORD * place}(sp)" for place in range(5)]
        if self.spec.once:
            return lines
        left = self.spare[-1]
        return [
            *lines,
            f"sw a2, {self._slot('start')}(sp)",
            f"lw {left}, {_AT['outer']}(a3)",
            f"sw {left}, {self._slot('left')}(sp)",
        ]

    def around(self) -> list[str]:
        """Return what is done between two turns of the outer loop."""
        value, shape, step, left = (*self.spare[1:4], self.spare[0])
        lines = [f"lw {shape}, {self._slot('shape')}(sp)"]
        for name in ("x", "y"):
            lines += [f"lw {step}, {_AT[f'next_{name}']}({shape})", f"lw {value}, {self._slot(name)}(sp)"]
            lines += [f"add {value}, {value}, {step}", f"sw {value}, {self._slot(name)}(sp)"]
        if self.spec.along:
            for name, size in (("finish", self.spec.finish_bytes), ("weights", self.spec.weight_bytes)):
                lines += [f"lw {value}, {self._slot(name)}(sp)", f"li {step}, {size}"]
                lines += [f"add {value}, {value}, {step}", f"sw {value}, {self._slot(name)}(sp)"]
        else:
            lines += [f"lw {value}, {self._slot('start')}(sp)", f"sw {value}, {self._slot('finish')}(sp)"]
            lines.append(f"lw {_WEIGHTS}, {self._slot('weights')}(sp)")
        at = f"{self._slot('left')}(sp)"
        return [*lines, f"lw {left}, {at}", f"addi {left}, {left}, -1", f"sw {left}, {at}"]

    def block(self) -> list[str]:
        """Return what is done for four channels."""
        taps = self.taps()
        if self.spec.by_rows:
            rows = self.values[0]
            taps = [f"li {rows}, {self.spec.turns}", *repeat(rows, taps)]
        return [*self._begin(), *taps, *self._finish(), *self._end()]

    def _begin(self) -> list[str]:
        at, shape, pitch = self.values[:3]
        lines = [f"lw {at}, {self._slot('finish')}(sp)", f"lw {shape}, {self._slot('shape')}(sp)"]
        lines.append(f"lw {self.places[0]}, {self._slot('x')}(sp)")
        lines += [f"lw {register}, {_WORD * place}({at})" for place, register in enumerate(self.sums[0])]
        lines += [f"lw {pitch}, {_AT['pitch']}({shape})"] if len(self.places) > 1 else []
        lines += [f"lw {self.steps[0]}, {_AT['tap']}({shape})", f"lw {self.steps[1]}, {_AT['row']}({shape})"]
        lines += [f"add {to}, {before}, {pitch}" for before, to in pairwise(self.places)]
        if self.spec.along:
            lines += [f"lw {_WEIGHTS}, {self._slot('weights')}(sp)", f"lw {at}, {_AT['step_x']}({shape})"]
            lines.append(f"add {at}, {at}, {self.places[0]}")
        else:
            # The next block's pixels are four channels on.
            lines.append(f"addi {at}, {self.places[0]}, {CHANNELS}")
        lines.append(f"sw {at}, {self._slot('x')}(sp)")
        return lines + [
            f"mv {to}, {start}" for pixel in self.sums[1:] for to, start in zip(pixel, self.sums[0], strict=True)
        ]

    def taps(self) -> list[str]:
        """Return the products that are written out: while words are packed and multiplied, the next two are loaded."""
        taps = self.spec.row_taps
        turns = [
            (first, min(2, taps - first), pixel)
            for first in range(0, taps, 2)
            for pixel in range(self.spec.pixels)
        ]  # fmt: skip
        one, two, low, high = self.values
        lines = self._loads(turns[0], (one, two))
        for turn, after in zip(turns, [*turns[1:], None], strict=True):
            _, count, pixel = turn
            if pixel == 0:
                lines += [load_step(word, _WEIGHTS, _WORD) for word in self.words]
            following = [] if after is None else self._loads(after, (one, two))
            sums = self.sums[pixel]
            if count == 2:
                lines += [pack_low(low, two, one), pack_high(high, two, one), *following]
                pairs = ((low, 0), (low, 1), (high, 2), (high, 3))
                lines += [add_dot(sums[channel], value, self.words[channel]) for value, channel in pairs]
            else:
                value = low if following else one
                lines += [f"mv {low}, {one}", *following] if following else []
                lines += [add_dot(total, value, word) for total, word in zip(sums, self.words, strict=True)]
        return lines

    def _loads(self, turn: tuple[int, int, int], to: Sequence[str]) -> list[str]:
        first, count, pixel = turn
        width = self.spec.window[1]
        return [
            load_step_by(register, self.places[pixel], self.steps[(first + number) % width == width - 1])
            for number, register in zip(range(count), to, strict=False)
        ]

    def _finish(self) -> list[str]:
        at, shape, *spare = self.spare
        lines = [f"lw {at}, {self._slot('finish')}(sp)", f"lw {shape}, {self._slot('shape')}(sp)"]
        lines += finished(
            self.spec.form,
            self.sums,
            saturates=self.spec.saturates,
            at=at,
            shape=shape,
            first=_WORD * len(SHAPE),
            skip=_WORD * CHANNELS,
            spare=spare[:SPARE],
        )
        return lines if self.spec.along else [*lines, f"sw {at}, {self._slot('finish')}(sp)"]

    def _end(self) -> list[str]:
        y, shape, pitch, following = self.spare[:4]
        lines = [f"lw {y}, {self._slot('y')}(sp)"]
        if self.spec.pixels > 1 or self.spec.along:
            lines.append(f"lw {shape}, {self._slot('shape')}(sp)")
        # Between a load and what it is for, something else is done.
        lines += [] if self.spec.along else [f"addi {following}, {y}, {CHANNELS}"]
        lines += [f"lw {following}, {_AT['step_y']}({shape})"] if self.spec.along else []
        lines += [f"lw {pitch}, {_AT['out_pitch']}({shape})"] if self.spec.pixels > 1 else []
        lines += [f"add {following}, {following}, {y}"] if self.spec.along else []
        lines.append(f"sw {following}, {self._slot('y')}(sp)")
        return lines + stored(self.sums, at=y, pitch=pitch)

    @staticmethod
    def _slot(name: str) -> int:
        return _WORD * _KEPT.index(name)
