"""Drawn layers are many, named apart, repeatable, and their outputs are not saturated."""

from dataclasses import replace

import numpy as np

from utvm import api
from utvm.bench import measure_cmsis_nn
from utvm.bench.drawn import drawn_layers
from utvm.graph import FullyConnected, Graph, Operator, Quantization
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


def test_cmsis_nn_computes_what_it_can_not_do_at_once() -> None:
    graphs = [layer.graph for layer in drawn_layers() if layer.kind == "groups"][:2]
    pooled = [layer.graph.operators[0] for layer in drawn_layers() if layer.kind in ("pool", "pooling")]
    graphs += [_alone(_batched(op)) for op in pooled[:2]]
    dense = next(layer.graph.operators[0] for layer in drawn_layers() if layer.kind == "connected")
    assert isinstance(dense, FullyConnected)
    scales = tuple(dense.weights.scale * (1 + channel / 100) for channel in range(dense.weights.shape[0]))
    per_channel = Quantization(scale=scales, zero_point=(0,) * len(scales), axis=0)
    graphs.append(_alone(replace(dense, weights=replace(dense.weights, quant=per_channel))))
    with api.connect("qemu-cortex-m4") as session:
        for graph in graphs:
            inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
            found = measure_cmsis_nn(session, graph, inputs)
            assert found.exact
            assert not found.leaves_out


def _batched(op: Operator) -> Operator:
    """Return a pooling operator for two images."""
    (x,), (y,) = op.inputs, op.outputs
    return op.with_tensors({t: replace(t, shape=(2, *t.shape[1:])) for t in (x, y)})


def _alone(op: Operator) -> Graph:
    return Graph(name="layer", operators=(op,), inputs=op.activations, outputs=op.outputs)
