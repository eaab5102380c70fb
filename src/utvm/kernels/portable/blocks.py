"""Which pixels SpaceToBatch and BatchToSpace move where: one strided copy for each place in a block."""

from __future__ import annotations

from utvm.graph import Padding, Tensor
from utvm.kernels.nest import Copy, row_major


def block_copies(space: Tensor, batch: Tensor, block: tuple[int, int], margin: Padding) -> list[Copy]:
    """Return the copies from `space` [N,H,W,C] to `batch` [N*BH*BW,H',W',C]; `margin` is what surrounds `space`."""
    images, height, width, channels = space.shape
    _, rows, columns, _ = batch.shape
    from_strides, to_strides = row_major(space.shape), row_major(batch.shape)
    found: list[Copy] = []
    for i in range(block[0]):
        top, high = _inside(i, block[0], margin.top, height, rows)
        for j in range(block[1]):
            left, wide = _inside(j, block[1], margin.left, width, columns)
            if not high or not wide:
                continue
            row, column = top * block[0] + i - margin.top, left * block[1] + j - margin.left
            image = (i * block[1] + j) * images
            found.append(
                Copy(
                    extents=(images, high, wide, channels),
                    from_strides=(from_strides[0], from_strides[1] * block[0], from_strides[2] * block[1], 1),
                    to_strides=to_strides,
                    from_start=row * from_strides[1] + column * from_strides[2],
                    to_start=image * to_strides[0] + top * to_strides[1] + left * to_strides[2],
                )
            )
    return found


def _inside(place: int, step: int, before: int, size: int, count: int) -> tuple[int, int]:
    """Return the first block whose pixel at `place` is inside the image, and how many are."""
    first = max(0, -(-(before - place) // step))
    last = min(count - 1, (before + size - 1 - place) // step)
    return first, max(0, last - first + 1)
