"""Random ONNX networks with several outputs: every pass of float networks keeps values, names and number of outputs."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest

from tests.support.onnx_files import node, onnx
from utvm.frontends.onnx import load_onnx
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float

Shape = tuple[int, ...]
KINDS = (
    *("Conv", "Conv", "Transpose", "Transpose", "Flatten", "Reshape", "Add", "MulAdd"),
    *("Concat", "Mean", "Slice", "Split", "Softmax", "Relu", "Gemm", "Identity"),
)


class Drawing:
    """A network while it is drawn: nodes, constants, and the shape of each value."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray[Any, Any]] = {}
        batch = int(self.rng.choice([1, 1, 2]))
        self.x: Shape = (batch, *self.rng.integers(1, 6, self.rng.choice([2, 3, 3])).tolist())
        self.shapes: dict[str, Shape] = {"x": self.x}
        for index in range(int(self.rng.integers(2, 11))):
            self.step(f"v{index}")

    def constant(self, values: Any) -> str:
        """Return the name of a new constant."""
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(values)
        return name

    def floats(self, *shape: int) -> str:
        """Return the name of a new constant of random numbers."""
        return self.constant((self.rng.standard_normal(shape) / np.sqrt(max(prod(shape[1:]), 1))).astype(np.float32))

    def add(self, kind: str, inputs: list[str], y: str, shape: Shape, **attributes: Any) -> None:
        """Append a node."""
        self.nodes.append(node(kind, inputs, [y], **attributes))
        self.shapes[y] = shape

    def step(self, y: str) -> None:
        """Append a node on a value that is there, most often a late one."""
        names = list(self.shapes)
        x = names[int(len(names) * self.rng.random() ** 0.5)]
        s = self.shapes[x]
        rank = len(s)
        axis = int(self.rng.integers(rank))
        perm = self.rng.permutation(rank).tolist()
        kind = str(self.rng.choice(KINDS))
        match kind:
            case "Conv" if rank in (3, 4):
                made = int(self.rng.integers(1, 5))
                weights = self.floats(made, s[1], *[1] * (rank - 2))
                self.add(kind, [x, weights, self.floats(made)], y, (s[0], made, *s[2:]))
            case "Transpose":
                self.add(kind, [x], y, tuple(s[axis] for axis in perm), perm=perm)
            case "Flatten":
                self.add(kind, [x], y, (prod(s[:axis]), prod(s[axis:])), axis=axis)
            case "Reshape":
                shape = [(1, *s), s[::-1], (s[0], 1, prod(s[1:]))][int(self.rng.integers(3))]
                if len(shape) <= 4:
                    self.add(kind, [x, self.constant(np.array(shape))], y, shape)
            case "Add":
                other = str(self.rng.choice([name for name, shape in self.shapes.items() if shape == s]))
                self.add(kind, [x, other], y, s)
            case "MulAdd":
                row = [s[d] if d == axis else 1 for d in range(int(self.rng.integers(axis + 1)), rank)]
                self.add("Mul", [x, self.floats(*row)], f"{y}m", s)
                self.add("Add", [self.floats(*row), f"{y}m"], y, s)
            case "Concat":
                self.add(kind, [x, self.floats(*s), x], y, (*s[:axis], 3 * s[axis], *s[axis + 1 :]), axis=axis)
            case "Mean" if rank > 2:
                kept = int(self.rng.integers(2))
                shape = (*s[:axis], *[1] * kept, *s[axis + 1 :])
                self.add("ReduceMean", [x], y, shape, axes=[axis], keepdims=kept)
            case "Slice" if s[axis] > 1:
                bounds = [self.constant(np.array([v])) for v in (1, s[axis], axis)]
                self.add(kind, [x, *bounds], y, (*s[:axis], s[axis] - 1, *s[axis + 1 :]))
            case "Split" if s[axis] % 2 == 0:
                self.shapes[f"{y}b"] = self.shapes[y] = (*s[:axis], s[axis] // 2, *s[axis + 1 :])
                self.nodes.append(node(kind, [x], [y, f"{y}b"], axis=axis))
            case "Softmax":
                self.add(kind, [x], y, s, axis=axis)
            case "Gemm" if rank == 2:
                self.add(kind, [x, self.floats(3, s[1]), self.floats(3)], y, (s[0], 3), transB=1)
            case "Relu" | "Identity":
                self.add(kind, [x], y, s)

    def model(self) -> Any:
        """Return the model: what nothing reads is an output, and some other values are."""
        value, read = onnx.helper.make_tensor_value_info, {name for made in self.nodes for name in made.input}
        ends = [name for name in self.shapes if name != "x" and (name not in read or self.rng.random() < 0.2)]
        outputs = [value(str(name), onnx.TensorProto.FLOAT, None) for name in self.rng.permutation(ends)]
        inputs = [value("x", onnx.TensorProto.FLOAT, list(self.x))]
        constants = [onnx.numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = onnx.helper.make_graph(self.nodes, "drawn", inputs, outputs, constants)
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


@pytest.mark.parametrize("first", range(0, 240, 60))
def test_passes_keep_values_and_outputs(first: int) -> None:
    from onnx.reference import ReferenceEvaluator

    for seed in range(first, first + 60):
        drawn = Drawing(seed)
        made = drawn.model()
        if not made.graph.output:
            continue
        x = drawn.rng.standard_normal(drawn.x).astype(np.float32)
        wanted = dict(
            zip((o.name for o in made.graph.output), ReferenceEvaluator(made).run(None, {"x": x}), strict=True)
        )
        graph = load_onnx(made.SerializeToString(), name="drawn")
        prepared = prepare_float(graph)
        moved = x.transpose(prepared.inputs["x"]) if "x" in prepared.inputs else x
        for found, given, orders in ((graph, x, {}), (prepared.graph, moved, prepared.outputs)):
            results = evaluate(found, [given])
            assert list(results) == list(wanted), seed
            for name, value in wanted.items():
                turned = value.transpose(orders[name]) if name in orders else value
                np.testing.assert_allclose(results[name], turned, rtol=1e-3, atol=1e-4, err_msg=f"{seed} {name}")
