"""Random networks for the property tests: each step appends an operator, or a pair that a pass looks for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.passes.build import Net
from utvm.graph import (
    Add,
    AveragePool2D,
    BatchToSpace,
    Dequantize,
    DType,
    Graph,
    LeakyRelu,
    Logistic,
    MaxPool2D,
    Mean,
    Mul,
    Padding,
    Quantization,
    Quantize,
    Relu,
    Relu6,
    ResizeNearestNeighbor,
    Rounding,
    Softmax,
    SpaceToBatch,
    Split,
    StridedSlice,
    Sub,
    Tensor,
    Transpose,
)

Step = Callable[[Net, Tensor], Tensor]


def random_net(seed: int) -> Graph:
    """Return a network of 3 to 9 steps on an image, with one or two outputs."""
    net = Net(seed)
    x = net.input(*(int(n) for n in net.rng.integers([1, 5, 5, 1], [3, 10, 10, 5])), quant=net.units())
    first = x = _conv(net, x)
    for _ in range(net.rng.integers(3, 10)):
        # every other step is a convolution: it is what passes fold things into
        step = _conv if net.rng.random() < 0.35 else STEPS[net.rng.integers(len(STEPS))]
        x = step(net, x)
    if net.rng.random() < 0.7:
        x = net.dense(net.reshape(x, x.shape[0], x.elements // x.shape[0]), 4, dead=_some(net, 4))
        if net.rng.random() < 0.5:
            x = net.add_op(Softmax, x=x, y=net.tensor(x.shape, Quantization.per_tensor(1 / 256, -128)))
    return net.graph(x, first) if net.rng.random() < 0.2 else net.graph(x)


def _some(net: Net, channels: int) -> list[int]:
    """About half of the channels; none at times."""
    return [c for c in range(channels) if net.rng.random() < net.rng.choice([0.0, 0.5, 0.8])]


def _quant(net: Net, x: Tensor) -> Quantization:
    assert x.quant is not None
    return x.quant if net.rng.random() < 0.5 else net.units()


def _rounding(net: Net) -> Rounding:
    return net.rng.choice([Rounding.DOUBLE, Rounding.SINGLE])


def _clamp(net: Net) -> tuple[int, int]:
    low, high = sorted(int(v) for v in net.rng.integers(-128, 128, 2))
    return (low, high) if net.rng.random() < 0.3 else (-128, 127)


def _bias(net: Net, channels: int) -> np.ndarray:
    return net.rng.integers(-9000, 9000, channels) * (net.rng.random(channels) < 0.5)


def _conv(net: Net, x: Tensor) -> Tensor:
    channels = int(net.rng.integers(1, 7))
    kernel = int(net.rng.integers(1, min(3, *x.shape[1:3]) + 1))
    return net.conv(
        x,
        channels,
        kernel=kernel,
        pad=int(net.rng.integers(0, kernel)),
        dead=_some(net, channels),
        unread=_some(net, x.shape[3]),
        bias=None if net.rng.random() < 0.2 else _bias(net, channels),
        quant=_quant(net, x),
        clamp=_clamp(net),
        rounding=_rounding(net),
    )


def _depthwise(net: Net, x: Tensor) -> Tensor:
    multiplier = int(net.rng.integers(1, 3))
    kernel = int(net.rng.integers(1, min(3, *x.shape[1:3]) + 1))
    channels = x.shape[3] * multiplier
    return net.depthwise(
        x,
        kernel=kernel,
        pad=int(net.rng.integers(0, kernel)),
        dead=_some(net, channels),
        bias=_bias(net, channels),
        multiplier=multiplier,
        quant=_quant(net, x),
        clamp=_clamp(net),
    )


def _dilated(net: Net, x: Tensor) -> Tensor:
    """As TensorFlow writes a dilated convolution; sometimes more is cut off than was padded."""
    block, kernel = (int(net.rng.integers(1, 4)), int(net.rng.integers(1, 4))), int(net.rng.integers(1, 3))
    sides, sizes = [], []
    for size, step in zip(x.shape[1:3], block, strict=True):
        before = int(net.rng.integers(0, 4))
        after = -(size + before) % step
        while (size + before + after) // step < kernel:
            after += step
        sides += [before, after]
        sizes.append((size + before + after) // step)
    padding = Padding(top=sides[0], bottom=sides[1], left=sides[2], right=sides[3])
    batch = net.tensor((x.shape[0] * block[0] * block[1], *sizes, x.shape[3]), x.quant)
    cut = net.add_op(SpaceToBatch, x=x, y=batch, block=block, padding=padding)
    made = net.conv(cut, 3, kernel=kernel, dead=_some(net, 3), bias=_bias(net, 3), quant=_quant(net, x))
    height, width = (size * step for size, step in zip(made.shape[1:3], block, strict=True))
    crop = Padding(
        top=int(net.rng.integers(0, min(height, sides[0] + 2))), left=int(net.rng.integers(0, min(width, sides[2] + 1)))
    )
    y = net.tensor((x.shape[0], height - crop.top, width - crop.left, 3), made.quant)
    return net.add_op(BatchToSpace, x=made, y=y, block=block, crop=crop)


def _columns(net: Net, x: Tensor) -> Tensor:
    """A fully connected layer whose result is a column, or rows of other lengths than the layer's."""
    flat = net.reshape(x, x.shape[0], x.elements // x.shape[0])
    net.dense(flat, 12, dead=_some(net, 12))
    made = net.operators.pop()
    images = x.shape[0]
    shapes = [(images * 12, 1, 1, 1), (images, 2, 3, 2), (images, 1, 4, 3), (images, 1, 1, 12)]
    net.operators.append(made.with_tensors({made.outputs[0]: (y := net.tensor(shapes[net.rng.integers(4)]))}))
    return y


def _residual(net: Net, x: Tensor) -> Tensor:
    branch = net.conv(
        x, x.shape[3], kernel=1, dead=_some(net, x.shape[3]), unread=_some(net, x.shape[3]), bias=_bias(net, x.shape[3])
    )
    make = (Add, Sub, Mul)[net.rng.integers(3)]
    a, b = (x, branch) if net.rng.random() < 0.5 else (branch, x)
    return net.add_op(make, a=a, b=b, y=net.tensor(x.shape, _quant(net, x)), clamp=_clamp(net))


def _with_constant(net: Net, x: Tensor) -> Tensor:
    make = (Add, Sub, Mul)[net.rng.integers(3)]
    shape = (1, x.shape[3])[net.rng.integers(2)]
    number = net.constant(net.rng.integers(-128, 128, shape) * (net.rng.random() < 0.7) - 3)
    a, b = (x, number) if net.rng.random() < 0.6 else (number, x)
    return net.add_op(make, a=a, b=b, y=net.tensor(x.shape, _quant(net, x)))


def _activation(net: Net, x: Tensor) -> Tensor:
    make = (Relu, Relu6, Quantize, LeakyRelu, Logistic)[net.rng.integers(5)]
    quant = Quantization.per_tensor(1 / 256, -128) if make is Logistic else _quant(net, x)
    if make is Quantize and net.rng.random() < 0.3:
        quant = Quantization.per_tensor(x.scale, x.zero_point + 5)
    fields = {"alpha": float(net.rng.choice([0.1, 1.0]))} if make is LeakyRelu else {}
    return net.add_op(make, x=x, y=net.tensor(x.shape, quant), **fields)


def _detour(net: Net, x: Tensor) -> Tensor:
    real = net.add_op(Dequantize, x=x, y=net.tensor(x.shape, None, DType.FLOAT32))
    return net.add_op(Quantize, x=real, y=net.tensor(x.shape, _quant(net, x)))


def _pad(net: Net, x: Tensor) -> Tensor:
    across = tuple(int(n) for n in net.rng.integers(0, 2, 2)) if net.rng.random() < 0.3 else (0, 0)
    value = int(net.rng.choice([x.zero_point, -128, 7]))
    sides = net.rng.integers(0, 3, (2, 2))
    x = net.pad(x, (0, 0), *((int(a), int(b)) for a, b in sides), across, value=value)
    return (_conv, _depthwise, _pool)[net.rng.integers(3)](net, x)


def _pool(net: Net, x: Tensor) -> Tensor:
    make = (MaxPool2D, AveragePool2D)[net.rng.integers(2)]
    return net.pool(make, x, int(net.rng.integers(1, min(3, *x.shape[1:3]) + 1)), clamp=_clamp(net))


def _mean(net: Net, x: Tensor) -> Tensor:
    shape = (x.shape[0], 1, 1, x.shape[3])
    return net.add_op(Mean, x=x, y=net.tensor(shape, _quant(net, x)), axes=(1, 2))


def _branches(net: Net, x: Tensor) -> Tensor:
    a = net.conv(x, 3, dead=_some(net, 3), bias=_bias(net, 3))
    b = net.conv(x, 2, dead=_some(net, 2), bias=_bias(net, 2))
    joined = net.join(a, b)
    if net.rng.random() < 0.5:
        return joined
    ys = tuple(net.tensor((*joined.shape[:3], n), joined.quant) for n in (2, 2, 1))
    net.operators.append(Split(name=net.name("split"), x=joined, ys=ys, axis=3))
    return net.sum(ys[0], ys[1])


def _joins(net: Net, x: Tensor) -> Tensor:
    """A join of a join, of which a slice may read one part."""
    a, b, c = (net.conv(x, n, dead=_some(net, n), bias=_bias(net, n)) for n in (2, 1, 2))
    joined = net.join(net.join(a, b), c)
    if net.rng.random() < 0.5:
        return joined
    begin = (0, 0, 0, int(net.rng.choice([0, 3])))
    y = net.tensor((*joined.shape[:3], 2), joined.quant)
    return net.add_op(StridedSlice, x=joined, y=y, begin=begin, strides=(1, 1, 1, 1))


def _slice(net: Net, x: Tensor) -> Tensor:
    begin = [0, *(int(net.rng.integers(0, min(2, n))) for n in x.shape[1:])]
    shape = [n - b for n, b in zip(x.shape, begin, strict=True)]
    return net.add_op(StridedSlice, x=x, y=net.tensor(shape, x.quant), begin=tuple(begin), strides=(1, 1, 1, 1))


def _transposes(net: Net, x: Tensor) -> Tensor:
    for _ in range(net.rng.integers(1, 3)):
        perm = (0, *(int(i) for i in net.rng.permutation([1, 2, 3])))
        x = net.add_op(Transpose, x=x, y=net.tensor([x.shape[i] for i in perm], x.quant), perm=perm)
    return x


def _reshapes(net: Net, x: Tensor) -> Tensor:
    n, height, width, channels = x.shape
    shapes = [(n, width, height, channels), (n, 1, 1, height * width * channels), (n, height * width, channels, 1)]
    for _ in range(net.rng.integers(1, 3)):
        x = net.reshape(x, *shapes[net.rng.integers(3)])
    return x


def _resize(net: Net, x: Tensor) -> Tensor:
    factor = int(net.rng.integers(1, 3))
    shape = (x.shape[0], x.shape[1] * factor, x.shape[2] * factor, x.shape[3])
    return net.add_op(ResizeNearestNeighbor, x=x, y=net.tensor(shape, x.quant))


def _constant_branch(net: Net, x: Tensor) -> Tensor:
    number = net.constant(net.rng.integers(-128, 128, (1, 1, 1, x.shape[3])))
    number = net.add_op(Relu, x=number, y=net.tensor(number.shape, net.units()))
    return net.sum(x, number, quant=_quant(net, x))


def _dead_end(net: Net, x: Tensor) -> Tensor:
    _conv(net, x)
    return x


STEPS: tuple[Step, ...] = (
    _depthwise,
    _dilated,
    _columns,
    _columns,
    _residual,
    _residual,
    _with_constant,
    _activation,
    _activation,
    _activation,
    _detour,
    _pad,
    _pad,
    _pool,
    _mean,
    _branches,
    _joins,
    _slice,
    _transposes,
    _reshapes,
    _resize,
    _constant_branch,
    _dead_end,
)
