"""Run small inputs that once failed, and print what comes of each: `python benchmarks/cases.py DIRECTORY`.

Model files are compiled for an emulated board, run there on seeded inputs and compared with tflite-micro's interpreter;
errors are printed as a user reads them. Whatever is no model is given to a model as its input.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np

import utvm
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.graph import Graph, SpaceToBatch, Tensor
from utvm.graph.reference import evaluate

BOARD = "qemu-cortex-m7"
_INTERPRETER = """
import sys, numpy as np
from tflite_micro import runtime
data = open(sys.argv[1], "rb").read()
interpreter = runtime.Interpreter.from_bytes(data, arena_size=10 * len(data) + (1 << 20))
inputs = np.load(sys.argv[2])
for index, name in enumerate(inputs.files):
    interpreter.set_input(inputs[name], index)
interpreter.invoke()
np.savez(sys.argv[3], *[interpreter.get_output(index) for index in range(int(sys.argv[4]))])
"""
"""In a process of its own: what it does not check ends it."""


def main() -> int:
    """Print one line for each file of a directory."""
    directory = Path(sys.argv[1])
    for path in sorted(directory.iterdir()):
        if path.suffix not in (".md", ""):
            print(f"{path.name:32} {outcome(path)}", flush=True)
    return 0


def outcome(path: Path) -> str:
    """Return what comes of a file, in one line."""
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            text = _run(path)
        except UtvmError as error:
            text = "refused: " + " ".join(str(error).split())
    return "; ".join([text, *(f"warning: {each.message}" for each in noted)])


def _run(path: Path) -> str:
    graph = load(path)
    rng = np.random.default_rng(1)
    inputs = [_values(rng, tensor) for tensor in graph.inputs]
    compiled = utvm.compile(path, BOARD)
    with utvm.connect(BOARD) as session:
        got = utvm.Model(session, compiled).run(inputs).outputs
    wanted = evaluate(graph, inputs)
    if any(not np.array_equal(got[name], value) for name, value in wanted.items()):
        return f"WRONG on {BOARD}"
    return f"runs on {BOARD}, {_against_interpreter(path, graph, inputs, list(wanted.values()))}"


def _values(rng: np.random.Generator, tensor: Tensor) -> np.ndarray:
    if tensor.dtype.value == "float32":
        return rng.normal(size=tensor.shape).astype(np.float32)
    return rng.integers(0, 256, tensor.shape).astype(np.uint8).view(tensor.dtype.value)


def _against_interpreter(path: Path, graph: Graph, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> str:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(given, *inputs)
        command = [sys.executable, "-c", _INTERPRETER, str(path), str(given), str(made), str(len(graph.outputs))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if ".cc:" in line), "it ended")
            return f"which tflite-micro does not run ({reason.strip()})"
        with np.load(made) as archive:
            theirs = [archive[name] for name in archive.files]
    if any(isinstance(op, SpaceToBatch) and op.padding.any for op in graph.operators):
        return "whose padding of SPACE_TO_BATCH_ND tflite-micro leaves undefined"
    same = all(np.array_equal(a.reshape(-1), b.reshape(-1)) for a, b in zip(theirs, outputs, strict=True))
    return "equal to tflite-micro" if same else "NOT equal to tflite-micro"


if __name__ == "__main__":
    raise SystemExit(main())
