"""Train an LSTM and an SVDF network on spoken words, and compare a board's accuracy with tflite-micro's.

Usage: python benchmarks/recurrent.py KWS.npz [--count 100] [--board qemu-cortex-m7] [--write DIR]

Of the words four in five train, in numpy. The others are classified by the int8 network on the board, each as a
sequence from its start, and by tflite-micro's interpreter. The LSTM gets a word at once, the SVDF network one frame
after the other.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray
from tflite_micro import runtime

import utvm
from utvm.frontends import load_tflite
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import Subgraph, write_subgraphs
from utvm.graph import DType, Quantization, Tensor

Array = NDArray[Any]
Weights = dict[str, Array]
CODES = tflite.BuiltinOperator
FRAMES, BANDS, CLASSES = 49, 10, 12
LSTM_UNITS, SVDF_UNITS = 32, 64
INPUT_SCALE, INPUT_ZERO = 1 / 16, 82
_RATE, _BATCH = 4e-3, 40


def main() -> int:
    """Print one line for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    data = np.load(arguments.data)
    words, labels = data["features"].reshape(-1, FRAMES, BANDS), data["labels"].astype(np.int64)
    cut = len(words) * 4 // 5
    for name, train, write in (("lstm", train_lstm, write_lstm), ("svdf", train_svdf, write_svdf)):
        weights = train(_real(words[:cut]), labels[:cut], arguments.epochs)
        model = write(weights, words[:cut])
        if arguments.write is not None:
            (arguments.write / f"{name}.tflite").write_bytes(model)
        tested = words[cut : cut + arguments.count], labels[cut : cut + arguments.count]
        print(compare(name, model, *tested, board=arguments.board), flush=True)
    return 0


def compare(name: str, model: bytes, words: Array, labels: Array, *, board: str) -> str:
    """Return a line: accuracies, and of how many runs all outputs are equal."""
    graph = load_tflite(model, name=name)
    shape = graph.inputs[0].shape
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=10 * len(model) + (1 << 20))
    ours, theirs, equal, runs, cycles = 0, 0, 0, 0, 0
    with utvm.connect(board) as session:
        loaded = utvm.Model(session, utvm.compile(graph, board))
        for word, label in zip(words, labels, strict=True):
            loaded.reset()
            interpreter.reset()
            for frame in word.reshape(-1, *shape):
                result = loaded.run(frame)
                interpreter.set_input(frame, 0)
                interpreter.invoke()
                got, wanted = next(iter(result.outputs.values())), np.array(interpreter.get_output(0))
                runs, equal = runs + 1, equal + bool((got.reshape(-1) == wanted.reshape(-1)).all())
                cycles = result.measurement.cycles or 0
            ours += int(got.argmax() == label)
            theirs += int(wanted.argmax() == label)
    return (
        f"{name}: {ours} of {len(labels)} words right on {board}, {theirs} by tflite-micro; {equal} of {runs} runs "
        f"have equal outputs; {cycles:,} modelled cycles a run, {len(model):,} bytes"
    )


def _real(words: Array) -> Array:
    """Return the real values of words, of about one standard deviation around 0."""
    return (words.astype(np.float64) - INPUT_ZERO) * INPUT_SCALE


# Training


def _trained(
    weights: Weights, step: Callable[[Weights, Array, Array], Weights], x: Array, labels: Array, epochs: int
) -> Weights:
    """Return weights after Adam; `step` gives gradients of a batch."""
    rng = np.random.default_rng(0)
    first = {key: np.zeros_like(value) for key, value in weights.items()}
    second = {key: np.zeros_like(value) for key, value in weights.items()}
    turn = 0
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(x)), len(x) // _BATCH):
            turn += 1
            noisy = x[batch] + rng.normal(0, 0.1, x[batch].shape)
            for key, gradient in step(weights, noisy, labels[batch]).items():
                first[key] = 0.9 * first[key] + 0.1 * gradient
                second[key] = 0.999 * second[key] + 0.001 * gradient**2
                rate = _RATE * np.sqrt(1 - 0.999**turn) / (1 - 0.9**turn)
                weights[key] = weights[key] - rate * first[key] / (np.sqrt(second[key]) + 1e-8)
    return weights


