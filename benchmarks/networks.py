"""Instructions, RAM and flash of whole networks on emulated boards; exact, and the same every time.

    python benchmarks/networks.py [--boards a,b] [--json FILE] [MODEL ...]

Without MODEL: the example network, and the MLPerf Tiny networks where `../shared/models/mlperf_tiny` has them. Also
measures what a call costs beside the target's own execution (wall time of this machine, the median of many).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

import utvm

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "cifar10" / "cifar10_cnn.tflite"
BOARDS = "qemu-cortex-m3,qemu-cortex-m4,qemu-cortex-m7,qemu-cortex-m33,qemu-cortex-m55,qemu-riscv32"
CALLS = 30


def main() -> None:
    """Print one row a network, board and plan."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL")
    parser.add_argument("--boards", default=BOARDS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    arguments = parser.parse_args()
    models = arguments.models or [EXAMPLE, *sorted((ROOT.parent / "shared/models/mlperf_tiny").glob("*.tflite"))]
    rows = []
    head = f"{'network':<28} {'board':<16} {'plan':<6} {'instructions':>13} {'per MAC':>8} {'arena':>8} {'flash':>8}"
    print(f"{head} {'call':>8}")
    for board in arguments.boards.split(","):
        for model in models:
            for small in (False, True):
                row = measure(model, board, small=small)
                rows.append(row)
                print(
                    f"{row['name']:<28} {board:<16} {row['plan']:<6} {row['instructions']:>13,} "
                    f"{row['instructions'] / row['macs']:>8.3f} {row['arena_bytes']:>8,} {row['flash_bytes']:>8,} "
                    f"{row['call_overhead_ms']:>5.1f} ms",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def measure(model: Path, board: str, *, small: bool) -> dict[str, str | int | float]:
    """Return the row of one network on one board."""
    compiled = utvm.compile(model, board, small=small)
    report = compiled.report()
    inputs = [np.zeros(t.shape, t.dtype.value) for t in compiled.program.graph.inputs]
    with utvm.connect(compiled.board) as session:
        loaded = utvm.Model(session, compiled)
        overheads: list[float] = []
        for _ in range(CALLS):
            start = time.perf_counter()
            result = loaded.run(inputs)
            overheads.append(time.perf_counter() - start - result.measurement.seconds)
    return {
        "name": report.model,
        "board": board,
        "plan": "small" if small else "fast",
        "macs": report.macs,
        "instructions": result.measurement.instructions or 0,
        "arena_bytes": report.arena_bytes,
        "flash_bytes": report.flash_bytes,
        "call_overhead_ms": 1e3 * statistics.median(overheads),
    }


if __name__ == "__main__":
    main()
