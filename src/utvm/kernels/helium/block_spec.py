"""What a block of sums of products computes, for activations of int8 and of int16, and its stream of constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from utvm.kernels.dsp.stream import to_words
from utvm.kernels.helium.finish import VectorFinish

LANES = 16
"""Bytes of a vector."""
_SUMS = 8
"""Sums that are in registers at once: a half of a block of int8, a block of int16."""
_LONG_SUMS = 4
"""The same of 64 bits."""
_UNROLLED = 20
"""Steps of a vector up to which a block of two halves has no inner loop."""
_WRITTEN = 20
"""Steps of all blocks of two halves that are scheduled together."""
_TURN = 8
"""Steps of a turn of the inner loop over one long run."""
_MOST_AT_ONCE = 4
"""Blocks that are scheduled together at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSpec:
    """What a micro-kernel computes. Sizes and offsets in bytes.

    Attributes:
        pixels: 2 or 1 at once.
        rows: kernel rows, `row_stride` apart.
        runs: offsets of the runs of taps in a row.
        run: length of each.
        pitch: from a pixel to the next.
        out_pitch: the same in the output, which holds `channels * groups` of a pixel.
        groups: blocks of a pixel or pair.
        words: whether all addresses of the input are multiples of 4.
        few: channels of the only block of a pixel where it has more than the layer; 0 where all of them count. Others
            are neither read nor summed: what is stored for them is anything.
    """

    pixels: int
    rows: int
    row_stride: int
    runs: tuple[int, ...]
    run: int
    pitch: int
    out_pitch: int
    groups: int
    words: bool
    finish: VectorFinish
    few: int = 0

    element: ClassVar[int] = 1
    """Bytes of an activation."""
    halves: ClassVar[int] = 2
    """Sets of eight sums of a block."""
    stem: ClassVar[str] = "m"
    """What names of micro-kernels begin with."""

    def present(self, half: int) -> list[int]:
        """Return the places of a half whose channels count."""
        order = self.order()[half]
        return [place for place, channel in enumerate(order) if not self.few or channel < self.few]

    @property
    def places(self) -> int:
        """Places of a half for channels."""
        return _SUMS // self.pixels

    @property
    def channels(self) -> int:
        """Output channels of a block."""
        return self.halves * self.places

    @property
    def steps(self) -> tuple[int, ...]:
        """The offset of each step of a vector of taps, of all rows."""
        across = [start + at for start in self.runs for at in range(0, self.run, LANES)]
        return tuple(row * self.row_stride + at for row in range(self.rows) for at in across)

    @property
    def turns(self) -> tuple[int, int]:
        """Return (turns of the inner loop, steps of a turn); no turns where a block is straight-line."""
        steps = self.steps
        if len(steps) * self.halves <= 2 * _UNROLLED:
            return 0, 0
        if self.rows > 1:
            return self.rows, len(steps) // self.rows
        regular = len(self.runs) == 1
        return (len(steps) // _TURN, _TURN) if regular else (0, 0)

    @property
    def at_once(self) -> int:
        """Blocks that are scheduled together, so that one is finished while the next is summed."""
        if self.turns[0]:
            return 1
        most = min(2 * _WRITTEN // (self.halves * len(self.steps)), _MOST_AT_ONCE)
        return max((n for n in range(1, most + 1) if self.groups % n == 0), default=1)

    @property
    def overlaps(self) -> bool:
        """Whether a half is finished while the next is summed, and its constants lie between weights."""
        return self.halves * self.at_once > 1 and not self.turns[0] and len(self.steps) > 1

    @property
    def starts_biased(self) -> bool:
        """Whether sums begin with their biases, which are added behind the sums elsewhere."""
        return self.turns[0] > 0

    def start_words(self, biases: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the words of the biases of some channels."""
        return to_words(biases)

    def end_words(self, constants: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int32]]:
        """Return the words of the constants of the finish of some channels."""
        return [to_words(each) for each in constants]

    @property
    def block_in_bytes(self) -> int:
        """Bytes from the activations of a block to those of the next: all read the same."""
        return 0

    @property
    def step_taps(self) -> int:
        """Taps of a channel in a step."""
        return LANES // self.element

    @property
    def block_bytes(self) -> int:
        """Bytes of the stream of a block."""
        per_step = sum(len(self.present(half)) for half in range(self.halves))
        vectors = (1 + self.finish.vectors) * (1 if self.pixels == 2 else 2)
        return len(self.steps) * per_step * (LANES // self.element) + self.halves * vectors * LANES

    @property
    def block_out_bytes(self) -> int:
        """Bytes of a pixel's outputs of a block."""
        return self.channels * self.element

    def order(self) -> NDArray[np.int64]:
        """Return the channel of a block in each place of a half: [halves, 8 // pixels]."""
        half, place = np.arange(2)[:, None], np.arange(8 // self.pixels)[None, :]
        if self.pixels == 2:
            return 2 * place + half
        return 4 * (place % 4) + 2 * (place // 4) + half

    def weight_order(self, half: int) -> NDArray[np.int64]:
        """Return the channels whose weights a half reads, in that order."""
        found: NDArray[np.int64] = self.order()[half][self.present(half)]
        return found

    @property
    def read_bytes(self) -> int:
        """Bytes from a pixel's start to the end of what its loads read."""
        return max(self.steps) + LANES


@dataclass(frozen=True, slots=True, kw_only=True)
class WideBlockSpec(BlockSpec):
    """The same on activations of int16: eight taps a step, eight outputs a block.

    `few` is the channels of every block where these are fewer than its places.
    """

    element: ClassVar[int] = 2
    halves: ClassVar[int] = 1
    stem: ClassVar[str] = "wide"

    @property
    def channels(self) -> int:
        """Output channels of a block."""
        return self.few or self.places

    def order(self) -> NDArray[np.int64]:
        """Return the channel of a block in each place; those of the next block may follow."""
        return np.arange(self.places)[None, :]


@dataclass(frozen=True, slots=True, kw_only=True)
class LongBlockSpec(WideBlockSpec):
    """Sums of 64 bits: four of them, two channels of two pixels or four of one."""

    stem: ClassVar[str] = "long"

    @property
    def places(self) -> int:
        """Places of a block for channels."""
        return _LONG_SUMS // self.pixels

    @property
    def starts_biased(self) -> bool:
        """Return that sums begin with their biases."""
        return True

    @property
    def overlaps(self) -> bool:
        """Return that blocks follow one another: the finish needs core registers."""
        return False

    def start_words(self, biases: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the words of biases of 64 bits."""
        return np.ascontiguousarray(biases).view(np.int32)

    def end_words(self, constants: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int32]]:
        """Return, for each channel, a half of 64 bits, the multiplier and the shift."""
        half, multiplier, shift = constants
        pair = to_words(np.stack([multiplier, shift], axis=1).reshape(-1)).reshape(-1, 2)
        return [np.concatenate([self.start_words(half).reshape(-1, 2), pair], axis=1).reshape(-1)]

    @property
    def block_bytes(self) -> int:
        """Bytes of the stream of a block."""
        return len(self.steps) * len(self.present(0)) * self.step_taps + self.places * (8 + 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthwiseBlockSpec(WideBlockSpec):
    """Eight channels by themselves of each pixel; a step is a tap of all of them."""

    stem: ClassVar[str] = "depthwise"

    @property
    def channels(self) -> int:
        """Output channels of a block."""
        return _SUMS

    @property
    def turns(self) -> tuple[int, int]:
        """Return that a block is straight-line."""
        return 0, 0

    @property
    def overlaps(self) -> bool:
        """Return that blocks follow one another: sums are in vectors, which the next ones need."""
        return False

    @property
    def block_in_bytes(self) -> int:
        """Bytes from the activations of a block to those of the next."""
        return LANES

    @property
    def step_taps(self) -> int:
        """Taps of a channel in a step."""
        return 1

    @property
    def block_bytes(self) -> int:
        """Bytes of the stream of a block."""
        return len(self.steps) * _SUMS + 2 * (1 + self.finish.vectors) * LANES

    def order(self) -> NDArray[np.int64]:
        """Return the channel of a block in each place: even ones, then odd ones."""
        return np.arange(_SUMS).reshape(-1, 2).T.reshape(1, -1)

    def weight_order(self, half: int) -> NDArray[np.int64]:
        """Return the channels whose weights are read, in that order."""
        del half
        return np.arange(_SUMS)

    @property
    def read_bytes(self) -> int:
        """Bytes from a pixel's start to the end of what its loads read."""
        return max(self.steps) + self.groups * LANES


def stream(
    spec: BlockSpec,
    weights: NDArray[np.int64],
    bias: NDArray[np.int64],
    constants: Sequence[NDArray[np.int64]],
    order: Sequence[bool] = (),
) -> NDArray[np.int32]:
    """Return the stream of all blocks.

    Args:
        spec: the block.
        weights: [channels, rows, runs, taps of a run].
        bias: [channels], input zero point included.
        constants: of the finish, each [channels].
        order: whether each vector that `spec.at_once` blocks read is one of the finish, where halves overlap.
    """
    channels, padded = weights.shape[0], spec.groups * spec.channels
    run = -(-spec.run // LANES) * spec.step_taps
    taps = np.zeros((padded, spec.rows, len(spec.runs), run), np.int8)
    taps[:channels, ..., : spec.run // spec.element] = weights
    steps = taps.reshape(padded, len(spec.steps), spec.step_taps)

    def of(values: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
        full = np.zeros(padded + _SUMS, np.int64)
        full[:channels] = values
        found: NDArray[np.int64] = full[order]
        return found

    parts: list[NDArray[np.int32]] = []
    between: list[NDArray[np.int32]] = []
    for group in range(spec.groups):
        for number, half in enumerate(spec.order() + group * spec.channels):
            read = steps[group * spec.channels + spec.weight_order(number)]
            words = np.ascontiguousarray(read.transpose(1, 0, 2)).reshape(-1).view(np.int32)
            start = spec.start_words(of(bias, half))
            finish = spec.end_words([of(each, half) for each in constants])
            if spec.overlaps:
                parts.append(words)
                between += [start, *finish]
            else:
                parts += [start, words, *finish] if spec.starts_biased else [words, start, *finish]
    if not spec.overlaps:
        return np.concatenate(parts)
    finishes = np.repeat(order, np.where(order, LANES, spec.step_taps) // 4)
    found = np.empty((spec.groups // spec.at_once, len(finishes)), np.int32)
    for places, words in zip((~finishes, finishes), map(np.concatenate, (parts, between)), strict=True):
        found[:, places] = words.reshape(len(found), -1)
    return found.reshape(-1)
