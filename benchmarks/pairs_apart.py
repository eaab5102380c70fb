"""How far an int8 network is from its pairs in real numbers: each operator alone, the whole, chains with random steps.

Run `python benchmarks/pairs_apart.py [--shared DIR] [--kept DIR] [--count N]`. PyTorch's pt2e quantises the
MobileNetV2-like network. Each operator reads the integers that µTVM made, and is compared with what its pairs say of
them. Then the pairs run as a chain of their own, and once more with steps of +1 or -1 at random places, on as large a
share of each operator's results as differs: no arithmetic, only how a network carries single steps on.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from quantisers import CALIBRATION, pt2e_program
from torch_networks import NETWORKS, trained

import utvm
from utvm.graph import DType, Graph, Operator, Tensor
from utvm.graph.reference import evaluate
from utvm.graph.reference.evaluation import evaluate_operator

Values = dict[Tensor, NDArray[np.int64]]


def real(tensor: Tensor) -> Tensor:
    """Return a tensor with real numbers in place of stored ones."""
    data = None if tensor.data is None or tensor.quant is None else tensor.quant.real(tensor.values).astype(np.float32)
    return dataclasses.replace(tensor, dtype=DType.FLOAT32, quant=None, data=data)


def by_pairs(op: Operator, values: Mapping[Tensor, NDArray[Any]]) -> NDArray[np.int64]:
    """Return the stored result that an operator's pairs say, from stored operands."""
    (y,) = op.outputs
    tensors = {t: real(t) for t in (*op.inputs, y)}
    operands = [
        tensors[t].values if t.is_constant or t.quant is None else t.quant.real(values[t]).astype(np.float32)
        for t in op.inputs
    ]
    (result,) = evaluate_operator(op.with_tensors(tensors), operands, rough=True)
    low, high = getattr(op, "clamp", (-128, 127))
    return np.clip(np.rint(result.astype(np.float64) / y.scale) + y.zero_point, low, high).astype(np.int64)


def chained(graph: Graph, x: NDArray[Any], shares: Mapping[str, float], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the outputs of the pairs, with steps on a share of each operator's results."""
    values: dict[Tensor, NDArray[Any]] = {graph.inputs[0]: x}
    for op in graph.operators:
        (y,) = op.outputs
        made = by_pairs(op, values)
        moved = rng.choice((-1, 1), made.shape) * (rng.random(made.shape) < shares.get(op.name, 0.0))
        values[y] = np.clip(made + moved, *getattr(op, "clamp", (-128, 127)))
    return values[graph.outputs[0]]


def main() -> None:
    """Print what was found."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[2] / "shared")
    parser.add_argument("--kept", type=Path, default=Path("build"), help="where trained weights are kept")
    parser.add_argument("--count", type=int, default=100, help="pictures")
    arguments = parser.parse_args()
    task = NETWORKS["mobile"][1](arguments.shared / "data")
    module = trained("mobile", task, arguments.kept)
    samples = task.train[np.random.default_rng(0).permutation(len(task.train))[:CALIBRATION]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.pt2"
        torch.export.save(pt2e_program(module, samples)[1], path)
        graph = utvm.load(path)
    (port,), (y,) = graph.inputs, graph.outputs
    pictures = np.moveaxis(task.test[: arguments.count], 1, -1)
    stored = np.clip(np.rint(pictures / port.scale) + port.zero_point, -128, 127).astype(np.int8)
    most: dict[str, int] = {}
    differing: dict[str, float] = {}
    ours = []
    for x in stored:
        named = evaluate(graph, {port.name: x[None]}, keep=True)
        values = {t: named[t.name] for t in graph.tensors if not t.is_constant}
        ours.append(values[y])
        for op in graph.operators:
            apart = np.abs(by_pairs(op, values) - values[op.outputs[0]])
            most[op.name] = max(most.get(op.name, 0), int(apart.max()))
            differing[op.name] = differing.get(op.name, 0.0) + float((apart > 0).mean()) / len(stored)
    print("| operator | apart at most | share that differs |\n|---|---|---|")
    for op in graph.operators:
        print(f"| {op.kind} {op.name} | {most[op.name]} | {100 * differing[op.name]:.2f} % |")
    rng = np.random.default_rng(0)
    exact = [chained(graph, x[None], {}, rng) for x in stored]
    drawn = [chained(graph, x[None], differing, rng) for x in stored]
    for what, other in {"µTVM": ours, "steps at random": drawn}.items():
        distance = np.abs(np.array(other).astype(np.int64) - np.array(exact))
        print(f"{what}: outputs {distance.max()} apart at most, {distance.mean():.2f} in the mean")


if __name__ == "__main__":
    main()