def _classified(weights: Weights, features: Array, labels: Array) -> tuple[Array, Weights]:
    """Return the gradient of the features, and those of the last layer, of a softmax's cross entropy."""
    logits = features @ weights["out"].T + weights["out_bias"]
    share = np.exp(logits - logits.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    share[np.arange(len(labels)), labels] -= 1
    share /= len(labels)
    return share @ weights["out"], {"out": share.T @ features, "out_bias": share.sum(0)}


def train_lstm(x: Array, labels: Array, epochs: int) -> Weights:
    """Return an LSTM's weights: gates in TFLite's order, one below the other."""
    rng = np.random.default_rng(1)
    units = LSTM_UNITS
    weights = {
        "x": rng.normal(0, 0.2, (4 * units, BANDS)),
        "h": rng.normal(0, 0.15, (4 * units, units)),
        "b": np.repeat([0.0, 1.0, 0.0, 0.0], units),
        "out": rng.normal(0, 0.2, (CLASSES, units)),
        "out_bias": np.zeros(CLASSES),
    }
    return _trained(weights, _lstm_step, x, labels, epochs)


def _lstm_step(weights: Weights, x: Array, labels: Array) -> Weights:
    h, c = np.zeros((len(x), LSTM_UNITS)), np.zeros((len(x), LSTM_UNITS))
    kept = []
    for t in range(FRAMES):
        sums = np.split(x[:, t] @ weights["x"].T + h @ weights["h"].T + weights["b"], 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-sums[k])) for k in (0, 1, 3))
        g = np.tanh(sums[2])
        kept.append((x[:, t], h, c, i, f, g, o))
        c = f * c + i * g
        h = o * np.tanh(c)
    dh, found = _classified(weights, h, labels)
    dc = np.zeros_like(dh)
    found |= {key: np.zeros_like(weights[key]) for key in ("x", "h", "b")}
    for given, before, held, i, f, g, o in reversed(kept):
        bent = np.tanh(f * held + i * g)
        dc = dc + dh * o * (1 - bent**2)
        parts = (dc * g * i * (1 - i), dc * held * f * (1 - f), dc * i * (1 - g**2), dh * bent * o * (1 - o))
        sums = np.concatenate(parts, axis=1)
        found["x"] += sums.T @ given
        found["h"] += sums.T @ before
        found["b"] += sums.sum(0)
        dh, dc = sums @ weights["h"], dc * f
    norm = np.sqrt(sum((value**2).sum() for value in found.values()))
    return {key: value * min(1.0, 2.0 / norm) for key, value in found.items()}


def train_svdf(x: Array, labels: Array, epochs: int) -> Weights:
    """Return the weights of an SVDF over all frames, of rank 1, and a layer behind it."""
    rng = np.random.default_rng(2)
    weights = {
        "feature": rng.normal(0, 0.3, (SVDF_UNITS, BANDS)),
        "time": rng.normal(0, 0.15, (SVDF_UNITS, FRAMES)),
        "bias": np.zeros(SVDF_UNITS),
        "out": rng.normal(0, 0.15, (CLASSES, SVDF_UNITS)),
        "out_bias": np.zeros(CLASSES),
    }
    return _trained(weights, _svdf_step, x, labels, epochs)


def _svdf_step(weights: Weights, x: Array, labels: Array) -> Weights:
    projected = x @ weights["feature"].T
    total = np.einsum("ntu,ut->nu", projected, weights["time"]) + weights["bias"]
    d, found = _classified(weights, np.maximum(total, 0), labels)
    d = d * (total > 0)
    spread = np.einsum("nu,ut->ntu", d, weights["time"])
    return found | {
        "bias": d.sum(0),
        "time": np.einsum("nu,ntu->ut", d, projected),
        "feature": np.einsum("ntu,ntb->ub", spread, x),
    }


# Files


def _quantised(name: str, values: Array, dtype: DType = DType.INT8) -> Tensor:
    """Return symmetric weights of one scale."""
    most = np.iinfo(dtype.value).max
    scale = float(np.float32(np.abs(values).max() / most))
    data = np.clip(np.round(values / scale), -most, most).astype(dtype.value)
    return Tensor(name=name, shape=data.shape, dtype=dtype, quant=Quantization.per_tensor(scale), data=data)


def _bias(name: str, values: Array, scale: float) -> Tensor:
    data = np.round(values / scale).astype(np.int32)
    return Tensor(name=name, shape=data.shape, dtype=DType.INT32, quant=Quantization.per_tensor(scale), data=data)


