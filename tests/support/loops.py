"""Loops of .tflite files as converters write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.support.streams import CODES, activation, constant, encoded
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import Subgraph, write_subgraphs
from utvm.graph import DType, Quantization, Tensor

_TANH = Quantization.per_tensor(1 / 128)
_GATES = Quantization.per_tensor(1 / 32)


def number(name: str) -> Tensor:
    """Return a tensor of one int32."""
    return activation(name, dtype=DType.INT32, quant=None)


def copy_of(tensor: Tensor, name: str, *shape: int) -> Tensor:
    """Return a tensor like another, perhaps of another shape."""
    return activation(name, *(shape or tensor.shape), dtype=tensor.dtype, quant=tensor.quant)


def counted(limit: int, given: Sequence[Tensor], name: str = "asks") -> Subgraph:
    """Return a condition: whether the first number is below a limit."""
    inputs = [copy_of(t, f"{name}/{t.name}") for t in given]
    again = activation(f"{name}/again", dtype=DType.BOOL, quant=None)
    less = encoded(CODES.LESS, [inputs[0], constant(f"{name}/limit", limit)], [again], "LessOptions")
    return Subgraph(name=name, inputs=inputs, outputs=[again], operators=[less])


class Recurrent:
    """A recurrent layer as converters write it: h = tanh(Wx x[i] + Wh h + b), and perhaps a list of all h."""

    def __init__(self, rng: np.random.Generator, *, real: bool, listed: bool, steps: int | None = None) -> None:
        self.steps, self.width, self.depth = int(rng.integers(1, 7)), int(rng.integers(1, 9)), int(rng.integers(1, 9))
        self.steps = steps or self.steps
        self.real, self.listed = real, listed
        dtype, quants = (DType.FLOAT32, (None,) * 3) if real else (DType.INT8, (_TANH, _GATES, _TANH))
        self.weights = [
            rng.normal(size=(self.width, n)).astype(np.float32) / 2
            if real
            else rng.integers(-127, 128, (self.width, n)).astype(np.int8)
            for n in (self.depth, self.width)
        ]
        named = [
            constant(f"w{i}", w, None if real else Quantization.per_tensor(1 / 256), dtype)
            for i, w in enumerate(self.weights)
        ]
        bias = rng.normal(size=self.width).astype(np.float32) if real else rng.integers(-2000, 2000, self.width)
        self.bias = bias
        scale = None if real else Quantization.per_tensor(1 / 128 / 256)
        offset = constant("bias", bias, scale, DType.FLOAT32 if real else DType.INT32)

        x = activation("x", self.steps, 1, self.depth, dtype=dtype, quant=quants[0])
        zero = constant("zero", np.zeros((1, self.width)), quants[2], dtype)
        empty = constant("empty", np.zeros((self.steps, 1, self.width)), quants[2], dtype)
        given = [constant("start", 0), zero, x] + ([empty] if listed else [])
        body = self._body(given, named, offset, quants[1])
        left = [copy_of(t, f"left/{t.name}") for t in given]
        loop = encoded(CODES.WHILE, given, left, "WhileOptions", CondSubgraphIndex=1, BodySubgraphIndex=2)
        main = Subgraph(name="main", inputs=[x], outputs=[left[3] if listed else left[1]], operators=[loop])
        self.model = write_subgraphs([main, counted(self.steps, given), body])
        size = (self.steps, 1, self.depth)
        self.x = rng.normal(size=size).astype(np.float32) if real else rng.integers(-128, 128, size).astype(np.int8)

    def _body(
        self, given: Sequence[Tensor], named: Sequence[Tensor], bias: Tensor, gates: Quantization | None
    ) -> Subgraph:
        i, h, x, *lists = (copy_of(t, f"body/{t.name}") for t in given)
        step = copy_of(x, "body/step", 1, self.depth)
        a, b, s = (activation(f"body/{n}", 1, self.width, dtype=x.dtype, quant=gates) for n in "abs")
        new, later = copy_of(h, "body/new"), number("body/later")
        operators = [
            encoded(CODES.ADD, [i, constant("one", 1)], [later], "AddOptions"),
            encoded(CODES.GATHER, [x, i], [step], "GatherOptions"),
            encoded(CODES.FULLY_CONNECTED, [step, named[0], bias], [a], "FullyConnectedOptions"),
            encoded(CODES.FULLY_CONNECTED, [h, named[1], None], [b], "FullyConnectedOptions"),
            encoded(CODES.ADD, [a, b], [s], "AddOptions"),
            encoded(CODES.TANH, [s], [new]),
        ]
        more = [self._listed(lists[0], i, later, new, operators)] if lists else []
        return Subgraph(
            name="body",
            inputs=[i, h, x, *lists],
            outputs=[later, new, x, *more],
            operators=operators,
            opened=[t for op in operators for t in op.outputs if "open" in t.name],
        )

    def _listed(self, kept: Tensor, i: Tensor, later: Tensor, new: Tensor, operators: list[EncodedOperator]) -> Tensor:
        """Write the operators of a list's item: what is before it, the item, and what is behind it."""
        pairs = [(i, "from"), (later, "to")]
        one, zeros = constant("shape", [1]), constant("zeros", [0, 0])
        vectors = [activation(f"body/{n}", 1, dtype=DType.INT32, quant=None) for _, n in pairs]
        sizes = activation("body/sizes", 3, dtype=DType.INT32, quant=None)
        begin = activation("body/begin", 3, dtype=DType.INT32, quant=None)
        parts = [copy_of(kept, f"body/open/{n}", 1, 1, self.width) for n in ("before", "behind")]
        item, joined = copy_of(kept, "body/item", 1, 1, self.width), copy_of(kept, "body/joined")
        operators += [
            *(encoded(CODES.RESHAPE, [t, one], [v]) for (t, _), v in zip(pairs, vectors, strict=True)),
            encoded(CODES.CONCATENATION, [vectors[0], constant("whole", [-1, -1])], [sizes], "ConcatenationOptions"),
            encoded(CODES.CONCATENATION, [vectors[1], zeros], [begin], "ConcatenationOptions"),
            encoded(CODES.SLICE, [kept, constant("origin", [0, 0, 0]), sizes], [parts[0]], "SliceOptions"),
            encoded(CODES.SLICE, [kept, begin, constant("rest", [-1, -1, -1])], [parts[1]], "SliceOptions"),
            encoded(CODES.RESHAPE, [new, constant("item", [1, 1, self.width])], [item]),
            encoded(CODES.CONCATENATION, [parts[0], item, parts[1]], [joined], "ConcatenationOptions"),
        ]
        return joined

    @property
    def states(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """All h of the float network, [T,1,H]."""
        h, every = np.zeros((1, self.width)), []
        for step in self.x.astype(np.float64):
            h = np.tanh(step @ self.weights[0].T + h @ self.weights[1].T + self.bias)
            every.append(h)
        return np.stack(every)
