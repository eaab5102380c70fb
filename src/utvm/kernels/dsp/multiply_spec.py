"""What a multiply-accumulate micro-kernel computes, where it finds its activations, and how its stack frame lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from utvm.kernels.dsp.finish import Finish, Saturation
from utvm.kernels.dsp.stream import WeightForm

OUT_IN_FRAME, END_IN_FRAME = 0, 4
"""Where in the frame the next output's address and the end of the outputs lie, in bytes from sp."""
ROW_IN_FRAME = 8
"""Where a row lies, for `RowSource.FRAME`."""
WALKER_IN_FRAME = 8
"""Where the position in the table of rows lies, if these are repeated; the table is behind it, or in its place."""
MOST_ADDRESSES = 432
"""Addresses of a window's rows and their parts. The kernel and its micro-kernel have a table each: 3.4 KB of stack.

A board has 4 KB unless it says otherwise.
"""


class RowSource(StrEnum):
    """Where a micro-kernel finds its activations."""

    TABLE = "table"
    """Rows of int16 lanes, behind a table of their addresses."""
    FRAME = "frame"
    """One row of int16 lanes in the kernel's own stack frame, which leaves one register more."""
    BYTES = "bytes"
    """One row of int8, its address in r0; each block of channels extends it anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiplySpec:
    """What a micro-kernel computes.

    `offsets[m]` holds, for each lane pair of a row, its byte offset from the row's address for pixel m. The kernel
    reads `rows` rows. `unrolled` rows all stand in one body; else one body is repeated for each row. If `uniform`,
    the channels finish as `UniformFinish` says. Weights of form `int16` and their biases are doubled if `doubled`.
    If `paired`, one turn computes two blocks of N channels, of which the second's products hide the first's finish.
    `source` says where the rows are. Of the last word of a row of `RowSource.BYTES` only `tail` bytes are read, if any.
    """

    rows: int
    offsets: tuple[tuple[int, ...], ...]
    channels: int
    pixel_stride: int
    form: WeightForm
    finish: Finish
    saturation: Saturation
    unrolled: bool
    uniform: bool
    source: RowSource = RowSource.TABLE
    tail: int = field(default=0, repr=False)
    paired: bool = field(default=False, repr=False)

    @property
    def doubled(self) -> bool:
        """Whether the finish takes twice the sums."""
        return self.uniform or self.finish.doubles

    @property
    def pixels(self) -> int:
        """M, the pixels computed at once."""
        return len(self.offsets)

    @property
    def pairs(self) -> int:
        """Lane pairs of one row."""
        return len(self.offsets[0])

    @property
    def weight_words(self) -> int:
        """Words of weights for one pair of lanes of all N channels."""
        return self.channels if self.form is WeightForm.INT16 else self.channels // 2

    @property
    def biases(self) -> int:
        """Words of the stream that one block of N channels starts from."""
        return 0 if self.finish is Finish.SUM else self.channels

    @property
    def out_bytes(self) -> int:
        """Bytes of one output."""
        return self.finish.out_bytes

    @property
    def stream_words(self) -> int:
        """Words of the stream for one block of N channels."""
        finish = 2 if self.uniform else self.finish.shared_words + self.finish.channel_words * self.channels
        return self.biases + self.rows * self.pairs * self.weight_words + finish


def plain_offsets(pixels: int, pixel_step: int, taps: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the offsets of `pixels` pixels that are `pixel_step` bytes apart and read the lane pairs at `taps`."""
    return tuple(tuple(m * pixel_step + tap for tap in taps) for m in range(pixels))
