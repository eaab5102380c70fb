"""Dropping channels: what goes, what has to stay, and that no output bit notices."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.passes.build import Net, assert_same, only
from utvm.graph import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    LeakyRelu,
    MaxPool2D,
    Mean,
    Pad,
    Quantization,
    Relu,
    Softmax,
    Split,
    StridedSlice,
    Tensor,
    Transpose,
    Weighted,
)
from utvm.graph.cost import macs, macs_of
from utvm.passes import drop_dead_channels

_CLAMPING = Weighted | MaxPool2D | AveragePool2D
OTHER = Quantization.per_tensor(0.06, 11)


def dropped(graph: Graph) -> Graph:
    """Apply the pass; the outputs' bits must not change."""
    after = drop_dead_channels(graph)
    assert_same(graph, after)
    assert drop_dead_channels(after) is after
    return after


def of_int16(graph: Graph, bias: DType) -> Graph:
    """Return the graph with int16 activations, whose zero point is 0, and biases of a type."""
    known: dict[Tensor, Tensor] = {}

    def changed(tensor: Tensor) -> Tensor:
        if tensor.is_constant:
            data = tensor.values.astype(bias.value) if tensor.dtype is DType.INT32 else tensor.values
            return dataclasses.replace(tensor, data=data, dtype=bias if tensor.dtype is DType.INT32 else tensor.dtype)
        quant = Quantization.per_tensor(tensor.scale)
        return known.setdefault(tensor, dataclasses.replace(tensor, dtype=DType.INT16, quant=quant))

    operators = [
        dataclasses.replace(made, clamp=(-(2**15), 2**15 - 1)) if isinstance(made, _CLAMPING) else made
        for op in graph.operators
        for made in [op.with_tensors({t: changed(t) for t in dict.fromkeys((*op.inputs, *op.outputs))})]
    ]
    return Graph(
        name=graph.name,
        operators=tuple(operators),
        inputs=tuple(map(changed, graph.inputs)),
        outputs=tuple(map(changed, graph.outputs)),
    )


def widths(graph: Graph) -> list[int]:
    """Output channels of each operator."""
    return [op.outputs[0].shape[-1] for op in graph.operators]


def test_a_constant_channel_goes_into_the_bias() -> None:
    net = Net()
    x = net.conv(net.input(1, 5, 5, 3), 4, dead=[1], bias=[0, 900, 0, 0])
    before = net.graph(net.conv(x, 2, bias=[10, 20]))
    after = dropped(before)
    assert widths(after) == [3, 2]
    first, second = after.operators
    assert isinstance(second, Conv2D)
    assert second.weights.shape == (2, 1, 1, 3)
    assert first.inputs[1].quant is not None
    assert len(first.inputs[1].quant.scale) == 3
    old = before.operators[1].inputs[1].values[:, 0, 0, 1].astype(int)
    change = second.inputs[2].values - np.array([10, 20])
    assert change.any()
    assert (change % old == 0).all()
    assert (macs(before), macs(after)) == (25 * 12 + 25 * 8, 25 * 9 + 25 * 6)


def test_a_layer_without_bias_gets_one() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 3, dead=[0], bias=[700, 0, 0])
    after = dropped(net.graph(net.conv(x, 2, bias=None)))
    bias = after.operators[1].inputs[2]
    assert bias.values.shape == (2,)
    assert bias.quant is not None
    assert len(bias.quant.scale) == 2


@pytest.mark.parametrize("bias", [DType.INT32, DType.INT64])
def test_int16_drops_the_same_channels(bias: DType) -> None:
    net = Net()
    x = net.conv(net.input(1, 8, 8, 2), 5, dead=[1, 3], bias=[10, 1, -800, 7, 0])
    x = net.add_op(Relu, x=net.pool(MaxPool2D, net.depthwise(x, bias=[3, 4, 5, 6, 7]), 2))
    x = net.conv(x, 4, bias=[1, 2, 3, 4], unread=[4])
    after = dropped(of_int16(net.graph(net.conv(x, 3, kernel=3, pad=1, unread=[0])), bias))
    assert widths(after) == [2, 2, 2, 2, 3, 3]
    assert {op.inputs[2].dtype for op in after.operators if isinstance(op, Conv2D)} == {bias}


