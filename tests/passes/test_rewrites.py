"""The small passes: where each fires, and where it must not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.passes.build import UNITS, Net, assert_same, kinds, only
from utvm.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    Dequantize,
    DType,
    FullyConnected,
    Graph,
    LeakyRelu,
    MaxPool2D,
    Mul,
    Padding,
    Quantization,
    Quantize,
    Relu,
    Relu6,
    Reshape,
    ResizeNearestNeighbor,
    Split,
    StridedSlice,
    Sub,
    Tensor,
    Transpose,
)
from utvm.passes import (
    fold_constants,
    fold_padding,
    fuse_activations,
    merge_quantization,
    merge_views,
    plain_convolutions,
    remove_copies,
    remove_dead_operators,
)
from utvm.passes.pipeline import Pass

COARSER = Quantization.per_tensor(0.09, -3)
SHIFTED = Quantization.per_tensor(UNITS.scale[0], 20)


def applied(apply: Pass, graph: Graph, wanted: list[str]) -> Graph:
    """Apply a pass; the operators left are `wanted` and no output bit has changed."""
    after = apply(graph)
    assert_same(graph, after)
    assert kinds(after) == wanted
    return after


def untouched(apply: Pass, graph: Graph) -> None:
    assert apply(graph) is graph


# remove_dead_operators


def test_dead_operators_go_and_inputs_stay() -> None:
    net = Net()
    image, unused = net.input(1, 4, 4, 2), net.input(3)
    net.conv(net.conv(image, 2), 3)
    graph = net.graph(net.conv(image, 4))
    after = applied(remove_dead_operators, graph, ["Conv2D"])
    assert after.inputs == (image, unused)
    untouched(remove_dead_operators, after)


def test_a_split_with_one_live_output_stays() -> None:
    net = Net()
    x = net.input(1, 4, 4, 4)
    ys = tuple(net.tensor((1, 4, 4, 2)) for _ in range(2))
    net.operators.append(Split(name="split", x=x, ys=ys, axis=3))
    untouched(remove_dead_operators, net.graph(ys[1]))


# fold_constants


def test_constant_chains_fold_and_keep_units() -> None:
    net = Net()
    x = net.input(1, 3, 3, 2)
    number = net.constant(np.arange(2).reshape(1, 2))
    number = net.add_op(Quantize, x=number, y=net.tensor((1, 2), COARSER))
    number = net.reshape(number, 1, 1, 1, 2)
    after = applied(fold_constants, net.graph(net.sum(x, number)), ["Add"])
    folded = only(after, Add).b
    assert folded.is_constant
    assert (folded.name, folded.quant) == (number.name, COARSER)
    untouched(fold_constants, after)


def test_a_constant_output_keeps_its_name() -> None:
    net = Net()
    net.input(1, 2)
    y = net.reshape(net.reshape(net.constant(np.arange(4)), 2, 2), 1, 4)
    after = applied(fold_constants, net.graph(y), ["Reshape"])
    assert [t.name for t in after.outputs] == [y.name]
    assert after.operators[0].inputs[0].is_constant
    untouched(fold_constants, after)


# fuse_activations


def producers(net: Net) -> list[Tensor]:
    image = net.input(1, 6, 6, 3)
    return [
        net.conv(image, 3, bias=100),
        net.depthwise(image, bias=100),
        net.dense(image, 4),
        net.sum(image, image),
        net.add_op(Sub, a=image, b=net.constant([4, 5, 6]), y=net.tensor(image.shape)),
        net.add_op(Mul, a=image, b=image, y=net.tensor(image.shape)),
        net.pool(MaxPool2D, image, 2),
        net.pool(AveragePool2D, image, 2),
    ]


@pytest.mark.parametrize("index", range(8))
def test_relu_fuses_into_each_producer(index: int) -> None:
    net = Net()
    x = producers(net)[index]
    net.operators = [op for op in net.operators if x in op.outputs]
    y = net.add_op(Relu, x=x)
    after = applied(fuse_activations, net.graph(y), [net.operators[0].kind])
    assert after.operators[0].clamp == (-3, 127)
    assert after.operators[0].outputs == (y,)


@pytest.mark.parametrize("index", range(8))
def test_a_change_of_zero_point_fuses_where_the_producer_adds_it(index: int) -> None:
    net = Net()
    x = producers(net)[index]
    net.operators = [op for op in net.operators if x in op.outputs]
    graph = net.graph(net.add_op(Relu, x=x, y=net.tensor(x.shape, SHIFTED)))
    if index < 6:
        assert applied(fuse_activations, graph, [net.operators[0].kind]).operators[0].clamp == (20, 127)
    else:
        untouched(fuse_activations, graph)


def test_relu6_fuses_and_meets_the_clamp_that_is_there() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 3, clamp=(-50, 40), bias=500)
    graph = net.graph(net.add_op(Relu6, x=x))
    assert only(applied(fuse_activations, graph, ["Conv2D"]), Conv2D).clamp == (-3, 40)
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 3, bias=500)
    graph = net.graph(net.add_op(Relu6, x=x))
    assert only(applied(fuse_activations, graph, ["Conv2D"]), Conv2D).clamp == (-3, 117)


def test_two_activations_fuse_one_after_the_other() -> None:
    net = Net()
    x = net.add_op(Relu, x=net.conv(net.input(1, 4, 4, 2), 3))
    applied(fuse_activations, net.graph(net.add_op(Relu6, x=x)), ["Conv2D"])


@pytest.mark.parametrize("kind", [Relu, Quantize])
def test_an_activation_of_another_scale_stays(kind: Any) -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 3)
    untouched(fuse_activations, net.graph(net.add_op(kind, x=x, y=net.tensor(x.shape, COARSER))))


def test_a_scale_too_close_to_show_in_the_table_counts_as_another() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 3)
    close = Quantization.per_tensor(UNITS.scale[0] * 1.00001, -3)
    untouched(fuse_activations, net.graph(net.add_op(Relu, x=x, y=net.tensor(x.shape, close))))


def test_activations_that_bend_stay() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 3)
    untouched(fuse_activations, net.graph(net.add_op(LeakyRelu, x=x, alpha=0.25)))


def test_relu_stays_if_its_input_is_read_elsewhere_or_is_an_output() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 3)
    y = net.add_op(Relu, x=x)
    untouched(fuse_activations, net.graph(net.sum(x, y)))
    untouched(fuse_activations, net.graph(x, y))


# fold_padding


@pytest.mark.parametrize("make", [Conv2D, DepthwiseConv2D])
def test_a_pad_becomes_the_padding_of_all_its_readers(make: type) -> None:
    net = Net()
    x = net.pad(net.input(1, 5, 6, 3), (0, 0), (1, 2), (0, 3), (0, 0))
    layers = [net.conv(x, 2, kernel=3) if make is Conv2D else net.depthwise(x, kernel=3, pad=1) for _ in range(2)]
    after = applied(fold_padding, net.graph(*layers), [make.__name__] * 2)
    own = 0 if make is Conv2D else 1
    assert after.operators[0].padding == Padding(top=1 + own, bottom=2 + own, left=own, right=3 + own)


def padded(value: int | None, paddings: tuple[tuple[int, int], ...], net: Net) -> Tensor:
    return net.pad(net.conv(net.input(1, 5, 5, 3), 3), *paddings, value=value)


AROUND = ((0, 0), (1, 1), (1, 1), (0, 0))


def test_a_pad_of_another_value_or_of_channels_stays_before_a_convolution() -> None:
    for value, paddings in ((0, AROUND), (None, ((0, 0), (1, 1), (1, 1), (0, 1))), (None, ((0, 1), *AROUND[1:]))):
        net = Net()
        untouched(fold_padding, net.graph(net.conv(padded(value, paddings, net), 2, kernel=3)))


def test_a_pad_with_another_reader_stays() -> None:
    net = Net()
    x = padded(None, AROUND, net)
    untouched(fold_padding, net.graph(net.conv(x, 2), net.add_op(Relu, x=x)))
    net = Net()
    x = padded(None, AROUND, net)
    untouched(fold_padding, net.graph(net.conv(x, 2), x))


def test_a_pad_folds_into_a_maximum_that_it_cannot_win() -> None:
    after = []
    for value, fields in ((-128, {}), (-3, {"clamp": (-3, 127)}), (-3, {})):
        net = Net()
        x = net.pad(net.input(1, 6, 6, 2), *AROUND, value=value)
        after.append(net.graph(net.pool(MaxPool2D, x, 2, **fields)))
    assert only(applied(fold_padding, after[0], ["MaxPool2D"]), MaxPool2D).padding == Padding(
        top=1, bottom=1, left=1, right=1
    )
    applied(fold_padding, after[1], ["MaxPool2D"])
    untouched(fold_padding, after[2])


def test_the_producers_clamp_bounds_what_a_pad_can_win() -> None:
    net = Net()
    x = net.pad(net.conv(net.input(1, 6, 6, 2), 2, clamp=(-3, 127)), *AROUND)
    applied(fold_padding, net.graph(net.pool(MaxPool2D, x, 2)), ["Conv2D", "MaxPool2D"])


def test_a_maximum_with_a_window_of_padding_alone_stays() -> None:
    net = Net()
    x = net.pad(net.input(1, 4, 4, 2), (0, 0), (2, 0), (0, 0), (0, 0), value=-128)
    untouched(fold_padding, net.graph(net.pool(MaxPool2D, x, 2)))


def test_an_average_takes_only_padding_that_it_does_not_see() -> None:
    net = Net()
    x = net.pad(net.input(1, 4, 4, 2), (0, 0), (0, 1), (0, 1), (0, 0))
    applied(fold_padding, net.graph(net.pool(AveragePool2D, x, 2)), ["AveragePool2D"])
    net = Net()
    x = net.pad(net.input(1, 4, 4, 2), (0, 0), (0, 2), (0, 1), (0, 0))
    untouched(fold_padding, net.graph(net.pool(AveragePool2D, x, 2)))
    net = Net()
    x = net.pad(net.input(1, 4, 4, 2), (0, 0), (1, 1), (0, 0), (0, 0))
    untouched(fold_padding, net.graph(net.pool(AveragePool2D, x, 2)))


# remove_copies


def copies(net: Net, x: Tensor) -> list[Tensor]:
    zeros = net.constant(np.full((1, 1, 1, 2), -3))
    split = net.tensor(x.shape)
    net.operators.append(Split(name="split", x=x, ys=(split,), axis=1))
    return [
        split,
        net.reshape(x, *x.shape),
        net.add_op(Transpose, x=x, perm=(0, 1, 2, 3)),
        net.add_op(StridedSlice, x=x, begin=(0,) * 4, strides=(1,) * 4),
        net.pad(x, *[(0, 0)] * 4),
        net.join(x),
        net.pool(MaxPool2D, x, 1),
        net.pool(AveragePool2D, x, 1),
        net.add_op(ResizeNearestNeighbor, x=x),
        net.add_op(ResizeNearestNeighbor, x=x, align_corners=True),
        net.add_op(ResizeNearestNeighbor, x=x, half_pixel_centers=True),
        net.add_op(Quantize, x=x),
        net.add_op(LeakyRelu, x=x, alpha=1.0),
        net.sum(x, zeros),
        net.sum(zeros, x),
        net.add_op(Sub, a=x, b=zeros, y=net.tensor(x.shape)),
        net.add_op(Mul, a=x, b=net.constant([[100]], Quantization.per_tensor(0.01)), y=net.tensor(x.shape)),
    ]


@pytest.mark.parametrize("index", range(17))
def test_a_copy_goes(index: int) -> None:
    for as_output in (False, True):
        net = Net()
        x = net.conv(net.input(1, 4, 4, 2), 2)
        y = copies(net, x)[index]
        net.operators = [net.operators[0], *(op for op in net.operators if y in op.outputs)]
        if as_output:
            after = applied(remove_copies, net.graph(y), ["Conv2D"])
            assert after.operators[0].outputs == (y,)
        else:
            applied(remove_copies, net.graph(net.conv(y, 3)), ["Conv2D", "Conv2D"])


def nearly_copies(net: Net, x: Tensor) -> list[Tensor]:
    y = {"x": x, "y": net.tensor(x.shape, COARSER)}
    return [
        net.add_op(Transpose, x=x, perm=(0, 2, 1, 3)),
        net.add_op(StridedSlice, x=x, begin=(0, 3, 0, 0), strides=(1, -1, 1, 1)),
        net.pool(MaxPool2D, x, 1, clamp=(-3, 127)),
        net.add_op(MaxPool2D, x=x, filter=(3, 3), padding=Padding(top=1, bottom=1, left=1, right=1)),
        net.add_op(Quantize, **y),
        net.add_op(Relu, x=x),
        net.add_op(LeakyRelu, x=x, alpha=0.5),
        net.sum(x, net.constant([1, -3])),
        net.sum(x, net.constant([-2])),
        net.sum(x, net.constant([-3]), clamp=(-100, 127)),
        net.add_op(Sub, a=net.constant([-3]), b=x, y=net.tensor(x.shape)),
        net.join(x, x),
    ]


@pytest.mark.parametrize("index", range(12))
def test_what_changes_a_bit_is_no_copy(index: int) -> None:
    net = Net()
    y = nearly_copies(net, net.input(1, 4, 4, 2))[index]
    net.operators = [op for op in net.operators if y in op.outputs]
    untouched(remove_copies, net.graph(net.conv(y, 3)))


def test_relu_of_what_is_clamped_already_is_a_copy() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 2, clamp=(-3, 90))
    a, b = net.add_op(Relu, x=x), net.add_op(Relu, x=x)
    applied(remove_copies, net.graph(net.conv(a, 1), net.conv(b, 1)), ["Conv2D"] * 3)


def test_relu_of_what_a_pad_lowers_is_no_copy() -> None:
    net = Net()
    x = net.pad(net.conv(net.input(1, 4, 4, 2), 2, clamp=(-3, 90)), *AROUND, value=-50)
    untouched(remove_copies, net.graph(net.conv(net.add_op(Relu, x=x), 1)))


def test_a_copy_of_an_input_to_an_output_stays() -> None:
    net = Net()
    x = net.input(1, 4)
    untouched(remove_copies, net.graph(net.reshape(x, 1, 4)))
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 2)
    untouched(remove_copies, net.graph(x, net.reshape(x, 1, 4, 4, 2)))


def test_fully_connected_reads_through_reshapes() -> None:
    net = Net()
    x = net.conv(net.input(2, 4, 4, 2), 2)
    y = net.dense(net.reshape(net.reshape(x, 2, 8, 4), 2, 32), 3)
    after = remove_dead_operators(remove_copies(net.graph(y)))
    assert kinds(after) == ["Conv2D", "FullyConnected"]
    assert only(after, FullyConnected).x is x
    assert_same(net.graph(y), after)


# merge_views


def test_transposes_that_undo_each_other_vanish() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 5, 2), 3)
    x = net.add_op(Transpose, x=x, y=net.tensor((1, 3, 4, 5)), perm=(0, 3, 1, 2))
    y = net.add_op(Transpose, x=x, y=net.tensor((1, 4, 5, 3)), perm=(0, 2, 3, 1))
    graph = net.graph(net.conv(y, 2))
    after = remove_dead_operators(remove_copies(merge_views(graph)))
    assert kinds(after) == ["Conv2D", "Conv2D"]
    assert_same(graph, after)


def test_a_first_transpose_that_is_read_elsewhere_stays() -> None:
    net = Net()
    x = net.input(1, 4, 5, 2)
    first = net.add_op(Transpose, x=x, y=net.tensor((1, 2, 4, 5)), perm=(0, 3, 1, 2))
    second = net.add_op(Transpose, x=first, y=net.tensor((1, 5, 2, 4)), perm=(0, 3, 1, 2))
    graph = net.graph(first, second)
    after = applied(merge_views, graph, ["Transpose", "Transpose"])
    assert after.operators[1].perm == (0, 2, 3, 1)  # type: ignore[attr-defined]
    assert after.operators[1].inputs == (x,)


def test_a_transpose_that_moves_nothing_is_a_reshape() -> None:
    net = Net()
    x = net.input(1, 4, 1, 6)
    y = net.add_op(Transpose, x=x, y=net.tensor((4, 1, 6, 1)), perm=(1, 0, 3, 2))
    applied(merge_views, net.graph(y), ["Reshape"])
    net = Net()
    x = net.input(1, 4, 1, 6)
    y = net.add_op(Transpose, x=x, y=net.tensor((1, 6, 1, 4)), perm=(0, 3, 2, 1))
    untouched(merge_views, net.graph(y))


def test_reshapes_merge() -> None:
    net = Net()
    x = net.input(1, 4, 6)
    y = net.reshape(net.reshape(net.reshape(x, 24), 2, 12), 3, 8)
    after = remove_dead_operators(merge_views(net.graph(y)))
    assert kinds(after) == ["Reshape"]
    assert only(after, Reshape).x is x


# merge_quantization


def detour(units: Quantization, net: Net) -> Graph:
    x = net.conv(net.input(1, 4, 4, 2), 2)
    real = net.add_op(Dequantize, x=x, y=net.tensor(x.shape, None, DType.FLOAT32))
    return net.graph(net.conv(net.add_op(Quantize, x=real, y=net.tensor(x.shape, units)), 2))


def test_a_detour_through_floats_vanishes() -> None:
    graph = detour(UNITS, Net())
    after = remove_dead_operators(merge_quantization(graph))
    assert kinds(after) == ["Conv2D", "Quantize", "Conv2D"]
    assert_same(graph, after)
    assert kinds(remove_copies(after)) == ["Conv2D", "Conv2D"]


def test_a_detour_to_another_scale_is_direct_only_if_exact() -> None:
    found = set()
    for step in range(12):
        graph = detour(Quantization.per_tensor(0.05 * (0.5 + 0.25 * step), 4), Net())
        after = merge_quantization(graph)
        assert_same(graph, after)
        found.add(after is graph)
    assert found == {False, True}


def test_the_floats_stay_where_they_are_an_output() -> None:
    net = Net()
    x = net.input(1, 8)
    real = net.add_op(Dequantize, x=x, y=net.tensor(x.shape, None, DType.FLOAT32))
    y = net.add_op(Quantize, x=real, y=net.tensor(x.shape))
    graph = net.graph(real, y)
    assert kinds(applied(merge_quantization, graph, ["Dequantize", "Quantize"])) == ["Dequantize", "Quantize"]


# plain_convolutions


def one_channel_groups(inputs: int, outputs: int, *, depthwise: bool) -> Graph:
    """A 3x3 convolution each of whose outputs sees one input channel."""
    values = np.random.default_rng(4).integers(-127, 128, (outputs, 3, 3, 1)).astype(np.int8)
    axis = 3 if depthwise else 0
    quant = Quantization(scale=tuple(0.001 * (i + 1) for i in range(outputs)), zero_point=(0,) * outputs, axis=axis)
    data = values.transpose(3, 1, 2, 0).copy() if depthwise else values
    x = Tensor(name="x", shape=(2, 5, 6, inputs), dtype=DType.INT8, quant=UNITS)
    weights = Tensor(name="w", shape=data.shape, dtype=DType.INT8, quant=quant, data=data)
    y = Tensor(name="y", shape=(2, 5, 6, outputs), dtype=DType.INT8, quant=SHIFTED)
    bias = Tensor(name="b", shape=(outputs,), dtype=DType.INT32, data=np.arange(outputs, dtype=np.int32) * 100)
    make = DepthwiseConv2D if depthwise else Conv2D
    op = make(name="op", x=x, weights=weights, bias=bias, y=y, padding=Padding(top=1, bottom=1, left=1, right=1))
    return Graph(name="g", operators=(op,), inputs=(x,), outputs=(y,))


@pytest.mark.parametrize("outputs", [3, 6])
def test_groups_of_one_channel_are_depthwise(outputs: int) -> None:
    after = applied(plain_convolutions, one_channel_groups(3, outputs, depthwise=False), ["DepthwiseConv2D"])
    assert only(after, DepthwiseConv2D).multiplier == outputs // 3
    untouched(plain_convolutions, after)


def test_a_depthwise_convolution_of_one_channel_is_an_ordinary_one() -> None:
    after = applied(plain_convolutions, one_channel_groups(1, 4, depthwise=True), ["Conv2D"])
    untouched(plain_convolutions, after)
    untouched(plain_convolutions, one_channel_groups(1, 1, depthwise=True))
    untouched(plain_convolutions, one_channel_groups(4, 4, depthwise=True))
