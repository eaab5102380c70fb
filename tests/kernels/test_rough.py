"""Estimates of operators without micro-kernels, beside their emulated runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import utvm
from utvm.graph import DType, Graph, Quantization, Quantize, Tensor
from utvm.tuning import NO_RECORDS

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import estimates


@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
def test_estimates_are_near_the_run(dtype: DType) -> None:
    check(estimates.Every(dtype, 8, 8, 8).graph(), least=36)


def test_conversions_to_int16_and_back_are_near_the_run() -> None:
    x, wide, y = (
        Tensor(name=name, shape=(1, 8, 8, 8), dtype=dtype, quant=Quantization(scale=(scale,), zero_point=(zero,)))
        for name, dtype, scale, zero in (
            ("x", DType.INT8, 0.11, -128),
            ("wide", DType.INT16, 0.0007, 0),
            ("y", DType.INT8, 0.09, 5),
        )
    )
    up, down = Quantize(name="up", x=x, y=wide), Quantize(name="down", x=wide, y=y)
    check(Graph(name="conversions", operators=(up, down), inputs=(x,), outputs=(y,)), least=2)


def check(graph: Graph, *, least: int) -> None:
    costs = {op.name: op.cycles for op in utvm.cost(graph, "qemu-cortex-m7", records=NO_RECORDS).operators}
    report, _ = utvm.profile(graph, "qemu-cortex-m7", records=NO_RECORDS)
    runs = {op.name: op.cycles for op in report.operators}
    assert len(runs) >= least
    for name, run in runs.items():
        cost = costs[name]
        assert cost is not None
        assert run is not None
        assert run / 3 < cost < run * 3, name
