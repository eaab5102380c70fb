"""TFLite_Detection_PostProcess: detections of drawn boxes against tflite-micro's interpreter, and on three cores."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import tflite
from flatbuffers import flexbuffers

import utvm
from tests.support.host import run_on_host, run_sanitized
from tests.support.oracle import Oracle
from tests.support.target import run_programs
from utvm.cores import get_core
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded
from utvm.graph import DType, Graph, Quantization, Tensor
from utvm.graph.reference import evaluate
from utvm.lowering import lower
from utvm.passes import run_passes

Array = np.ndarray[Any, Any]
OPTIONS = {
    "max_detections": 7,
    "max_classes_per_detection": 1,
    "detections_per_class": 5,
    "use_regular_nms": False,
    "nms_score_threshold": 0.1,
    "nms_iou_threshold": 0.5,
    "num_classes": 3,
    "y_scale": 10.0,
    "x_scale": 10.0,
    "h_scale": 5.0,
    "w_scale": 5.0,
}


def written(options: dict[str, Any] | bytes, boxes: int, columns: int, dtype: DType = DType.FLOAT32) -> bytes:
    """The file of one operator."""
    rng = np.random.default_rng(boxes)
    quant = Quantization.per_tensor(0.05, 3) if dtype is DType.INT8 else None
    x = Tensor(name="x", shape=(1, boxes, 4), dtype=dtype, quant=quant)
    scores = Tensor(name="scores", shape=(1, boxes, columns), dtype=dtype, quant=quant)
    places = rng.uniform(0, 1, (boxes, 4)).astype(np.float32) * np.float32([1, 1, 0.5, 0.5]) + np.float32(0.05)
    anchors = Tensor(name="anchors", shape=places.shape, dtype=DType.FLOAT32, data=places)
    most = options["max_detections"] if isinstance(options, dict) else 7
    ys = [
        Tensor(name=name, shape=shape, dtype=DType.FLOAT32)
        for name, shape in (("boxes", (1, most, 4)), ("classes", (1, most)), ("best", (1, most)), ("number", (1,)))
    ]
    op = EncodedOperator(
        code=tflite.BuiltinOperator.CUSTOM,
        version=1,
        inputs=(x, scores, anchors),
        outputs=tuple(ys),
        custom="TFLite_Detection_PostProcess",
        custom_options=options if isinstance(options, bytes) else bytes(flexbuffers.Dumps(options)),
    )
    return write_encoded("detection", [x, scores], ys, [op])


Case = tuple[bytes, Graph, list[Array]]


@lru_cache(maxsize=1)
def drawn() -> list[Case]:
    """Fast and by class, with and without a background, many equal scores, few and many boxes."""
    rng = np.random.default_rng(3)
    found = []
    for index in range(16):
        boxes, count = int(rng.choice([1, 6, 30, 77])), int(rng.integers(1, 5))
        options = {
            **OPTIONS,
            "num_classes": count,
            "use_regular_nms": index % 2 == 1,
            "max_detections": int(rng.choice([1, 5, 20])),
            "nms_iou_threshold": float(rng.choice([0.2, 0.6, 1.0])),
            "nms_score_threshold": float(rng.choice([1e-8, 0.4, 0.99])),
        }
        if index % 3 == 0:
            del options["detections_per_class"]
        columns = count + int(rng.integers(0, 2))
        scores = rng.uniform(0, 1, (1, boxes, columns))
        if index % 4 < 2:
            scores = np.round(scores * 4) / 4
        given = [rng.normal(0, 3, (1, boxes, 4)).astype(np.float32), scores.astype(np.float32)]
        file = written(options, boxes, columns)
        found.append((file, load_tflite(file), given))
    return found


def test_detections_are_those_of_tflite_micro() -> None:
    several = 0
    for file, graph, given in drawn():
        got, wanted = list(evaluate(graph, given).values()), Oracle(file).run(*given)
        number = int(wanted[3].reshape(-1)[0])
        several += number > 1
        assert got[3][0] == number
        np.testing.assert_allclose(got[0][0, :number], wanted[0].reshape(-1, 4)[:number], rtol=2e-6, atol=1e-6)
        for place in (1, 2):
            np.testing.assert_array_equal(got[place][0, :number], wanted[place].reshape(-1)[:number])
            assert not got[place][0, number:].any()
    assert several > 5


def same(cases: list[Case], outputs: list[Any]) -> None:
    for (_, graph, given), got in zip(cases, outputs, strict=True):
        for value, want in zip(got, evaluate(graph, given).values(), strict=True):
            assert np.array_equal(value.view(np.uint8), want.view(np.uint8))


def test_kernels_here() -> None:
    cases = drawn()
    programs = [lower(run_passes(graph), get_core("cortex-m3")) for _, graph, _ in cases]
    same(cases, run_on_host(programs, [given for _, _, given in cases]))
    same(cases[:6], run_sanitized(programs[:6], [given for _, _, given in cases[:6]], "gcc"))


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m0", "qemu-riscv32"])
def test_kernels_on_a_core(board: str) -> None:
    cases = drawn()[:6]
    with utvm.connect(board) as session:
        programs = [lower(run_passes(graph), session.board.core) for _, graph, _ in cases]
        same(cases, run_programs(session, programs, [given for _, _, given in cases]))


def test_int8_is_dequantised_before() -> None:
    graph = load_tflite(written(OPTIONS, 20, 3, DType.INT8))
    rng = np.random.default_rng(5)
    given = [rng.integers(-128, 128, t.shape).astype(np.int8) for t in graph.inputs]
    real = [((x.astype(np.float32) - 3) * np.float32(0.05)).astype(np.float32) for x in given]
    want = evaluate(load_tflite(written(OPTIONS, 20, 3)), real)
    for value, other in zip(evaluate(graph, given).values(), want.values(), strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"max_detections": None}, "max_detections"),
        ({"num_classes": 9}, "not of 9 classes"),
        ({"num_classes": -1}, "num_classes"),
        ({"nms_iou_threshold": 0.0}, "overlap"),
        ({"nms_iou_threshold": float("nan")}, "nms_iou_threshold"),
        ({"y_scale": 0.0}, "scales"),
        ({"max_classes_per_detection": 2}, "several classes"),
        ({"detections_per_class": 1 << 40}, "detections_per_class"),
    ],
)
def test_options_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    options = {name: value for name, value in {**OPTIONS, **changed}.items() if value is not None}
    file = written(bytes(flexbuffers.Dumps(options)), 20, 3)
    with pytest.raises(FrontendError, match=message):
        load_tflite(file)


def test_damaged_options_are_refused() -> None:
    whole = bytes(flexbuffers.Dumps(OPTIONS))
    rng = np.random.default_rng(9)
    for _ in range(150):
        damaged = bytearray(whole[: int(rng.integers(0, len(whole) + 1))])
        for _ in range(int(rng.integers(0, 4))):
            if damaged:
                damaged[int(rng.integers(len(damaged)))] = int(rng.integers(256))
        try:
            load_tflite(written(bytes(damaged), 20, 3))
        except FrontendError:
            continue
