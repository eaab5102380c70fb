"""PyTorch modules and exported programs: the same values, then int8 on a board in a few lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import utvm
from utvm.errors import UtvmError
from utvm.frontends import FrontendError
from utvm.frontends.torch import exported_graph, exported_module
from utvm.graph import Conv2D, DepthwiseConv2D, Mul
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float

torch = pytest.importorskip("torch", reason="PyTorch comes with the extra 'torch', which tests do not install")
nn = torch.nn


def image_network() -> Any:
    """Return layers as MobileNetV2 and its successors have them."""
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.Hardswish(), nn.SiLU()),
        *(nn.MaxPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(8, 5)),
    )


def keyword_network() -> Any:
    """Return a depthwise network over time."""
    return nn.Sequential(
        *(nn.Conv1d(12, 16, 5, padding="same"), nn.BatchNorm1d(16), nn.ReLU()),
        *(nn.Conv1d(16, 16, 3, 2, 1, groups=16), nn.BatchNorm1d(16), nn.ReLU(), nn.AvgPool1d(2)),
        *(nn.Flatten(), nn.Linear(16 * 12, 6), nn.Softmax(-1)),
    )


@pytest.mark.parametrize(("make", "shape"), [(image_network, (1, 3, 16, 16)), (keyword_network, (1, 12, 48))])
def test_the_values_of_the_module(make: Any, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, x = make(), torch.randn(*shape)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    graph = exported_graph(exported_module(module, (x,)))
    wanted = module.eval()(x).detach().numpy()
    np.testing.assert_allclose(evaluate(graph, [x.numpy()])["output_0"], wanted, rtol=1e-4, atol=1e-5)
    prepared = prepare_float(graph)
    moved = x.numpy().transpose(prepared.inputs[graph.inputs[0].name])
    np.testing.assert_allclose(evaluate(prepared.graph, [moved])["output_0"], wanted, rtol=1e-4, atol=1e-5)
    layers = [op for op in prepared.graph.operators if isinstance(op, Conv2D | DepthwiseConv2D)]
    assert len(layers) == 2
    assert not any(isinstance(op, Mul) and op.b.elements > 1 and op.b.is_constant for op in prepared.graph.operators)


def test_from_a_module_to_an_image() -> None:
    torch.manual_seed(0)
    example, samples = torch.randn(1, 12, 48), np.random.default_rng(0).normal(size=(40, 12, 48)).astype(np.float32)
    compiled = utvm.compile(keyword_network(), "qemu-cortex-m7", data=samples, example_inputs=(example,))
    assert compiled.program.graph.inputs[0].shape == (1, 48, 12)


def test_what_is_refused() -> None:
    with pytest.raises(FrontendError, match=r"sort(.|\n)*not supported"):
        exported_graph(exported_module(Called(lambda x: torch.sort(x)[0]), (torch.randn(1, 4),)))
    with pytest.raises(UtvmError, match="example_inputs"):
        utvm.quantize(keyword_network(), np.zeros((2, 12, 48), np.float32))


class Called(nn.Module):  # type: ignore[misc, name-defined]
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        """Call it."""
        return self.function(x)


@pytest.mark.parametrize("function", [lambda x: torch.clamp(x, 0), lambda x: torch.clamp(x, min=0), lambda x: x])
def test_functions(function: Any) -> None:
    x = torch.randn(1, 3, 8, 8)
    graph = exported_graph(exported_module(Called(function), (x,)))
    np.testing.assert_array_equal(evaluate(graph, [x.numpy()])["output_0"], function(x).numpy())


@pytest.mark.parametrize(
    ("function", "shape", "reason"),
    [
        (lambda x: nn.functional.avg_pool2d(x, 2, divisor_override=3), (1, 3, 8, 8), "divisor_override"),
        (lambda x: nn.functional.adaptive_avg_pool2d(x, 1), (3, 8, 8), "a batch of 3 dimensions is expected"),
        (lambda x: nn.functional.max_pool2d(x, 2, return_indices=True)[1] * 1.0, (1, 3, 8, 8), "places of maxima"),
        (lambda x: x.masked_fill(torch.eye(4) > 0, -torch.inf), (4, 4), "minus infinity"),
        (lambda x: x.to(torch.int32).float(), (1, 4), "to integers"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), (1, 4), "rounding_mode"),
        (lambda x: nn.functional.dropout(x, 0.5), (1, 4), "module.eval"),
        (lambda x: nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5), (1, 2, 4, 8), "module.eval"),
    ],
)
def test_what_can_not_be_kept(function: Any, shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(FrontendError, match=reason):
        exported_graph(exported_module(Called(function), (torch.randn(*shape),)))


def test_inputs_of_integers() -> None:
    with pytest.raises(FrontendError, match="input 'x' is bool; floats or integers are expected"):
        exported_graph(exported_module(Called(lambda x: x * 2), (torch.ones(1, 4, dtype=torch.bool),)))


class Attention(nn.Module):  # type: ignore[misc, name-defined]
    """A block of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(8), nn.LayerNorm(8)
        self.qkv, self.wide, self.narrow = nn.Linear(8, 24), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Any) -> Any:
        query, key, value = self.qkv(self.before(x)).reshape(1, 6, 3, 2, 4).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(1, 6, 8)
        x = x + seen
        return (x + self.narrow(nn.functional.gelu(self.wide(self.between(x))))).mean(1)


def test_a_block_of_a_transformer() -> None:
    torch.manual_seed(0)
    module, x = Attention().eval(), torch.randn(1, 6, 8)
    graph = exported_graph(exported_module(module, (x,)))
    np.testing.assert_allclose(evaluate(graph, [x.numpy()])["output_0"], module(x).detach().numpy(), atol=1e-3)
    samples = np.random.default_rng(0).normal(size=(60, 6, 8)).astype(np.float32)
    made = utvm.quantize(module, samples, example_inputs=(x,))
    assert made.report.judgement.snr > 25
    utvm.compile(made.graph, "qemu-cortex-m7")
