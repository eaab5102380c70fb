"""Writes the records that come with µTVM: src/utvm/tuning/shipped.jsonl.gz.

    python scripts/ship_records.py [--boards B,B,...] [--db FILE] MODEL ...

Tunes every model on every board (what FILE already holds is not measured again, so that a second start goes on where
the first ended) and keeps, of each workload that has something to choose from, the record of what would be taken
without tuning and those that no other of its family beats in cycles, flash and scratch together. Operators are measured
one at a time: a model need not fit a board as a whole. Records of boards that are not named stay as they are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from utvm.errors import UtvmError
from utvm.model_tuning import model_tasks, tune
from utvm.report import TuningProgress
from utvm.tuning import Record, Task, read_lines, write_lines

TARGET = Path(__file__).resolve().parent.parent / "src" / "utvm" / "tuning" / "shipped.jsonl.gz"
BOARDS = "qemu-cortex-m7,qemu-cortex-m4,qemu-cortex-m33,qemu-cortex-m55"
"""The emulated boards that have more than one kernel for an operator."""


def main() -> None:
    """Tune, select and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--boards", default=BOARDS)
    parser.add_argument("--db", type=Path, default=Path("tuning.sqlite"), metavar="FILE")
    arguments = parser.parse_args()
    boards = arguments.boards.split(",")
    pairs = [(board, model) for board in boards for model in arguments.models]
    kept = {record.digest: record for record in read_lines(TARGET) if record.conditions.board not in boards}
    for number, (board, model) in enumerate(pairs, 1):
        where = f"{number} of {len(pairs)}: {model.stem} on {board}"
        try:
            tasks = [task for task in model_tasks(model, board)[1] if len(task.candidates) > 1]
            chosen, seconds = _shipped(model, board, tasks, arguments.db) if tasks else ([], 0.0)
        except UtvmError as error:
            print(f"{where}: nothing is shipped: {error}", file=sys.stderr, flush=True)
            continue
        kept |= {record.digest: record for record in chosen}
        print(f"{where}: {len(chosen)} records of {len(tasks)} workloads, {seconds:.0f} s", file=sys.stderr, flush=True)
    ordered = sorted(kept.values(), key=lambda r: (r.conditions.board, r.workload, r.cost or 0, r.candidate))
    print(f"{write_lines(ordered, TARGET)} records, {TARGET.stat().st_size:,} bytes in {TARGET}")


def _shipped(model: Path, board: str, tasks: list[Task], database: Path) -> tuple[list[Record], float]:
    """Return the records to ship of a model's workloads, and the seconds that tuning took."""
    operators = [task.names[0] for task in tasks]
    with TuningProgress(trials=None, seconds=None) as progress:
        tuned = tune(model, board, operators=operators, database=database, observe=progress)
    if tuned.interrupted:
        raise KeyboardInterrupt
    by_workload = {task.workload: task for task in tasks}
    found = [
        record
        for layer in tuned.report.layers
        if layer.default is not None
        for record in worth_shipping(layer.records, by_workload[layer.default.workload])
    ]
    return found, tuned.report.seconds


def worth_shipping(records: tuple[Record, ...], task: Task) -> list[Record]:
    """Return the default's record, and those that no other of their family beats in every way."""
    kept: list[Record] = []
    for record in sorted((r for r in records if r.cost is not None), key=lambda r: (r.cost, r.flash_bytes)):
        beaten = any(
            other.family == record.family
            and other.flash_bytes <= record.flash_bytes
            and other.scratch_bytes <= record.scratch_bytes
            for other in kept
        )
        if not beaten or record.candidate == task.default.key:
            kept.append(record)
    return kept


if __name__ == "__main__":
    main()
