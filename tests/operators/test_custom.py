"""A user's own operators, as docs/extending/custom.md has them: compiled, run on three cores, tuned."""

import re
from pathlib import Path

import numpy as np
import pytest
import tflite

import utvm
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_encoders import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded
from utvm.graph import DType, Function, Graph, Quantization, Tensor
from utvm.graph.custom import CustomOperatorError
from utvm.graph.reference import evaluate
from utvm.model_tuning import tune

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending" / "custom.md"


def tensor(name: str, shape: tuple[int, ...], scale: float, zero: int) -> Tensor:
    return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=Quantization.per_tensor(scale, zero))


def own(name: str, xs: list[Tensor], y: Tensor) -> EncodedOperator:
    code = tflite.BuiltinOperator.CUSTOM
    return EncodedOperator(code=code, version=1, inputs=tuple(xs), outputs=(y,), custom=name)


def model() -> bytes:
    """x through all three: y = energy(gated(mish(x), gate))."""
    x, gate = tensor("x", (1, 6, 5, 12), 0.05, 3), tensor("gate", (12,), 0.02, -5)
    bent, mixed = tensor("bent", x.shape, 0.04, -100), tensor("mixed", x.shape, 0.05, 0)
    y = tensor("y", (1, 6, 5, 1), 0.5, -128)
    steps = [own("Mish", [x], bent), own("Gated", [bent, gate], mixed), own("Energy", [mixed], y)]
    return write_encoded("own", (x, gate), (y,), steps)


@pytest.fixture(scope="module")
def graph() -> Graph:
    with pytest.raises(FrontendError, match=r"custom operator Mish.*not supported"):
        load_tflite(model(), name="own")
    for code in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), globals())
    return load_tflite(model(), name="own")


def inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(-128, 128, shape).astype(np.int8) for shape in ((1, 6, 5, 12), (12,))]


def test_the_formulas_mean_what_they_say(graph: Graph) -> None:
    x, gate = inputs()
    values = evaluate(graph, [x, gate], keep=True)
    real = 0.05 * (x.astype(np.float64) - 3)
    bent = np.clip(np.round(real * np.tanh(np.log1p(np.exp(real))) / 0.04) - 100, -128, 127)
    assert np.abs(values["bent"] - bent).max() <= 1
    energy = ((values["mixed"].astype(np.float64) * 0.05) ** 2).sum(axis=3, keepdims=True)
    assert np.abs(values["y"] - np.clip(np.round(energy / 0.5) - 128, -128, 127)).max() <= 1


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m0", "qemu-riscv32"])
def test_on_a_core(graph: Graph, board: str) -> None:
    compiled = utvm.compile(graph, board=board)
    with utvm.connect(board) as session:
        result = utvm.Model(session, compiled).run(inputs())
    np.testing.assert_array_equal(result.outputs["y"], evaluate(graph, inputs())["y"])


def test_they_are_tuned(graph: Graph, tmp_path: Path) -> None:
    """Each has configs beside its default, which are built and measured, and none computes anything else."""
    tuned = tune(graph, "qemu-cortex-m3", database=tmp_path / "records.db", trials=4, workers=2)
    layers = tuned.report.layers
    assert len(layers) == 3
    assert not any(layer.wrong for layer in layers)
    assert sum(layer.trials for layer in layers) > len(layers)


def test_what_is_no_operator_is_refused() -> None:
    with pytest.raises(CustomOperatorError, match="exactly one formula"):
        utvm.custom(Function(name="Nothing"))
    with pytest.raises(CustomOperatorError, match="no name"):
        utvm.custom(Function(name="a b", real=np.tanh))
