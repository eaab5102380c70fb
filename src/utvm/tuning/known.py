"""What compilations know: records that came with µTVM and those of this user, as `lowering` wants them.

Reads JSON Lines with the standard library alone; a database only where there is one.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from utvm.boards import Board
from utvm.lowering import Measured, Measurements
from utvm.tuning.record import Record, RecordError, from_values, read_lines
from utvm.tuning.store import RecordStore, default_database

NO_RECORDS = "none"
SHIPPED = "shipped"
SHIPPED_FILE = "shipped.jsonl.gz"


def measurements(board: Board, *, assume: str = "", records: str | Path | None = None) -> Measurements:
    """Return what is known of workloads on a board, or, where nothing is, on other boards with its core.

    Args:
        board: what is compiled for.
        assume: what the cycle model assumes, empty for nothing.
        records: a file (SQLite, `.jsonl`, `.jsonl.gz`) or URL of records to use alone; "none" for none; None for those
            that came with µTVM and those in the user's database, if there is one.

    Raises:
        RecordError: `records` can't be read.
    """
    if records is None:
        known = [(SHIPPED, record) for record in shipped(board.core.name)] + _users(board)
    elif str(records) == NO_RECORDS:
        return {}
    else:
        known = [(str(records), record) for record in _read(records)]
    usable = [
        (origin, record)
        for origin, record in known
        if record.cost is not None and record.conditions.core == board.core.name and record.conditions.assume == assume
    ]
    return _measurements(usable, board.name)


@lru_cache(maxsize=8)
def shipped(core: str) -> tuple[Record, ...]:
    """Return the records that came with µTVM for a core."""
    resource = files("utvm.tuning") / SHIPPED_FILE
    if not resource.is_file():
        return ()
    mark = f'"core": "{core}"'
    lines = gzip.decompress(resource.read_bytes()).decode().split("\n")
    return tuple(from_values(json.loads(line)) for line in lines if mark in line)


def _users(board: Board) -> list[tuple[str, Record]]:
    """Return the records in the user's database; none where nobody tuned, or the extra for tuning is not there."""
    path = default_database()
    if not path.is_file() or importlib.util.find_spec("sqlalchemy") is None:
        return []
    with RecordStore(path) as store:
        return [("yours", record) for record in store.records() if record.conditions.core == board.core.name]


def _read(where: str | Path) -> Sequence[Record]:
    path = Path(where)
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return list(read_lines(path))
    if "://" not in str(where) and not path.is_file():
        raise RecordError(f"there are no records in {where}: give a file of `utvm tune` or `utvm records export`")
    with RecordStore(str(where)) as store:
        return store.records()


def _measurements(known: Iterable[tuple[str, Record]], board: str) -> Measurements:
    by_workload: dict[str, list[tuple[str, Record]]] = {}
    # Figures of different kinds (another model of cycles, instructions) can't be added up: the newest kind counts.
    ordered = sorted(known, key=lambda entry: entry[1].time)
    kind = ordered[-1][1].cycles_source if ordered else None
    for origin, record in ordered:
        if record.cycles_source == kind:
            by_workload.setdefault(record.workload, []).append((origin, record))
    return {workload: _of_workload(same, board) for workload, same in by_workload.items()}


def _of_workload(same: Sequence[tuple[str, Record]], board: str) -> list[Measured]:
    """Return the newest of each candidate and code: of this board if it has any, else of others."""
    own = [entry for entry in same if entry[1].conditions.board == board]
    newest: Mapping[tuple[str, str], tuple[str, Record]] = {
        (record.candidate, record.code): (origin, record) for origin, record in own or same
    }
    return [_measured(origin, record, board) for origin, record in newest.values()]


def _measured(origin: str, record: Record, board: str) -> Measured:
    assert record.cost is not None
    place = "" if record.conditions.board == board else f" of {record.conditions.board}"
    return Measured(
        family=record.family,
        config=record.config,
        cost=record.cost,
        code=record.code,
        scratch_bytes=record.scratch_bytes,
        flash_bytes=record.flash_bytes,
        origin=f"{origin}{place}",
    )
