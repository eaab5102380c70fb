"""How good defaults and short tuning are where every config is known: cores without the DSP extension.

    python benchmarks/small_cores.py --models DIR [--boards B,B] [--db FILE] [--json FILE] [--write]

Measures every config of four layers (three of keyword spotting, one of ResNet8) on each board, or reads them from FILE,
the records of an earlier run. Then replays the default search for 60 trials on what was measured. A row is appended to
--json (JSON Lines) as soon as it is known; --write puts all rows of that file into docs/tuning.md.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tables import DOCS, write_table

from utvm import api
from utvm.model_tuning import model_tasks, tune
from utvm.tuning import EstimateSearch, Record, RecordStore, Task, estimate

LAYERS = {
    "kws_dscnn_int8": ("conv_2d_0", "depthwise_conv_2d_1", "conv_2d_2"),
    "ic_resnet8_int8": ("conv_2d_8",),
}
TRIALS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer on one board; cycles are modelled.

    Attributes:
        default, tuned, best: cycles of the analytic default, of the best of 60 trials, and of the best config.
        failed: configs that can't be built or do not fit.
        seconds: of measuring what FILE lacked.
    """

    board: str
    layer: str
    space: int
    failed: int
    default: int
    tuned: int
    best: int
    seconds: float
    config: str

    @property
    def line(self) -> str:
        """The row of a table."""
        behind = [f"{100 * (cost / self.best - 1):.1f} %" for cost in (self.default, self.tuned)]
        return f"| {self.board} | {self.layer} | {self.space} | {self.best:,} | {behind[0]} | {behind[1]} |"


def main() -> None:
    """Print a row for each board and layer."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", type=Path, required=True, metavar="DIR")
    parser.add_argument("--boards", default="qemu-cortex-m3,qemu-riscv32")
    parser.add_argument("--db", type=Path, default=Path("small_cores.sqlite"), metavar="FILE")
    parser.add_argument("--json", type=Path, default=Path("small_cores.jsonl"), metavar="FILE")
    parser.add_argument("--write", action="store_true", help="replace the table in docs/tuning.md")
    arguments = parser.parse_args()
    for board in arguments.boards.split(","):
        for model, names in LAYERS.items():
            for name in names:
                layer = _layer(arguments.models / f"{model}.tflite", board, name, arguments.db)
                with arguments.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(layer)) + "\n")
                print(layer.line, flush=True)
    if arguments.write:
        held = [json.loads(line) for line in arguments.json.read_text(encoding="utf-8").splitlines()]
        rows = {(each["board"], each["layer"]): Layer(**each) for each in held}
        head = ["| board | layer | configs | best | default | best of 60 trials |", "|---|---|--:|--:|--:|--:|"]
        write_table(DOCS / "tuning.md", "small cores", [*head, *(row.line for row in rows.values())])


def _layer(model: Path, board: str, name: str, database: Path) -> Layer:
    """Return what a layer's configs cost, measured where the database lacks them."""
    started = time.perf_counter()
    tune(model, board, operators=[name], search="exhaustive", gain=0.0, database=database)
    seconds = time.perf_counter() - started
    (task,) = model_tasks(model, board, [name])[1]
    with RecordStore(database) as store:
        costs = _costs(task, store.records(workloads=[task.workload]), board)
    best = min((cost, key) for key, cost in costs.items() if cost)
    default = costs[task.default.key]
    assert default is not None
    return Layer(
        board=board,
        layer=task.label,
        space=len(task.candidates),
        failed=sum(cost is None for cost in costs.values()),
        default=default,
        tuned=_tuned(task, costs, board),
        best=best[0],
        seconds=round(seconds, 1),
        config=best[1],
    )


def _costs(task: Task, records: list[Record], board: str) -> dict[str, int | None]:
    held = {record.candidate: record.cost for record in records if record.conditions.board == board}
    return {candidate.key: held[candidate.key] for candidate in task.candidates}


def _tuned(task: Task, costs: dict[str, int | None], board: str) -> int:
    """Return the fewest cycles that the default search finds in its first trials."""
    core = api.as_board(board).core
    found = {c.key: estimate(task.op, core, c) for c in task.candidates}
    search = EstimateSearch(task, estimates={key: cycles for key, cycles in found.items() if cycles is not None})
    for _ in range(TRIALS):
        candidate = search.ask()
        if candidate is None:
            break
        cost = costs[candidate.key]
        search.tell(candidate, None if cost is None else float(cost))
    assert search.best is not None
    return round(search.best)


if __name__ == "__main__":
    main()
