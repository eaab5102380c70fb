"""The MLPerf Tiny models: the same bits after all passes, and what is saved."""

from __future__ import annotations

import pytest

from tests.passes.build import assert_same, kinds
from tests.support.shared import shared
from utvm.frontends import load_tflite
from utvm.graph import Conv2D, DepthwiseConv2D, Graph
from utvm.graph.cost import macs
from utvm.passes import drop_dead_channels, run_passes

# model: multiply-accumulates before and after
MODELS = {
    "ad_autoencoder": (264_192, 264_192),
    "ic_resnet8": (12_501_632, 12_501_632),
    "kws_dscnn": (2_656_768, 2_656_768),
    "sww_conv1d": (826_368, 826_368),
    "vww_mobilenetv1_025_96": (7_489_664, 3_733_073),
}


def load(name: str) -> Graph:
    return load_tflite(shared(f"models/mlperf_tiny/{name}_int8.tflite"))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_keeps_its_bits_and_loses_work(name: str) -> None:
    before = load(name)
    after = run_passes(before)
    assert (macs(before), macs(after)) == MODELS[name]
    assert_same(before, after, runs=20)
    assert "Reshape" not in kinds(after)


def test_half_of_visual_wake_words_is_dead() -> None:
    before = load("vww_mobilenetv1_025_96")
    after = drop_dead_channels(before)
    widths = [op.outputs[0].shape[-1] for op in after.operators if isinstance(op, Conv2D)]
    assert widths == [8, 16, 32, 32, 64, 60, 106, 57, 30, 19, 17, 27, 31, 22]
    for op in after.operators:
        if isinstance(op, Conv2D):
            assert op.weights.values.any(axis=(1, 2, 3)).all()
        elif isinstance(op, DepthwiseConv2D):
            assert op.weights.values.any(axis=(0, 1, 2)).all()
    constants = [sum(t.nbytes for t in graph.tensors if t.is_constant) for graph in (before, after)]
    assert constants == [219_064, 33_374]
