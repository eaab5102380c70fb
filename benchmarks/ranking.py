"""How `utvm cost` ranks drawn networks beside emulated runs of them: Spearman's coefficient, and the ratios.

    python benchmarks/ranking.py --output FILE [--board BOARD] [--count 200] [--first 0]

Each network is a line of JSON in FILE, written when it was run; networks that FILE has already are not run again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import networks
import numpy as np

from utvm import api
from utvm.codegen import RUN_SYMBOL
from utvm.device import Session
from utvm.tuning import NO_RECORDS


def main() -> None:
    """Run what is missing, then print how both orders agree."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the seed of the first network")
    arguments = parser.parse_args()
    found = _read(arguments.output)
    missing = [s for s in range(arguments.first, arguments.first + arguments.count) if s not in found]
    if missing:
        with api.connect(arguments.board) as session, arguments.output.open("a", encoding="utf-8") as output:
            for seed in missing:
                found[seed] = _compared(seed, arguments.board, session)
                output.write(json.dumps(found[seed]) + "\n")
                output.flush()
    _summarize(list(found.values()))


def _read(path: Path) -> dict[int, dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {line["seed"]: line for line in map(json.loads, lines)}


def _compared(seed: int, board: str, session: Session) -> dict[str, Any]:
    """Return the modelled cycles of a network by estimate and by the run."""
    graph = networks.drawn(seed)
    report = api.cost(graph, board, records=NO_RECORDS)
    session.load(api.compile(graph, board, records=NO_RECORDS).image)
    cycles = session.call(RUN_SYMBOL).cycles
    return {"seed": seed, "board": board, "macs": report.macs, "cost": report.cycles, "run": cycles}


def _summarize(lines: list[dict[str, Any]]) -> None:
    cost, run = (np.array([line[key] for line in lines], float) for key in ("cost", "run"))
    ranks = [np.argsort(np.argsort(values)) for values in (cost, run)]
    ratios = np.sort(cost / run)
    print(f"{len(lines)} networks, {run.min() / 1e6:.2f} to {run.max() / 1e6:.2f} M modelled cycles")
    print(f"Spearman {np.corrcoef(*ranks)[0, 1]:.5f}")
    print(f"cost / run: least {ratios[0]:.3f}, median {np.median(ratios):.3f}, most {ratios[-1]:.3f}")


if __name__ == "__main__":
    main()
