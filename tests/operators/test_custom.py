"""A user's own operators, as docs/extending/custom.md has them: compiled, run on three cores, tuned."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite

import utvm
from tests.support.host import run_on_host
from utvm.cli import main
from utvm.compute import where
from utvm.cores import get_core
from utvm.errors import UtvmError
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded
from utvm.graph import CSource, DType, Elementwise, Foreign, Function, Graph, Quantization, Reducer, Tensor
from utvm.graph.definitions import definition
from utvm.graph.formulas import stored
from utvm.graph.reference import evaluate
from utvm.graph.registration import CustomOperatorError
from utvm.lowering import lower
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


def test_formulas_of_numbers_alone() -> None:
    """A count of elements reads none of them; numbers may be numpy's."""
    utvm.custom(
        Reducer(name="Count", combine="sum", init=0, term=lambda *_: np.int64(1), result=lambda op, n: stored(op, n))
    )
    x, y = tensor("x", (2, 3, 4), 0.1, 3), tensor("y", (2, 3), 1.0, -5)
    counted = load_tflite(write_encoded("count", (x,), (y,), [own("Count", [x], y)]))
    array = np.zeros(x.shape, np.int8)
    (got,) = run_on_host([lower(counted, get_core("cortex-m3"))], [[array]])
    np.testing.assert_array_equal(got[0], np.full((2, 3), 4 - 5))
    np.testing.assert_array_equal(evaluate(counted, [array])["y"], got[0])


def test_a_formula_that_reads_nothing() -> None:
    """The output may lie over an operand that no point reads."""
    utvm.custom(Function(name="Five", expression=lambda *_: 5))
    x, y = (tensor(name, (4, 3), 0.1, 0) for name in "xy")
    five = load_tflite(write_encoded("five", (x,), (y,), [own("Five", [x], y)]))
    array = np.zeros(x.shape, np.int8)
    (got,) = run_on_host([lower(five, get_core("cortex-m3"))], [[array]])
    np.testing.assert_array_equal(got[0], np.full(x.shape, 5))
    np.testing.assert_array_equal(evaluate(five, [array])["y"], got[0])


def test_python_can_not_choose_by_an_expression() -> None:
    x, y = (tensor(name, (4,), 0.1, 0) for name in "xy")
    double = Function(name="Double", expression=lambda _, xs: xs[0] if xs[0] > 0 else xs[0] * 2)
    with pytest.raises(TypeError, match=r"choose by where\(\)"):
        definition(Elementwise(name="op", function=double, xs=(x,), y=y))
    zero = Function(name="Zero", expression=lambda _, xs: where(xs[0] == 0, 1, 0))
    with pytest.raises(TypeError, match=r"take equal\(\) and unequal\(\)"):
        definition(Elementwise(name="op", function=zero, xs=(x,), y=y))


def test_a_table_makes_int8() -> None:
    utvm.custom(Function(name="Bent", real=np.tanh))
    x, y = tensor("x", (4,), 0.1, 0), Tensor(name="y", shape=(4,), dtype=DType.INT32)
    with pytest.raises(FrontendError, match="int8"):
        load_tflite(write_encoded("wide", (x,), (y,), [own("Bent", [x], y)]))


def test_what_is_no_operator_is_refused() -> None:
    with pytest.raises(CustomOperatorError, match="exactly one formula"):
        utvm.custom(Function(name="Nothing"))
    with pytest.raises(CustomOperatorError, match="no name"):
        utvm.custom(Function(name="a b", real=np.tanh))
    product: Any = "product"
    with pytest.raises(CustomOperatorError, match="sum, max, min"):
        utvm.custom(Reducer(name="Product", combine=product, init=1, term=lambda _, x, __: x, result=lambda _, x: x))


SORTED = tensor("x", (3, 5), 0.1, 4), tensor("y", (3, 5), 0.1, 4)


def test_a_function_in_c(graph: Graph, tmp_path: Path) -> None:
    """The page's, by its own C here and on a board, and by a folder on the command line: exported and checked."""
    del graph
    x, y = SORTED
    data = write_encoded("own", (x,), (y,), [own("Sorted", [x], y)])
    values = np.random.default_rng(0).integers(-128, 128, (3, 5)).astype(np.int8)
    sorting = load_tflite(data, name="own")
    wanted = np.sort(values.reshape(-1)).reshape(3, 5)
    np.testing.assert_array_equal(evaluate(sorting, [values])["y"], wanted)
    with utvm.connect("qemu-riscv32") as session:
        model = utvm.Model(session, utvm.compile(sorting, "qemu-riscv32"))
        np.testing.assert_array_equal(model.run(values).outputs["y"], wanted)
    (op,) = sorting.operators
    assert isinstance(op, Foreign)
    (tmp_path / "own.tflite").write_bytes(write_encoded("own", (x,), (y,), [own("Again", [x], y)]))
    folder = tmp_path / "c"
    folder.mkdir()
    assert main(["plan", str(tmp_path / "own.tflite"), "--board", "qemu-cortex-m7", "--custom", str(folder)]) == 2
    (folder / "Again.c").write_text(op.function.text.replace("Sorted", "Again"), encoding="utf-8")
    common = ["--custom", str(folder)]
    for command in (["space", "--board"], ["compare", "--boards"]):
        assert main([command[0], str(tmp_path / "own.tflite"), command[1], "qemu-cortex-m7", *common]) == 0
    made = [str(tmp_path / "own.tflite"), "--board", "qemu-cortex-m7", "-o", str(tmp_path / "library"), *common]
    assert main(["export", *made]) == 0
    assert main(["verify", str(tmp_path / "library"), "--against", str(tmp_path / "own.tflite"), *common]) == 0


def test_c_that_does_not_compile_is_one_error() -> None:
    utvm.custom(CSource(name="Broken", text="static void Broken(int x) { return 1 }"))
    x, y = SORTED
    broken = load_tflite(write_encoded("own", (x,), (y,), [own("Broken", [x], y)]))
    with pytest.raises(UtvmError, match=r"the C of operator 'Broken' does not compile:\nown\.c:\d+"):
        evaluate(broken, [np.zeros((3, 5), np.int8)])
    with pytest.raises(CustomOperatorError, match="no function of this name"):
        utvm.custom(CSource(name="Absent", text="int nothing;"))


def test_a_reference_in_numpy_has_the_outputs_of_the_operator() -> None:
    x, y = SORTED
    for returned, problem in (((), "returns 0 arrays, of 1 outputs"), ((np.zeros((3, 5)),), "makes float64")):
        utvm.custom(CSource(name="Made", text="void Made();", reference=lambda _, made=returned: made))
        made = load_tflite(write_encoded("own", (x,), (y,), [own("Made", [x], y)]))
        with pytest.raises(UtvmError, match=problem):
            evaluate(made, [np.zeros((3, 5), np.int8)])
