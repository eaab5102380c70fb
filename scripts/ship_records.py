"""Writes the records that come with µTVM: src/utvm/tuning/shipped.jsonl.gz.

    python scripts/ship_records.py [--boards B,B,...] [--db FILE] MODEL ...

Tunes every model on every board (what FILE already holds is not measured again) and keeps, of each workload that has
something to choose from, the record of what would be taken without tuning and those that no other of its family beats
in cycles, flash and scratch together.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from utvm.tune import model_tasks, tune
from utvm.tuning import Record, Task, write_lines

TARGET = Path(__file__).resolve().parent.parent / "src" / "utvm" / "tuning" / "shipped.jsonl.gz"
BOARDS = "qemu-cortex-m7,qemu-cortex-m4,qemu-cortex-m33"


def main() -> None:
    """Tune, select and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--boards", default=BOARDS)
    parser.add_argument("--db", type=Path, default=Path("tuning.sqlite"), metavar="FILE")
    arguments = parser.parse_args()
    kept: dict[str, Record] = {}
    for board in arguments.boards.split(","):
        for model in arguments.models:
            report = tune(model, board, database=arguments.db).report
            print(f"{report.model} on {board}: {report.seconds:.0f} s", file=sys.stderr, flush=True)
            tasks = {task.workload: task for task in model_tasks(model, board)[1]}
            for layer in report.layers:
                if layer.default is not None and layer.space > 1:
                    chosen = worth_shipping(layer.records, tasks[layer.default.workload])
                    kept |= {record.digest: record for record in chosen}
    ordered = sorted(kept.values(), key=lambda r: (r.conditions.board, r.workload, r.cost or 0, r.candidate))
    print(f"{write_lines(ordered, TARGET)} records, {TARGET.stat().st_size:,} bytes in {TARGET}")


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
