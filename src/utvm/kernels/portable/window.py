"""Sliding windows in plain C: which taps of a window lie inside the input, found once a row and once a column."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from utvm.codegen import CWriter
from utvm.graph import AveragePool2D, Conv2D, DepthwiseConv2D, MaxPool2D
from utvm.kernels.weighted import offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Taps:
    """The taps of one dimension that are inside: from `first` to below `last`, C expressions or numbers.

    Tap k reads the input at `start_AXIS + k * dilation`. `may_be_none` says that some window has none inside.
    """

    axis: str
    first: str
    last: str
    window: int
    dilation: int
    may_be_none: bool

    @property
    def count(self) -> str:
        """How many there are, as a C expression."""
        return self.last if self.first == "0" else f"({self.last} - {self.first})"

    @property
    def all_inside(self) -> bool:
        """Whether every window lies inside the input."""
        return (self.first, self.last) == ("0", str(self.window))

    def position(self, tap: str) -> str:
        """Return the C expression of the place in the input that a tap reads."""
        if tap == "0":
            return f"start_{self.axis}"
        return f"start_{self.axis} + {tap}" if self.dilation == 1 else f"start_{self.axis} + {tap} * {self.dilation}"

    def if_any(self, w: CWriter) -> AbstractContextManager[None]:
        """Open a block for windows that have taps inside, if some have none: no pointer may leave its array."""
        return w.block(f"if ({self.first} < {self.last})") if self.may_be_none else nullcontext()

    @contextmanager
    def loop(self, w: CWriter) -> Iterator[str]:
        """Loop over the taps; yields the variable's name."""
        name = f"k{self.axis}"
        if self.all_inside:
            with w.loop(name, self.window):
                yield name
        else:
            with w.block(f"for (int32_t {name} = {self.first}; {name} < {self.last}; {name}++)"):
                yield name

    def count_loop(self, w: CWriter, name: str) -> AbstractContextManager[None]:
        """Loop `name` from 0 to below the count of taps."""
        if self.all_inside:
            return w.loop(name, self.window)
        return w.block(f"for (int32_t {name} = 0; {name} < {self.count}; {name}++)")


def window_taps(w: CWriter, op: Conv2D | DepthwiseConv2D | MaxPool2D | AveragePool2D, axis: str) -> Taps:
    """Write what `write_taps` writes for the windows of an operator along an axis, "y" or "x"."""
    d = "yx".index(axis)
    return write_taps(
        w,
        axis,
        stride=op.stride[d],
        before=(op.padding.top, op.padding.left)[d],
        window=op.filter[d] if isinstance(op, MaxPool2D | AveragePool2D) else op.weights.shape[1 + d],
        dilation=1 if isinstance(op, MaxPool2D | AveragePool2D) else op.dilation[d],
        size=op.x.shape[1 + d],
        output=op.y.shape[1 + d],
    )


def write_taps(
    w: CWriter, axis: str, *, stride: int, before: int, window: int, dilation: int = 1, size: int, output: int
) -> Taps:
    """Write where the window of output `o{axis}` starts and which of its taps are inside; a name for each of them.

    Args:
        w: what to write to, inside of the loop over `o{axis}`.
        axis: "y" or "x".
        stride: pixels from window to window.
        before: padding before the first pixel.
        window: number of taps.
        dilation: pixels from tap to tap.
        size: pixels of the input.
        output: number of windows.
    """
    w(f"const int32_t start_{axis} = o{axis} * {stride}{offset(-before)};")
    first, last = "0", str(window)
    if before > 0:
        skipped = f"-start_{axis}" if dilation == 1 else f"({dilation - 1} - start_{axis}) / {dilation}"
        w(f"const int32_t first_{axis} = start_{axis} < 0 ? {skipped} : 0;")
        first = f"first_{axis}"
    furthest = (output - 1) * stride - before
    if furthest + (window - 1) * dilation >= size:
        room = f"{size} - start_{axis}" if dilation == 1 else f"({size + dilation - 1} - start_{axis}) / {dilation}"
        w(f"const int32_t room_{axis} = {room};")
        w(f"const int32_t last_{axis} = room_{axis} < {window} ? room_{axis} : {window};")
        last = f"last_{axis}"
    inside = [any(0 <= o * stride - before + k * dilation < size for k in range(window)) for o in range(output)]
    return Taps(axis=axis, first=first, last=last, window=window, dilation=dilation, may_be_none=not all(inside))
