"""What compilations know: whose records count, and that a compile uses them, says so, and can be told not to."""

import dataclasses
import json
from importlib.resources import files
from pathlib import Path

import pytest

from tests.tuning.support import CONDITIONS, M7, layer, record
from utvm import api
from utvm.cli import main
from utvm.model_tuning import tune
from utvm.report import compiled_json, records_used
from utvm.tuning import Outcome, RecordError, RecordStore, measurements, write_lines
from utvm.tuning.known import shipped


def known(tmp_path: Path, *records: object) -> list[tuple[str, int, str]]:
    write_lines(records, tmp_path / "records.jsonl")  # type: ignore[arg-type]
    found = measurements(M7, records=tmp_path / "records.jsonl").get("Conv2D(x)", ())
    return sorted((each.family, each.cost, each.origin.split("records.jsonl")[1]) for each in found)


def test_the_newest_success_on_this_board_counts_else_that_of_a_board_with_the_same_core(tmp_path: Path) -> None:
    other = dataclasses.replace(CONDITIONS, board="qemu-other")
    elsewhere = record(conditions=other, cycles=500)
    assert known(tmp_path, elsewhere) == [("direct", 500, " of qemu-other")]
    assert known(tmp_path, elsewhere, record(), record(time=9.0, cycles=1200)) == [("direct", 1200, "")]
    assert known(tmp_path, record(outcome=Outcome.WRONG)) == []
    assert known(tmp_path, record(conditions=dataclasses.replace(CONDITIONS, core="cortex-m4"))) == []
    assert known(tmp_path, record(conditions=dataclasses.replace(CONDITIONS, assume="stm32f746"))) == []
    # Instructions and cycles can't be added up: those of the newest kind are used.
    assert known(tmp_path, record(cycles=None, cycles_source=None), record(family="plane", time=2.0)) == [
        ("plane", 1000, "")
    ]


def test_a_compilation_uses_records_says_which_and_can_do_without(tmp_path: Path) -> None:
    database = tmp_path / "store.sqlite"
    done = tune(layer(), M7, database=database, search="exhaustive", gain=0.0)
    best = done.report.layers[0].best
    assert best is not None
    (fastest,) = api.compile(layer(), M7, records=database, flash="16M").program.calls
    assert (fastest.kernel.family, dict(fastest.kernel.config)) == (best.family, best.config)
    compiled = api.compile(layer(), M7, records=database)
    (call,) = compiled.program.calls
    # Up to 1 % of the cycles is given for less flash.
    assert call.measured is not None
    assert call.measured.cost <= 1.01 * (best.cost or 0)
    assert call.kernel.flash_bytes <= fastest.kernel.flash_bytes
    used = records_used(compiled.program)
    assert (dict(used.by_origin), used.estimated, used.outdated) == ({str(database): 1}, 0, 0)
    assert "1 kernels by records" in str(used)
    assert compiled_json(compiled.report(), ())["records"]["by_origin"] == {str(database): 1}
    without = api.compile(layer(), M7, records="none")
    assert records_used(without.program).estimated == 1

    exported = tmp_path / "records.jsonl.gz"
    assert main(["records", "export", str(exported), "--db", str(database)]) == 0
    again = api.compile(layer(), M7, records=exported)
    assert again.files == compiled.files
    with RecordStore(tmp_path / "old.sqlite") as store:
        store.add([dataclasses.replace(each, code="older") for each in done.report.layers[0].records])
    outdated = api.compile(layer(), M7, records=tmp_path / "old.sqlite")
    assert records_used(outdated.program).outdated == 1
    assert outdated.files == without.files
    assert "of other weights, of another version" in str(records_used(outdated.program))


def test_records_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    for absent in ("records.sqlite", "records.jsonl"):
        with pytest.raises(RecordError, match=absent):
            measurements(M7, records=tmp_path / absent)


def test_the_commands_list_show_move_and_prune_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database, file = tmp_path / "a.sqlite", tmp_path / "records.jsonl"
    with RecordStore(database) as store:
        store.add([record(), record(time=3.0), record(outcome=Outcome.HUNG, message="did not return")])
    assert main(["records", "list", "--db", str(database)]) == 0
    assert "1 hung" in capsys.readouterr().out
    assert main(["records", "show", "--db", str(database), "--workload", "Conv2D"]) == 0
    assert "did not return" in capsys.readouterr().out
    assert main(["records", "export", str(file), "--db", str(database), "--board", "qemu-cortex-m7"]) == 0
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 3
    assert main(["records", "import", str(file), "--db", str(tmp_path / "b.sqlite")]) == 0
    assert main(["records", "import", str(file), "--db", str(tmp_path / "b.sqlite")]) == 0
    assert "0 records added" in capsys.readouterr().out
    assert main(["records", "prune", "--db", str(database)]) == 0
    assert "2 records deleted" in capsys.readouterr().out
    file.write_text("{}\n")
    assert main(["records", "import", str(file), "--db", str(database)]) == 2
    assert "line 1" in capsys.readouterr().err


def test_the_records_that_come_along_are_small_whole_and_have_the_default_of_each_workload() -> None:
    packed = files("utvm.tuning") / "shipped.jsonl.gz"
    assert len(packed.read_bytes()) < 256 * 1024
    for core in ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"):
        records = shipped(core)
        assert {each.conditions.core for each in records} == {core}
        assert all(each.cost and each.code for each in records)
        assert len({each.workload for each in records}) > 15
        assert len({(each.workload, each.candidate) for each in records}) == len(records)
