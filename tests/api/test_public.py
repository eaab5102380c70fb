"""The public surface is what docs/api.md says, prints in a few lines, and takes wrong arguments with a clear error."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import utvm
from utvm.cli import _COMMANDS
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.notebook import html_table
from utvm.passes import run_passes
from utvm.report import FrontierReport, PlanPoint, TuningReport

ROOT = Path(__file__).resolve().parents[2]
BOARD = "qemu-cortex-m7"
EXAMPLE = ROOT / "examples" / "cifar10" / "cifar10_cnn.tflite"


@pytest.fixture(scope="module")
def compiled() -> utvm.Compiled:
    return utvm.compile(str(EXAMPLE), BOARD, ram="64K")


def test_the_page_names_what_is_public() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(utvm.__all__)
    assert sorted(dir(utvm)) == sorted(utvm.__all__)


@pytest.mark.parametrize("name", [name for name in utvm.__all__ if name != "__version__"])
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(utvm, name)
    assert value.__doc__
    if name not in ("bench", "boards"):
        assert callable(value)
        assert "Raises:" in value.__doc__ or not name.islower()
        assert "Example:" in value.__doc__


def test_every_command_has_a_function() -> None:
    """The page's second table: each command and the names of what it calls."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `utvm ([\w-]+)` \| (.+) \|$", page, re.MULTILINE))
    assert set(told) == {each.__name__.rpartition(".")[2] for each in _COMMANDS}
    for name in re.findall(r"`utvm\.([\w.]+)", " ".join(told.values())):
        value: object = utvm
        for part in name.split("."):
            value = getattr(value, part)


def test_a_name_that_is_to_go_warns_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none is kept beyond the release that was told."""
    monkeypatch.setitem(utvm.GOING, "build", ("compile", "0.3"))
    with pytest.warns(DeprecationWarning, match=r"utvm\.build goes with release 0\.3: use utvm\.compile") as warned:
        assert utvm.build is utvm.compile
    assert warned[0].filename == __file__
    monkeypatch.delitem(utvm.GOING, "build")
    release = [int(part) for part in utvm.__version__.split(".")]
    for instead, last in utvm.GOING.values():
        assert instead in utvm.__all__
        assert [int(part) for part in last.split(".")] > release


def test_no_module_has_the_name_of_a_public_function() -> None:
    modules = {path.stem for path in Path(utvm.__file__).parent.iterdir()}
    assert modules & set(utvm.__all__) == {"bench", "boards"}


def test_objects_print_in_a_few_lines_and_as_tables(compiled: utvm.Compiled) -> None:
    graph = utvm.load(EXAMPLE)
    cost = utvm.cost(graph, BOARD)
    parts = compiled.image, compiled.board, compiled.program.calls[0]
    for thing in (compiled, compiled.program, graph, graph.inputs[0], graph.operators[0], cost, *parts):
        text = repr(thing)
        assert text.count("\n") < 9
        assert len(text) < 1500, text
    for shown in (compiled, compiled.program, graph, cost):
        assert "<table>" in shown._repr_html_()


def test_reports_print_in_a_few_lines_and_as_tables() -> None:
    where = {"model": "m", "board": BOARD, "core": "cortex-m7"}
    tuning = TuningReport(**where, assume="", search="random", seconds=1.0, ended="done", records="r", layers=())
    point = PlanPoint(cycles=5000, measured=False, arena_bytes=64, flash_bytes=512, kernels=())
    profiled, _ = utvm.profile(EXAMPLE, BOARD)
    for report in (tuning, FrontierReport(**where, points=(point,) * 40), profiled):
        assert repr(report).count("\n") < 9
        assert len(repr(report)) < 500
        assert "<table>" in report._repr_html_()
    assert profiled._repr_html_().count("<tr>") == 1 + len(profiled.operators)


def test_names_of_a_file_are_escaped_in_tables() -> None:
    graph = utvm.Graph(name="<script>\n\u202e", operators=(), inputs=(), outputs=())
    assert "<script>" not in graph._repr_html_()
    assert "\u202e" not in graph._repr_html_() + repr(graph)


def test_predict_takes_and_returns_real_numbers(compiled: utvm.Compiled) -> None:
    graph = run_passes(utvm.load(EXAMPLE))
    (source,), (target,) = graph.inputs, graph.outputs
    stored = random_input(source, 3)
    real = ((stored.astype(np.float64) - source.zero_point) * source.scale).astype(np.float32)
    wanted = evaluate(graph, {source.name: stored})[target.name]
    with utvm.connect(BOARD) as session:
        model = utvm.Model(session, compiled)
        predicted, result = model.predict(real), model.run(real)
        for thing in (session, model, result):
            assert repr(thing).count("\n") < 9
        assert "<table>" in result._repr_html_()
        with pytest.raises(utvm.UtvmError, match="no input"):
            model.run(None)  # type: ignore[arg-type]
    assert np.array_equal(result.outputs[target.name], wanted)
    assert isinstance(predicted, np.ndarray)
    assert predicted.dtype == np.float32
    assert np.array_equal(
        predicted, ((wanted.astype(np.float64) - target.zero_point) * target.scale).astype(np.float32)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: utvm.compile(EXAMPLE, BOARD, ram="64Q"), "'64Q' is not a size"),
        (lambda: utvm.compile(EXAMPLE, BOARD, flash=-1), "'-1' is not a size"),
        (lambda: utvm.compile(utvm.plan(EXAMPLE, BOARD), BOARD), "a Program is no model: give a file"),
        (lambda: utvm.compile(5, BOARD), "a int is no model: give a file"),
        (lambda: utvm.cost(EXAMPLE, BOARD, ram="big"), "'big' is not a size"),
        (lambda: utvm.export(EXAMPLE, BOARD, stack="2 K"), "'2 K' is not a size"),
        (lambda: utvm.compile(EXAMPLE, 7), "board=7 is of type int; text or Path or Board"),  # type: ignore[arg-type]
        (lambda: utvm.cost(None, BOARD), "model=None is of type NoneType; text or Path or Graph"),  # type: ignore[arg-type]
        (lambda: utvm.load(b"bytes"), "a bytes is no model file"),  # type: ignore[arg-type]
        (lambda: utvm.compile(EXAMPLE, BOARD, portable="nothing"), "no operator is named 'nothing'"),
        (lambda: utvm.quantize(EXAMPLE, np.zeros(1), method="best"), "no method is named 'best'"),
        (lambda: utvm.verify(3, EXAMPLE), "directory=3 is of type int"),  # type: ignore[arg-type]
        (lambda: utvm.Model(None, None), "a model is of a session"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_wrong_arguments_are_our_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(utvm.UtvmError, match=message):
        call()


def test_sizes_are_text_or_numbers() -> None:
    assert utvm.cost(EXAMPLE, BOARD, ram="1M") == utvm.cost(EXAMPLE, BOARD, ram=1 << 20)


def test_numbers_stand_on_the_right_in_tables_as_text_too() -> None:
    table = html_table("t", ("name", "count", "share"), [("a1", 1234, "32.7 %"), ("<b>", "", "-")])
    assert table.count('<td style="text-align: right">') == 4
    assert '<th style="text-align: right">count</th>' in table
    assert '<th style="text-align: left">name</th>' in table
    assert "1,234" in table
    assert "&lt;b&gt;" in table
