"""Train the float network: python train.py [--data FOLDER_OR_ARCHIVE] [--epochs N] [-o checkpoint.pt].

Stochastic gradient descent with one learning-rate cycle, random flips and shifts, and an exponential moving
average of the weights. The average is what is saved, after every epoch. The same seed, machine and thread
count give the same weights.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from dataset import DataError, Images, load_training, split_validation
from network import IMAGE_SIZE, CifarNet, as_input
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

HERE = Path(__file__).parent
SHIFT = 3
BATCH = 128
PEAK_RATE = 0.1
WARM_UP = 0.15
WEIGHT_DECAY = 3e-4
AVERAGE_DECAY = 0.998
LOGIT_PENALTY = 1e-3


def main() -> int:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description="Train the CIFAR-10 network in float.")
    parser.add_argument("--data", type=Path, help="folder or archive of the training images (default: download)")
    parser.add_argument("--cache", type=Path, default=HERE / "data", help="where a download is kept")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "checkpoint.pt")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    try:
        images = load_training(options.data, options.cache)
    except DataError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    train(images, epochs=options.epochs, seed=options.seed, output=options.output)
    return 0


def train(images: Images, *, epochs: int, seed: int, output: Path) -> None:
    """Train on all but the validation images; write the averaged weights to `output` after each epoch."""
    training, validation = split_validation(images)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    net = CifarNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decay = get_ema_multi_avg_fn(AVERAGE_DECAY)  # type: ignore[no-untyped-call]
    average = AveragedModel(net, multi_avg_fn=decay, use_buffers=True)
    padded = torch.from_numpy(np.pad(training.pixels, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))))
    labels = torch.from_numpy(training.labels)
    steps = len(training) // BATCH
    optimizer = torch.optim.SGD(net.parameters(), lr=PEAK_RATE, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=epochs * steps, pct_start=WARM_UP, cycle_momentum=False
    )
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        net.train()
        order = torch.randperm(len(training))
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = net(augment(padded, chosen)).float()
            # The penalty keeps logits small, and with them the step of their int8 form.
            loss = functional.cross_entropy(logits, labels[chosen]) + LOGIT_PENALTY * logits.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(net)
            total += loss.item()
        torch.save(average.module.state_dict(), output)
        print(
            f"epoch {epoch + 1:3d}/{epochs}  loss {total / steps:.4f}  "
            f"validation {accuracy(average.module, validation):.2%}  {time.perf_counter() - start:.1f} s",
            flush=True,
        )


def augment(padded: Tensor, chosen: Tensor) -> Tensor:
    """Return shifted and mirrored images, float 0..1 [B, 3, 32, 32], of padded ones, uint8 [N, 38, 38, 3]."""
    count, span = len(chosen), torch.arange(IMAGE_SIZE)
    rows = torch.randint(2 * SHIFT + 1, (count, 1)) + span
    mirrored = torch.rand(count, 1) < 0.5
    columns = torch.randint(2 * SHIFT + 1, (count, 1)) + torch.where(mirrored, span.flip(0), span)
    batch = padded[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
    return batch.permute(0, 3, 1, 2).float() / 255.0


@torch.no_grad()
def accuracy(net: nn.Module, images: Images, batch: int = 500) -> float:
    """Return the share of images whose class has the largest logit."""
    net.eval()
    right = 0
    for start in range(0, len(images), batch):
        x = as_input(images.pixels[start : start + batch])
        right += int((net(x).argmax(1).numpy() == images.labels[start : start + batch]).sum())
    return right / len(images)


if __name__ == "__main__":
    sys.exit(main())
