"""ONNX operators that move elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import prod

import numpy as np

from utvm.frontends.activations import expanded
from utvm.frontends.borders import MODES, bordered
from utvm.frontends.builder import MAX_ELEMENTS
from utvm.frontends.onnx_node import NodeContext, Value
from utvm.frontends.onnx_resize import resized_by_weights
from utvm.frontends.refusal import RefusedError, axis_of, broadcast_shape
from utvm.graph import DType, ResizeBilinear, ResizeNearestNeighbor, Split, StridedSlice, Tensor

_MOST_PARTS = 1024
FLOAT_TYPES = (1, 10, 11, 16)
"""Numbers of float32, float16, float64 and bfloat16 in a Cast."""
Converter = Callable[[NodeContext], Value | tuple[Value, ...]]


def _same(n: NodeContext) -> Value:
    return n.value(0)


def _dropout(n: NodeContext) -> Value:
    if len(n.node.outputs) != 1:
        raise RefusedError("its mask is asked for")
    return n.value(0)


def _cast(n: NodeContext) -> Value:
    wanted = n.integer("to", 0)
    if n.x().dtype is DType.BOOL and wanted in (*FLOAT_TYPES, 6, 7, 9):
        # A number of true values is whole as float32 too.
        return n.x() if wanted == 9 else n.b.real(n.x())
    if n.x().dtype is not DType.FLOAT32 or wanted not in FLOAT_TYPES:
        raise RefusedError("it casts an activation to integers, or integers to another type")
    return n.x()


def _shape(n: NodeContext) -> Value:
    shape = n.x().shape
    start, end = n.integer("start", 0), n.integer("end", len(shape))
    return np.array(shape[start:end], np.int64)


def _size(n: NodeContext) -> Value:
    return np.array(n.x().elements, np.int64)


def _reshape(n: NodeContext) -> Value:
    x, wanted = n.x(), list(n.integers(1, "shape"))
    if not n.integer("allowzero", 0):
        wanted = [x.shape[i] if size == 0 and i < len(x.shape) else size for i, size in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = prod(size for size in wanted if size != -1)
        if rest < 1 or x.elements % rest:
            raise RefusedError(f"{x.elements} elements can't have the shape {wanted}")
        wanted[wanted.index(-1)] = x.elements // rest
    return n.b.reshape(x, wanted)


def _flatten(n: NodeContext) -> Value:
    x = n.x()
    axis = n.integer("axis", 1)
    axis = axis if axis == len(x.shape) else axis_of(axis, len(x.shape))
    return n.b.reshape(x, (prod(x.shape[:axis]), prod(x.shape[axis:])))


def _squeeze(n: NodeContext) -> Value:
    x, axes = n.x(), n.integers_or(1, "axes")
    chosen = (
        [d for d, size in enumerate(x.shape) if size == 1] if axes is None else [axis_of(a, len(x.shape)) for a in axes]
    )
    if any(x.shape[d] != 1 for d in chosen):
        raise RefusedError(f"dimensions {chosen} of {list(x.shape)} are not all 1")
    return n.b.reshape(x, [size for d, size in enumerate(x.shape) if d not in chosen])


def _unsqueeze(n: NodeContext) -> Value:
    x, axes = n.x(), n.integers_or(1, "axes") or ()
    rank = len(x.shape) + len(axes)
    added = {axis_of(axis, rank) for axis in axes}
    rest = iter(x.shape)
    if len(added) != len(axes):
        raise RefusedError(f"its axes {list(axes)} name a dimension twice")
    return n.b.reshape(x, [1 if d in added else next(rest) for d in range(rank)])


def _transpose(n: NodeContext) -> Value:
    x = n.x()
    return n.b.transpose(x, n.ints("perm") or tuple(reversed(range(len(x.shape)))))


def _concat(n: NodeContext) -> Value:
    xs = [n.x(i) for i in range(n.inputs)]
    if not xs:
        raise RefusedError("it has no inputs")
    return n.b.concatenation(xs, n.axis("axis", 0, len(xs[0].shape)))


def _split(n: NodeContext) -> tuple[Value, ...]:
    x = n.x()
    axis = n.axis("axis", 0, len(x.shape))
    count, size = len(n.node.outputs), x.shape[axis]
    if not count:
        raise RefusedError("it has no outputs")
    part = -(-size // count)
    equal = tuple(min(part, size - part * i) for i in range(count))
    sizes = n.integers_or(1, "split") or equal
    if len(sizes) != count or sum(sizes) != size or min(sizes) < 1:
        raise RefusedError(f"its parts {list(sizes)} do not make {size} in {count} outputs")
    if len(set(sizes)) == 1:
        name = n.b.unique(n.b.place)
        shape = (*x.shape[:axis], sizes[0], *x.shape[axis + 1 :])
        ys = tuple(n.b.tensor(f"{name}/{i}", shape) for i in range(count))
        n.b.operators.append(Split(name=name, x=x, ys=ys, axis=axis))
        return ys
    starts = np.cumsum((0, *sizes[:-1])).tolist()
    return tuple(_cut(n, x, {axis: (start, 1, length)}) for start, length in zip(starts, sizes, strict=True))


def _cut(n: NodeContext, x: Tensor, ranges: Mapping[int, tuple[int, int, int]]) -> Tensor:
    """Return a slice; `ranges` has (begin, step, extent) of the dimensions that are not whole."""
    whole = [ranges.get(d, (0, 1, size)) for d, size in enumerate(x.shape)]
    begin, strides, extents = zip(*whole, strict=True)
    if extents == x.shape and set(strides) == {1}:
        return x
    return n.b.add(StridedSlice, tuple(extents), "", x.dtype, x=x, begin=tuple(begin), strides=tuple(strides))


def _slice(n: NodeContext) -> Value:
    x = n.x()
    starts, ends = n.integers_or(1, "starts") or (), n.integers_or(2, "ends") or ()
    axes = n.integers_or(3, "axes") or tuple(range(len(starts)))
    steps = n.integers(4, "steps") if n.has(4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise RefusedError("its starts, ends, axes and steps have different lengths")
    ranges = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis_of(axis, len(x.shape))]
        if step == 0:
            raise RefusedError("a step is 0")
        found = range(*slice(start, end, step).indices(size)) if step > 0 else _downwards(start, end, step, size)
        if not len(found):
            raise RefusedError(f"its slice {start}:{end}:{step} of {size} is empty")
        ranges[axis_of(axis, len(x.shape))] = (found[0], found.step, len(found))
    return _cut(n, x, ranges)


def _downwards(start: int, end: int, step: int, size: int) -> range:
    """Return the indices of a slice with a negative step; an end below -size reaches index 0."""
    return range(*slice(start, None if end < -size else end, step).indices(size))


def _gather(n: NodeContext) -> Value:
    x, indices = n.x(), n.constant(1, "indices")
    axis = n.axis("axis", 0, len(x.shape))
    if indices.dtype.kind not in "iu" or not indices.size:
        raise RefusedError(f"its indices of shape {list(indices.shape)} are none")
    flat = [axis_of(int(i), x.shape[axis]) for i in indices.reshape(-1)]
    taken = _picked(n, x, axis, flat)
    return n.b.reshape(taken, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


def _gather_nd(n: NodeContext) -> Value:
    """Pick parts by known places in the first dimensions, which become one."""
    x, indices = n.x(), n.constant(1, "indices")
    named = indices.shape[-1] if indices.ndim else 0
    if indices.dtype.kind not in "iu" or not indices.size or named > len(x.shape) or n.integer("batch_dims", 0):
        raise RefusedError(f"its indices of shape {list(indices.shape)} do not fit {list(x.shape)}, or go by batches")
    before, rest = x.shape[:named], x.shape[named:]
    rows = [[axis_of(int(i), size) for i, size in zip(row, before, strict=True)] for row in indices.reshape(-1, named)]
    places = np.ravel_multi_index(np.array(rows).T, before).tolist()
    taken = _picked(n, n.b.reshape(x, (prod(before), *rest)), 0, places)
    return n.b.reshape(taken, (*indices.shape[:-1], *rest))


def _picked(n: NodeContext, x: Tensor, axis: int, flat: Sequence[int]) -> Tensor:
    """Return places of one dimension in any order."""
    step = flat[1] - flat[0] if len(flat) > 1 else 1
    if any(b - a != step for a, b in pairwise(flat)) or step == 0:
        if len(flat) > _MOST_PARTS:
            raise RefusedError(f"it picks {len(flat)} places one by one; {_MOST_PARTS:,} at most are supported")
        return n.b.concatenation([_cut(n, x, {axis: (i, 1, 1)}) for i in flat], axis)
    return _cut(n, x, {axis: (flat[0], step, len(flat))})


def _reverse_sequence(n: NodeContext) -> Value:
    """Turn the first places of one dimension around, of all samples as many."""
    x, lengths = n.x(), set(n.integers(1, "sequence_lens"))
    time = n.axis("time_axis", 0, len(x.shape))
    if len(lengths) != 1 or not 1 <= min(lengths) <= x.shape[time]:
        raise RefusedError(
            f"it turns around {sorted(lengths)} of {x.shape[time]} places; one number of them is supported"
        )
    (length,) = lengths
    turned = _cut(n, x, {time: (length - 1, -1, length)})
    if length == x.shape[time]:
        return turned
    return n.b.concatenation([turned, _cut(n, x, {time: (length, 1, x.shape[time] - length)})], time)


def _pad(n: NodeContext) -> Value:
    x, pads = n.x(), n.integers_or(1, "pads") or ()
    mode = n.text("mode", "constant")
    value = float(n.floats(2, "value").reshape(-1)[0]) if n.has(2) else n.number("value", 0.0)
    axes = [axis_of(a, len(x.shape)) for a in n.integers(3, "axes")] if n.has(3) else list(range(len(x.shape)))
    if len(pads) != 2 * len(axes) or mode not in MODES:
        raise RefusedError(f"its pads {list(pads)} do not fit {len(axes)} dimensions, or its mode is not known")
    around = [(0, 0)] * len(x.shape)
    for index, axis in enumerate(axes):
        around[axis] = (pads[index], pads[len(axes) + index])
    return bordered(n.b, x, around, mode, value)


def _expand(n: NodeContext) -> Value:
    x = n.x()
    shape = broadcast_shape(x.shape, n.integers(1, "shape"))
    if prod(shape) > MAX_ELEMENTS:
        raise RefusedError(f"its result of shape {list(shape)} is too large")
    return expanded(n.b, x, shape)


def _resize(n: NodeContext) -> Value:
    x = n.x()
    plain = len(x.shape) == 4 and not n.node.attributes.get("axes") and n.text("mode", "nearest") != "cubic"
    if n.node.kind == "Resize" and n.opset >= 11:
        try:
            return _resize_in_place(n, x) if plain else resized_by_weights(n, x)
        except RefusedError:
            if not plain:
                raise
        return resized_by_weights(n, x)
    if len(x.shape) != 4:
        raise RefusedError(f"its input has shape {list(x.shape)}, [N,C,H,W] is expected")
    return _resize_in_place(n, x)


def _resize_in_place(n: NodeContext, x: Tensor) -> Value:
    """Resize as TFLite's operators do."""
    sizes = _resized(n, x)
    if sizes[:2] != x.shape[:2]:
        raise RefusedError("it resizes channels or the batch")
    mode, where = n.text("mode", "nearest"), n.text("coordinate_transformation_mode", "half_pixel")
    where = "half_pixel" if where == "pytorch_half_pixel" and min(sizes[2:]) > 1 else where
    last = n.b.transpose(x, (0, 2, 3, 1))
    corners, half = where == "align_corners", where == "half_pixel"
    if mode == "linear" and where in ("half_pixel", "align_corners", "asymmetric") and not n.integer("antialias", 0):
        kind: type[ResizeBilinear] | type[ResizeNearestNeighbor] = ResizeBilinear
    elif mode == "nearest" and _picks_as_tflite(n, x.shape, sizes, where):
        kind, corners, half = ResizeNearestNeighbor, False, False
    else:
        raise RefusedError(f"its mode {mode} with {where} is not supported")
    shape = (sizes[0], sizes[2], sizes[3], sizes[1])
    y = n.b.add(kind, shape, x=last, align_corners=corners, half_pixel_centers=half)
    return n.b.transpose(y, (0, 3, 1, 2))


