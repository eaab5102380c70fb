"""Structure-aware mutants of five models: each is our error, or loads and equals tflite-micro where that runs it.

`UTVM_MUTANTS=6000` makes them that many. tflite-micro may end the process: it runs in a child.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import random
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from tests.frontends.mutants import mutated
from tests.operators.test_signal import OPERATORS
from tests.operators.test_signal import drawn as one_signal
from tests.operators.test_weights import computed, open_batch, packed, shifted
from tests.support.cases import drawn
from tests.support.draw import KINDS, graph_with
from tests.support.encoded import MAKERS, encoded
from tests.support.oracle import Oracle
from tests.support.shared import SHARED
from tests.support.streams import lstm, real_svdf, svdf, windowed
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import DepthwiseConv2D, DType, Graph, Tensor
from utvm.graph.reference import evaluate
from utvm.passes import run_passes

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
MUTANTS = int(os.environ.get("UTVM_MUTANTS", "240"))
SEED = int(os.environ.get("UTVM_PROPERTY_SEED", "7"))
SECONDS_EACH = 10.0
MEMORY_GROWTH_KB = 1 << 20


def originals() -> list[bytes]:
    """Files of networks, and of each operator alone."""
    paths = [EXAMPLE]
    if SHARED is not None:
        folder = SHARED / "models" / "mlperf_tiny"
        paths += [folder / f"{name}_int8.tflite" for name in ("kws_dscnn", "sww_conv1d", "ad_autoencoder")]
    return [path.read_bytes() for path in paths]


def alone() -> list[bytes]:
    """Files of one operator each, of all kinds."""
    graphs = [g for kind in KINDS for g in drawn(graph_with(kind, tflite=True), 1 / 4)]
    without_bias = [g for g in graphs if isinstance(g.operators[0], DepthwiseConv2D) and g.operators[0].bias is None]
    files = [write_tflite(graph) for graph in graphs if graph not in without_bias]
    return [*files, *(encoded(kind, 0).model for kind in MAKERS), *with_state(), *of_other_weights(), *signals()]


def with_state() -> list[bytes]:
    """Files of operators and networks that keep state."""
    seeds = [np.random.default_rng(seed) for seed in range(4)]
    return [make(rng) for rng in seeds for make in (svdf, lstm, real_svdf)] + [
        windowed(rng, initial=True) for rng in seeds
    ]


def of_other_weights() -> list[bytes]:
    """Files of weights of 4 bits, with zero points, and computed."""
    kinds = ("Conv2D", "DepthwiseConv2D", "FullyConnected")
    return [packed(kind, 1)[0] for kind in kinds] + [shifted(1)[0], computed(1, DType.INT8)[0], open_batch()]


def signals() -> list[bytes]:
    """Files of signal operators, but for those whose first outputs tflite-micro leaves undefined, and for float32."""
    kinds = [kind for kind in OPERATORS if "float32" not in kind]
    undefined = ("SignalFramer", "SignalStacker", "CIRCULAR_BUFFER")
    return [one_signal(kind, np.random.default_rng(0)).file for kind in kinds if kind not in undefined]


def _interpret(pipe: Connection) -> None:
    """Run what comes through a pipe; answer with the outputs, or None where tflite-micro refuses."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    while True:
        data, inputs = pipe.recv()
        try:
            pipe.send(Oracle(data).run(*inputs))
        except Exception:
            pipe.send(None)


class Interpreter:
    """tflite-micro in a child, which is started anew when a model ends it."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_interpret, args=(theirs,), daemon=True)
        self._child.start()
        theirs.close()

    def run(self, data: bytes, inputs: list[np.ndarray]) -> list[np.ndarray] | None:
        """Return the outputs, None where it refuses the model, hangs or dies of it."""
        try:
            self._pipe.send((data, inputs))
            if self._pipe.poll(60):
                outputs: list[np.ndarray] | None = self._pipe.recv()
                return outputs
        except (EOFError, OSError):
            pass
        self.close()
        self._start()
        return None

    def close(self) -> None:
        self._child.kill()
        self._child.join()


def _values(rng: np.random.Generator, tensor: Tensor) -> np.ndarray:
    if tensor.dtype is DType.BOOL:
        return rng.integers(0, 2, tensor.shape).astype(np.bool_)
    if tensor.dtype is DType.FLOAT32:
        return rng.normal(size=tensor.shape).astype(np.float32)
    return rng.integers(0, 256, tensor.nbytes).astype(np.uint8).view(tensor.dtype.value).reshape(tensor.shape)


def _equal(graph: Graph, inputs: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    got = evaluate(run_passes(graph), inputs)
    return all(
        np.array_equal(got[t.name].reshape(-1), want.reshape(-1)) for t, want in zip(graph.outputs, wanted, strict=True)
    )


def test_mutants_are_refused_or_equal() -> None:
    generator, rng = random.Random(SEED), np.random.default_rng(SEED)
    networks, single = originals(), alone()
    interpreter = Interpreter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = equal = not_run = 0
    wrong: list[str] = []
    for number in range(MUTANTS):
        source = networks[number // 2 % len(networks)] if number % 2 else generator.choice(single)
        data = mutated(generator, source)
        start = time.process_time()
        try:
            graph = load_tflite(data, name="mutant")
        except FrontendError as error:
            refused += bool(error.problems)
            continue
        assert time.process_time() - start < SECONDS_EACH, f"mutant {number} of seed {SEED}"
        inputs = [_values(rng, tensor) for tensor in graph.inputs]
        outputs = interpreter.run(data, inputs)
        if outputs is None:
            not_run += 1
        elif _equal(graph, inputs, outputs):
            equal += 1
        else:
            wrong.append(f"mutant {number}:\n{graph}")
    interpreter.close()
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{MUTANTS} mutants: {refused} refused, {equal} equal, {not_run} that tflite-micro does not run")
    assert not wrong, f"{len(wrong)} differ, the first:\n" + "\n".join(wrong[:3])
    assert growth < MEMORY_GROWTH_KB
    assert refused > MUTANTS // 4
    assert equal > MUTANTS // 10
