"""Layers and functions of PyTorch as people write them: the same values in float, and close ones in int8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import utvm
from utvm.frontends.torch import exported_graph, exported_module
from utvm.graph.reference import evaluate

torch = pytest.importorskip("torch", reason="PyTorch comes with the extra 'torch', which tests do not install")
nn, F = torch.nn, torch.nn.functional


class Around(nn.Module):  # type: ignore[misc, name-defined]
    """Layers, then a function of their results."""

    def __init__(self, function: Callable[..., Any], *layers: Any) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Any) -> Any:
        """Give the function the layers and x."""
        return self.function(*self.layers, x)


def shuffled(x: Any, groups: int = 2) -> Any:
    """Mix channels as ShuffleNet does."""
    b, c, h, w = x.size()
    return torch.transpose(x.view(b, groups, c // groups, h, w), 1, 2).contiguous().view(b, -1, h, w)


def attended(q: Any, x: Any) -> Any:
    """Attention with a causal mask, spelled out."""
    b, t, c = x.size()
    q, k, v = (part.view(b, t, 2, c // 2).transpose(1, 2) for part in q(x).split(c, dim=2))
    scores = (q @ k.transpose(-2, -1)).masked_fill(torch.tril(torch.ones(t, t)) == 0, float("-inf"))
    return (F.softmax(scores, dim=-1) @ v).transpose(1, 2).contiguous().view(b, t, c)


def added_in_place(conv: Any, x: Any) -> Any:
    """What is read before and after a change in place."""
    y = conv(x)
    first = y * 2
    y += first
    return F.relu(y, inplace=True) + y


def cells(cell: Any, x: Any) -> Any:
    """Steps of a cell from zeros."""
    h = torch.zeros(1, 6)
    for t in range(x.shape[1]):
        h = cell(x[:, t], h)
    return h


def written_in_place(x: Any) -> Any:
    """A part of a value changes in place."""
    y = x * 1.5
    y[:, 0] += 1
    return y


IMAGE, LINE, ROWS = (1, 4, 10, 12), (1, 6, 24), (1, 6, 8)
CASES: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "transposed": (lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1), IMAGE),
    "transposed groups": (lambda: nn.ConvTranspose2d(4, 6, (2, 4), (2, 3), groups=2, bias=False), IMAGE),
    "transposed dilated": (lambda: nn.ConvTranspose2d(4, 3, 3, stride=1, padding=2, dilation=2), IMAGE),
    "transposed line": (lambda: nn.ConvTranspose1d(6, 5, 4, 2, 1), LINE),
    "mirrored": (lambda: nn.Conv2d(4, 3, 3, padding=2, padding_mode="reflect"), IMAGE),
    "around": (lambda: nn.Conv2d(4, 3, 3, padding=1, padding_mode="circular"), IMAGE),
    "repeated border": (lambda: nn.Sequential(nn.ReplicationPad2d((1, 2, 0, 3)), nn.Conv2d(4, 3, 3)), IMAGE),
    "filled border": (lambda: nn.Sequential(nn.ConstantPad2d((1, -2, 0, 3), 0.5), nn.Conv2d(4, 3, 3)), IMAGE),
    "upsampled": (lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), IMAGE),
    "interpolated": (lambda: Around(lambda x: F.interpolate(x, size=(13, 7), mode="bilinear")), IMAGE),
    "cubic": (lambda: Around(lambda x: F.interpolate(x, scale_factor=1.7, mode="bicubic")), IMAGE),
    "nearest": (lambda: Around(lambda x: F.interpolate(x, scale_factor=1.7)), IMAGE),
    "adaptive mean": (lambda: nn.AdaptiveAvgPool2d((4, 7)), IMAGE),
    "adaptive maximum": (lambda: nn.AdaptiveMaxPool2d((4, 5)), IMAGE),
    "instances": (lambda: nn.InstanceNorm2d(4, affine=True), IMAGE),
    "groups": (lambda: nn.GroupNorm(2, 4), IMAGE),
    "roots": (lambda: nn.RMSNorm(8), ROWS),
    "unit length": (lambda: Around(lambda x: F.normalize(x, dim=1)), IMAGE),
    "in place": (lambda: Around(added_in_place, nn.Conv2d(4, 4, 3)), IMAGE),
    "in place of a part": (lambda: Around(written_in_place), IMAGE),
    "shuffled": (lambda: Around(shuffled), IMAGE),
    "einsum": (lambda: Around(lambda x: torch.einsum("bcij,bdij->bdc", x, x)), IMAGE),
    "causal": (lambda: Around(attended, nn.Linear(8, 24)), ROWS),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), ROWS),
    "gru": (lambda: Around(lambda g, x: g(x)[0][:, -1], nn.GRU(8, 6, batch_first=True)), ROWS),
    "lstm": (lambda: Around(lambda g, x: g(x)[1][0], nn.LSTM(8, 6, 2, bidirectional=True)), ROWS),
    "rnn": (lambda: Around(lambda g, x: g(x)[0], nn.RNN(8, 6, nonlinearity="relu", batch_first=True)), ROWS),
    "cells": (lambda: Around(cells, nn.GRUCell(8, 6)), ROWS),
    "weight norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 6, 3, dilation=2)), LINE),
    "activations": (
        lambda: nn.Sequential(
            *(nn.ELU(0.7), nn.PReLU(4), nn.Softplus(), nn.Mish(), nn.SELU(), nn.CELU(0.5), nn.Softsign()),
            *(nn.LogSigmoid(), nn.Hardtanh(-3, 1), nn.Hardswish(), nn.Hardsigmoid(), nn.GELU(), nn.GLU(1)),
        ),
        IMAGE,
    ),
    "log of shares": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.LogSoftmax(-1)), ROWS),
    "chosen": (lambda: Around(lambda x: torch.where(x > 0.2, x.pow(3), 1 / (2 + x.abs()))), IMAGE),
    "extremes": (lambda: Around(lambda x: x.amax((2, 3)) - x.min(dim=3)[0].sum(2) + x.std((2, 3))), IMAGE),
    "moved": (
        lambda: Around(lambda x: torch.stack(x.chunk(2, 1), 1).flatten(1, 2).flip(3).roll(2, 2).movedim(1, -1)),
        IMAGE,
    ),
    "picked": (lambda: Around(lambda x: x[:, [0, 3, 1]].repeat(1, 1, 2, 1).tensor_split(2, 3)[1]), IMAGE),
    "windows": (lambda: Around(lambda x: x.unfold(2, 4, 3).permute(0, 4, 1, 2, 3) * 2), IMAGE),
    "columns": (lambda: Around(lambda x: F.unfold(x, (3, 2), padding=1, stride=2)), IMAGE),
    "logarithm of a sum": (lambda: Around(lambda x: torch.logsumexp(x, (2, 3)) * torch.sign(x.mean((2, 3)))), IMAGE),
    "a state": (lambda: Around(lambda g, x: g(x, x[:1, :, :6])[1], nn.GRU(8, 6)), ROWS),
    "sums on the way": (lambda: Around(lambda x: torch.tril(x.cumsum(-1))), ROWS),
    "maxima": (lambda: Around(lambda x: x.max(dim=-1, keepdim=True)[0]), ROWS),
    "picked by a constant": (lambda: Around(lambda x: x.index_select(1, torch.tensor([3, 1]))), IMAGE),
    "pixels": (lambda: nn.Sequential(nn.PixelShuffle(2), nn.PixelUnshuffle(4), nn.ChannelShuffle(2)), (1, 4, 8, 8)),
}


def test_places_of_maxima() -> None:
    module, x = Around(lambda m, x: m(x).max(1, keepdim=True)[1], nn.Conv2d(4, 5, 3)), torch.randn(IMAGE)
    graph = exported_graph(exported_module(module, (x,)))
    np.testing.assert_array_equal(evaluate(graph, [x.numpy()])["output_0"], module(x).numpy())
    with pytest.raises(utvm.UtvmError, match="computes with integers"):
        exported_graph(exported_module(Around(lambda x: x.argmax(1) ** 2), (x,)))


class Reader(nn.Module):
    """A table of rows and of places around a layer, a row of scores out."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.rows, self.places, self.layer, self.scores = (
            nn.Embedding(30, 8),
            nn.Embedding(6, 8),
            layer,
            nn.Linear(8, 4),
        )

    def forward(self, ids: Any) -> Any:
        x = self.rows(ids) + self.places(torch.arange(ids.shape[1]))
        if isinstance(self.layer, nn.GRU):
            return self.scores(self.layer(x)[0][:, -1])
        return self.scores(self.layer(x, src_key_padding_mask=ids == 0).mean(1))