def _picks_as_tflite(n: NodeContext, before: Sequence[int], after: Sequence[int], where: str) -> bool:
    """Whether a nearest resize takes pixel floor(i * size / target), as where pixels are repeated a whole time."""
    if all(b % a == 0 and b >= a for a, b in zip(before[2:], after[2:], strict=True)):
        return where in ("half_pixel", "asymmetric") and n.text("nearest_mode", "round_prefer_floor") in (
            ("floor", "round_prefer_floor", "round_prefer_ceil") if where == "half_pixel" else ("floor",)
        )
    return where == "asymmetric" and n.text("nearest_mode", "round_prefer_floor") == "floor"


def _resized(n: NodeContext, x: Tensor) -> tuple[int, ...]:
    scales_at, sizes_at = (1, 9) if n.node.kind == "Upsample" or n.opset < 11 else (2, 3)
    if n.has(sizes_at):
        sizes = n.integers(sizes_at, "sizes")
    else:
        scales = n.floats(scales_at, "scales").reshape(-1).tolist()
        exact = [size * scale for size, scale in zip(x.shape, scales, strict=False)]
        sizes = tuple(round(size) for size in exact)
        if any(abs(a - b) > 1e-4 * a for a, b in zip(exact, sizes, strict=True)):
            raise RefusedError(f"its scales {scales} do not make whole pixels of {list(x.shape)}: give sizes instead")
    if len(sizes) != len(x.shape) or min(sizes) < 1:
        raise RefusedError(f"its sizes {list(sizes)} do not fit an input of shape {list(x.shape)}")
    return sizes


