"""Records: JSON Lines, the store, and what several processes and a kill may do to it."""

import dataclasses
import json
import multiprocessing
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuning.support import CONDITIONS, record
from utvm.cli import main
from utvm.tuning import Outcome, Record, RecordError, RecordStore, read_lines, superseded, write_lines
from utvm.tuning.record import from_values, to_line

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
RECORDS = st.builds(
    record,
    workload=TEXT,
    config=st.dictionaries(TEXT, st.one_of(st.integers(0, 99), TEXT), max_size=3),
    outcome=st.sampled_from(Outcome),
    message=TEXT,
    cycles=st.one_of(st.none(), st.integers(113, 9_000_000)),
    spread=st.floats(0, 1),
    time=st.floats(0, 2e9),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(RECORDS, max_size=5), st.sampled_from(["records.jsonl", "records.jsonl.gz"]))
def test_json_lines_and_the_store_give_back_what_they_got(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], name: str
) -> None:
    folder = tmp_path_factory.mktemp("records")
    assert write_lines(records, folder / name) == len(records)
    assert list(read_lines(folder / name)) == records
    different = list({each.digest: each for each in records}.values())
    with RecordStore(folder / "store.sqlite") as store:
        assert store.add(records) == len(different)
        assert store.add(records) == 0
        assert store.records() == different


def test_a_record_is_read_only_whole(tmp_path: Path) -> None:
    values = {**dataclasses.asdict(record()), **dataclasses.asdict(CONDITIONS)}
    del values["conditions"]
    assert from_values(values) == record()
    for broken in (
        {**values, "speed": 1},
        {k: v for k, v in values.items() if k != "board"},
        {**values, "outcome": "?"},
    ):
        with pytest.raises(RecordError):
            from_values(broken)
    for name, figure in (
        ("cycles", 0),
        ("cycles", -5),
        ("cycles", 1.5),
        ("cycles", float("nan")),
        ("cycles", True),
        ("cycles", 10**14),
        ("instructions", 0),
        ("flash_bytes", -1),
        ("spread", float("nan")),
        ("time", float("inf")),
        ("config", {"m": 1.5}),
        ("config", [1]),
        ("workload", 7),
    ):
        with pytest.raises(RecordError, match=name):
            from_values({**values, name: figure})
    file = tmp_path / "records.jsonl"
    file.write_text(f"{to_line(record())}\n{{'\n")
    with pytest.raises(RecordError, match="line 2: no JSON"):
        list(read_lines(file))
    file.write_text(json.dumps(json.loads(to_line(record())) | {"cycles": -5}))
    with pytest.raises(RecordError, match="line 1: no record of a trial: cycles is -5, a whole number"):
        list(read_lines(file))


LARGE = "Add(a=int8[1x16x32x32]zp-17, b=int8[1x1]zp4, y=int8[1x16x32x32]zp-128, clamp=-128/127)"


def test_a_file_with_figures_that_contradict_each_other_is_refused(tmp_path: Path) -> None:
    """Each figure is possible by itself; the reason is told with the line."""
    file = tmp_path / "records.jsonl"
    for changed, told in (
        ({"cycles": 1}, "cycles is 1 for 900 instructions, fewer than any core takes"),
        ({"cycles": 10**12}, "more than any memory makes a core wait"),
        ({"cycles": 1, "instructions": 1, "workload": LARGE}, "instructions is 1 for a tensor of 16,384 bytes"),
        ({"cycles": 1, "instructions": None, "workload": LARGE}, "cycles is 1 for a tensor of 16,384 bytes"),
        ({"config": {"m": 10**9}}, "config has m 1000000000"),
        ({"config": {"m": -1}}, "config has m -1"),
    ):
        file.write_text(f"{to_line(record())}\n{to_line(record(**changed))}\n")
        with pytest.raises(RecordError, match=f"line 2: no record of a trial: .*{told}"):
            list(read_lines(file))