def _activation(name: str, shape: tuple[int, ...], scale: float, zero: int = 0, dtype: DType = DType.INT8) -> Tensor:
    return Tensor(name=name, shape=shape, dtype=dtype, quant=Quantization.per_tensor(scale, zero))


def _operator(code: int, inputs: list[Tensor | None], y: Tensor, options: str | None, **fields: Any) -> EncodedOperator:
    return EncodedOperator(code=code, version=1, inputs=tuple(inputs), outputs=(y,), options=options, fields=fields)


def _layer(weights: Weights, x: Tensor, y: Tensor) -> EncodedOperator:
    out = _quantised("out", weights["out"])
    bias = _bias("out_bias", weights["out_bias"], x.scale * out.scale)
    return _operator(CODES.FULLY_CONNECTED, [x, out, bias], y, "FullyConnectedOptions")


def write_lstm(weights: Weights, words: Array) -> bytes:
    """Return the LSTM's file: [1,49,10] to [1,12]."""
    units = LSTM_UNITS
    x = _activation("x", (1, FRAMES, BANDS), INPUT_SCALE, INPUT_ZERO)
    hidden = _activation("hidden", (1, units), 1 / 128)
    cell = _activation("cell", (1, units), 2.0**-10, dtype=DType.INT16)
    y = _activation("y", (1, FRAMES, units), 1 / 128)
    last = _activation("last", (1, units), 1 / 128)
    logits = _activation("logits", (1, CLASSES), 0.0625)
    names = ("input", "forget", "cell", "output")
    own, back = np.split(weights["x"], 4), np.split(weights["h"], 4)
    given = [_quantised(f"x_{name}", part) for name, part in zip(names, own, strict=True)]
    recurrent = [_quantised(f"h_{name}", part) for name, part in zip(names, back, strict=True)]
    parts = np.split(weights["b"], 4)
    biases = [_bias(f"b_{n}", b, x.scale * w.scale) for n, b, w in zip(names, parts, given, strict=True)]
    inputs = [x, *given, *recurrent, None, None, None, *biases, None, None, hidden, cell, None, None, None, None]
    bounds = [
        Tensor(name=f"bound{k}", shape=(3,), dtype=DType.INT32, data=np.array(values, np.int32))
        for k, values in enumerate(([0, FRAMES - 1, 0], [0, FRAMES, 0], [1, 1, 1]))
    ]
    operators = [
        _operator(
            CODES.UNIDIRECTIONAL_SEQUENCE_LSTM, inputs, y, "UnidirectionalSequenceLSTMOptions",
            FusedActivationFunction=tflite.ActivationFunctionType.TANH, CellClip=0.0, TimeMajor=False,
        ),
        _operator(
            CODES.STRIDED_SLICE, [y, *bounds], last, "StridedSliceOptions", BeginMask=5, EndMask=5, ShrinkAxisMask=2
        ),
        _layer(weights, last, logits),
    ]  # fmt: skip
    del words
    return write_subgraphs(
        [Subgraph(name="lstm", inputs=[x], outputs=[logits], operators=operators, variables=[hidden, cell])]
    )


def write_svdf(weights: Weights, words: Array) -> bytes:
    """Return the SVDF network's file: a frame [1,10] to [1,12]; ranges are those of the words."""
    projected = _real(words) @ weights["feature"].T
    total = np.einsum("ntu,ut->nu", projected, weights["time"]) + weights["bias"]
    x = _activation("x", (1, BANDS), INPUT_SCALE, INPUT_ZERO)
    feature, time = _quantised("feature", weights["feature"]), _quantised("time", weights["time"], DType.INT16)
    kept = float(np.float32(np.abs(projected).max() / 32767))
    state = _activation("state", (1, SVDF_UNITS * FRAMES), kept, dtype=DType.INT16)
    bias = _bias("bias", weights["bias"], kept * time.scale)
    y = _activation("y", (1, SVDF_UNITS), float(np.float32(total.max() / 255)), -128)
    logits = _activation("logits", (1, CLASSES), 0.4)
    operators = [
        _operator(
            CODES.SVDF, [x, feature, time, bias, state], y, "SVDFOptions", Rank=1,
            FusedActivationFunction=tflite.ActivationFunctionType.RELU,
        ),
        _layer(weights, y, logits),
    ]  # fmt: skip
    return write_subgraphs(
        [Subgraph(name="svdf", inputs=[x], outputs=[logits], operators=operators, variables=[state])]
    )


if __name__ == "__main__":
    raise SystemExit(main())
