"""`utvm boards check --pipeline` against a chip whose cycle counter follows a pipeline, or a somewhat different one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.chip import probe as _pyocd_finds_the_simulated_probes  # noqa: F401
from tests.support.chip.bench import plugged
from tests.support.chip.pricing import Pricing
from tests.support.chip.process import board_file
from utvm import cli
from utvm.api import connect
from utvm.boards import Board, load_board
from utvm.cores import get_core
from utvm.emulators import get_assumption
from utvm.errors import UtvmError
from utvm.pipeline import check_pipeline_in, expected_cycles, pipeline_image, table_for
from utvm.report import pipeline_text
from utvm.toolchain import instruction_listing

CHANGES = [
    ("cortex-m7", {"multiply_waits": False, "unaligned_load": 5}),
    ("cortex-m7", {"banks": False, "narrow_store": 3.0, "early_alu": False}),
    ("cortex-m4", {"store_before_load": 2, "indexed_chain": False}),
    ("cortex-m33", {"load": 3, "multiply_flags": 0}),
]


@pytest.fixture
def price(core: str) -> Iterator[Callable[..., None]]:
    """Return a function that gives the pipeline of a chip that is plugged in its facts."""
    image = pipeline_image(board_of(core))
    kernels = [
        symbol for name, symbol in image.symbols.items() if symbol.is_function and name.startswith("utvm_pipeline_")
    ]
    # Only what is measured: a price for all of a checksum's turns takes the host most of a load's time-out.
    listing = {
        address: text
        for address, text in instruction_listing(image).items()
        if any(kernel.address <= address < kernel.address + kernel.size for kernel in kernels)
    }
    with plugged(core) as bench:
        yield lambda **facts: bench.chip.core.engine.price(Pricing(core, facts, listing))


def board_of(core: str) -> Board:
    return replace(load_board(board_file(core), trust=True).linked_by("pyocd"), cycle_counter="dwt")


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m4", "cortex-m33"])
def test_a_part_as_the_table_says_holds(price: Callable[..., None], core: str) -> None:
    price()
    with connect(board_of(core)) as session:
        report = check_pipeline_in(session, table_for(board_of(core)))
    assert report.holds, pipeline_text(report)
    assert report.toml() == ""


@pytest.mark.parametrize(("core", "facts"), CHANGES)
def test_the_facts_that_differ_are_named(
    price: Callable[..., None], core: str, facts: dict[str, bool | int | float], tmp_path: Path
) -> None:
    price(**facts)
    with connect(board_of(core)) as session:
        report = check_pipeline_in(session, table_for(board_of(core)))
    said = pipeline_text(report)
    assert dict(report.changes) == facts, said
    assert sum("DIFFERS" in line for line in said.splitlines()) >= len(facts)
    file = tmp_path / "part.toml"
    file.write_text(report.toml(), encoding="utf-8")
    timing = get_assumption(str(file), core).timings[core]
    assert timing.name.startswith(f"model: {core} as part")
    answers = {answer.kernel.settles: answer for answer in report.answers if answer.kernel.settles}
    for fact in facts:
        assert expected_cycles(answers[fact].kernel, timing) == pytest.approx(answers[fact].measured, abs=0.09)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pipeline = 3", "has no \\[pipeline\\]"),
        ('[pipeline]\ncore = "cortex-m4"', "has no \\[pipeline\\] with core"),
        ('[pipeline]\ncore = "cortex-m7"\nfoo = 1', "has no fact 'foo'"),
        ('[pipeline]\ncore = "cortex-m7"\nbanks = 1', "write true or false"),
        ('[pipeline]\ncore = "cortex-m7"\nunaligned_load = -1', "write a number of cycles"),
        ('[pipeline]\ncore = "cortex-m7"\nunaligned_load = 1.5', "whole number"),
        ("[pipeline", "can't be read as TOML"),
    ],
)
def test_a_file_that_is_wrong_is_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "part.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UtvmError, match=said):
        get_assumption(str(file), "cortex-m7")


def test_both_tables_have_names_and_the_measured_one_is_the_default() -> None:
    for core in ("cortex-m7", "cortex-m4", "cortex-m3", "cortex-m33"):
        assert get_assumption("measured", core).timings[core] is get_core(core).timing
        assert get_assumption("compilers", core).timings[core] is not get_core(core).timing


def test_a_pipeline_and_a_memory_go_together() -> None:
    both = get_assumption("measured,stm32f746", "cortex-m7")
    assert both.memory is not None
    assert both.timings["cortex-m7"].name == "model: measured cortex-m7"
    with pytest.raises(UtvmError, match="two pipelines"):
        get_assumption("measured,pessimistic-m7", "cortex-m7")


@pytest.mark.parametrize("core", ["cortex-m7"])
def test_the_command_exits_with_2_and_prints_a_file(
    price: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    price(multiply_waits=False)
    monkeypatch.setattr("utvm.boards.load_board", lambda name, *, trust: board_of(name))
    assert cli.main(["boards", "check", "--pipeline", "cortex-m7"]) == 2
    said = capsys.readouterr().out
    assert "DIFFERS a word load to a factor [multiply_waits]: 1.00, table 2.00" in said
    assert '[pipeline]\ncore = "cortex-m7"\nmultiply_waits = false\n' in said