@pytest.mark.parametrize(("bias", "width"), [(0, 2), (700, 3)])
def test_a_layer_of_int16_without_bias_gets_none(bias: int, width: int) -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 3, dead=[0], bias=[bias, 0, 0])
    after = dropped(of_int16(net.graph(net.conv(x, 2, bias=None)), DType.INT64))
    assert widths(after) == [width, 2]
    assert len(after.operators[1].inputs) == 2


def test_with_padding_only_a_real_zero_goes() -> None:
    for bias, width in ((0, 3), (900, 4)):
        net = Net()
        x = net.conv(net.input(1, 5, 5, 3), 4, dead=[2], bias=[5, 6, bias, 7])
        after = dropped(net.graph(net.conv(x, 2, kernel=3, pad=1)))
        assert widths(after) == [width, 2]


def test_an_unread_channel_goes_with_all_that_only_it_needs() -> None:
    net = Net()
    x = net.conv(net.input(1, 6, 6, 2), 5, bias=3)
    x = net.depthwise(x, bias=7)
    x = net.add_op(Relu, x=x)
    after = dropped(net.graph(net.conv(x, 3, unread=[0, 4])))
    assert widths(after) == [3, 3, 3, 3]
    assert only(after, DepthwiseConv2D).weights.shape == (1, 3, 3, 3)


def test_constants_travel_through_depthwise_pools_and_activations() -> None:
    net = Net()
    x = net.conv(net.input(1, 8, 8, 2), 4, dead=[1], bias=[1, 1, -800, 1])
    x = net.depthwise(x, bias=[3, 4, 5, 6])
    x = net.pool(MaxPool2D, x, 2)
    x = net.add_op(LeakyRelu, x=x, y=net.tensor(x.shape, OTHER), alpha=0.1)
    x = net.pool(AveragePool2D, x, 2)
    x = net.add_op(Mean, x=x, y=net.tensor((1, 4), OTHER), axes=(1, 2))
    after = dropped(net.graph(net.dense(x, 3)))
    assert widths(after) == [3, 3, 3, 3, 3, 3, 3]


def test_a_depthwise_channel_that_sees_its_border_is_not_constant() -> None:
    net = Net()
    x = net.conv(net.input(1, 5, 5, 2), 3, dead=[1], bias=[0, 900, 0])
    graph = net.graph(net.conv(net.depthwise(x), 2))
    assert drop_dead_channels(graph) is graph


def test_a_depthwise_channel_without_weights_takes_its_input_along() -> None:
    net = Net()
    x = net.conv(net.input(1, 5, 5, 2), 4)
    after = dropped(net.graph(net.conv(net.depthwise(x, dead=[0, 3], bias=99), 2)))
    assert widths(after) == [2, 2, 2]


def test_all_outputs_of_a_depthwise_multiplier_go_or_none() -> None:
    for dead, width in (([2, 3], 2), ([2], 3)):
        net = Net()
        x = net.conv(net.input(1, 5, 5, 2), 3)
        x = net.depthwise(x, multiplier=2, dead=dead)
        after = dropped(net.graph(net.conv(x, 2)))
        assert widths(after) == [width, 2 * width, 2]


def test_a_residual_addition_drops_what_both_branches_drop() -> None:
    net = Net()
    stem = net.conv(net.input(1, 5, 5, 2), 5, dead=[1, 3], bias=[1, 50, 1, 60, 1])
    branch = net.conv(stem, 5, dead=[3, 4], bias=[9, 9, 9, -70, 9])
    total = net.sum(stem, branch, quant=OTHER)
    after = dropped(net.graph(net.conv(total, 2)))
    assert widths(after) == [4, 4, 4, 2]


