"""Products of a block of pixels and all channels, by dot products in hardware loops.

A block of `pixels` x `channels` sums lies in registers. A step of the sum loads a word of each pixel and of each
channel's weights: 24 instructions for 64 products in blocks of 4 x 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from utvm.codegen import CSupport
from utvm.kernels.xpulp.code import LEAST_BODY, REGISTERS, add_dot, load_step, repeat, xpulp_function
from utvm.kernels.xpulp.finish import FinishForm
from utvm.kernels.xpulp.finish_code import SPARE, cycles, finished, stored

WORD = 4
SHAPE = ("rows", "words", "gap", "pitch", "blocks", "out_pitch")
"""The words of `shape`, before those of the finish: rows of taps, words of each, bytes from the end of one
to the next, from pixel to pixel, blocks of channels, bytes from pixel to pixel of the output."""
_AT = {name: 4 * place for place, name in enumerate(SHAPE)}
_TAKEN = 3
"""Cycles of a branch that is taken."""
_WAITS_OF_ROW, _WAITS_OF_BLOCK = 2, 4
"""Cycles for which an instruction waits for a load just before it."""
_FRAME = 38
"""Cycles of saving and restoring registers, and of the call."""
_MOST_SUMS = 16
_KEPT = ("shape", "finish", "y", "x", "blocks")
"""What a function keeps from block to block: in registers as far as there are some, else on its stack."""
_WEIGHTS, _COUNT = "a1", "a5"


@dataclass(frozen=True, slots=True, kw_only=True)
class DotSpec:
    """A function: its block, whether there are several rows of taps, and the way to int8."""

    pixels: int
    channels: int
    rows: bool
    form: FinishForm
    saturates: bool

    @property
    def name(self) -> str:
        """Its symbol."""
        ends = f"{'r' * self.rows}_{self.form.name}{'' if self.saturates else 'c'}"
        return f"utvm_xpulp_product_{self.pixels}x{self.channels}{ends}"


def fits(pixels: int, channels: int) -> bool:
    """Return whether a block has registers."""
    needed = max(2 * pixels + min(channels, 2) + 1, SPARE + 2)
    return pixels * channels <= _MOST_SUMS and pixels * channels + 1 + needed <= len(REGISTERS)


@lru_cache(maxsize=64)
def product_function(spec: DotSpec) -> CSupport:
    """Return `void name(x, weights, finish, shape, y)`.

    `weights` are words [block, row, word, channel of the block], `finish` the starts of a block and then the words of
    each of its channels, `shape` as `SHAPE` says, and `finished`.
    """
    code = _Code(spec)
    block = [*code.begin(), *code.rows(), *code.finish(), *code.end()]
    if spec.rows:
        lines = [*code.entry(), "1:", *block, f"bnez {code.left}, 1b"]
    else:
        lines = [*code.entry(), *repeat(code.left, block, outer=True)]
    operands = "const int8_t *x, const int8_t *weights, const int32_t *finish, const int32_t *shape, int8_t *y"
    return xpulp_function(
        spec.name,
        f"void {spec.name}({operands})",
        lines,
        f"{spec.pixels} pixels by {spec.channels} channels at once; shape: {', '.join(SHAPE)}, ...",
        locals_bytes=WORD * len(_KEPT),
    )


@lru_cache(maxsize=256)
def product_cycles(spec: DotSpec, *, rows: int, words: int, blocks: int) -> float:
    """Return the cycles of a call whose words are aligned; see `SHAPE`."""
    code = _Code(spec)
    step = cycles(code.step())
    again = cycles(code.row()) - step + words * max(step, LEAST_BODY) + _WAITS_OF_ROW
    block = cycles(code.begin()) + rows * again + cycles(code.finish()) + cycles(code.end()) + _WAITS_OF_BLOCK
    return _FRAME + cycles(code.entry()) + blocks * (block + (_TAKEN + 1 if spec.rows else 0))


class _Code:
    """The parts of a function and where its values are."""

    def __init__(self, spec: DotSpec) -> None:
        m, n = spec.pixels, spec.channels
        self.spec = spec
        free = [register for register in REGISTERS if register != _WEIGHTS]

        def take(count: int) -> list[str]:
            taken = free[:count]
            del free[:count]
            return taken

        self.sums = [take(n) for _ in range(m)]
        self.places, self.pixels, self.words = take(m), take(m), take(min(n, 2))
        working = [*self.places, *self.pixels, *self.words]
        kept = len(self._kept)
        while kept and (len(free) < kept or len(working) + len(free) - kept < SPARE + max(2 - kept, 0)):
            kept -= 1
        self.held = dict(zip(self._kept, take(kept), strict=False))
        self.spare = [*working, *free]
        self.left = self.held.get("blocks", self.spare[0])

    @property
    def _kept(self) -> tuple[str, ...]:
        """A loop over blocks in hardware needs no count."""
        return _KEPT if self.spec.rows else _KEPT[:-1]

    def entry(self) -> list[str]:
        """Return what is done once."""
        lines = [f"sw {register}, {self._slot(name)}(sp)" for register, name in _ARGUMENTS]
        lines.append(f"lw {_COUNT}, {_AT['blocks']}(a3)")
        if self.spec.rows:
            lines.append(f"sw {_COUNT}, {self._slot('blocks')}(sp)")
        elif self.left != _COUNT:
            lines.append(f"mv {self.left}, {_COUNT}")
        return [*lines, *(f"lw {register}, {self._slot(name)}(sp)" for name, register in self.held.items())]

    def begin(self) -> list[str]:
        """Return how sums start, and where pixels lie."""
        lines, at = self._get("finish", self.pixels[0])
        more, shape = self._get("shape", self.words[-1])
        lines += [*more, f"lw {self.words[0]}, {_AT['pitch']}({shape})"]
        more, x = self._get("x", self.places[0])
        lines += [*more, *([f"mv {self.places[0]}, {x}"] if x != self.places[0] else [])]
        lines += [f"lw {register}, {WORD * place}({at})" for place, register in enumerate(self.sums[0])]
        lines += [f"add {to}, {before}, {self.words[0]}" for before, to in pairwise(self.places)]
        if self.spec.rows:
            more, shape = self._get("shape", self.words[-1])
            lines += [*more, f"lw {self.words[0]}, {_AT['rows']}({shape})"]
        else:
            lines.append(f"lw {self.words[0]}, {_AT['words']}({shape})")
        return lines + [
            f"mv {to}, {start}" for pixel in self.sums[1:] for to, start in zip(pixel, self.sums[0], strict=True)
        ]

    def rows(self) -> list[str]:
        """Return the sums of all rows of taps."""
        return repeat(self.words[0], self.row(), outer=True) if self.spec.rows else self.row()

    def row(self) -> list[str]:
        """Return the sums of a row of taps."""
        if not self.spec.rows:
            return repeat(self.words[0], self.step())
        more, shape = self._get("shape", self.pixels[0])
        count = [*more, f"lw {self.words[0]}, {_AT['words']}({shape})"]
        gap = [*more, f"lw {self.words[0]}, {_AT['gap']}({shape})"]
        on = [f"add {place}, {place}, {self.words[0]}" for place in self.places]
        return [*count, *repeat(self.words[0], self.step()), *gap, *on]

    def step(self) -> list[str]:
        """Return a word of all sums. No register is read just behind its load, where that can be."""
        loads = [load_step(to, at, WORD) for to, at in zip(self.pixels, self.places, strict=True)]
        words = [load_step(to, _WEIGHTS, WORD) for to in self.words]
        lines = [*loads, *words] if len(loads) == 1 else [*words, *loads]
        for channel in range(self.spec.channels):
            word = self.words[channel % len(self.words)]
            lines += [add_dot(pixel[channel], x, word) for pixel, x in zip(self.sums, self.pixels, strict=True)]
            if channel + 2 < self.spec.channels:
                lines.append(load_step(word, _WEIGHTS, WORD))
        return lines

    def finish(self) -> list[str]:
        """Return the way to int8."""
        spare = list(self.spare)
        lines, at = self._get("finish", spare[-1])
        more, shape = self._get("shape", spare[-2])
        lines += more
        used = [register for register in spare if register not in (at, shape)][:SPARE]
        assert len(used) == SPARE
        lines += finished(
            self.spec.form,
            self.sums,
            saturates=self.spec.saturates,
            at=at,
            shape=shape,
            first=WORD * len(SHAPE),
            skip=WORD * self.spec.channels,
            spare=used,
        )
        return lines + self._put("finish", at)

    def end(self) -> list[str]:
        """Return the stores, and what is counted."""
        first, pitch, following = self.spare[:3]
        lines, y = self._get("y", first)
        if len(self.sums) > 1:
            more, shape = self._get("shape", pitch)
            lines += [*more, f"lw {pitch}, {_AT['out_pitch']}({shape})"]
        if y == first:
            lines += [f"addi {following}, {y}, {self.spec.channels}", *self._put("y", following)]
            lines += stored(self.sums, at=y, pitch=pitch)
        else:
            lines.append(f"mv {following}, {y}")
            lines += [*stored(self.sums, at=following, pitch=pitch), f"addi {y}, {y}, {self.spec.channels}"]
        if not self.spec.rows:
            return lines
        more, _ = self._get("blocks", self.left)
        return [*lines, *more, f"addi {self.left}, {self.left}, -1", *self._put("blocks", self.left)]

    def _slot(self, name: str) -> int:
        return WORD * _KEPT.index(name)

    def _get(self, name: str, into: str) -> tuple[list[str], str]:
        """Return the lines that bring a kept value into a register, and the register."""
        if name in self.held:
            return [], self.held[name]
        return [f"lw {into}, {self._slot(name)}(sp)"], into

    def _put(self, name: str, register: str) -> list[str]:
        """Return the lines that keep a value that changed."""
        return [] if name in self.held else [f"sw {register}, {self._slot(name)}(sp)"]


_ARGUMENTS = (("a0", "x"), ("a2", "finish"), ("a3", "shape"), ("a4", "y"))
