"""MetaSchedule on boards: seconds a trial and gain for three layers in int8 and float32, in two design spaces.

    python benchmarks/tvm_trials.py run FIGURES.jsonl [--board BOARD ...] [--fleet ADDRESS]
    python benchmarks/tvm_trials.py table FIGURES.jsonl

In an environment with `utvm[tvm]`. What FIGURES.jsonl holds already is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from tvm import te

import utvm.tvm
from utvm.fleet import Fleet

BOARDS = ("qemu-cortex-m7", "qemu-riscv32", "rtl-cv32e40p")
TRIALS = 32


def convolution(dtype: str, total: str) -> Any:
    """Return 3x3 from 8x8x8 to 6x6x8."""
    x, w = te.placeholder((8, 8, 8), dtype, "x"), te.placeholder((3, 3, 8, 8), dtype, "w")
    a, b, c = (te.reduce_axis((0, n), name) for n, name in ((3, "a"), (3, "b"), (8, "c")))
    return _summed(
        [x, w], (6, 6, 8), lambda i, j, o: x[i + a, j + b, c].astype(total) * w[a, b, c, o].astype(total), [a, b, c]
    )


def depthwise(dtype: str, total: str) -> Any:
    """Return 3x3 from 10x10x16 to 8x8x16."""
    x, w = te.placeholder((10, 10, 16), dtype, "x"), te.placeholder((3, 3, 16), dtype, "w")
    a, b = te.reduce_axis((0, 3), "a"), te.reduce_axis((0, 3), "b")
    return _summed(
        [x, w], (8, 8, 16), lambda i, j, o: x[i + a, j + b, o].astype(total) * w[a, b, o].astype(total), [a, b]
    )


def matrices(dtype: str, total: str) -> Any:
    """Return 16x48 by 48x24."""
    x, w = te.placeholder((16, 48), dtype, "x"), te.placeholder((48, 24), dtype, "w")
    k = te.reduce_axis((0, 48), "k")
    return _summed([x, w], (16, 24), lambda i, o: x[i, k].astype(total) * w[k, o].astype(total), [k])


def by_hand(schedule: Any) -> None:
    """Unroll a tile of outputs and some steps of the sum, of sampled sizes."""
    block = schedule.get_sblock("y")
    *outputs, last = schedule.get_loops(block)[: len(schedule.get(block).writes[0].region)]
    sums = schedule.get_loops(block)[len(outputs) + 1 :]
    outer, inner = schedule.split(last, schedule.sample_perfect_tile(last, 2, max_innermost_factor=8))
    steps, step = schedule.split(sums[-1], schedule.sample_perfect_tile(sums[-1], 2, max_innermost_factor=4))
    schedule.reorder(*outputs, outer, *sums[:-1], steps, step, inner)
    schedule.unroll(step)
    schedule.unroll(inner)
    schedule.decompose_reduction(block, sums[0] if len(sums) > 1 else steps)


LAYERS: dict[str, Callable[[str, str], Any]] = {
    "convolution": convolution,
    "depthwise": depthwise,
    "matrices": matrices,
}
SPACES: dict[str, Any] = {"by hand": by_hand, "default": None}


def run(figures: Path, boards: list[str], fleet: str | None) -> None:
    """Tune what is not known yet; one line of JSON each."""
    known = {_key(line) for line in _lines(figures)}
    for board, space, layer, dtype in product(boards, SPACES, LAYERS, ("int8", "float32")):
        entry: dict[str, Any] = {"board": board, "layer": layer, "dtype": dtype, "space": space, "fleet": bool(fleet)}
        if _key(entry) in known:
            continue
        function = LAYERS[layer](dtype, "int32" if dtype == "int8" else dtype)
        started = time.perf_counter()
        with utvm.tvm.Boards(board, fleet=None if fleet is None else Fleet(address=fleet)) as there:
            tuned = utvm.tvm.tune(function, there, trials=TRIALS, space=SPACES[space])
        entry |= {
            "seconds": time.perf_counter() - started,
            "board_seconds": sum(trial.load_seconds + trial.run_seconds for trial in tuned.trials),
            "outcomes": dict(Counter(str(trial.outcome) for trial in tuned.trials)),
            "untuned": tuned.untuned.cycles,
            "best": tuned.best.cycles,
            "source": tuned.best.cycles_source,
        }
        with figures.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        print(entry, flush=True)


def table(figures: Path) -> None:
    """Print the figures as a table for docs/tvm.md."""
    print("| board | layer | type | space | trials ok | s a trial | counted by | untuned | best | gain |")
    print("|---|---|---|---|--:|--:|---|--:|--:|--:|")
    order = {name: place for place, name in enumerate((*BOARDS, *LAYERS, "int8", "float32", *SPACES))}
    places = ("board", "layer", "dtype", "space")
    for line in sorted(_lines(figures), key=lambda line: (line["fleet"], *(order[line[place]] for place in places))):
        trials, good = sum(line["outcomes"].values()), line["outcomes"].get("ok", 0)
        board = f"{line['board']}, fleet of two" if line["fleet"] else line["board"]
        seconds, gain = line["seconds"] / trials, line["untuned"] / line["best"]
        print(
            f"| {board} | {line['layer']} | {line['dtype']} | {line['space']} | {good} of {trials} | {seconds:.2f} "
            f"| {line['source']} | {line['untuned']:,} | {line['best']:,} | {gain:.2f} |"
        )


def _summed(operands: list[Any], shape: tuple[int, ...], term: Callable[..., Any], axes: list[Any]) -> Any:
    y = te.compute(shape, lambda *place: te.sum(term(*place), axes), "y")
    return te.create_prim_func([*operands, y])


def _lines(figures: Path) -> Iterator[dict[str, Any]]:
    if figures.exists():
        yield from map(json.loads, figures.read_text(encoding="utf-8").splitlines())


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(line[name] for name in ("board", "layer", "dtype", "space", "fleet"))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("figures", type=Path)
    parser.add_argument("--board", action="append")
    parser.add_argument("--fleet")
    arguments = parser.parse_args()
    if arguments.what == "table":
        table(arguments.figures)
    else:
        run(arguments.figures, arguments.board or list(BOARDS), arguments.fleet)


if __name__ == "__main__":
    main()
