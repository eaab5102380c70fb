"""The parts of the example that need PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from calibrate import LEVELS, calibrate, error_of_limit  # noqa: E402
from dataset import Images  # noqa: E402
from network import CifarNet, activations, as_input, average_pool, fold  # noqa: E402
from quantize import build_graph  # noqa: E402


@pytest.fixture
def net() -> CifarNet:
    """A network with random weights and random statistics."""
    torch.manual_seed(3)
    net = CifarNet()
    for norm in net.norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        norm.weight.data.normal_()
        norm.bias.data.normal_()
    return net.eval()


@pytest.fixture
def images() -> Images:
    pixels = np.random.default_rng(5).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    return Images(pixels=pixels, labels=np.arange(8))


def test_folded_network_is_the_network(net: CifarNet, images: Images) -> None:
    x = as_input(images.pixels)
    with torch.no_grad():
        torch.testing.assert_close(activations(fold(net), x)[-1], net(x), rtol=1e-3, atol=1e-3)


def test_average_divides_by_the_pixels_inside_the_image() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert average_pool(x)[0, 0].tolist() == [[5.0, 6.5], [11.0, 12.5]]


def test_rectified_ranges_have_the_least_error_and_logits_are_not_clipped(net: CifarNet, images: Images) -> None:
    layers = fold(net)
    ranges = calibrate(layers, images)
    with torch.no_grad():
        outputs = [y.numpy() for y in activations(layers, as_input(images.pixels))]
    for values, quant in zip(outputs[:-1], ranges[:-1], strict=True):
        positive, limit = values[values > 0], quant.scale[0] * LEVELS
        assert quant.zero_point == (-128,)
        assert error_of_limit(positive, limit) <= error_of_limit(positive, float(positive.max())) * 1.001
    low, high = ((q - ranges[-1].zero_point[0]) * ranges[-1].scale[0] for q in (-128, 127))
    assert low - ranges[-1].scale[0] <= outputs[-1].min()
    assert high + ranges[-1].scale[0] >= outputs[-1].max()


def test_quantised_parameters_are_within_half_a_step(net: CifarNet, images: Images) -> None:
    layers = fold(net)
    graph = build_graph(layers, calibrate(layers, images))
    weighted = [op for op in graph.operators if len(op.inputs) == 3]
    for layer, op in zip(layers, weighted, strict=True):
        for tensor, real in zip(op.inputs[1:], (layer.weights, layer.bias), strict=True):
            scales = np.array(tensor.channel_scales(len(real))).reshape(-1, *[1] * (real.ndim - 1))
            assert (np.abs(tensor.values * scales - real) <= scales * 0.501).all()