def _depth_to_space(n: NodeContext) -> Value:
    x, block = n.x(), n.integer("blocksize", 0)
    if len(x.shape) != 4 or block < 1 or x.shape[1] % (block * block):
        raise RefusedError(f"blocks of {block} do not fit an input of shape {list(x.shape)}")
    batch, channels, height, width = x.shape
    depth = channels // (block * block)
    if n.text("mode", "DCR") == "DCR":
        wide = n.b.reshape(x, (batch, block, block, depth, height, width))
        moved = n.b.transpose(wide, (0, 3, 4, 1, 5, 2))
    else:
        wide = n.b.reshape(x, (batch, depth, block, block, height, width))
        moved = n.b.transpose(wide, (0, 1, 4, 2, 5, 3))
    return n.b.reshape(moved, (batch, depth, height * block, width * block))


def _space_to_depth(n: NodeContext) -> Value:
    x, block = n.x(), n.integer("blocksize", 0)
    if len(x.shape) != 4 or block < 1 or x.shape[2] % block or x.shape[3] % block:
        raise RefusedError(f"blocks of {block} do not fit an input of shape {list(x.shape)}")
    batch, channels, height, width = x.shape
    wide = n.b.reshape(x, (batch, channels, height // block, block, width // block, block))
    moved = n.b.transpose(wide, (0, 3, 5, 1, 2, 4) if n.text("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4))
    return n.b.reshape(moved, (batch, channels * block * block, height // block, width // block))


MOVEMENT: Mapping[str, Converter] = {
    "Identity": _same,
    "Dropout": _dropout,
    "Cast": _cast,
    "Shape": _shape,
    "Size": _size,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Pad": _pad,
    "ReverseSequence": _reverse_sequence,
    "Expand": _expand,
    "Resize": _resize,
    "Upsample": _resize,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
