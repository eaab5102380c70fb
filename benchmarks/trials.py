"""Where the time of a trial goes, on emulators and through JTAG: the table of docs/tuning.md.

    python benchmarks/trials.py [--boards NAME,...] [--operator NAME] [--trials N]

Tunes one operator of the example network from no records and prints the mean of what its trials took: to generate and
build a candidate (on another core, while the board measures), to load and verify it over the link, to run it and
compare. `chip-cortex-m7` is a Cortex-M7 simulated at its JTAG pins behind stock OpenOCD, treated as a physical board:
everything is verified, and a candidate runs eight times. Wall time of this machine; no hardware.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.tuning.support import chip_board, chip_session  # noqa: E402

from utvm import api  # noqa: E402
from utvm.boards import Board  # noqa: E402
from utvm.device import Session  # noqa: E402
from utvm.model_tuning import model_tasks  # noqa: E402
from utvm.tuning import DEFAULT_SEARCH, SEARCHES, Limits, LocalRack, Outcome, Record, RecordStore, Tuner  # noqa: E402

NETWORK = ROOT / "examples" / "cifar10" / "cifar10_cnn.tflite"
SHOWN = ("qemu-cortex-m7", "chip-cortex-m7", "rtl-cv32e40p", "rtl-cv32e40p-xpulp")
CHIP = "chip-"


def main() -> None:
    """Print a row a board."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--boards", default=",".join(SHOWN))
    parser.add_argument("--operator", default="conv_2d_4")
    parser.add_argument("--trials", type=int, default=10)
    arguments = parser.parse_args()
    print("| board | trials | build | load | run | a trial, all in all | kernel |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in arguments.boards.split(","):
        print(row(name, arguments.operator, arguments.trials), flush=True)


def row(name: str, operator: str, trials: int) -> str:
    """Tune and return a line of the table."""
    is_chip = name.startswith(CHIP)
    board = chip_board(name.removeprefix(CHIP)) if is_chip else api.as_board(name)
    started = time.perf_counter()
    records = tuned(board, chip_session if is_chip else api.connect, operator, trials)
    each = (time.perf_counter() - started) / len(records)
    assert all(record.outcome is Outcome.OK for record in records), records
    build, load, run = (
        statistics.mean(getattr(record, f"{stage}_seconds") for record in records) for stage in ("build", "load", "run")
    )
    flash = statistics.mean(record.flash_bytes for record in records)
    times = " | ".join(f"{seconds:.2f} s" for seconds in (build, load, run, each))
    return f"| {name} | {len(records)} | {times} | {flash / 1024:.0f} KB |"


def tuned(board: Board, connect: Callable[[Board], Session], operator: str, trials: int) -> list[Record]:
    """Return the records of the first trials of the default search."""
    _, tasks = model_tasks(NETWORK, board, [operator])
    make = SEARCHES[DEFAULT_SEARCH]
    with tempfile.TemporaryDirectory() as folder, RecordStore(Path(folder) / "records.sqlite") as store:
        tuner = Tuner(board, LocalRack([(board, lambda: connect(board))]), store)
        steps = tuner.tune(tasks, lambda task, known: make(task, estimates=known, seed=0), Limits(trials=trials))
        return [progress.record for progress in steps]


if __name__ == "__main__":
    main()
