"""Small PyTorch networks of four kinds and how they are trained: for `benchmarks/quantisers.py`.

Pictures are CIFAR-10's, keywords the 500 of the KWS benchmark: 300 train, 200 judge. A network trains in minutes.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

_MEAN, _STD = 120.0, 64.0


class Residual(nn.Module):
    """The sum of two ways, rectified where asked."""

    def __init__(self, way: nn.Module, short: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.way, self.short, self.last = way, short, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add both ways."""
        return self.last(self.way(x) + self.short(x))


def _conv(a: int, b: int, size: int, stride: int = 1, groups: int = 1, last: nn.Module | None = None) -> nn.Sequential:
    conv = nn.Conv2d(a, b, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(b), last or nn.Identity())


def mobile() -> nn.Module:
    """Inverted residuals as of MobileNetV2, with ReLU6."""

    def block(a: int, b: int, stride: int) -> nn.Module:
        way = nn.Sequential(
            _conv(a, 4 * a, 1, last=nn.ReLU6()),
            _conv(4 * a, 4 * a, 3, stride, 4 * a, last=nn.ReLU6()),
            _conv(4 * a, b, 1),
        )
        return Residual(way, nn.Identity(), nn.Identity()) if (a, stride) == (b, 1) else way

    blocks = [block(16, 24, 2), block(24, 24, 1), block(24, 40, 2), block(40, 40, 1)]
    return nn.Sequential(
        *(_conv(3, 16, 3, 2, last=nn.ReLU6()), *blocks, _conv(40, 128, 1, last=nn.ReLU6())),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)),
    )


def residual() -> nn.Module:
    """Three residual blocks as of ResNet8."""

    def block(a: int, b: int, stride: int) -> nn.Module:
        way = nn.Sequential(_conv(a, b, 3, stride, last=nn.ReLU()), _conv(b, b, 3))
        return Residual(way, nn.Identity() if a == b else _conv(a, b, 1, stride), nn.ReLU())

    return nn.Sequential(
        *(_conv(3, 16, 3, 2, last=nn.ReLU()), block(16, 16, 1), block(16, 32, 2), block(32, 64, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)),
    )


def keyword() -> nn.Module:
    """Depthwise convolutions over time."""
    layers: list[nn.Module] = [nn.Conv1d(10, 40, 3, padding=1, bias=False), nn.BatchNorm1d(40), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv1d(40, 40, 9, padding=4, groups=40, bias=False), nn.BatchNorm1d(40), nn.ReLU()]
        layers += [nn.Conv1d(40, 40, 1, bias=False), nn.BatchNorm1d(40), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(40, 12))


class Transformer(nn.Module):
    """One block of attention over patches of 4 x 4 pixels."""

    def __init__(self, width: int = 48, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.places = nn.Parameter(torch.zeros(1, 64, width))
        self.before, self.between, self.after = (nn.LayerNorm(width) for _ in range(3))
        self.qkv, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.scores = nn.Linear(width, 10)
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of the classes."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        n, tokens, width = x.shape
        parts = self.qkv(self.before(x)).chunk(3, -1)
        heads = [part.reshape(n, tokens, self.heads, width // self.heads).transpose(1, 2) for part in parts]
        seen = nn.functional.scaled_dot_product_attention(*heads)
        x = x + self.joined(seen.transpose(1, 2).reshape(n, tokens, width))
        x = x + self.narrow(nn.functional.gelu(self.wide(self.between(x))))
        return self.scores(self.after(x).mean(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Samples [count, ...] as the module takes them, with their classes."""

    train: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test: NDArray[np.float32]
    test_labels: NDArray[np.int64]


def pictures_of(
    data: Path, count: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """Return pictures of CIFAR-10 and their classes, about `count` to train with and 5,000 to judge by."""
    with np.load(data / "cifar10" / "test_5000.npz") as found:
        names = [str(name) for name in found["classes"]]
        test, test_labels = found["images"], found["labels"].astype(np.int64)
    with tarfile.open(data / "cifar10" / "train_jpg.tar.gz") as archive:
        members = [m for m in archive.getmembers() if m.name.endswith(".jpg")]
        kept = members[:: max(1, len(members) // count)]
        images = [np.asarray(Image.open(io.BytesIO(archive.extractfile(m).read())).convert("RGB")) for m in kept]  # type: ignore[union-attr]
    labels = np.array([names.index(m.name.split("/")[1]) for m in kept])
    return np.array(images), labels, test, test_labels


def pictures(data: Path, count: int = 20_000) -> Task:
    """CIFAR-10."""
    train, labels, test, test_labels = pictures_of(data, count)
    return Task(train=_planes(train), train_labels=labels, test=_planes(test), test_labels=test_labels)


def _planes(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return ((images.transpose(0, 3, 1, 2) - _MEAN) / _STD).astype(np.float32)


def keywords(data: Path) -> Task:
    """Ten coefficients of 49 slices of time, as the benchmark's network takes them."""
    with np.load(data / "kws" / "test_500.npz") as found:
        x = found["features"][..., 0].transpose(0, 2, 1).astype(np.float32) * np.float32(1 / 32)
        labels = found["labels"].astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    first, rest = order[:300], order[300:]
    return Task(train=x[first], train_labels=labels[first], test=x[rest], test_labels=labels[rest])


NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[Path], Task], int]] = {
    "mobile": (mobile, pictures, 10),
    "residual": (residual, pictures, 10),
    "keyword": (keyword, keywords, 150),
    "transformer": (Transformer, pictures, 10),
}
"""Name → module, data, epochs."""


def trained(name: str, task: Task, kept: Path) -> nn.Module:
    """Return a network trained on a task; its weights are kept as numbers in a file."""
    make, _, epochs = NETWORKS[name]
    torch.manual_seed(0)
    module = make()
    path = kept / f"{name}.npz"
    if path.exists():
        with np.load(path) as found:
            module.load_state_dict({key: torch.tensor(found[key]) for key in found.files})
        return module.eval()
    x, labels = torch.tensor(task.train), torch.tensor(task.train_labels)
    steps = epochs * (len(x) // 64)
    optimiser = torch.optim.AdamW(module.parameters(), 3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    done = 0
    for _ in range(epochs):
        for chosen in torch.randperm(len(x))[: len(x) // 64 * 64].reshape(-1, 64):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(module(_varied(x[chosen])), labels[chosen], label_smoothing=0.05)
            loss.backward()
            optimiser.step()
            schedule.step()
            done += 1
        print(f"{name}: {done} of {steps} steps, loss {loss.item():.3f}", flush=True)
    np.savez(path, **{key: value.numpy() for key, value in module.state_dict().items()})
    return module.eval()


def _varied(x: torch.Tensor) -> torch.Tensor:
    """Move a batch by up to three pixels or slices, and mirror pictures now and then."""
    x = torch.roll(x, int(torch.randint(-3, 4, ())), -1)
    if x.ndim == 4:
        x = torch.roll(x, int(torch.randint(-3, 4, ())), -2)
        return x.flip(-1) if torch.rand(()) < 0.5 else x
    return x + 0.1 * torch.randn_like(x)


def scores(module: nn.Module, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a module's outputs."""
    with torch.no_grad():
        made: Any = torch.cat([module(torch.tensor(part)) for part in np.array_split(x, max(1, len(x) // 200))])
    return made.numpy()  # type: ignore[no-any-return]
