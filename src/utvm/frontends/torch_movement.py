"""What calls of PyTorch that move, join, cut and pad become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from utvm.frontends import activations as f
from utvm.frontends.borders import bordered, cut, rolled
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.frontends.torch_node import TorchNode, Value, tuple_of
from utvm.graph import Tensor

Converter = Callable[[TorchNode], Value | tuple[Value, ...]]
_MOST_WINDOWS = 1024
_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _sizes(n: TorchNode, position: int, name: str) -> list[int]:
    given = n.arg(position, name)
    if isinstance(given, int):
        given = n.args[position:]
    return [int(size) for size in given]


def _whole(x: Tensor, wanted: list[int]) -> list[int]:
    """Return sizes with -1 replaced by what is left."""
    if wanted.count(-1) == 1:
        rest = prod(size for size in wanted if size != -1)
        wanted = [x.elements // max(rest, 1) if size == -1 else size for size in wanted]
    return wanted


def _reshaped(n: TorchNode) -> Value:
    x = n.x()
    return n.b.reshape(x, _whole(x, _sizes(n, 1, "size")))


def _reshaped_as(n: TorchNode) -> Value:
    return n.b.reshape(n.x(), n.x(1).shape)


def _flatten(n: TorchNode) -> Value:
    x = n.x()
    first, last = n.axis(1, "start_dim"), n.axis(2, "end_dim", -1)
    return n.b.reshape(x, (*x.shape[:first], prod(x.shape[first : last + 1]), *x.shape[last + 1 :]))


def _unflatten(n: TorchNode) -> Value:
    x, axis = n.x(), n.axis(1, "dim")
    sizes = [int(size) for size in n.arg(2, "sizes")]
    if sizes.count(-1) == 1:
        rest = max(prod(size for size in sizes if size != -1), 1)
        sizes = [x.shape[axis] // rest if size == -1 else size for size in sizes]
    return n.b.reshape(x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


def _unsqueeze(n: TorchNode) -> Value:
    x = n.x()
    axis = axis_of(int(n.arg(1, "dim")), len(x.shape) + 1)
    return n.b.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def _squeeze(n: TorchNode) -> Value:
    x, given = n.x(), n.arg(1, "dim")
    every = range(len(x.shape)) if given is None else tuple_of(given, 1)
    axes = {axis_of(axis, len(x.shape)) for axis in every}
    return n.b.reshape(x, [size for d, size in enumerate(x.shape) if d not in axes or size != 1])


def _permute(n: TorchNode) -> Value:
    x = n.x()
    return n.b.transpose(x, [axis_of(axis, len(x.shape)) for axis in _sizes(n, 1, "dims")])


def _transpose(n: TorchNode) -> Value:
    x = n.x()
    order = list(range(len(x.shape)))
    a, b = n.axis(1, "dim0"), n.axis(2, "dim1")
    order[a], order[b] = order[b], order[a]
    return n.b.transpose(x, order)


def _turned(n: TorchNode) -> Value:
    x = n.x()
    return n.b.transpose(x, (*range(len(x.shape) - 2), *reversed(range(len(x.shape))[-2:])))


def _moved(n: TorchNode) -> Value:
    x = n.x()
    rank = len(x.shape)
    sources, targets = ([axis_of(a, rank) for a in tuple_of(n.arg(i, ""), 1)] for i in (1, 2))
    order: list[int | None] = [None] * rank
    for source, target in zip(sources, targets, strict=True):
        order[target] = source
    rest = iter(d for d in range(rank) if d not in sources)
    return n.b.transpose(x, [next(rest) if source is None else source for source in order])


def _tensors(n: TorchNode) -> list[Tensor]:
    found: Any = n.arg(0, "tensors")
    return [x if isinstance(x, Tensor) else n.b.constant(np.asarray(x, np.float32)) for x in found]


def _concatenation(n: TorchNode) -> Value:
    tensors = _tensors(n)
    return n.b.concatenation(tensors, axis_of(int(n.arg(1, "dim", 0)), len(tensors[0].shape)))


def _stack(n: TorchNode) -> Value:
    tensors = _tensors(n)
    axis = axis_of(int(n.arg(1, "dim", 0)), len(tensors[0].shape) + 1)
    wide = [n.b.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:])) for x in tensors]
    return n.b.concatenation(wide, axis)


def _expand(n: TorchNode) -> Value:
    x, wanted = n.x(), _sizes(n, 1, "size")
    new = len(wanted) - len(x.shape)
    shape = tuple(x.shape[d - new] if size == -1 and d >= new else size for d, size in enumerate(wanted))
    return f.expanded(n.b, x, shape)


def _pad(n: TorchNode) -> Value:
    x, pads = n.x(), [int(v) for v in n.arg(1, "pad")]
    mode, value = n.arg(2, "mode", "constant"), n.arg(3, "value")
    if mode not in _MODES or len(pads) % 2 or len(pads) > 2 * len(x.shape):
        raise RefusedError(f"its mode '{mode}' or pads {pads} do not fit an input of shape {list(x.shape)}")
    pairs = list(zip(pads[0::2], pads[1::2], strict=True))[::-1]
    around = [(0, 0)] * (len(x.shape) - len(pairs)) + pairs
    return bordered(n.b, x, around, _MODES[mode], float(value or 0))


def _constant_pad(n: TorchNode) -> Value:
    pads = [int(v) for v in n.arg(1, "pad")]
    pairs = list(zip(pads[0::2], pads[1::2], strict=True))[::-1]
    x = n.x()
    return bordered(n.b, x, [(0, 0)] * (len(x.shape) - len(pairs)) + pairs, "constant", n.number(2, "value", 0.0))


def _border(mode: str) -> Converter:
    def convert(n: TorchNode) -> Value:
        x, pads = n.x(), [int(v) for v in n.arg(1, "padding")]
        pairs = list(zip(pads[0::2], pads[1::2], strict=True))[::-1]
        return bordered(n.b, x, [(0, 0)] * (len(x.shape) - len(pairs)) + pairs, mode)

    return convert


def _one_of(n: TorchNode, axis: int, index: int) -> Tensor:
    """Return what is at an index of one dimension, without that dimension."""
    taken = cut(n.b, n.x(), axis, index, 1)
    return n.b.reshape(taken, [size for d, size in enumerate(n.x().shape) if d != axis])


def _select(n: TorchNode) -> Value:
    axis = n.axis(1, "dim")
    return _one_of(n, axis, axis_of(int(n.arg(2, "index")), n.x().shape[axis]))


def _unbind(n: TorchNode) -> tuple[Value, ...]:
    axis = n.axis(1, "dim")
    return tuple(_one_of(n, axis, index) for index in range(n.x().shape[axis]))


def _slice(n: TorchNode) -> Value:
    x, axis = n.x(), n.axis(1, "dim")
    found = range(*slice(n.arg(2, "start"), n.arg(3, "end"), n.arg(4, "step", 1)).indices(x.shape[axis]))
    if not len(found):
        raise RefusedError("its slice is empty")
    return cut(n.b, x, axis, found[0], len(found), found.step)


def _within(n: TorchNode, axis: int, first: int, source: Tensor) -> Value:
    """Return x with `source` in place of as many places of one dimension."""
    x, length = n.x(), source.shape[axis]
    last = first + length
    before = [cut(n.b, x, axis, 0, first)] if first else []
    after = [cut(n.b, x, axis, last, x.shape[axis] - last)] if last < x.shape[axis] else []
    return n.b.concatenation([*before, source, *after], axis)


def _slice_scatter(n: TorchNode) -> Value:
    x, axis = n.x(), n.axis(2, "dim")
    found = range(*slice(n.arg(3, "start"), n.arg(4, "end"), n.arg(5, "step", 1)).indices(x.shape[axis]))
    if not len(found) or found.step != 1:
        raise RefusedError("it changes no part, or every second place and their like")
    return _within(n, axis, found[0], n.x(1))


def _select_scatter(n: TorchNode) -> Value:
    x, axis = n.x(), n.axis(2, "dim")
    source = n.b.reshape(n.x(1), (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    return _within(n, axis, axis_of(int(n.arg(3, "index")), x.shape[axis]), source)


def _narrow(n: TorchNode) -> Value:
    x, axis = n.x(), n.axis(1, "dim")
    start, length = axis_of(int(n.arg(2, "start")), x.shape[axis]), int(n.arg(3, "length"))
    if length < 1 or start + length > x.shape[axis]:
        raise RefusedError(f"its {length} places from {start} on are outside of {x.shape[axis]}")
    return cut(n.b, x, axis, start, length)


def _parts(n: TorchNode) -> tuple[Value, ...]:
    """Cut in equal parts (chunk: how many; split: how long) or in parts of given lengths."""
    x, axis, given = n.x(), n.axis(2, "dim"), n.arg(1, "split_size")
    size = x.shape[axis]
    if isinstance(given, int):
        long = -(-size // given) if n.kind.startswith("chunk") else given
        return tuple(cut(n.b, x, axis, start, min(long, size - start)) for start in range(0, size, long))
    starts = np.cumsum([0, *given[:-1]]).tolist()
    return tuple(cut(n.b, x, axis, start, int(length)) for start, length in zip(starts, given, strict=True))


def _tensor_split(n: TorchNode) -> tuple[Value, ...]:
    x, given, axis = n.x(), n.arg(1, "sections"), n.axis(2, "dim")
    size = x.shape[axis]
    if isinstance(given, int):
        lengths = [size // given + (i < size % given) for i in range(given)]
        ends = np.cumsum(lengths).tolist()
    else:
        ends = [*map(int, given), size]
    starts = [0, *ends[:-1]]
    return tuple(cut(n.b, x, axis, start, end - start) for start, end in zip(starts, ends, strict=True))


def picked(n: TorchNode, axis: int, places: list[int]) -> Tensor:
    """Return places of one dimension in any order."""
    x = n.x()
    places = [axis_of(place, x.shape[axis]) for place in places]
    steps = {b - a for a, b in pairwise(places)}
    if len(steps) <= 1 and steps != {0}:
        return cut(n.b, x, axis, places[0], len(places), next(iter(steps), 1))
    if len(places) > 1024:
        raise RefusedError(f"it picks {len(places)} places one by one; 1,024 at most are supported")
    return n.b.concatenation([cut(n.b, x, axis, place, 1) for place in places], axis)


def _indexed(n: TorchNode) -> Value:
    given = n.arg(1, "indices")
    known = [(d, index) for d, index in enumerate(given) if index is not None]
    if len(known) != 1 or isinstance(known[0][1], Tensor):
        raise RefusedError("it picks by several indices, or by an activation")
    axis, places = known[0][0], np.asarray(known[0][1])
    if places.dtype.kind == "b":
        places = np.flatnonzero(places)
    taken = picked(n, axis, places.reshape(-1).tolist())
    return n.b.reshape(taken, (*taken.shape[:axis], *places.shape, *taken.shape[axis + 1 :]))


def _index_select(n: TorchNode) -> Value:
    places = n.arg(2, "index")
    if isinstance(places, Tensor):
        raise RefusedError("it picks by an activation")
    return picked(n, n.axis(1, "dim"), np.asarray(places).reshape(-1).tolist())


def _rolled(n: TorchNode) -> Value:
    x, shifts, dims = n.x(), tuple_of(n.arg(1, "shifts"), 1), n.arg(2, "dims", [])
    if not tuple_of(dims, 1):
        flat = rolled(n.b, n.b.reshape(x, (x.elements,)), 0, shifts[0])
        return n.b.reshape(flat, x.shape)
    for shift, axis in zip(shifts, tuple_of(dims, 1), strict=True):
        x = rolled(n.b, x, axis_of(axis, len(x.shape)), int(shift))
    return x


def _flip(n: TorchNode) -> Value:
    x = n.x()
    for axis in n.axes(1, "dims"):
        size = x.shape[axis]
        x = cut(n.b, x, axis, size - 1, size, -1) if size > 1 else x
    return x


def _blocks(n: TorchNode, sizes: tuple[int, ...], order: tuple[int, ...], shape: tuple[int, ...]) -> Value:
    return n.b.reshape(n.b.transpose(n.b.reshape(n.x(), sizes), order), shape)


def _pixel_shuffle(n: TorchNode) -> Value:
    (x, _), r = n.image_of(2), int(n.arg(1, "upscale_factor"))
    batch, channels, height, width = x.shape
    if r < 1 or channels % (r * r):
        raise RefusedError(f"blocks of {r} do not fit an input of shape {list(x.shape)}")
    made = channels // (r * r)
    split = (batch, made, r, r, height, width)
    return _blocks(n, split, (0, 1, 4, 2, 5, 3), (batch, made, height * r, width * r))


def _pixel_unshuffle(n: TorchNode) -> Value:
    (x, _), r = n.image_of(2), int(n.arg(1, "downscale_factor"))
    batch, channels, height, width = x.shape
    if r < 1 or height % r or width % r:
        raise RefusedError(f"blocks of {r} do not fit an input of shape {list(x.shape)}")
    split = (batch, channels, height // r, r, width // r, r)
    return _blocks(n, split, (0, 1, 3, 5, 2, 4), (batch, channels * r * r, height // r, width // r))


def _channel_shuffle(n: TorchNode) -> Value:
    x, groups = n.x(), int(n.arg(1, "groups"))
    if len(x.shape) < 2 or groups < 1 or x.shape[1] % groups:
        raise RefusedError(f"{groups} groups do not fit an input of shape {list(x.shape)}")
    rest = range(3, len(x.shape) + 1)
    split = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    return _blocks(n, split, (0, 2, 1, *rest), x.shape)


def _windows(n: TorchNode) -> Value:
    """Windows of one dimension, whose places become the last dimension."""
    x, axis = n.x(), n.axis(1, "dimension")
    size, step = int(n.arg(2, "size")), int(n.arg(3, "step"))
    count = (x.shape[axis] - size) // step + 1 if step > 0 else 0
    if not 1 <= count <= _MOST_WINDOWS:
        raise RefusedError(f"it makes {count} windows; 1 to {_MOST_WINDOWS:,} are supported")
    order = [d for d in range(len(x.shape)) if d != axis] + [axis]
    parts = [n.b.transpose(cut(n.b, x, axis, index * step, size), order) for index in range(count)]
    wide = [n.b.reshape(part, (*part.shape[:axis], 1, *part.shape[axis:])) for part in parts]
    return n.b.concatenation(wide, axis)


def _columns(n: TorchNode) -> Value:
    """[N,C,H,W] -> [N,C * taps,windows], as a convolution reads them."""
    x, _ = n.image_of(2)
    kernel, dilation, padding, stride = (tuple_of(n.arg(i, ""), 2) for i in range(1, 5))
    x = bordered(n.b, x, [(0, 0), (0, 0), *((p, p) for p in padding)], "constant")
    counts = [(s - d * (k - 1) - 1) // t + 1 for s, k, d, t in zip(x.shape[2:], kernel, dilation, stride, strict=True)]
    if min(counts) < 1 or prod(kernel) > _MOST_WINDOWS:
        raise RefusedError(f"its windows of {list(kernel)} do not fit {list(x.shape)}")
    taps = []
    for row in range(kernel[0]):
        rows = cut(n.b, x, 2, row * dilation[0], counts[0], stride[0])
        for column in range(kernel[1]):
            tap = cut(n.b, rows, 3, column * dilation[1], counts[1], stride[1])
            taps.append(n.b.reshape(tap, (*x.shape[:2], 1, prod(counts))))
    return n.b.reshape(n.b.concatenation(taps, 2), (x.shape[0], x.shape[1] * len(taps), prod(counts)))


def _item(n: TorchNode) -> Value:
    return n.part()


def _same(n: TorchNode) -> Value:
    return n.x()


MOVEMENT: Mapping[str, Converter] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "view_copy", "_reshape_copy"), _reshaped),
    **dict.fromkeys(("view_as", "reshape_as"), _reshaped_as),
    "flatten": _flatten,
    "unflatten": _unflatten,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "permute": _permute,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims"), _transpose),
    **dict.fromkeys(("t", "numpy_T", "mT", "matrix_H"), _turned),
    "movedim": _moved,
    **dict.fromkeys(("cat", "concat", "concatenate"), _concatenation),
    "stack": _stack,
    "expand": _expand,
    "expand_as": lambda n: f.expanded(n.b, n.x(), n.x(1).shape),
    "broadcast_to": _expand,
    **dict.fromkeys(("repeat", "tile"), lambda n: f.repeated(n.b, n.x(), tuple(_sizes(n, 1, "repeats")))),
    "pad": _pad,
    "constant_pad_nd": _constant_pad,
    **{f"reflection_pad{d}d": _border("reflect") for d in (1, 2, 3)},
    **{f"replication_pad{d}d": _border("edge") for d in (1, 2, 3)},
    "select": _select,
    "unbind": _unbind,
    "slice": _slice,
    "narrow": _narrow,
    "copy": lambda n: f.expanded(n.b, n.x(1), n.x().shape),
    "slice_scatter": _slice_scatter,
    "select_scatter": _select_scatter,
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "split_copy"), _parts),
    "tensor_split": _tensor_split,
    "index": _indexed,
    "index_select": _index_select,
    "roll": _rolled,
    "flip": _flip,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle,
    "unfold": _windows,
    "im2col": _columns,
    "getitem": _item,
    **dict.fromkeys(
        ("contiguous", "clone", "detach", "detach_", "alias", "lift_fresh", "lift_fresh_copy", "positive"), _same
    ),
    "_assert_tensor_metadata": lambda n: (),
}
"""Call → what makes it."""
VIEWS = frozenset(
    (
        *("view", "reshape", "view_as", "reshape_as", "flatten", "unflatten", "unsqueeze", "squeeze", "permute"),
        *("transpose", "swapaxes", "swapdims", "t", "movedim", "expand", "expand_as", "broadcast_to", "select"),
        *(
            "unbind",
            "slice",
            "narrow",
            "unfold",
            "chunk",
            "split",
            "split_with_sizes",
            "tensor_split",
            "getitem",
            "contiguous",
        ),
        *("detach", "alias", "numpy_T", "mT", "dropout", "to", "type_as"),
    )
)
"""Calls whose result may be a part of what they read, so that a change in place of one changes the other."""
