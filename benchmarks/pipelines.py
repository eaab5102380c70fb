"""Networks priced by two tables of one core's pipeline: the table of docs/cycle-model.md, and CMSIS-NN beside it.

    python benchmarks/pipelines.py --models DIR [--boards qemu-cortex-m7,...]

Columns: kernels made for the core's own table, priced by it, by the measured one and by the pessimistic one; kernels
made for the measured table, priced by that and by the pessimistic one. CMSIS-NN 4.0.0 by both tables, where it has the
network's operators. Misaligned accesses are those of the kernels made for the measured table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from utvm import api
from utvm.bench import measure_cmsis_nn
from utvm.device import Session, link_opener
from utvm.emulators import QemuTarget, emulator_target, get_assumption
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.graph.samples import random_input
from utvm.toolchain import default_cache_directory
from utvm.tuning import NO_RECORDS

NETWORKS = {"KWS": "kws_*.tflite", "AD": "ad_*.tflite", "IC": "ic_*.tflite", "VWW": "vww_*.tflite",
            "SWW": "sww_*.tflite", "CIFAR-10": "*q7*.npz"}  # fmt: skip
MEASURED, PESSIMISTIC = "measured", "pessimistic-m7"


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", type=Path, required=True, metavar="DIR")
    parser.add_argument("--boards", default="qemu-cortex-m7,qemu-cortex-m4,qemu-cortex-m33", metavar="A,B,...")
    arguments = parser.parse_args()
    for board in arguments.boards.split(","):
        print("\n".join(table(arguments.models, board)) + "\n", flush=True)


def table(models: Path, board: str) -> Iterator[str]:
    """Yield the rows of a board."""
    pessimistic = api.as_board(board).core.name == "cortex-m7"
    headings = ["own table", "measured", "made for measured", *(["pessimistic", "the same"] if pessimistic else [])]
    yield "| " + " | ".join([board, *headings, "CMSIS-NN, own table", "measured", "misaligned"]) + " |"
    yield "|---|" + "--:|" * (len(headings) + 3)
    for name, pattern in NETWORKS.items():
        path = sorted(models.rglob(pattern))[0]
        tables = (None, MEASURED, *([PESSIMISTIC] if pessimistic else []))
        before = {assume: cycles(path, board, None, assume)[0] for assume in tables}
        after = {assume: cycles(path, board, MEASURED, assume) for assume in tables[1:]}
        base = before[None]
        cells = [f"{base:,}", *(f"{each / base:.3f}" for each in (before[MEASURED], after[MEASURED][0]))]
        if pessimistic:
            cells += [f"{before[PESSIMISTIC] / base:.3f}", f"{after[PESSIMISTIC][0] / base:.3f}"]
        peer, peer_measured = (library(path, board, assume) for assume in (None, MEASURED))
        cells += ["", ""] if peer is None or peer_measured is None else [f"{peer:,}", f"{peer_measured / peer:.3f}"]
        yield "| " + " | ".join([name, *cells, str(after[MEASURED][1])]) + " |"


def cycles(path: Path, board: str, made_for: str | None, priced: str | None) -> tuple[int, int]:
    """Return modelled cycles and misaligned accesses of a run."""
    compiled = api.compile(path, board, assume=made_for, records=NO_RECORDS)
    inputs = {t.name: random_input(t, i) for i, t in enumerate(compiled.program.graph.inputs)}
    assumption = None if priced is None else get_assumption(priced, compiled.board.core.name)
    target = emulator_target(compiled.board, cache_directory=default_cache_directory(), assume=assumption)
    assert isinstance(target, QemuTarget)
    with Session(compiled.board, target, link_opener(compiled.board)) as session:
        found = api.Model(session, compiled).run(inputs).measurement.cycles
        counts = target.counts()
    assert found is not None
    assert counts is not None
    return found, counts.misaligned["unaligned_load"] + counts.misaligned["unaligned_store"]


def library(path: Path, board: str, assume: str | None) -> int | None:
    """Return the modelled cycles of CMSIS-NN 4.0.0, None where it lacks an operator."""
    graph = load(path)
    inputs = {t.name: random_input(t, i) for i, t in enumerate(graph.inputs)}
    try:
        with api.connect(board, assume=assume) as session:
            return measure_cmsis_nn(session, graph, inputs).cycles
    except UtvmError:
        return None


if __name__ == "__main__":
    main()
