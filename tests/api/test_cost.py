"""`utvm cost` and `utvm compare` agree with runs, and boards that are not at hand are modelled."""

import json
from pathlib import Path

import pytest

import utvm
from utvm import api
from utvm.boards import list_boards, load_board
from utvm.cli import main
from utvm.deploy import export
from utvm.device import LinkLostError
from utvm.emulators import stand_in
from utvm.frontends import load
from utvm.graph.samples import random_input

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m4"])
@pytest.mark.parametrize("records", ["none", None])
def test_an_estimate_is_within_5_percent_of_the_run(board: str, records: str | None) -> None:
    estimated = utvm.cost(EXAMPLE, board, records=records)
    compiled = utvm.compile(EXAMPLE, board, records=records)
    with utvm.connect(board) as session:
        image = random_input(compiled.program.graph.inputs[0], 0)
        cycles = utvm.Model(session, compiled).run(image).measurement.cycles
    assert estimated.cycles == pytest.approx(cycles, rel=0.05)
    assert estimated.flash_bytes == pytest.approx(compiled.image.flash_bytes, rel=0.05)
    assert estimated.arena_bytes == compiled.program.arena_bytes


def test_a_graph_costs_what_its_file_does() -> None:
    assert utvm.cost(load(EXAMPLE), "qemu-cortex-m4") == utvm.cost(EXAMPLE, "qemu-cortex-m4")


def test_the_command_prints_what_the_function_returns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", str(EXAMPLE), "--board", "nucleo-l4r5zi", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    report = utvm.cost(EXAMPLE, "nucleo-l4r5zi")
    assert printed["cycles"] == report.cycles == sum(op["cycles"] for op in printed["operators"])
    assert printed["seconds"] == report.cycles / 120e6
    assert printed["fits"] is True
    assert main(["cost", str(EXAMPLE), "--board", "nucleo-l4r5zi"]) == 0
    assert "(modelled)" in capsys.readouterr().out


def test_budgets_hold_for_estimates_too(capsys: pytest.CaptureFixture[str]) -> None:
    free = utvm.cost(EXAMPLE, "qemu-cortex-m7")
    tight = utvm.cost(EXAMPLE, "qemu-cortex-m7", ram=free.arena_bytes // 2)
    assert tight.arena_bytes <= free.arena_bytes // 2
    assert main(["cost", str(EXAMPLE), "--board", "qemu-cortex-m7", "--ram", "1K"]) == 2
    assert "the arena does not fit" in capsys.readouterr().err


def test_an_estimate_over_the_flash_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utvm.api.costing._STARTUP_BYTES", 60_000)
    with pytest.warns(utvm.UtvmWarning, match="bytes of flash, more than the 153,600 that were given") as told:
        utvm.cost(EXAMPLE, "qemu-cortex-m0", flash="150K")
    assert told[0].filename == __file__


def test_all_boards_stand_in_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(EXAMPLE), "--json"]) == 0
    rows = {row["board"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {board.name for board in list_boards()}
    small = rows["qemu-cortex-m0"]
    assert not small["fits"]
    assert "too small" in small["lacks"]
    assert all(row["fits"] for name, row in rows.items() if name != "qemu-cortex-m0")
    unknown = {board.name for board in list_boards() if board.emulator is not None and board.core.timing is None}
    assert {name for name, row in rows.items() if not row["cycles"]} == unknown
    assert main(["compare", str(EXAMPLE), "--boards", "nucleo-l4r5zi,qemu-cortex-m7"]) == 0
    assert "nucleo-l4r5zi" in capsys.readouterr().out


def test_an_unknown_board_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(EXAMPLE), "--boards", "nucleo-x"]) == 2
    assert "no board is named 'nucleo-x'" in capsys.readouterr().err


@pytest.mark.parametrize("board", [board.name for board in list_boards() if board.emulator is None])
def test_every_physical_board_has_a_stand_in_with_its_core_and_clock(board: str) -> None:
    described = load_board(board)
    found = stand_in(described)
    assert found is not None
    assert found.board.clock_hz == described.clock_hz
    assert found.board.core.cflags == described.core.cflags
    assert found.board.core.timing is not None
    assert (found.assumption is None) == (described.memory_model is None)


@pytest.mark.parametrize("board", ["stm32f746g-disco", "raspberry-pi-pico"])
def test_an_export_for_a_board_that_is_not_there_has_modelled_cycles(board: str) -> None:
    described = load_board(board)
    exported = export(EXAMPLE, board)
    expected = exported.manifest.expected
    assert expected.cycles is not None
    assert expected.how.startswith("modelled; model:")
    assert expected.milliseconds == 1000 * expected.cycles / described.clock_hz
    assert utvm.cost(EXAMPLE, board).cycles == pytest.approx(expected.cycles, rel=0.25)
    assert f"ms at {described.clock_hz / 1e6:g} MHz on {board}" in exported.files["README.md"]


def test_a_board_without_a_probe_is_profiled_by_its_core_clock_and_memories(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(*_: object, **__: object) -> None:
        raise LinkLostError("no debug probe is connected")

    monkeypatch.setattr(api, "connect", absent)
    assert main(["profile", str(EXAMPLE), "--board", "nucleo-l4r5zi", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["board"] == "nucleo-l4r5zi"
    assert report["cycles_source"] == "model: measured cortex-m4, memory of stm32l4r5"
    assert report["seconds"] == report["cycles"] / 120e6
    assert "no debug probe is connected" in report["note"]
    assert "modelled" in report["note"]
