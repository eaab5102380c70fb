"""Whole networks on every emulated board, bit for bit against tflite-micro's interpreter."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import utvm
from tests.support.oracle import Oracle
from tests.support.shared import shared
from utvm.frontends import load, q7_input
from utvm.toolchain import MemoryOverflowError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"
MLPERF_TINY = (
    "ad_autoencoder_int8",
    "ic_resnet8_int8",
    "kws_dscnn_int8",
    "sww_conv1d_int8",
    "vww_mobilenetv1_025_96_int8",
)
MODELS = ("cifar10_cnn", *MLPERF_TINY)
BOARDS = ("qemu-cortex-m3", "qemu-cortex-m4", "qemu-cortex-m7", "qemu-cortex-m33", "qemu-cortex-m55", "qemu-riscv32")
RANDOM_INPUTS = 20


def model_path(name: str) -> Path:
    return EXAMPLE if name == EXAMPLE.stem else shared(f"models/mlperf_tiny/{name}.tflite")


@cache
def expected(name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs (seeded random ones, and the real ones that there are) and what the interpreter makes of them."""
    oracle = Oracle(model_path(name).read_bytes())
    shape = load(model_path(name)).inputs[0].shape
    generator = np.random.default_rng(20191205)
    inputs = [generator.integers(-128, 128, shape).astype(np.int8) for _ in range(RANDOM_INPUTS)]
    inputs += real_inputs(name)
    return inputs, [oracle.run(x)[0] for x in inputs]


def real_inputs(name: str) -> list[np.ndarray]:
    try:
        if name == "cifar10_cnn":
            return [(x.astype(np.int16) - 128).astype(np.int8)[None] for x in cifar_images(5)]
        if name == "kws_dscnn_int8":
            return list(np.load(shared("data/kws/test_500.npz"))["features"][:5, None])
    except pytest.skip.Exception:
        pass
    return []


def cifar_images(count: int) -> np.ndarray:
    return np.load(shared("data/cifar10/test_5000.npz"))["images"][:count]


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", MODELS)
def test_bit_exact_to_the_interpreter(name: str, board: str) -> None:
    inputs, wanted = expected(name)
    compiled = utvm.compile(model_path(name), board)
    with utvm.connect(board) as session:
        model = utvm.Model(session, compiled)
        results = [model.run(x) for x in inputs]
    for number, (result, want) in enumerate(zip(results, wanted, strict=True)):
        (got,) = result.outputs.values()
        np.testing.assert_array_equal(got, want.reshape(got.shape), err_msg=f"input {number}")
    assert all(result.measurement.instructions for result in results)


@pytest.mark.parametrize("name", MODELS)
def test_what_does_not_fit_the_smallest_board_says_by_how_much(name: str) -> None:
    with pytest.raises(MemoryOverflowError, match=r"bytes too small") as caught:
        utvm.compile(model_path(name), "qemu-cortex-m0")
    assert caught.value.available == 16 * 1024
    assert caught.value.needed > caught.value.available


@pytest.mark.parametrize("board", ["qemu-cortex-m3", "qemu-cortex-m7", "qemu-cortex-m33", "qemu-riscv32"])
def test_the_q7_network_equals_its_golden_logits(board: str) -> None:
    archive = shared("models/cifar10_arm/cifar10_cnn_q7.npz")
    golden = np.load(archive)
    inputs = q7_input(archive, golden["golden_images"])
    with utvm.connect(board) as session:
        model = utvm.Model(session, utvm.compile(archive, board))
        for x, want in zip(inputs, golden["golden_logits"], strict=True):
            (got,) = model.run(x[None]).outputs.values()
            np.testing.assert_array_equal(got[0], want)


def on_cortex_m7(name: str, inputs: np.ndarray) -> Iterator[np.ndarray]:
    with utvm.connect("qemu-cortex-m7") as session:
        model = utvm.Model(session, utvm.compile(model_path(name), "qemu-cortex-m7"))
        for x in inputs:
            yield next(iter(model.run(x[None]).outputs.values()))[0]


def test_accuracy_of_the_shipped_network_is_the_interpreters() -> None:
    data = np.load(shared("data/cifar10/test_5000.npz"))
    images, labels = data["images"][:200], data["labels"][:200].reshape(-1)
    oracle = Oracle(EXAMPLE.read_bytes())
    ours = np.array([np.argmax(y) for y in on_cortex_m7("cifar10_cnn", images)])
    theirs = np.array([np.argmax(oracle.run((x.astype(np.int16) - 128).astype(np.int8)[None])[0]) for x in images])
    np.testing.assert_array_equal(ours, theirs)
    assert (ours == labels).mean() > 0.7


def test_accuracy_of_keyword_spotting_is_the_interpreters() -> None:
    data = np.load(shared("data/kws/test_500.npz"))
    features, labels = data["features"][:100], data["labels"][:100]
    oracle = Oracle(model_path("kws_dscnn_int8").read_bytes())
    ours = np.array([np.argmax(y) for y in on_cortex_m7("kws_dscnn_int8", features)])
    theirs = np.array([np.argmax(oracle.run(x[None])[0]) for x in features])
    np.testing.assert_array_equal(ours, theirs)
    assert (ours == labels).mean() > 0.8
