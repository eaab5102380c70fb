"""The C around the micro-kernels of one layer in blocks of M pixels and N channels: loops, rows and calls.

Micro-kernels read the input where it is, or rows of it that are written to a ring in scratch once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from utvm.codegen import CWriter
from utvm.kernels.dsp.direct_plan import BlockPlan, BlockSize
from utvm.kernels.dsp.expand import both_lanes


class BlockLoops(ABC):
    """Writes a layer.

    Attributes:
        element: the C type of an activation.
        lanes: of a row in scratch.
        row: elements of a row of the input.
        results: where micro-kernels store.
    """

    element: ClassVar[str]
    results: str = "out"

    def __init__(self, w: CWriter, plan: BlockPlan) -> None:
        self.w, self.plan, self.window, self.rows = w, plan, plan.window, plan.rows
        self.lanes = plan.rows.row_bytes // 2
        self.row = self.window.row_elements

    @abstractmethod
    def write_copy(self, target: str, pixels: int) -> None:
        """Write how `pixels` of one group from `from_row` on become a row in scratch; padding is not touched."""

    def write_finish(self, pixels: int) -> None:
        """Write what is left of a block once its micro-kernels have run; nothing by default."""
        del pixels

    def write(self) -> None:
        """Write the whole layer."""
        if self.window.strips:
            self._write_strips()
        else:
            self._write_images()

    def _write_strips(self) -> None:
        """Write the loop over strips of pixels, then the rest."""
        window = self.window
        with self.w.loop("strip", window.height):
            self._write_strip("strip", window.width)
        if window.rest:
            with self.w.block(""):
                self._write_strip(str(window.height), window.rest)

    def _write_strip(self, strip: str, pixels: int) -> None:
        """Write the first `pixels` of a strip."""
        w, window = self.w, self.window
        w(f"const {self.element} *from_row = x + {strip} * {self.row};")
        source = "from_row"
        if not self.plan.in_place:
            self.write_copy("scratch", pixels)
            source = "scratch"
        parts = self.plan.split[0]
        addresses = ", ".join(f"{source} + {self.rows.part_offset(part, parts) // 2}" for part in range(parts))
        w(f"const void *rows[{parts}] = {{{addresses}}};")
        w(f"{self.element} *out = y + {strip} * {window.out_width * window.out_pixel_elements};")
        self._write_blocks(pixels, parts)

    def _write_images(self) -> None:
        """Write the loops over images and rows of the output."""
        w, window, plan = self.w, self.window, self.plan
        groups, copied = window.groups, not plan.in_place
        image, out_image = window.height * self.row, window.out_height * window.out_width * window.out_pixel_elements
        if copied and window.padding.any:
            with w.loop("i", plan.rows_bytes // 4):
                w(f"((uint32_t *)(void *)scratch)[i] = {both_lanes(plan.op.x.zero_point)};")
        if copied and plan.vertical_padding:
            w(f"const int16_t *const padding = scratch + {window.slots * groups * self.lanes};")
        with w.loop("n", plan.op.x.shape[0]):
            w(f"const {self.element} *image = x + n * {image};")
            if copied:
                w("int32_t next = 0;")
            with w.loop("oy", window.out_height):
                w(f"const int32_t top = oy * {window.stride[0]} - {window.padding.top};")
                if copied:
                    self._write_ring()
                if groups == 1:
                    self._write_row(out_image, "")
                else:
                    with w.loop("g", groups):
                        w(f"const int32_t *const weights = stream + g * {plan.group_words};")
                        self._write_row(out_image, f" + g * {window.out_channels}")

    def _write_ring(self) -> None:
        """Write the copies of rows that the next row of the output needs."""
        w, window = self.w, self.window
        slots, groups = window.slots, window.groups
        w(f"int32_t last = top + {slots};", f"last = last < {window.height} ? last : {window.height};")
        w("next = next > top ? next : top;")
        with w.block("for (; next < last; next++)"):
            w(f"const {self.element} *from_row = image + next * {self.row};")
            w(f"int16_t *to_row = scratch + (next % {slots}) * {groups * self.lanes};")
            with w.block("") if groups == 1 else w.loop("g", groups):
                self.write_copy("to_row", window.width)
                if groups > 1:
                    w(f"from_row += {window.channels};", f"to_row += {self.lanes};")

    def _write_row(self, out_image: int, first: str) -> None:
        """Write the blocks of one output row of the group `g`, whose first channel is `first`, if there are groups."""
        w, window, plan = self.w, self.window, self.plan
        parts, height, groups = plan.split[0], window.kernel[0], window.groups
        w(f"const void *rows[{height * parts}];")
        with w.loop("k", height):
            w(f"const int32_t iy = top + k * {window.dilation[0]};")
            row = f"image + iy * {self.row}"
            if not plan.in_place:
                row = f"scratch + (iy % {window.slots}) * {groups * self.lanes}"
                row += f" + g * {self.lanes}" if groups > 1 else ""
                if plan.vertical_padding:
                    row = f"iy >= 0 && iy < {window.height} ? {row} : padding"
            w(f"const int16_t *row = {row};")
            if parts == 1:
                w("rows[k] = row;")
            else:
                with w.loop("part", parts):
                    w(f"rows[k * {parts} + part] = row + part * {self.rows.part_offset(1, parts) // 2};")
        place = f"n * {out_image} + oy * {window.out_width * window.out_pixel_elements}{first}"
        w(f"{self.element} *out = y + {place};")
        self._write_blocks(window.out_width, height * parts)

    def _write_blocks(self, pixels: int, addresses: int) -> None:
        """Write the blocks of `pixels` from the `addresses` in `rows` on."""
        w, plan = self.w, self.plan
        full, tail = divmod(pixels, plan.m)
        with w.loop("block", full):
            self._write_calls(plan.m, addresses)
            w(f"out += {plan.m * self.window.out_pixel_elements};")
            with w.loop("k", addresses):
                w(f"rows[k] = (const int8_t *)rows[k] + {plan.rows.advance_bytes(plan.m)};")
        if tail:
            self._write_calls(tail, addresses)

    def _write_calls(self, pixels: int, addresses: int) -> None:
        """Write the calls for one block of pixels: for each chunk of terms full blocks of channels, then the rest."""
        w, plan, window = self.w, self.plan, self.window
        blocks, remaining = divmod(window.out_channels, plan.n)
        stream = "stream" if window.groups == 1 else "weights"
        words = plan.group_words // plan.chunks
        for chunk in range(plan.chunks):
            rows = _plus("(const void *const *)rows", chunk * addresses // plan.chunks)
            results = _plus(self.results, chunk * pixels * window.out_channels)
            for n, count, done in ((plan.n, blocks, 0), (remaining, 1, blocks)):
                if n and count:
                    before = done * plan.spec(BlockSize(m=pixels, n=plan.n)).stream_words
                    place = f"{_plus(stream, chunk * words + before)}, {_plus(results, done * plan.n)}"
                    w(f"{plan.symbol(BlockSize(m=pixels, n=n))}({rows}, {place}, {count});")
        self.write_finish(pixels)


def _plus(place: str, count: int) -> str:
    return f"{place} + {count}" if count else place