def test_what_is_asked_for_is_found(tmp_path: Path) -> None:
    other = dataclasses.replace(CONDITIONS, board="qemu-cortex-m4")
    with RecordStore(tmp_path / "deep" / "store.sqlite") as store:
        store.add([record(), record(conditions=other), record(workload="Add(a)")])
        assert len(store.records(conditions=CONDITIONS)) == 2
        assert [each.conditions for each in store.records(workloads=["Conv2D(x)"])] == [CONDITIONS, other]
        last = store.last
        assert store.records(after=last) == []
        store.add([record(time=9.0)])
        assert [each.time for each in store.records(after=last)] == [9.0]
        assert store.remove([record(time=9.0).digest, "none"]) == 1


def test_pruning_keeps_the_newest_success() -> None:
    old, new, failed = record(time=1.0), record(time=2.0, cycles=1100), record(time=3.0, outcome=Outcome.HUNG)
    apart = record(config={"m": 1})
    assert superseded([new, failed, apart, old]) == [failed, old]


def test_a_file_that_is_no_store_is_named(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    file.write_text("no database " * 100)
    with pytest.raises(RecordError, match=r"store\.sqlite"):
        RecordStore(file)
    with pytest.raises(RecordError, match="--db"):
        RecordStore("postgresql://nobody@127.0.0.1:1/none?connect_timeout=2")


@pytest.mark.parametrize("line", ["null", "[]", "1" * 5000, "[" * 100_000, '"x"', "{"])
def test_a_line_that_is_no_record_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text(f"\n{line}\n")
    with pytest.raises(RecordError, match=r"records\.jsonl, line 2: no"):
        list(read_lines(tmp_path / "records.jsonl"))


def test_a_file_that_grows_when_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utvm.tuning.record._MOST_BYTES", 1000)
    write_lines([record(message="x" * 2000)], tmp_path / "records.jsonl.gz")
    with pytest.raises(RecordError, match="more than 1,000 bytes"):
        list(read_lines(tmp_path / "records.jsonl.gz"))


@pytest.mark.parametrize(
    "damage",
    [
        "config = '{'",
        "config = CAST(X'C328' AS TEXT)",
        "outcome = '?'",
        "outcome = CAST(X'FF' AS TEXT)",
        "spread = 'x'",
    ],
)
def test_a_store_that_has_lost_bytes_is_named(damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "store.sqlite"
    with RecordStore(path) as store:
        store.add([record()])
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE utvm_records SET {damage}")
    assert main(["records", "list", "--db", str(path)]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "store.sqlite" in said or "no record of a trial" in said


def test_a_password_is_not_told() -> None:
    with pytest.raises(RecordError) as told:
        RecordStore("postgresql://nobody:secret@127.0.0.1:1/none?connect_timeout=2")
    assert "postgresql://nobody:***@127.0.0.1:1/none" in str(told.value)
    assert "secret" not in str(told.value)


def test_the_command_says_where_nothing_is_and_shows_each_workload_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "store.sqlite"
    assert main(["records", "list", "--db", str(database)]) == 0
    assert f"no such records in {database}: `utvm tune`" in capsys.readouterr().out
    with RecordStore(database) as store:
        store.add([record(), record(workload="Add(a)", config={})])
    assert main(["records", "list", "--db", str(database)]) == 0
    assert f"2 trials in {database}" in capsys.readouterr().out
    assert main(["records", "show", "--db", str(database)]) == 0
    shown = capsys.readouterr().out
    assert shown.index("Conv2D(x)") < shown.index("direct m=2 n=3") < shown.index("Add(a)")


def _add_for_ever(path: str, number: int) -> None:
    with RecordStore(path) as store:
        for count in range(10**6):
            store.add([record(workload=f"writer {number}", time=float(count))])


def test_two_writers_and_kills_leave_whole_records_without_gaps(tmp_path: Path) -> None:
    path = str(tmp_path / "store.sqlite")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add_for_ever, args=(path, number)) for number in range(2)]
    for writer in writers:
        writer.start()
    with RecordStore(path) as store:
        deadline = time.monotonic() + 60
        while len({each.workload for each in store.records()}) < 2 or store.last < 50:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    for writer in writers:
        assert writer.pid is not None
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with RecordStore(path) as store:
        for number in range(2):
            times = [each.time for each in store.records(workloads=[f"writer {number}"])]
            assert times == [float(count) for count in range(len(times))]
        assert store.add([record()]) == 1
