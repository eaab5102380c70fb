"""The talk's CIFAR-10 network in float32 through TVM's ONNX frontend: TVM untuned, TVM tuned, µTVM's own kernels.

    python benchmarks/tvm_network.py [--board BOARD] [--trials N]

In an environment with `utvm[tvm,onnx]`. Weights are drawn: cycles don't depend on them. N trials for each function.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tvm.relax.frontend.onnx import from_onnx

import utvm.tvm


def network() -> onnx.ModelProto:
    """Return three 5x5 convolutions with pooling (32, 16, 32 channels) and a matrix product."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def parameters(layer: str, *shapes: tuple[int, ...]) -> list[str]:
        for number, shape in enumerate(shapes):
            array = rng.normal(0, 0.08, shape).astype(np.float32)
            weights.append(numpy_helper.from_array(array, f"{layer}_{number}"))
        return [f"{layer}_{number}" for number in range(len(shapes))]

    last, depth = "x", 3
    for number, channels in enumerate((32, 16, 32)):
        name = f"conv{number}"
        operands = [last, *parameters(name, (channels, depth, 5, 5), (channels,))]
        nodes.append(helper.make_node("Conv", operands, [name], kernel_shape=[5, 5], pads=[2, 2, 2, 2]))
        nodes.append(helper.make_node("Relu", [name], [f"relu{number}"]))
        pooling = {"kernel_shape": [2, 2], "strides": [2, 2]}
        nodes.append(helper.make_node("MaxPool", [f"relu{number}"], [f"pool{number}"], **pooling))
        last, depth = f"pool{number}", channels
    nodes.append(helper.make_node("Flatten", [last], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", *parameters("dense", (10, 512), (10,))], ["y"], transB=1))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 32, 32]), ("y", [1, 10]))]
    graph = helper.make_graph(nodes, "cnn", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model


def run(compiled: utvm.Compiled, image: Any, board: str) -> tuple[Any, int | None]:
    """Return the output and the cycles."""
    with utvm.connect(board) as session:
        result = utvm.Model(session, compiled).run(image)
    (output,) = result.outputs.values()
    return output, result.measurement.cycles


def main() -> None:
    """Print a line for each kind of kernels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--trials", type=int, default=32)
    arguments = parser.parse_args()
    image = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    model = network()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cnn.onnx"
        onnx.save(model, path)
        ours, cycles = run(utvm.compile(path, arguments.board), image, arguments.board)
    print(f"µTVM's kernels: {cycles:,} modelled cycles", flush=True)
    module = from_onnx(model)
    output, cycles = run(utvm.tvm.compile(module, arguments.board, name="cnn"), image, arguments.board)
    print(f"TVM, untuned: {cycles:,} modelled cycles, off by {np.abs(output - ours).max():.1e}", flush=True)
    started = time.perf_counter()
    with utvm.tvm.Boards(arguments.board) as boards:
        tuned, gains = utvm.tvm.tune_module(module, boards, trials=arguments.trials)
    for name, found in gains.items():
        print(f"  {name}: {found}", flush=True)
    output, cycles = run(utvm.tvm.compile(tuned, arguments.board, name="cnn"), image, arguments.board)
    print(
        f"TVM, tuned: {cycles:,} modelled cycles, off by {np.abs(output - ours).max():.1e}; "
        f"{arguments.trials} trials a function, {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
