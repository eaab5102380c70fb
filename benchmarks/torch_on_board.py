"""Trained PyTorch networks on an emulated board: module to class in ten lines each, and how often int8 agrees.

Run `python benchmarks/torch_on_board.py [--shared DIR] [--kept DIR] [--board NAME] [--count N] [NAME ...]`. Networks
are those of `benchmarks/torch_networks.py`; they are trained first where DIR has no weights of theirs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch_networks import NETWORKS, Task, scores, trained

import utvm


def row(name: str, module: torch.nn.Module, task: Task, board: str, count: int) -> str:
    """Run `count` samples; the ten lines that a user writes are those up to the loop's end."""
    samples = task.train[np.random.default_rng(0).permutation(len(task.train))[:200]]
    compiled = utvm.compile(module, board, data=samples, example_inputs=(torch.tensor(samples[:1]),))
    (x,) = compiled.program.graph.inputs
    named, cycles = [], 0
    with utvm.connect(board) as session:
        model = utvm.Model(session, compiled)
        for sample in task.test[:count]:
            image = sample if sample.shape == x.shape[1:] else np.moveaxis(sample, 0, -1)
            result = model.run(image[None])
            named.append(int(next(iter(result.outputs.values())).argmax()))
            cycles = result.measurement.cycles or 0
    labels, wanted = task.test_labels[:count], scores(module, task.test[:count]).argmax(axis=1)
    right, kept, same = (np.equal(*pair).sum() for pair in ((named, labels), (wanted, labels), (named, wanted)))
    sizes = f"{compiled.image.flash_bytes:,} | {compiled.program.arena_bytes:,}"
    return f"| {name} | {count} | {kept} | {right} | {same} | {cycles:,} | {sizes} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--kept", type=Path, default=Path("build"), help="where trained weights are kept")
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--count", type=int, default=40, help="samples of each network")
    parser.add_argument("names", nargs="*", help="networks; all if none")
    arguments = parser.parse_args()
    arguments.kept.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    print(
        "| network | samples | right in float | right on the board | the same class | modelled cycles | flash | "
        "arena |\n|---|---|---|---|---|---|---|---|"
    )
    for name, (_, data, _) in NETWORKS.items():
        if not arguments.names or name in arguments.names:
            task = data(arguments.shared / "data")
            print(row(name, trained(name, task, arguments.kept), task, arguments.board, arguments.count), flush=True)


if __name__ == "__main__":
    main()
