"""Where the taps of a layer's pixels lie, and the C that calls a function for them block by block.

Where nothing lies outside and rows are whole words, taps are read in place. Else the rows that a row of pixels needs
are copied first, with the zero point around them. Taps that do not lie side by side get a copy of the row each, as if
the window had one column. Channels with several outputs are copied as often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.graph import Conv2D, DepthwiseConv2D, FullyConnected
from utvm.kernels.base import Config, Kernel
from utvm.kernels.overlap import line_ahead, nest_ahead
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import workload
from utvm.kernels.xpulp.code import COPY, FILL, OUTPUT, WEIGHTED_PARAMETERS, spread

Weighted = Conv2D | DepthwiseConv2D | FullyConnected
_WORD = 4
_SLACK = 3
"""Bytes behind the last row that a word may hold."""
_COPY_CYCLES, _SPREAD_CYCLES, _COPY_CALL = 0.5, 2.0, 40.0
"""Cycles of copying a byte, of writing it several times, and of a call that does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The geometry of one layer.

    Attributes:
        images, lines, across: images, rows of pixels in each, pixels in each of these.
        height, width, channels: of an image of the input.
        out_channels: of the output.
        window: rows and columns of taps; where these lie apart, so many rows of one.
        columns: copies of a row; 1 where taps lie side by side.
        spread: outputs of a channel of the input; `channels` are those of the copy.
        stride, dilation: down and across.
        top, left: padding.
        zero: the zero point of the input.
        copied: whether rows are copied.
        band: rows of pixels whose rows of the input are copied at once.
        ahead: how far before its input the output must start; see `Kernel`.
    """

    images: int
    lines: int
    across: int
    height: int
    width: int
    channels: int
    out_channels: int
    window: tuple[int, int]
    columns: int
    spread: int
    stride: tuple[int, int]
    dilation: tuple[int, int]
    top: int
    left: int
    zero: int
    copied: bool
    band: int
    ahead: int | None

    @staticmethod
    def of(op: Weighted, m: int, band: int = 1) -> Windows:
        """Return the geometry of an operator, `m` pixels of which are computed at once; see `may_band`."""
        if isinstance(op, FullyConnected):
            outputs, depth = op.weights.shape
            return _flat(op, op.x.elements // depth, depth, outputs, m)
        images, height, width, channels = op.x.shape
        _, lines, across, out_channels = op.y.shape
        window, columns, spread = (op.weights.shape[1], op.weights.shape[2]), 1, 1
        copied = op.padding.any
        if isinstance(op, Conv2D):
            whole = op.weights.shape[3] % _WORD == 0
            if window == op.stride == (1, 1) and op.groups == 1 and not op.padding.any and whole:
                return _flat(op, images * lines * across, channels, out_channels, m)
            copied |= window[1] * op.weights.shape[3] % _WORD > 0
            if window[1] > 1 and (op.dilation[1] > 1 or op.groups > 1):
                window, columns, copied = (window[0] * window[1], 1), window[1], True
        elif channels != out_channels:
            spread, channels, copied = out_channels // channels, out_channels, True
        return Windows(
            images=images,
            lines=lines,
            across=across,
            height=height,
            width=width,
            channels=channels,
            out_channels=out_channels,
            window=window,
            columns=columns,
            spread=spread,
            stride=(op.stride[0], op.stride[1]),
            dilation=(op.dilation[0], op.dilation[1]),
            top=op.padding.top,
            left=op.padding.left,
            zero=op.x.zero_point,
            copied=copied,
            band=band,
            ahead=line_ahead(op, rows=band) if copied else nest_ahead(op),
        )

    @property
    def row_bytes(self) -> int:
        """Bytes from a row of taps to the next."""
        if self.copied:
            return self._columns * self.channels
        return self.dilation[0] * self.width * self.channels

    def may_band(self, band: int) -> bool:
        """Return whether the rows that so many rows of pixels need can be copied at once."""
        apart = self.columns > 1 or self.dilation[0] > 1 or self.window == (1, 1)
        return band == 1 or (self.copied and not apart and band <= self.lines)

    @property
    def pitch(self) -> int:
        """Bytes from pixel to pixel of the input."""
        return self.stride[1] * self.channels

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the copied rows."""
        return self._copied_rows * self.row_bytes + _SLACK if self.copied else 0

    @property
    def _copied_rows(self) -> int:
        """Rows that are copied at once."""
        return (self.band - 1) * self.stride[0] + self.window[0]

    @property
    def _bands(self) -> int:
        """How often rows are copied for an image."""
        return -(-self.lines // self.band)

    @property
    def _columns(self) -> int:
        """Pixels of the input, padding included, that a row of pixels reads."""
        reach = (self.window[1] - 1) * self.dilation[1]
        return (self.across - 1) * self.stride[1] + reach + 1

    @property
    def _inside(self) -> int:
        """Pixels of a copied row that are inside of the input."""
        return max(min(self.width, self._columns - self.left), 0)

    def blocks(self, m: int) -> list[tuple[int, int, int]]:
        """Return pixels at once, first and end of the blocks of a row of pixels: of m, and what is left."""
        whole = self.across // m * m
        every = [(m, 0, whole), (self.across - whole, whole, self.across)]
        return [part for part in every if part[1] < part[2]]

    def copy_cycles(self) -> float:
        """Return about the cycles of all copies."""
        if not self.copied:
            return 0.0
        byte = _COPY_CYCLES if self.spread == 1 else _SPREAD_CYCLES
        row = self._inside * self.channels * byte + _COPY_CALL
        return self.images * self._bands * self._copied_rows * row

    def write(self, w: CWriter, m: int, call: Callable[[int, str, str], None]) -> None:
        """Write the loops of a layer, those over blocks of pixels among them.

        Args:
            w: what is written to.
            m: pixels at once.
            call: writes what is done for so many pixels, from the C of their address and of that of their outputs.
        """
        for place, y in self.rows_of_pixels(w):
            for pixels, start, end in self.blocks(m):
                with w.block(f"for (int32_t i = {start}; i < {end}; i += {pixels})"):
                    call(pixels, f"{place} + i * {self.pitch}", f"{y} + i * {self.out_channels}")

    def rows_of_pixels(self, w: CWriter) -> Iterator[tuple[str, str]]:
        """Write the loops over rows of pixels; yield the C of where their taps and outputs are."""
        if self.copied:
            w(f"{FILL.name}(rows, {self.zero}, {self._copied_rows * self.row_bytes});")
        if self.images == self.lines == 1 and not self.copied and self.top == 0:
            yield "x", "y"
            return
        if self.band > 1:
            yield from self._bands_of_pixels(w)
            return
        with w.loop("n", self.images), w.loop("oy", self.lines):
            w(f"int8_t *row = y + (n * {self.lines} + oy) * {self.across * self.out_channels};")
            if not self.copied:
                line = self.width * self.channels
                w(f"const int8_t *taps = x + (n * {self.height} + oy * {self.stride[0]}) * {line};")
                yield "taps", "row"
                return
            self._copy(w)
            yield "rows", "row"

    def _bands_of_pixels(self, w: CWriter) -> Iterator[tuple[str, str]]:
        """Write the loops over bands of rows of pixels, and over the rows of each."""
        with w.loop("n", self.images), w.loop("oy", self.lines, step=self.band):
            self._copy(w)
            end = f" && oy + line < {self.lines}" if self.lines % self.band else ""
            with w.block(f"for (int32_t line = 0; line < {self.band}{end}; line++)"):
                w(f"int8_t *row = y + (n * {self.lines} + oy + line) * {self.across * self.out_channels};")
                w(f"const int8_t *taps = rows + line * {self.stride[0] * self.row_bytes};")
                yield "taps", "row"

    def _copy(self, w: CWriter) -> None:
        """Write the copies of the rows that rows of pixels need; what lies left and right of them stays filled."""
        if self.columns == 1:
            w("int8_t *to = rows;" if self.left == 0 else f"int8_t *to = rows + {self.left * self.channels};")
        else:
            w("int8_t *to = rows;")
        with w.loop("ky", self._copied_rows // self.columns):
            w(f"const int32_t iy = oy * {self.stride[0]} + ky * {self.dilation[0]}{offset(-self.top)};")
            for column in range(self.columns):
                self._copy_row(w, column)
                w(f"to += {self.row_bytes};")

    def _copy_row(self, w: CWriter, column: int) -> None:
        """Write the copy of row `iy` as the taps of a column see it."""
        source, place, inside = 0, "to", self._inside
        if self.columns > 1:
            first = column * self.dilation[1] - self.left
            source, skipped = max(first, 0), max(-first, 0)
            inside = min(self._columns - skipped, self.width - source)
            place = f"to{offset(skipped * self.channels)}"
        if inside <= 0:
            w("(void)x;", "(void)iy;")
            return
        line, count = self.width * self.channels // self.spread, inside * self.channels
        x = f"x + (n * {self.height} + iy) * {line}{offset(source * self.channels // self.spread)}"
        copy = f"{self.copier.name}({place}, {x}, {count // self.spread});"
        if self._never_outside:
            w(copy)
            return
        with w.block(f"if (iy >= 0 && iy < {self.height})"):
            w(copy)
        with w.block("else"):
            w(f"{FILL.name}({place}, {self.zero}, {count});")

    @property
    def copier(self) -> CSupport:
        """The function that copies rows."""
        return COPY if self.spread == 1 else spread(self.spread)

    @property
    def _never_outside(self) -> bool:
        rows = self.window[0] // self.columns
        last = (self._bands * self.band - 1) * self.stride[0] + (rows - 1) * self.dilation[0] - self.top
        return self.top == 0 and last < self.height


def _flat(op: Conv2D | FullyConnected, pixels: int, depth: int, outputs: int, m: int) -> Windows:
    """Return the geometry of products whose pixels are rows of one matrix."""
    copied = depth % _WORD > 0
    lines, across = (pixels, 1) if copied else (1, pixels)
    firsts = range(0, pixels, 1 if copied else m)
    ends = [min(first + (1 if copied else m), pixels) for first in firsts]
    ahead = max(end * outputs - (end if copied else first) * depth for first, end in zip(firsts, ends, strict=True))
    return Windows(
        images=1,
        lines=lines,
        across=across,
        height=lines,
        width=across,
        channels=depth,
        out_channels=outputs,
        window=(1, 1),
        columns=1,
        spread=1,
        stride=(1, 1),
        dilation=(1, 1),
        top=0,
        left=0,
        zero=op.x.zero_point,
        copied=copied,
        band=1,
        ahead=ahead,
    )


def called_kernel(
    op: Weighted, windows: Windows, config: Config, *, stem: str, body: str, functions: Sequence[CSupport],
    constants: Mapping[str, NDArray[np.int8] | NDArray[np.int32]],
) -> Kernel:  # fmt: skip
    """Return the kernel whose C calls `functions` for blocks of pixels.

    Args:
        op: the layer.
        windows: its geometry.
        config: the kernel's; the comment names its knobs.
        stem: what the C function is named after.
        body: its C.
        functions: what it calls, beside those that copy rows.
        constants: parameter's name → values.
    """
    rows = (CParameter(name="rows", c_type="int8_t", role="scratch"),) if windows.copied else ()
    knobs = ", ".join(f"{name} {value}" for name, value in config.items())
    return Kernel(
        family="xpulp",
        config=config,
        function=CFunction(
            stem=f"{stem}_xpulp",
            comment=f"{workload(op)}\nfamily xpulp, {knobs}",
            parameters=(*WEIGHTED_PARAMETERS, *rows, OUTPUT),
            body=body,
            support=(*((windows.copier, FILL) if windows.copied else ()), *functions),
        ),
        constants={name: CArray(c_type=f"{values.dtype}_t", values=values) for name, values in constants.items()},
        scratch_bytes=windows.scratch_bytes,
        ahead=windows.ahead,
    )
