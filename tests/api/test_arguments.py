"""Wrong arguments of every public function are our errors, and the examples of all docstrings run."""

import inspect
import textwrap
import warnings
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

import utvm
from tests.support.onnx_files import convnet
from tests.tuning.support import layer
from utvm.arguments import described, is_of
from utvm.deploy.exporting import GivenModel, sha256
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import registration
from utvm.graph.samples import random_input

BOARD = "qemu-cortex-m7"
GRAPH = layer()
FUNCTIONS = sorted(name for name in utvm.__all__ if inspect.isfunction(getattr(utvm, name)) and name != "diagnose")
CLASSES = sorted(name for name in utvm.__all__ if inspect.isclass(getattr(utvm, name)))
WRONG: list[Any] = [
    *(None, True, -1, 3.5, float("nan"), float("inf"), 10**30, "", "\0", "no such", b"x", [], [None], {}, {1: 2}),
    *((1, 2), object(), Path("\0"), np.zeros((2, 2)), np.array(0, np.int8), iter([1]), lambda: 1),
]  # fmt: skip
GOOD: dict[str, Any] = {
    "model": GRAPH, "board": BOARD, "boards": [BOARD], "operator": "conv", "sources": {}, "entry": "f", "data": [],
    "path": "no.tflite", "program": Path("no.elf"), "directory": "no", "input_file": Path("no.npy"), "name": "no",
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_arguments_are_our_errors(name: str) -> None:
    """Each argument as each wrong type in turn, the others as they should be."""
    function = getattr(utvm, name)
    parameters = inspect.signature(function).parameters
    hints = get_type_hints(inspect.unwrap(function))
    needed = {n: GOOD[n] for n, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    for parameter in parameters:
        for value in WRONG:
            if parameter in hints and not is_of(value, hints[parameter]):
                with pytest.raises(utvm.UtvmError) as caught:
                    function(**{**needed, parameter: value})
                assert 10 < len(str(caught.value)) < 400
    with pytest.raises(TypeError, match="no_such"):
        function(**needed | ({"model": "no.tflite"} if name in ("export", "verify") else {}), no_such=1)


def test_wrong_inputs_are_our_errors() -> None:
    compiled = utvm.compile(GRAPH, BOARD)
    image = utvm.build_c(BOARD, {"f.c": "int f(int *x, int n) { return *x + n; }"}, entry="f")
    shape = GRAPH.inputs[0].shape
    odd = [np.full(shape, np.nan, np.float32), np.zeros(shape, complex), np.zeros(shape, object), [[1, [2]]], {"no": 1}]
    with utvm.connect(BOARD) as session:
        model = utvm.Model(session, compiled)
        for value in [*WRONG, *odd]:
            with pytest.raises(utvm.UtvmError):
                model.run(value)
        session.load(image)
        for value in WRONG:
            calls = [lambda v=value: session.load(v), lambda v=value: session.read("f", "4", offset=v)]
            calls += [] if isinstance(value, bytes | np.ndarray) else [lambda v=value: session.write("f", v)]
            calls += [] if isinstance(value, int) else [lambda v=value: session.measure(v, [])]
            calls += [] if isinstance(value, list | tuple) else [lambda v=value: session.measure("f", v)]
            for call in calls:
                with pytest.raises(utvm.UtvmError):
                    call()
        with pytest.raises(utvm.UtvmError, match="array of objects"):
            session.write("f", np.zeros(1, object))
        assert session.measure("f", [np.full(1, 40, np.int32), np.int8(2)]).value == 42


def test_annotations_are_said_in_words() -> None:
    assert described(float | None) == "a number or None"
    assert described(get_type_hints(inspect.unwrap(utvm.compare))["boards"]).startswith("several of text or Path")


def test_the_examples_of_docstrings_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another in a folder with what they take for granted; two need a board that is no emulator."""
    (tmp_path / "model.tflite").write_bytes(write_tflite(GRAPH))
    (tmp_path / "float.onnx").write_bytes(convnet().SerializeToString())
    image = random_input(GRAPH.inputs[0], 1)
    np.save(tmp_path / "image.npy", image)
    samples = np.random.default_rng(0).normal(size=(4, 3, 16, 12)).astype(np.float32)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UTVM_RECORDS", str(tmp_path / "records.sqlite"))
    monkeypatch.setenv("UTVM_BOARDS", str(tmp_path / "boards"))
    monkeypatch.setattr(registration, "_CUSTOM", {})  # other tests register the same names
    names = {"utvm": utvm, "np": np, "Path": Path, "image": image, "samples": samples, "warnings": warnings}
    names["compiled"] = utvm.compile(GRAPH, BOARD)
    with utvm.connect(BOARD) as session:
        for name in [*FUNCTIONS, *CLASSES, "diagnose"]:
            example = textwrap.dedent((inspect.getdoc(getattr(utvm, name)) or "").partition("Example:\n")[2])
            assert example, name
            if name not in ("flash", "check_board"):
                exec(example.replace('"logits"', f'"{GRAPH.outputs[0].name}"'), {**names, "session": session})


def test_ranges_of_boards_are_sizes_as_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTVM_BOARDS", str(tmp_path))
    facts: dict[str, Any] = {"core": "cortex-m4", "clock_hz": 16_000_000, "gdb": "localhost:2331"}
    board = utvm.add_board("mine", ram=[(0x20000000, "64K")], **facts)
    assert [memory.length for memory in board.memories] == [65536]
    assert utvm.boards.load_board("mine").core.name == "cortex-m4"
    for ram, told in [((1, "64Q"), "not a size"), (("1", 5), "no range"), ((1,), "no range"), ((-1, 4), "no range")]:
        with pytest.raises(utvm.UtvmError, match=told):
            utvm.add_board("other", ram=[ram], **facts)
    with pytest.raises(utvm.UtvmError, match="there already"):
        utvm.add_board("mine", ram=[(0x20000000, 65536)], **facts)


def test_what_quantize_made_is_a_model_everywhere(tmp_path: Path) -> None:
    (tmp_path / "float.onnx").write_bytes(convnet().SerializeToString())
    samples = np.random.default_rng(0).normal(size=(4, 3, 16, 12)).astype(np.float32)
    quantised = utvm.quantize(tmp_path / "float.onnx", samples)
    assert utvm.cost(quantised, BOARD) == utvm.cost(quantised.graph, BOARD)
    assert utvm.plan(quantised, BOARD).arena_bytes == utvm.compile(quantised, BOARD).program.arena_bytes
    given = GivenModel.of(quantised)
    assert (given.name, given.sha256) == (f"{quantised.graph.name}.tflite", sha256(quantised.file))


def test_what_is_for_another_core_or_the_other_way_round_is_told() -> None:
    compiled = utvm.compile(GRAPH, BOARD)
    n, h, w, c = GRAPH.inputs[0].shape
    with utvm.connect(BOARD) as session:
        with pytest.raises(utvm.UtvmError, match="channels come last here"):
            utvm.Model(session, compiled).run(np.zeros((n, c, h, w), np.float32))
        with pytest.raises(utvm.UtvmError, match="give a timeout above 0"):
            utvm.Model(session, compiled).run(np.zeros((n, h, w, c), np.float32), timeout=-1)
    with utvm.connect("qemu-riscv32") as session:
        with pytest.raises(utvm.UtvmError, match=f"is compiled for {BOARD} .*: compile it for 'qemu-riscv32'"):
            utvm.Model(session, compiled)
        with pytest.raises(utvm.UtvmError, match="holds ARM code, which board 'qemu-riscv32'"):
            session.load(compiled.image)