def test_channels_that_nobody_reads_after_an_addition_go_from_both_branches() -> None:
    net = Net()
    stem = net.conv(net.input(1, 5, 5, 2), 5)
    branch = net.conv(stem, 5, unread=[0, 1, 2])
    total = net.sum(stem, branch)
    after = dropped(net.graph(net.conv(total, 2, unread=[1, 2])))
    assert widths(after) == [3, 3, 3, 2]


def test_a_constant_operand_is_narrowed_too() -> None:
    net = Net()
    x = net.conv(net.input(1, 5, 5, 2), 4)
    offsets = net.constant(net.rng.integers(-9, 9, (1, 1, 1, 4)))
    after = dropped(net.graph(net.conv(net.sum(x, offsets), 2, unread=[0])))
    assert after.operators[1].inputs[1].shape == (1, 1, 1, 3)
    single = net.constant([4])
    after = dropped(net.graph(net.conv(net.sum(x, single), 2, unread=[0])))
    assert widths(after)[-1] == 2


def test_a_flattened_channel_is_columns_of_the_fully_connected_layer() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 3, dead=[1], bias=[0, 400, 0])
    x = net.reshape(x, 1, 48)
    after = dropped(net.graph(net.dense(x, 5)))
    assert widths(after) == [2, 32, 5]
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 3, dead=[1], bias=[0, 400, 0])
    after = dropped(net.graph(net.dense(x, 5)))
    assert only(after, FullyConnected).weights.shape == (5, 32)


def test_columns_of_zeros_drop_a_channel_only_if_all_its_pixels_agree() -> None:
    for unread, width in ((range(1, 48, 3), 2), (range(1, 40, 3), 3)):
        net = Net()
        x = net.reshape(net.conv(net.input(1, 4, 4, 2), 3), 1, 48)
        after = dropped(net.graph(net.dense(x, 5, unread=unread)))
        assert widths(after) == [width, 16 * width, 5]


def test_concatenation_split_slice_and_pad_of_channels() -> None:
    net = Net()
    image = net.input(1, 5, 5, 2)
    joined = net.join(net.conv(image, 3, dead=[0], bias=[9, 0, 0]), net.conv(image, 4, dead=[3], bias=40))
    parts = tuple(net.tensor((1, 5, 5, n)) for n in (2, 5))
    net.operators.append(Split(name="split", x=joined, ys=parts, axis=3))
    after = dropped(net.graph(net.conv(parts[0], 2), net.conv(parts[1], 2, unread=[1])))
    assert [t.shape[3] for t in only(after, Split).ys] == [1, 3]
    assert widths(after)[:3] == [2, 2, 4]

    net = Net()
    x = net.conv(net.input(1, 5, 5, 2), 6, dead=[0, 3])
    x = net.pad(x, (0, 0), (0, 0), (0, 0), (1, 2))
    y = net.tensor((1, 5, 5, 6))
    x = net.add_op(StridedSlice, x=x, y=y, begin=(0, 0, 0, 2), strides=(1, 1, 1, 1))
    after = dropped(net.graph(net.conv(x, 2)))
    assert only(after, Pad).paddings[3] == (0, 0)
    assert only(after, StridedSlice).begin[3] == 0
    assert widths(after) == [4, 4, 4, 2]


