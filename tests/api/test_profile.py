"""`utvm profile`: its parts sum up to the whole, and what it writes can be read."""

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.support.convolution import enlarged_convolution
from utvm import api
from utvm.bench import layer_graph
from utvm.cli import main
from utvm.cores import get_core
from utvm.deploy import Manifest, export, export_text
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import Conv2D
from utvm.kernels import FAMILIES
from utvm.lowering.select import candidates
from utvm.passes import run_passes
from utvm.profiling import profile
from utvm.report import profile_html, profile_json, profile_table

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"


@pytest.mark.parametrize(
    ("board", "model"),
    [
        ("qemu-cortex-m7", "model: measured cortex-m7"),
        ("qemu-cortex-m4", "model: measured cortex-m4"),
        ("qemu-riscv32", "model: cv32e40p"),
    ],
)
def test_the_calls_sum_up_to_the_whole(
    board: str, model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "reports" / "profile.html"
    status = main(["profile", str(EXAMPLE), "--board", board, "--small", "--json", "--html", str(page)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    report = json.loads(captured.out)
    parts = sum(op["instructions"] for op in report["operators"])
    assert abs(parts - report["instructions"]) < 200
    assert sum(op["share"] for op in report["operators"]) == pytest.approx(1, abs=0.01)
    assert sum(op["cycles"] for op in report["operators"]) == pytest.approx(report["cycles"], rel=0.01)
    assert report["cycles_source"] == model
    assert report["operators"][0]["cycles_per_mac"] >= report["limit"] / 4
    assert {op["kind"] for op in report["operators"]} >= {"Conv2D", "MaxPool2D", "FullyConnected"}
    assert report["operators"][0]["code_bytes"] > 0
    HTMLParser().feed(page.read_text(encoding="utf-8"))
    assert page.read_text(encoding="utf-8").count('class="bar"') == len(report["operators"])


def test_a_budget_of_flash_is_kept_and_slower_kernels_pay_for_it() -> None:
    flash = []
    for budget in (None, 114 * 1024, 112 * 1024):
        compiled = api.compile(EXAMPLE, "qemu-cortex-m7", flash=budget)
        assert budget is None or compiled.image.flash_bytes <= budget
        flash.append(compiled.image.flash_bytes)
    assert flash == sorted(flash, reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--flash", "16K"], "flash does not suffice: the smallest image that was found takes"),
        (["--flash", "1"], "flash does not suffice: the smallest image that was found takes"),
        (["--ram", "8K"], "the arena does not fit: MaxPool2D"),
        (["--assume", "stm32l4r5"], "nothing is known to assume"),
    ],
)
def test_a_budget_that_cannot_be_met_says_by_how_much(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", str(EXAMPLE), "--board", "qemu-cortex-m7", *options]) == 2
    assert message in capsys.readouterr().err


def test_sizes_are_parsed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["profile", str(EXAMPLE), "--board", "qemu-cortex-m7", "--flash", "lots"])
    assert stopped.value.code == 2
    assert "is not a size" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "page.html"
    assert main(["profile", str(EXAMPLE), "--board", "qemu-cortex-m7", "--html", str(target)]) == 2
    assert "can't be written" in capsys.readouterr().err


def test_an_unknown_assumption_is_an_error() -> None:
    with pytest.raises(UtvmError, match="pessimistic-m7"):
        api.connect("qemu-cortex-m7", assume="nonsense")


def test_kernels_are_chosen_for_the_caches_of_a_part() -> None:
    cycles = []
    for compiled_for in (None, "stm32f746"):
        compiled = api.compile(EXAMPLE, "qemu-cortex-m7", assume=compiled_for)
        with api.connect("qemu-cortex-m7", assume="stm32f746") as session:
            model = api.Model(session, compiled)
            (tensor,) = compiled.program.graph.inputs
            cycles.append(model.run(np.zeros(tensor.shape, np.int8)).measurement.cycles)
    assert cycles[1] < 0.9 * cycles[0]


def test_a_budget_of_ram_is_kept_by_smaller_scratch() -> None:
    graph = layer_graph("rn8_conv_8x8x64_64_k3")
    free = api.compile(graph, "qemu-cortex-m7").program
    tight = api.compile(graph, "qemu-cortex-m7", ram=free.arena_bytes - 1).program
    assert tight.arena_bytes < free.arena_bytes
    assert tight.calls[0].kernel.scratch_bytes < free.calls[0].kernel.scratch_bytes


def test_portable_kernels_are_the_last_resort_of_a_budget_of_flash() -> None:
    small = api.compile(EXAMPLE, "qemu-cortex-m4", small=True, records="none")
    assert all(call.kernel.family != "portable" for call in small.program.calls if call.op.kind == "Conv2D")
    tight = api.compile(EXAMPLE, "qemu-cortex-m4", flash=96_500)
    families = [call.kernel.family for call in tight.program.calls if call.op.kind == "Conv2D"]
    assert tight.image.flash_bytes <= 96_500 < small.image.flash_bytes
    assert "portable" in families
    # They mend no budget of RAM: that costs less in stripes.
    striped = api.compile(EXAMPLE, "qemu-cortex-m4", small=True, ram=17_200, flash=200_000)
    assert {call.kernel.family for call in striped.program.calls if call.op.kind == "Conv2D"} == {"direct"}


def test_each_layer_offers_code_of_many_sizes() -> None:
    convolutions = [op for op in run_passes(load(EXAMPLE)).operators if isinstance(op, Conv2D)]
    for op in convolutions:
        options = candidates(op, get_core("cortex-m4"), FAMILIES)
        assert [option.last_resort for option in options] == [False] * (len(options) - 1) + [True]
        assert options[-1].draft.family.name == "portable"
        assert options[-1].cycles > 2 * options[-2].cycles > 0
        code = [option.code_bytes for option in options if option.draft.family.name == "direct"]
        assert 2 * min(code) < max(code)


def test_a_slower_family_is_told_by_profile_and_export(tmp_path: Path) -> None:
    """One channel's scale keeps Winograd out: table, JSON, page, manifest and README say so."""
    graph = enlarged_convolution(1.5)
    report, _ = profile(graph, "qemu-cortex-m7")
    (slow,) = report.slower
    assert slow.basis == "by cycles of this run, its loss estimated"
    assert 0.2 < slow.cost < 0.8
    assert "Slower: " in str(profile_table(report).caption)
    hostile = replace(report, slower=(replace(slow, name="[/bold]<b>"),))
    assert "Slower: [/bold]<b>" in str(profile_table(hostile).caption)
    assert "<b>" not in profile_html(hostile, "")
    assert profile_json(report)["slower"][0]["name"] == slow.name
    assert "effective scale" in profile_html(report, "")
    model = tmp_path / "one.tflite"
    model.write_bytes(write_tflite(graph))
    made = export(model, "qemu-cortex-m7")
    made.write(tmp_path / "out")
    assert Manifest.read(tmp_path / "out") == made.manifest
    (entry,) = made.manifest.slower
    assert entry.basis == "by estimate"
    assert str(entry) in made.files["README.md"]
    assert f"slower {entry}" in export_text(made.manifest)
