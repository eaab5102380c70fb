"""How many of the onnx package's own node tests are imported with the right values, by operator.

Run `python benchmarks/onnx_conformance.py`; it writes the table of docs/onnx-conformance.md to standard output. The
first input of a node stays an input; the others, as weights and shapes are in networks, become constants of the test's
values. Operators outside of the table are not read, nor are types other than float32.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from utvm.errors import UtvmError
from utvm.frontends.onnx import CONVERTERS, load_onnx
from utvm.graph.reference import evaluate


def outcome(model: onnx.ModelProto, arrays: list[Any], wanted: list[Any]) -> tuple[str, bool | None]:
    """Return a test's operator and whether it passes; None where it is about something else than float networks."""
    kind = model.graph.node[0].op_type
    if len(model.graph.node) != 1 or kind not in CONVERTERS or not arrays:
        return kind, None
    first = arrays[0]
    if not all(isinstance(a, np.ndarray) for a in (first, *wanted)) or first.dtype != np.float32:
        return kind, None
    if any(a.dtype != (np.int64 if kind in ("ArgMax", "ArgMin") else np.float32) for a in wanted):
        return kind, None
    if min(first.shape, default=0) < 1 or not all(isinstance(a, np.ndarray) for a in arrays):
        return kind, None
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for value, given in list(zip(model.graph.input, arrays, strict=True))[1:]:
        changed.graph.initializer.append(numpy_helper.from_array(given, value.name))
    del changed.graph.input[1:]
    try:
        graph = load_onnx(changed.SerializeToString(), name="node")
        results = list(evaluate(graph, [first]).values())
    except UtvmError:
        return kind, False
    close = [
        a.shape == b.shape and np.allclose(a, b, rtol=1e-3, atol=1e-5) for a, b in zip(results, wanted, strict=True)
    ]
    return kind, all(close)


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    passed: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for case in collect_testcases(None):
        kind, good = outcome(case.model, *case.data_sets[0])
        if good is not None:
            tried[kind] += 1
            passed[kind] += good
    print(f"# Node tests of onnx {onnx.__version__}\n")
    print("Made by `python benchmarks/onnx_conformance.py`, which says what counts.\n")
    print(f"{sum(passed.values())} of {sum(tried.values())} pass.\n")
    print("| operator | passed | of |\n|---|---|---|")
    for kind in sorted(tried):
        print(f"| {kind} | {passed[kind]} | {tried[kind]} |")


if __name__ == "__main__":
    main()