def test_graph_outputs_inputs_and_what_is_not_understood_stay_whole() -> None:
    net = Net()
    x = net.conv(net.input(1, 5, 5, 3), 4, dead=[1])
    graph = net.graph(x, net.conv(x, 2))
    assert drop_dead_channels(graph) is graph

    net = Net()
    graph = net.graph(net.conv(net.input(1, 5, 5, 3), 2, unread=[0]))
    assert drop_dead_channels(graph) is graph

    net = Net()
    x = net.conv(net.input(1, 4, 4, 3), 4, dead=[1])
    x = net.add_op(Softmax, x=x, y=net.tensor(x.shape, Quantization.per_tensor(1 / 256, -128)))
    graph = net.graph(net.conv(x, 2))
    assert drop_dead_channels(graph) is graph

    net = Net()
    x = net.conv(net.input(1, 4, 4, 3), 4, dead=[1])
    x = net.add_op(Transpose, x=x, y=net.tensor((1, 4, 4, 4)), perm=(0, 3, 1, 2))
    graph = net.graph(net.conv(x, 2))
    assert drop_dead_channels(graph) is graph


def test_a_slice_that_steps_over_channels_stays_whole() -> None:
    net = Net()
    x = net.conv(net.input(1, 5, 5, 2), 6, dead=[0, 3])
    y = net.tensor((1, 5, 5, 3))
    x = net.add_op(StridedSlice, x=x, y=y, begin=(0, 0, 0, 1), strides=(1, 1, 1, 2))
    graph = net.graph(net.conv(x, 2))
    assert drop_dead_channels(graph) is graph


def test_grouped_convolutions_stay_whole() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 4, dead=[1])
    weights = net.weights((4, 1, 1, 2), 0)
    y = net.add_op(Conv2D, x=x, weights=weights, bias=None, y=net.tensor((1, 4, 4, 4)))
    graph = net.graph(net.conv(y, 2))
    assert drop_dead_channels(graph) is graph


@pytest.mark.parametrize("residual", [False, True])
def test_one_channel_is_left(residual: bool) -> None:
    net = Net()
    image = net.input(1, 4, 4, 2)
    x = net.conv(image, 3, dead=[0, 1, 2], bias=[5, 6, 7])
    if residual:
        x = net.sum(x, net.conv(image, 3, dead=[0, 1, 2]))
    after = dropped(net.graph(net.conv(x, 2)))
    assert set(widths(after)[:-1]) == {1}


def test_a_layer_with_scales_per_channel_is_not_left_with_a_single_one() -> None:
    net = Net()
    x = net.input(1, 6)
    y = net.tensor((1, 4))
    weights = net.weights((4, 6), 0, dead=[0, 1, 2])
    net.operators.append(FullyConnected(name="fc", x=x, weights=weights, bias=net.bias([9, 9, 9, 9]), y=y))
    after = dropped(net.graph(net.dense(y, 2)))
    assert widths(after) == [2, 2]


def test_a_contribution_that_could_overflow_the_bias_stays() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 2), 3, dead=[1], bias=[0, 500, 0])
    graph = net.graph(net.conv(x, 2, bias=[2**31 - 1, 0]))
    assert drop_dead_channels(graph) is graph


def test_shared_weights_become_two_tensors_where_the_layers_differ() -> None:
    net = Net()
    image = net.input(1, 4, 4, 3)
    a = net.conv(image, 3, dead=[0], bias=[100, 0, 0])
    b = net.conv(image, 3, dead=[1], bias=[0, 100, 0])
    weights = net.weights((2, 1, 1, 3), 0)
    outputs = [
        net.add_op(Conv2D, x=x, weights=weights, bias=net.bias([1, 2]), y=net.tensor((1, 4, 4, 2))) for x in (a, b)
    ]
    after = dropped(net.graph(*outputs))
    assert widths(after) == [2, 2, 2, 2]
    assert len({op.inputs[1].name for op in after.operators[2:]}) == 2


def test_macs_of_each_weighted_operator() -> None:
    net = Net()
    x = net.conv(net.input(1, 8, 6, 3), 5, kernel=3, pad=1)
    x = net.depthwise(x, multiplier=2)
    net.dense(net.pool(MaxPool2D, x, 2), 7)
    assert list(map(macs_of, net.operators)) == [8 * 6 * 5 * 27, 8 * 6 * 10 * 9, 0, 7 * 4 * 3 * 10]
