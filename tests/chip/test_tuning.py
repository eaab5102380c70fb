"""Tuning over a debug probe: candidates through stock OpenOCD into a simulated Cortex-M7, timed by its DWT."""

import dataclasses
import os
from pathlib import Path

import pytest

from tests.support.chip.process import PINS_VARIABLE, ChipProcess, board_file
from tests.tuning.support import layer
from utvm.boards import load_board
from utvm.model_tuning import tune
from utvm.tuning import Outcome, RecordError

TRIALS = int(os.environ.get("UTVM_PROBE_TRIALS", "2"))


def test_candidates_are_measured_through_stock_openocd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uncounted = load_board(board_file("cortex-m7"), trust=True)
    board = dataclasses.replace(uncounted, cycle_counter="dwt")
    with ChipProcess("cortex-m7") as chip:
        monkeypatch.setenv(PINS_VARIABLE, str(chip.pins))
        database = tmp_path / "store.sqlite"
        (found,) = tune(layer(), board, database=database, link="openocd", trials=TRIALS, gain=0.0).report.layers
        assert [each.outcome for each in found.records] == [Outcome.OK] * TRIALS
        for each in found.records:
            assert each.cycles
            assert each.cold_cycles
            print(each.candidate, each.cycles, each.cycles_source, each.cold_cycles, each.spread)
            print(f"  build {each.build_seconds:.2f} s, load {each.load_seconds:.2f} s, run {each.run_seconds:.2f} s")
        with pytest.raises(RecordError, match="cycle_counter"):
            tune(layer(), uncounted, database=tmp_path / "other.sqlite", link="openocd", trials=1)