@pytest.mark.parametrize("kind", ["steps", "attention", "bag", "one hot", "shifted"])
def test_identifiers(kind: str) -> None:
    torch.manual_seed(0)
    module = {
        "steps": lambda: Reader(nn.GRU(8, 8, batch_first=True)),
        "attention": lambda: Reader(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")),
        "bag": lambda: nn.Sequential(nn.EmbeddingBag(30, 8, mode="sum"), nn.Linear(8, 4)),
        "one hot": lambda: Around(lambda layer, x: layer(F.one_hot(x, 30).float().sum(1)), nn.Linear(30, 4)),
        "shifted": lambda: Around(
            lambda table, x: table(torch.cat([x[:, 1:] * 2 - x[:, 1:], x], 1)), nn.Embedding(30, 4)
        ),
    }[kind]().eval()
    ids = np.random.default_rng(0).integers(0, 30, (20, 6))
    ids[:, 4:] *= ids[:, 4:] % 2
    given = torch.tensor(ids[:1])
    graph = exported_graph(exported_module(module, (given,)))
    wanted = module(given).detach().numpy()
    np.testing.assert_allclose(evaluate(graph, [given.numpy().astype(np.int32)])["output_0"], wanted, atol=1e-3)
    made = utvm.quantize(module, ids, example_inputs=(given,))
    assert made.report.judgement.snr > 25
    assert str(made.graph.inputs[0].dtype) == "int32"


@pytest.mark.parametrize("name", CASES)
def test_the_values_of_the_module(name: str) -> None:
    make, shape = CASES[name]
    torch.manual_seed(0)
    module, x = make().eval(), torch.randn(*shape)
    with torch.no_grad():
        wanted = module(x.clone()).numpy()
    graph = exported_graph(exported_module(module, (x,)))
    # GELU in its form with tanh is within 0.0005 of the other.
    np.testing.assert_allclose(evaluate(graph, [x.numpy()])["output_0"], wanted, rtol=1e-3, atol=1e-3)
    samples = np.random.default_rng(0).normal(size=(12, *shape[1:])).astype(np.float32)
    assert utvm.quantize(module, samples, example_inputs=(x,)).report.judgement.snr > 20
