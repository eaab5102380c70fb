"""Loops that are written out: steps share scales, weights and biases, and are one choice of `--keep-accuracy`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

import utvm
from tests.support.onnx_files import model, node
from tests.support.oracle import Oracle
from utvm.frontends.inputs import quantised_values
from utvm.frontends.onnx import load_onnx
from utvm.graph import Add, Concatenation, DType, FullyConnected, Graph, Quantize
from utvm.graph.reference import evaluate
from utvm.passes import prepare_float, run_passes
from utvm.quantization import Dataset
from utvm.quantization.keeping import keep_accuracy
from utvm.quantization.noise import by_noise
from utvm.quantization.together import chosen_together

STEPS, DEPTH, WIDTH = 12, 5, 8
SAMPLES = np.random.default_rng(1).normal(size=(40, STEPS, DEPTH)).astype(np.float32)


def recurrent(kind: str, every: list[str] | None = None, *, last: bool = False) -> Graph:
    """Return a layer over time, whose last state makes scores; with `every` all states by that name, or their last."""
    gates, rng = {"LSTM": 4, "GRU": 3}[kind], np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(1, gates * WIDTH, DEPTH)).astype(np.float32) / 2,
        "r": rng.normal(size=(1, gates * WIDTH, WIDTH)).astype(np.float32) / 3,
        "f": rng.normal(size=(4, WIDTH)).astype(np.float32),
        "turn": np.array([STEPS, 1, DEPTH], np.int64),
        "flat": np.array([1, WIDTH], np.int64),
    }
    if every is not None:
        constants |= {"end": np.array(STEPS - 1, np.int64)}
        nodes = [
            node("Reshape", ["x", "turn"], ["steps"]),
            node(kind, ["steps", "w", "r"], every, hidden_size=WIDTH),
            *([node("Gather", ["all", "end"], ["y"], axis=0)] if last else []),
        ]
        return load_onnx(model(nodes, (1, STEPS, DEPTH), constants).SerializeToString(), name=kind.lower())
    nodes = [
        node("Reshape", ["x", "turn"], ["steps"]),
        node(kind, ["steps", "w", "r"], ["", "last"], hidden_size=WIDTH),
        node("Reshape", ["last", "flat"], ["h"]),
        node("Gemm", ["h", "f"], ["y"], transB=1),
    ]
    return load_onnx(model(nodes, (1, STEPS, DEPTH), constants).SerializeToString(), name=kind.lower())


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_steps_share_scales_weights_and_biases(kind: str) -> None:
    made = utvm.quantize(recurrent(kind), SAMPLES)
    layers = [op for op in made.graph.operators if isinstance(op, FullyConnected)]
    assert len({op.weights for op in layers}) == len({op.bias for op in layers}) <= 4
    # The cell state of an LSTM is int16: what goes into its sum, and what is read of it, converts once a step.
    converted = [op.y.dtype for op in made.graph.operators if isinstance(op, Quantize)]
    sums = [op for op in made.graph.operators if isinstance(op, Add) and op.y.dtype is DType.INT16]
    assert (len(sums), converted.count(DType.INT16), converted.count(DType.INT8)) == {
        "LSTM": (STEPS, 2 * STEPS, STEPS),
        "GRU": (0, 0, 0),
    }[kind]
    units: dict[str, Counter[object]] = {}
    for op in made.graph.operators:
        units.setdefault(op.kind, Counter())[tuple((t.shape, t.quant) for t in (*op.inputs, *op.outputs))] += 1
    # The first step, whose state is 0, may have forms of its own.
    for each in ("Add", "Mul", "Tanh", "Logistic"):
        assert len(units[each]) <= 5
    assert made.report.judgement.snr > 25
    oracle = Oracle(made.file)
    given = quantised_values(SAMPLES[:1], made.graph.inputs[0])
    np.testing.assert_array_equal(evaluate(made.graph, [given])["y"], oracle.run(given)[0])


@pytest.mark.parametrize("last", [False, True])
def test_states_of_many_steps(last: bool) -> None:
    """Tflite-micro joins ten parts at most; who reads the last step alone joins none."""
    net = recurrent("GRU", ["y"] if not last else ["all"], last=last)
    made = utvm.quantize(net, SAMPLES)
    joins = [len(op.xs) for op in made.graph.operators if isinstance(op, Concatenation)]
    assert joins == ([] if last else [10, 2, 2])
    given = quantised_values(SAMPLES[:1], made.graph.inputs[0])
    (wanted,) = evaluate(made.graph, [given]).values()
    np.testing.assert_array_equal(wanted, Oracle(made.file).run(given)[0])
    passed = run_passes(made.graph)
    assert [len(op.xs) for op in passed.operators if isinstance(op, Concatenation)] == ([] if last else [STEPS])
    np.testing.assert_array_equal(wanted, next(iter(evaluate(passed, [given]).values())))


def test_steps_are_one_choice() -> None:
    graph = prepare_float(recurrent("LSTM")).graph
    operators = [op for op in graph.operators if op.kind in ("FullyConnected", "Add", "Mul", "Tanh", "Logistic")]
    together = chosen_together(graph, operators)
    assert sum(map(len, together)) == len(operators) > 8 * STEPS
    assert len(together) < 20
    assert max(map(len, together)) >= STEPS - 1


def test_noise_of_many_choices_takes_a_bounded_number_of_runs() -> None:
    """Two of 150 choices are noisy: halving finds them."""
    graph = prepare_float(recurrent("GRU")).graph
    choices = [(op,) for op in graph.operators][:150]
    assert len(choices) == 150
    noisy = [choices[41], choices[3]]
    loud: list[float] = []

    def make(types: Mapping[str, DType]) -> Graph:
        loud.append(sum(2.0 - i for i, (op,) in enumerate(noisy) if op.name not in types))
        return graph

    data = Dataset(inputs={"x": SAMPLES[:1]})
    real = evaluate(graph, [SAMPLES[:1]])["y"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utvm.quantization.noise.quantised_inputs", lambda *_: data.inputs)
        patch.setattr("utvm.quantization.noise.real_values", lambda values, tensor: real + loud[-1])
        order = by_noise(graph, make, choices, data, lambda text: None)
    assert sorted(op.name for (op,) in order) == sorted(op.name for (op,) in choices)
    assert order[:2] == noisy
    assert len(loud) <= 64


def test_a_search_ends() -> None:
    """No choice keeps accuracy but all of some 30 in float32: the search is bounded, and finds that."""
    graph = prepare_float(recurrent("LSTM")).graph
    tried: list[int] = []

    def make(types: Mapping[str, DType]) -> Graph:
        tried.append(sum(dtype is DType.FLOAT32 for dtype in types.values()))
        return graph

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("utvm.quantization.keeping.lost_points", lambda *_: 0.0 if tried[-1] > 9 * STEPS else 5.0)
        patch.setattr("utvm.quantization.keeping.by_noise", lambda graph, make, choices, *_: choices)
        choices = keep_accuracy(graph, make, Dataset(inputs={"x": SAMPLES}), 1.0, None, lambda text: None)
    assert choices[-1].lost == 0
    assert len(choices) <= 147
