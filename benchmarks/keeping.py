"""What `--keep-accuracy` finds on a network that int8 loses much of: the choices that it measured, on a board.

Run `python benchmarks/keeping.py [--shared DIR] [--kept DIR] [--count N] [--board BOARD] [--points P]`. The ResNet-like
network gets channels of uneven ranges: between the layers of each block factors go from one to the other, so that the
float function stays. int8 alone, with equalisation, and with operators in int16 and float32 are compared.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_networks import NETWORKS, Residual, trained

import utvm

CALIBRATION = 200


def uneven(module: Any, most: float) -> Any:
    """Return a network whose channels inside of blocks differ by up to `most`; it computes the same."""
    drawn = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for block in (part for part in module.modules() if isinstance(part, Residual)):
            convolutions = [part for part in block.way.modules() if isinstance(part, torch.nn.Conv2d)]
            norms = [part for part in block.way.modules() if isinstance(part, torch.nn.BatchNorm2d)]
            factors = most ** (torch.rand(convolutions[1].in_channels, generator=drawn) - 0.5)
            norms[0].weight *= factors
            norms[0].bias *= factors
            convolutions[1].weight /= factors[:, None, None]
    return module


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--kept", type=Path, default=Path("build"), help="where trained weights are kept")
    parser.add_argument("--count", type=int, default=500, help="pictures to judge by")
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--points", type=float, default=0.5)
    parser.add_argument("--most", type=float, default=3000.0, help="by how much channels differ at most")
    arguments = parser.parse_args()
    task = NETWORKS["residual"][1](arguments.shared / "data")
    module = uneven(trained("residual", task, arguments.kept), arguments.most)
    samples = task.train[np.random.default_rng(0).permutation(len(task.train))[:CALIBRATION]]
    judged = {"samples": task.test[: arguments.count], "labels": task.test_labels[: arguments.count]}
    example = (torch.tensor(samples[:1]),)
    print("| choice | accuracy in % | points lost | modelled cycles | arena | flash |\n|---|---|---|---|---|---|")
    for name, options in {
        "int8": {},
        "int8, equalised": {"equalize": True},
        "kept": {"keep_accuracy": arguments.points},
    }.items():
        made = utvm.quantize(module, samples, evaluate=judged, example_inputs=example, board=arguments.board, **options)
        found, cost = made.report.judgement, made.report.cost
        assert found.float_accuracy is not None
        assert found.int8_accuracy is not None
        assert cost is not None
        if not made.report.kept:
            lost = 100 * (found.float_accuracy - found.int8_accuracy)
            costs = f"{cost.cycles:,} | {cost.arena_bytes:,} | {cost.flash_bytes:,}"
            print(f"| {name} | {100 * found.int8_accuracy:.2f} | {lost:.2f} | {costs} |", flush=True)
        for choice in made.report.kept:
            taken = ", taken" if choice is made.report.kept[-1] else ""
            assert choice.cost is not None
            costs = f"{choice.cost.cycles:,} | {choice.cost.arena_bytes:,} | {choice.cost.flash_bytes:,}"
            accuracy = 100 * found.float_accuracy - choice.lost
            what = f"{len(choice.wide)} in int16, {len(choice.real)} in float32{taken}"
            print(f"| {what} | {accuracy:.2f} | {choice.lost:.2f} | {costs} |", flush=True)
    print(f"\nTaken in int16: {', '.join(choice.wide) or 'none'}; in float32: {', '.join(choice.real) or 'none'}")


if __name__ == "__main__":
    main()
