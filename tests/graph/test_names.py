"""Names of any length and alphabet: each once, and the same after a file was written and read."""

from __future__ import annotations

from itertools import pairwise

import pytest

from utvm.frontends import load_tflite
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import DType, Graph, Quantization, Relu, Tensor
from utvm.graph.names import Names, printable


@pytest.mark.parametrize("letter", ["x", "ü", "😀", "\n", "\ud800"])
@pytest.mark.parametrize("length", [1, 60, 119, 239, 241, 256, 5000])
def test_names_are_those_of_the_file(letter: str, length: int) -> None:
    names, units = Names(), Quantization.per_tensor(0.1)
    made = [names.fresh(printable(letter * length) + end) for end in ("", "/relu/y", "", "", "/relu/y")]
    assert len(set(made)) == len(made)
    tensors = [Tensor(name=name, shape=(1, 4), dtype=DType.INT8, quant=units) for name in made]
    operators = tuple(Relu(name=f"r{i}", x=x, y=y) for i, (x, y) in enumerate(pairwise(tensors)))
    graph = Graph(name="g", inputs=(tensors[0],), outputs=(tensors[-1],), operators=operators)
    assert [t.name for t in load_tflite(write_tflite(graph)).tensors] == made
