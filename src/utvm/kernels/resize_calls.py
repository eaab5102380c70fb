"""Bilinear resizing by two functions a row: two rows are blended into a line of words, its columns into pixels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.graph import ResizeBilinear
from utvm.graph.arithmetic import bilinear_positions
from utvm.kernels.base import Config, Kernel
from utvm.kernels.workload_keys import dims, workload

_WORD = 4


def bilinear_by_calls(
    op: ResizeBilinear,
    family: str,
    config: Config,
    blend: CSupport,
    across: CSupport,
    *,
    elements: NDArray[np.int16] | None,
) -> Kernel:
    """Return the kernel.

    Args:
        op: the resizing.
        family: the family's name.
        config: the kernel's.
        blend: of the line, two rows of x, the fraction of the second one, and their elements.
        across: of the line, where a row is written, its columns, and how many there are: elements, or pixels and
            channels.
        elements: what `across` reads of the columns of elements; None if it goes by pixels.
    """
    batch, height, width, channels = op.x.shape
    _, out_height, out_width, _ = op.y.shape
    row = width * channels
    rows, columns = bilinear_positions(op)
    starts = [each * row for each in (rows.first, rows.second)]
    by_pixels = np.stack([*byte_places(op), columns.fraction], axis=1)
    tables = {
        "rows": CArray(c_type="int32_t", values=np.stack([*starts, rows.fraction], axis=1)),
        "columns": CArray(c_type="int32_t", values=by_pixels)
        if elements is None
        else CArray(c_type="int16_t", values=elements),
    }
    count = f"{out_width}, {channels}" if elements is None else f"{out_width * channels}"
    w = CWriter()
    with w.loop("n", batch), w.loop("oy", out_height):
        w("const int32_t *const place = rows + oy * 3;")
        w(f"const int8_t *const image = x + n * {height * row};")
        w(f"int8_t *const to = y + (n * {out_height} + oy) * {out_width * channels};")
        w(f"{blend.name}(line, image + place[0], image + place[1], place[2], {row});")
        w(f"{across.name}(line, to, columns, {count});")
    return line_kernel(op, family, config, w.text, tables, (blend, across), line=("int32_t", row * _WORD))


def line_kernel(
    op: ResizeBilinear,
    family: str,
    config: Config,
    body: str,
    tables: Mapping[str, CArray],
    support: tuple[CSupport, ...],
    *,
    line: tuple[str, int],
    remark: str = "",
) -> Kernel:
    """Return a kernel with a scratch of one line of blended rows.

    Args:
        op: the resizing.
        family: the family's name.
        config: the kernel's.
        body: the C that calls `support`.
        tables: the constants that the body reads.
        support: the functions of rows and columns.
        line: the C type of the line's elements, and the bytes of the line.
        remark: what the comment says behind the family.
    """
    c_type, nbytes = line
    return Kernel(
        family=family,
        config=config,
        function=CFunction(
            stem=f"resizebilinear_{dims(op.y.shape)}_{family}",
            comment=f"{workload(op)}\nfamily {family}{remark}",
            parameters=(
                CParameter(name="x", c_type="int8_t", role="input"),
                *(CParameter(name=name, c_type=a.c_type, role="constant") for name, a in tables.items()),
                CParameter(name="line", c_type=c_type, role="scratch"),
                CParameter(name="y", c_type="int8_t", role="output"),
            ),
            body=body,
            support=support,
        ),
        constants=tables,
        scratch_bytes=nbytes,
    )


def byte_places(op: ResizeBilinear) -> list[NDArray[np.int64]]:
    """Return where both columns of each output pixel start in the line, in bytes. int64 [pixels] each."""
    columns = bilinear_positions(op)[1]
    return [np.asarray(each * op.x.shape[-1] * _WORD) for each in (columns.first, columns.second)]


def element_columns(op: ResizeBilinear) -> list[NDArray[np.int64]]:
    """Return for each element of a row the places of both columns in bytes, and the fraction. int64 [elements] each."""
    channels = op.x.shape[-1]
    places = [(each[:, None] + np.arange(channels) * _WORD).reshape(-1) for each in byte_places(op)]
    return [*places, np.repeat(bilinear_positions(op)[1].fraction, channels)]
