"""Layers drawn by a seed, with hand-picked corners, beside CMSIS-NN 4.0.0 in the same run.

    python benchmarks/layers.py [--boards A,B] [--kinds conv,depthwise] [--seed N] [--jobs N] [--json FILE] [--write]

Every output is compared with the reference. A row is saved as soon as it is measured: with --json FILE an interrupted
run goes on where it stopped; take a new file for new code. --write puts the summary into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from tables import DOCS, write_table

from utvm import api
from utvm.bench import CMSIS_NN, PeerError, measure_cmsis_nn
from utvm.bench.drawn import DrawnLayer, drawn_layers
from utvm.device import Session
from utvm.errors import UtvmError
from utvm.graph.cost import macs
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.tuning import NO_RECORDS

BOARDS = "qemu-cortex-m7,qemu-cortex-m4"
WORST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One layer on one board. Cycles are modelled; `peer` are CMSIS-NN's, None where it lacks the function."""

    board: str
    kind: str
    name: str
    family: str
    macs: int
    elements: int
    cycles: int
    exact: bool
    peer: int | None
    peer_exact: bool | None

    @property
    def ratio(self) -> float | None:
        """How many times our cycles the peer needs."""
        return None if self.peer is None else self.peer / self.cycles

    @property
    def line(self) -> str:
        """The result for a person."""
        cost = (
            f"{self.cycles / self.macs:7.3f} cycles/MAC"
            if self.macs
            else f"{self.cycles / self.elements:7.2f} cycles/el "
        )
        ratio = "   no peer" if self.ratio is None else f"{self.ratio:9.2f}x"
        marks = ("" if self.exact else "  WRONG") + ("" if self.peer_exact is not False else "  peer differs")
        return f"{self.board[5:]:10} {ratio} {self.cycles:>10,} {cost}  {self.family:10} {self.name}{marks}"


def main() -> int:
    """Measure what is not yet in the file, print every row, then the summary; 1 if a byte is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--boards", default=BOARDS)
    parser.add_argument("--kinds", help="only layers of these kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="rows as JSON lines; those it has are not run again")
    parser.add_argument("--write", action="store_true", help="write the summary into docs/benchmarks.md")
    arguments = parser.parse_args()
    kinds = None if arguments.kinds is None else set(arguments.kinds.split(","))
    layers = [layer for layer in drawn_layers(arguments.seed) if kinds is None or layer.kind in kinds]
    done = dict(_saved(arguments.json))
    wanted = [(board, layer.name) for board in arguments.boards.split(",") for layer in layers]
    rows = [done[key] for key in wanted if key in done]
    missing = [key for key in wanted if key not in done]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        jobs = [pool.submit(_measure, board, name, arguments.seed) for board, name in missing]
        try:
            for job in as_completed(jobs):
                row = job.result()
                rows.append(row)
                print(row.line, flush=True)
                _save(arguments.json, row)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
    lines = list(_summary(rows))
    print("\n".join(lines))
    if arguments.write:
        write_table(DOCS / "benchmarks.md", "drawn-layers", lines)
    return 0 if all(row.exact for row in rows) else 1


def _saved(file: Path | None) -> Iterator[tuple[tuple[str, str], Result]]:
    if file is not None and file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            row = Result(**json.loads(line))
            yield (row.board, row.name), row


def _save(file: Path | None, row: Result) -> None:
    if file is not None:
        with file.open("a", encoding="utf-8") as rows:
            rows.write(json.dumps(asdict(row)) + "\n")


@lru_cache
def _layers(seed: int) -> Mapping[str, DrawnLayer]:
    return {layer.name: layer for layer in drawn_layers(seed)}


@lru_cache
def _session(board: str) -> Session:
    return api.connect(board)


def _measure(board: str, name: str, seed: int) -> Result:
    layer, session = _layers(seed)[name], _session(board)
    graph = layer.graph
    inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
    compiled = api.compile(graph, session.board, records=NO_RECORDS)
    ran = api.Model(session, compiled).run(inputs)
    expected = evaluate(graph, inputs)
    peer = None
    try:
        peer = measure_cmsis_nn(session, graph, inputs)
    except PeerError:
        pass
    except UtvmError as error:
        print(f"{name}: {CMSIS_NN} is not measured: {error}", file=sys.stderr, flush=True)
    assert ran.measurement.cycles is not None
    return Result(
        board=board,
        kind=layer.kind,
        name=name,
        family="+".join(sorted({call.kernel.family for call in compiled.program.calls})),
        macs=macs(graph),
        elements=max(tensor.elements for tensor in (*graph.inputs, *graph.outputs)),
        cycles=ran.measurement.cycles,
        exact=all((ran.outputs[tensor.name] == expected[tensor.name]).all() for tensor in graph.outputs),
        peer=None if peer is None else peer.cycles,
        peer_exact=None if peer is None else peer.exact,
    )


def _summary(rows: Sequence[Result]) -> Iterator[str]:
    """Yield Markdown: by board and kind the ratios, then the worst layers."""
    yield "| board | kind | layers | worst | median | best | cycles a MAC or element, median |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for board in sorted({row.board for row in rows}):
        mine = [row for row in rows if row.board == board]
        for kind in (*dict.fromkeys(row.kind for row in sorted(mine, key=lambda row: row.name)), None):
            some = [row for row in mine if kind in (None, row.kind)]
            ratios = sorted(row.ratio for row in some if row.ratio is not None)
            cells = ["", "", ""]
            if ratios:
                cells = [f"{value:.2f}x" for value in (ratios[0], statistics.median(ratios), ratios[-1])]
            cost = (
                ""
                if kind is None
                else f"{statistics.median(row.cycles / (row.macs or row.elements) for row in some):.2f}"
            )
            yield f"| {board} | {kind or '**all**'} | {len(some)} | {' | '.join(cells)} | {cost} |"
    yield ""
    yield f"The {WORST} worst of each board:"
    yield ""
    yield "| board | layer | family | cycles | times as fast |"
    yield "|---|---|---|--:|--:|"
    for board in sorted({row.board for row in rows}):
        worst = sorted(
            (row for row in rows if row.board == board and row.ratio is not None), key=lambda r: r.ratio or 0
        )
        for row in worst[:WORST]:
            yield f"| {board} | {row.name.replace('_', ' ')} | {row.family} | {row.cycles:,} | {row.ratio:.2f} |"


if __name__ == "__main__":
    sys.exit(main())
