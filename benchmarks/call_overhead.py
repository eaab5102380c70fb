"""What a call on an open session costs the host beside the target's own execution: the median of many runs.

    python benchmarks/call_overhead.py [--boards a,b] [MODEL ...]

Without MODEL: the example network. Writing inputs, counting, modelling cycles and reading outputs are part of it; wall
time of this machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

import utvm

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "cifar10" / "cifar10_cnn.tflite"
BOARDS = "qemu-cortex-m3,qemu-cortex-m4,qemu-cortex-m7,qemu-cortex-m33,qemu-cortex-m55,qemu-riscv32"
CALLS = 30


def main() -> None:
    """Print one row a network and board."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL", default=[EXAMPLE])
    parser.add_argument("--boards", default=BOARDS)
    arguments = parser.parse_args()
    for board in arguments.boards.split(","):
        for model in arguments.models:
            print(f"{model.stem:<28} {board:<16} {overhead(model, board):>5.1f} ms", flush=True)


def overhead(model: Path, board: str) -> float:
    """Return the milliseconds of a run of a network that its execution on the board does not take."""
    compiled = utvm.compile(model, board)
    inputs = [np.zeros(t.shape, t.dtype.value) for t in compiled.program.graph.inputs]
    with utvm.connect(compiled.board) as session:
        loaded = utvm.Model(session, compiled)
        found: list[float] = []
        for _ in range(CALLS):
            start = time.perf_counter()
            result = loaded.run(inputs)
            found.append(time.perf_counter() - start - result.measurement.seconds)
    return 1e3 * statistics.median(found)


if __name__ == "__main__":
    main()
