"""The awkward MobileNetV2 is what it says."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from mobilenet_v2 import mobilenet_v2

from utvm.frontends.tflite import load_tflite
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import Conv2D, DepthwiseConv2D
from utvm.graph.arithmetic import channel_requantization
from utvm.graph.cost import macs


def test_the_network_is_of_the_size_of_the_paper_and_awkward() -> None:
    graph = load_tflite(write_tflite(mobilenet_v2()), name="mobilenet_v2")
    assert macs(graph) == 300_774_272
    weighted = [op for op in graph.operators if isinstance(op, Conv2D | DepthwiseConv2D)]
    assert len(weighted) == 52
    assert all(op.y.zero_point != -128 for op in weighted)
    clamped = [op.clamp for op in weighted if op.clamp != (-128, 127)]
    assert len(clamped) == 35
    assert all(high < 127 for _, high in clamped)
    tables = [channel_requantization(op) for op in weighted]
    large = sum(int((table.shift >= -1).sum()) for table in tables)
    channels = sum(op.y.shape[3] for op in weighted)
    assert channels / 110 < large < channels / 90
