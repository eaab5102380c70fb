"""The talk's CIFAR-10 network through TVM's ONNX frontend: TVM untuned, TVM tuned here, µTVM's own kernels (`offload`).

    python benchmarks/tvm_network.py [--int8] [--board BOARD] [--trials N]
    python benchmarks/tvm_network.py --roundings N [--board BOARD]

In an environment with `utvm[tvm,onnx]`. Weights are drawn: cycles don't depend on them. N trials for each function.
With --int8 the file has pairs of QuantizeLinear and DequantizeLinear. --roundings runs the int8 network on N inputs:
TVM's outputs are held against ONNX's reference, which computes in float, and µTVM's against its own, in integers.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tvm.relax.frontend.onnx import from_onnx

import utvm.tvm
from utvm.graph.reference import evaluate


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


class Pairs:
    """Nodes of a network whose values go through QuantizeLinear and DequantizeLinear."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: Any) -> str:
        """Return the name of a constant."""
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def paired(self, name: str, scale: float, zero: int) -> str:
        """Return the name of a value that went through a pair."""
        units = self.constant(f"{name}_scale", np.float32(scale)), self.constant(f"{name}_zero", np.int8(zero))
        self.nodes.append(helper.make_node("QuantizeLinear", [name, *units], [f"{name}_stored"]))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}_stored", *units], [f"{name}_real"]))
        return f"{name}_real"

    def parameters(self, name: str, values: Any, scale: Any) -> str:
        """Return the name of stored parameters as real numbers, by channel where there are several scales."""
        zero = np.zeros(np.shape(scale), values.dtype)
        units = self.constant(f"{name}_scale", np.float32(scale)), self.constant(f"{name}_zero", zero)
        by = {"axis": 0} if np.ndim(scale) else {}
        node = helper.make_node("DequantizeLinear", [self.constant(name, values), *units], [f"{name}_real"], **by)
        self.nodes.append(node)
        return f"{name}_real"


