"""Drawn layers are many, named apart, repeatable, and their outputs are not saturated."""

import numpy as np

from utvm.bench.drawn import drawn_layers
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input

DISTINCT = 8


def test_layers_are_many_and_come_again_by_their_seed() -> None:
    names = [layer.name for layer in drawn_layers(3)]
    assert len(names) >= 120
    assert len(set(names)) == len(names)
    assert [layer.name for layer in drawn_layers(3)] == names
    assert {layer.kind for layer in drawn_layers(3)} >= {
        "pointwise",
        "conv",
        "groups",
        "depthwise",
        "connected",
        "move",
    }
    assert [layer.name for layer in drawn_layers(4)] != names


def test_outputs_of_layers_are_not_saturated() -> None:
    few = []
    layers = [layer for layer in drawn_layers() if max(t.elements for t in layer.graph.outputs) > 4 * DISTINCT]
    for layer in layers:
        inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(layer.graph.inputs)}
        if min(len(np.unique(value)) for value in evaluate(layer.graph, inputs).values()) <= DISTINCT:
            few.append(layer.name)
    assert len(few) <= len(layers) // 10, few
