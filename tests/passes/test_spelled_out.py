"""GELU and hard-swish in other operators become one; what is only nearly one of them stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.onnx_files import model, node
from utvm.frontends.onnx import load_onnx
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float

NUMBERS = {"root": 2**0.5, "half": 0.5, "one": 1.0, "three": 3.0, "six": 6.0, "zero": 0.0, "cube": 0.044715}
NUMBERS |= {"slope": (2 / np.pi) ** 0.5, "nearly": 2.9, "sixth": 1 / 6}
ERF = [
    node("Div", ["x", "root"], ["a"]),
    node("Erf", ["a"], ["b"]),
    node("Add", ["b", "one"], ["c"]),
    node("Mul", ["x", "c"], ["d"]),
    node("Mul", ["d", "half"], ["y"]),
]
TANH = [
    *(node("Mul", ["x", "x"], ["a"]), node("Mul", ["a", "x"], ["b"]), node("Mul", ["cube", "b"], ["c"])),
    *(node("Add", ["x", "c"], ["d"]), node("Mul", ["d", "slope"], ["e"]), node("Tanh", ["e"], ["f"])),
    *(node("Add", ["f", "one"], ["g"]), node("Mul", ["x", "half"], ["h"]), node("Mul", ["h", "g"], ["y"])),
]


def hard(offset: str, *, scaled: bool) -> list[Any]:
    """Return x * clip(x + offset, 0, 6) / 6, the division before or behind the product."""
    clip = [node("Add", ["x", offset], ["a"]), node("Clip", ["a", "zero", "six"], ["b"])]
    if scaled:
        return [*clip, node("Mul", ["b", "sixth"], ["c"]), node("Mul", ["c", "x"], ["y"])]
    return [*clip, node("Mul", ["x", "b"], ["c"]), node("Div", ["c", "six"], ["y"])]


def prepared(nodes: list[Any], shape: tuple[int, ...]) -> tuple[list[str], float]:
    """Return the operators behind the passes of float networks, and by how much the result differs then."""
    constants = {name: np.float32(value) for name, value in NUMBERS.items()}
    graph = load_onnx(model(nodes, shape, constants).SerializeToString(), name="net")
    after = prepare_float(graph).graph
    x = np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)
    first, second = (next(iter(evaluate(each, [x]).values())) for each in (graph, after))
    return [op.kind for op in after.operators], float(np.abs(first - second).max())


@pytest.mark.parametrize("shape", [(1, 5), (2, 3, 4)])
@pytest.mark.parametrize(
    ("nodes", "kind"),
    [
        (ERF, "GeluTanh"),
        (TANH, "GeluTanh"),
        (hard("three", scaled=False), "HardSwish"),
        (hard("three", scaled=True), "HardSwish"),
    ],
    ids=["erf", "tanh", "divided", "scaled"],
)
def test_one_operator_stands_for_several(nodes: list[Any], kind: str, shape: tuple[int, ...]) -> None:
    kinds, apart = prepared(nodes, shape)
    assert kinds == [kind]
    assert apart < 1e-5


def test_another_function_stays() -> None:
    for nodes in (hard("nearly", scaled=True), [*ERF[:-1], node("Mul", ["d", "sixth"], ["y"])]):
        kinds, apart = prepared(nodes, (1, 5))
        assert len(kinds) > 3
        assert apart < 1e-5


def test_what_others_read_stays() -> None:
    named = [node(each.op_type, list(each.input), [{"y": "g"}.get(each.output[0], each.output[0])]) for each in ERF]
    kinds, apart = prepared([*named, node("Add", ["b", "g"], ["y"])], (1, 5))
    assert "GeluTanh" in kinds
    assert "Tanh" in kinds
    assert apart < 1e-5