def int8_network() -> onnx.ModelProto:
    """Return the same network in int8, as quantisers of ONNX write it."""
    rng, made = np.random.default_rng(0), Pairs()
    scale, depth = 1 / 64, 3
    last = made.paired("x", scale, 0)
    for number, channels in enumerate((32, 16, 32)):
        of_weights = (rng.uniform(0.5, 1, channels) / (127 * np.sqrt(depth * 25) / 2)).astype(np.float32)
        weights = rng.integers(-127, 128, (channels, depth, 5, 5), np.int8)
        bias = rng.integers(-2000, 2000, channels, np.int32)
        operands = [
            last,
            made.parameters(f"w{number}", weights, of_weights),
            made.parameters(f"b{number}", bias, of_weights * np.float32(scale)),
        ]
        made.nodes.append(helper.make_node("Conv", operands, [f"conv{number}"], kernel_shape=[5, 5], pads=[2, 2, 2, 2]))
        made.nodes.append(helper.make_node("Relu", [f"conv{number}"], [f"relu{number}"]))
        scale = 1 / 32 if number == 0 else 1 / 16
        pooling = {"kernel_shape": [2, 2], "strides": [2, 2]}
        last = made.paired(f"relu{number}", scale, -128)
        made.nodes.append(helper.make_node("MaxPool", [last], [f"pool{number}"], **pooling))
        last, depth = made.paired(f"pool{number}", scale, -128), channels
    made.nodes.append(helper.make_node("Flatten", [last], ["flat"]))
    operands = [
        made.paired("flat", scale, -128),
        made.parameters("wd", rng.integers(-127, 128, (10, 512), np.int8), np.float32(0.001)),
        made.parameters("bd", rng.integers(-2000, 2000, 10, np.int32), np.float32(0.001) * np.float32(scale)),
    ]
    made.nodes.append(helper.make_node("Gemm", operands, ["scores"], transB=1))
    made.nodes.append(helper.make_node("Identity", [made.paired("scores", 1 / 8, 0)], ["y"]))
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, 3, 32, 32]), ("y", [1, 10]))]
    graph = helper.make_graph(made.nodes, "cnn", ends[:1], ends[1:], made.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    return model


def run(compiled: utvm.Compiled, image: Any, board: str) -> tuple[Any, int | None]:
    """Return the output and the cycles."""
    with utvm.connect(board) as session:
        result = utvm.Model(session, compiled).run(image)
    (output,) = result.outputs.values()
    return output, result.measurement.cycles


def run_exported(module: Any, image: Any, arena: int, board: str) -> Any:
    """Return the output of the C library with our kernels, built and run on the board."""
    files = utvm.tvm.export(module, board, name="cnn", offload=True)
    program = utvm.build_c(board, files, entry="cnn_run", flags=["-std=c11", "-Wall", "-Wextra", "-Werror"])
    with utvm.connect(board) as session:
        session.load(program)
        arrays = [image, np.zeros((1, 10), np.float32), np.zeros(arena, np.uint8), arena]
        return session.measure("cnn_run", arrays).outputs[1]


def roundings(board: str, inputs: int) -> None:
    """Print for each drawn input whose reference each output equals, and where the two differ."""
    model = int8_network()
    module, reference = from_onnx(model), onnx.ModelProto()
    reference.CopyFrom(model)
    reference.opset_import[0].version = 19  # the first of which onnx has DequantizeLinear
    in_float = ReferenceEvaluator(reference)
    theirs, ours = (utvm.tvm.compile(module, board, name="cnn", offload=offload) for offload in (False, True))
    graph = ours.program.graph
    for seed in range(1, inputs + 1):
        image = drawn(seed)
        (wanted,) = in_float.run(None, {"x": image})
        (in_integers,) = (evaluate(graph, {graph.inputs[0].name: image})[tensor.name] for tensor in graph.outputs)
        outputs = run(theirs, image, board)[0], run(ours, image, board)[0]
        steps = np.rint((outputs[1] - outputs[0]) * 8).astype(int)
        print(
            f"input {seed}: TVM's {_equal(outputs[0], wanted)} the float reference, "
            f"µTVM's {_equal(outputs[1], in_integers)} the integer one; steps between them: {steps.ravel().tolist()}",
            flush=True,
        )


def drawn(seed: int) -> Any:
    """Return an image."""
    return np.random.default_rng(seed).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)


def _equal(found: Any, wanted: Any) -> str:
    return "equals" if np.array_equal(found, wanted.reshape(found.shape)) else "DIFFERS FROM"


def main() -> None:
    """Print a line for each kind of kernels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--roundings", type=int, metavar="N")
    arguments = parser.parse_args()
    board, image = arguments.board, drawn(1)
    if arguments.roundings:
        roundings(board, arguments.roundings)
        return
    module = from_onnx(int8_network() if arguments.int8 else network())
    compiled = utvm.tvm.compile(module, board, name="cnn", offload=True)
    ours, cycles = run(compiled, image, board)
    print(f"µTVM's kernels: {cycles:,} modelled cycles", flush=True)
    exported = run_exported(module, image, compiled.program.arena_bytes, board)
    print(f"  exported, built and run: {'equal' if np.array_equal(exported, ours) else 'NOT EQUAL'}", flush=True)
    output, cycles = run(utvm.tvm.compile(module, board, name="cnn"), image, board)
    print(f"TVM, untuned: {cycles:,} modelled cycles, off by {np.abs(output - ours).max():.1e}", flush=True)
    for part in utvm.tvm.gains(module, board).parts:
        print(f"  {part}", flush=True)
    started = time.perf_counter()
    with utvm.tvm.Boards(board) as boards:
        tuned, gains = utvm.tvm.tune_module(module, boards, trials=arguments.trials)
    for name, found in gains.items():
        print(f"  {name}: {found}", flush=True)
    output, cycles = run(utvm.tvm.compile(tuned, board, name="cnn"), image, board)
    print(
        f"TVM, tuned: {cycles:,} modelled cycles, off by {np.abs(output - ours).max():.1e}; "
        f"{arguments.trials} trials a function, {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
