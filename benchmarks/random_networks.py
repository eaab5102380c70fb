"""Random networks, compiled in random ways, on emulated boards against tflite-micro's interpreter.

    python benchmarks/random_networks.py [--count 3000] [--start 0] [--boards A,B,...] [--aim LABEL] [--out FILE]

Prints each network that is wrong or fails, with the seed that draws it again, then how many networks had each family,
form of Winograd and stripes. Networks aim at what their board's core has. With --out FILE, lines are kept as they come
and an interrupted run goes on; what failed is tried again. With --aim each network has a layer for one of the labels
that are counted, such as "Conv2D: blocked, use swar4".
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.network_targets import target_of  # noqa: E402
from tests.support.networks import Network, distinct, draw_network  # noqa: E402
from tests.support.oracle import Oracle  # noqa: E402
from tests.support.target import run_programs  # noqa: E402

from utvm import api  # noqa: E402
from utvm.device import Session  # noqa: E402

_TURNS = {
    "qemu-cortex-m7": 7,
    "qemu-cortex-m4": 6,
    "qemu-cortex-m33": 3,
    "qemu-cortex-m55": 1,
    "qemu-cortex-m3": 3,
    "qemu-riscv32": 2,
    "qemu-riscv32v": 2,
    "qemu-cortex-m0": 1,
    "rtl-cv32e40p-xpulp": 2,
}
"""How many of each 27 networks a board gets."""
_ORDER = tuple(name for name, turns in _TURNS.items() for _ in range(turns))
_SIMULATED = {"rtl-cv32e40p-xpulp"}
"""Boards whose networks are small."""
_GROUP = 250
"""Seeds that are done on all boards before the next: an interrupted run has its share of each."""
_AT_ONCE = 24


def main() -> int:
    """Run what is not in the file yet; 1 if any network is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--boards", default=",".join(_TURNS))
    parser.add_argument("--aim", type=target_of, metavar="LABEL")
    parser.add_argument("--out", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    rows = _read(arguments.out)
    known = {row["seed"] for row in rows}
    last = arguments.start + arguments.count
    for first in range(arguments.start, last, _GROUP):
        group = [seed for seed in range(first, min(first + _GROUP, last)) if seed not in known]
        for name in arguments.boards.split(","):
            seeds = [seed for seed in group if _ORDER[seed % len(_ORDER)] == name]
            if seeds:
                with api.connect(name) as session:
                    for at in range(0, len(seeds), _AT_ONCE):
                        rows += _run(session, name, seeds[at : at + _AT_ONCE], arguments)
    return _report(rows)


def _run(session: Session, board: str, seeds: Sequence[int], arguments: argparse.Namespace) -> list[dict]:
    """Return a row for each seed, and write it to the file."""
    out: Path | None = arguments.out
    rows: list[dict] = []
    drawn: list[tuple[int, Network]] = []
    for seed in seeds:
        try:
            network = draw_network(seed, session.board, small=board in _SIMULATED, aim=arguments.aim)
            drawn.append((seed, network))
        except Exception:
            rows.append({"seed": seed, "board": board, "error": traceback.format_exc(limit=-3)})
            print(f"{board} seed {seed}: {rows[-1]['error']}", flush=True)
    outputs = run_programs(session, [n.program for _, n in drawn], [n.inputs for _, n in drawn])
    for (seed, network), found in zip(drawn, outputs, strict=True):
        if found is None:
            continue
        expected = Oracle(network.model).run(*network.inputs)
        equal = len(found) == len(expected) and all((f == e).all() for f, e in zip(found, expected, strict=True))
        rows.append(
            {
                "seed": seed,
                "board": board,
                "plan": network.plan,
                "equal": bool(equal),
                "distinct": distinct(expected),
                "used": sorted(network.used),
            }
        )
        if not equal:
            print(f"{board} seed {seed}: WRONG, {network.plan}: {sorted(network.used)}", flush=True)
    if out is not None:
        with out.open("a", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row) + "\n" for row in rows)
    print(f"{board}: {len(rows)} networks to seed {seeds[-1]}", file=sys.stderr, flush=True)
    return rows


def _read(path: Path | None) -> list[dict]:
    if path is None or not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if "error" not in row]


def _report(rows: Sequence[dict]) -> int:
    ran = [row for row in rows if "equal" in row]
    wrong = [row for row in ran if not row["equal"]]
    failed = [row for row in rows if "error" in row]
    varied = sum(row["distinct"] > 8 for row in ran)
    print(f"{len(ran)} networks ran, {len(wrong)} wrong, {len(failed)} failed; more than 8 distinct values in {varied}")
    print("boards:", dict(Counter(row["board"] for row in ran)))
    print("plans:", dict(Counter(row["plan"] for row in ran)))
    for used, count in sorted(Counter(each for row in ran for each in row["used"]).items()):
        print(f"{count:6} {used}")
    return 1 if wrong or failed else 0


if __name__ == "__main__":
    sys.exit(main())
