"""Estimates of operators without micro-kernels, beside their emulated runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import utvm
from utvm.graph import DType
from utvm.tuning import NO_RECORDS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import estimates


@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
def test_estimates_are_near_the_run(dtype: DType) -> None:
    graph = estimates.Every(dtype, 8, 8, 8).graph()
    costs = {op.name: op.cycles for op in utvm.cost(graph, "qemu-cortex-m7", records=NO_RECORDS).operators}
    report, _ = utvm.profile(graph, "qemu-cortex-m7", records=NO_RECORDS)
    runs = {op.name: op.cycles for op in report.operators}
    assert len(runs) > 35
    for name, run in runs.items():
        cost = costs[name]
        assert cost is not None
        assert run is not None
        assert run / 3 < cost < run * 3, name
