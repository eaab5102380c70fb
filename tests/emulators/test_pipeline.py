"""`utvm boards check --pipeline`: emulators count by the table they are checked by, simulated RTL counts itself."""

import pytest

from tests.support.boards import EMULATED, RTL
from utvm import cli
from utvm.pipeline import check_pipeline
from utvm.report import pipeline_text


@pytest.mark.parametrize("name", [name for name, board in EMULATED.items() if board.core.timing])
def test_an_emulator_agrees_with_the_table_that_it_counts_by(name: str) -> None:
    report = check_pipeline(EMULATED[name])
    assert report.holds, pipeline_text(report)


@pytest.mark.parametrize("name", RTL)
def test_the_core_s_own_counter_agrees_with_its_table(name: str) -> None:
    report = check_pipeline(RTL[name])
    assert report.source == "mcycle (RTL)"
    assert report.holds, pipeline_text(report)


def test_a_core_that_nobody_modelled_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["boards", "check", "--pipeline", "raspberry-pi-pico"]) == 2
    assert "no table models the pipeline of cortex-m0plus" in capsys.readouterr().err
