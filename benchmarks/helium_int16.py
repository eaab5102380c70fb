"""int16 activations on the Cortex-M55: networks and drawn layers with vectors, without, and in int8.

    python benchmarks/helium_int16.py --models DIR [--every N] [--write]

Cycles are modelled, of one run on the emulated board. The int16 form of a network or layer has the weights of the int8
one and values 256 times as fine. "Without vectors" has the kernels of the DSP extension and plain C, on the same core.
Every output is compared with the reference. --write puts both tables into docs/helium.md.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines import networks
from tables import DOCS, write_table
from typed_layers import KINDS, wide

from utvm import api
from utvm.api.compiling import build_program
from utvm.bench.drawn import drawn_layers
from utvm.device import Session
from utvm.frontends import load
from utvm.graph import Graph
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.kernels import FAMILIES
from utvm.lowering import Options, lower

BOARD = "qemu-cortex-m55"
NETWORKS = ("KWS", "AD", "IC", "VWW")
PLAIN = tuple(family for family in FAMILIES if not family.name.startswith("helium"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycles:
    """Modelled cycles of one network or layer: in int8, in int16 by vectors, and in int16 without."""

    int8: int
    int16: int
    without: int

    @property
    def cells(self) -> list[str]:
        """As a table has them."""
        ratios = f"{self.int16 / self.int8:.2f}", f"{self.without / self.int16:.2f}"
        return [f"{self.int8:,}", f"{self.int16:,}", ratios[0], f"{self.without:,}", ratios[1]]


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", type=Path, required=True, metavar="DIR")
    parser.add_argument("--every", type=int, default=4, help="every so many of a kind's drawn layers")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/helium.md")
    arguments = parser.parse_args()
    with api.connect(BOARD) as session:
        tables = {
            "helium-int16": list(networks_table(session, arguments.models)),
            "helium-int16-layers": list(layers_table(session, arguments.every)),
        }
    for name, lines in tables.items():
        print("\n".join(lines))
        if arguments.write:
            write_table(DOCS / "helium.md", name, lines)


def networks_table(session: Session, models: Path) -> Iterator[str]:
    """Yield a row a network."""
    yield "| network | int8 | int16 | times int8 | int16 without vectors | times int16 |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name, path in networks(models).items():
        if name in NETWORKS:
            yield f"| {name} | {' | '.join(measured(session, load(path)).cells)} |"


def layers_table(session: Session, every: int) -> Iterator[str]:
    """Yield a row a kind of layers."""
    yield "| kind | layers | int16 over int8: median | worst | without vectors over int16: median | least |"
    yield "|---|--:|--:|--:|--:|--:|"
    for kind in KINDS:
        layers = [layer for layer in drawn_layers() if layer.kind == kind][::every]
        found = [measured(session, layer.graph) for layer in layers]
        cells = [*_ends([each.int16 / each.int8 for each in found], max)]
        cells += _ends([each.without / each.int16 for each in found], min)
        yield f"| {kind} | {len(found)} | {' | '.join(cells)} |"


def measured(session: Session, graph: Graph) -> Cycles:
    """Return the cycles of a network or layer of int8."""
    int16 = wide(graph)
    compiled = [api.compile(each, BOARD) for each in (graph, int16)]
    program = lower(compiled[1].program.graph, session.board.core, Options(families=PLAIN))
    files = program.render()
    image = build_program(session.board, program, files)
    compiled.append(replace(compiled[1], program=program, files=files, image=image))
    cycles = [checked_cycles(session, each, model) for each, model in zip(compiled, (graph, int16, int16), strict=True)]
    return Cycles(int8=cycles[0], int16=cycles[1], without=cycles[2])


def checked_cycles(session: Session, compiled: api.Compiled, graph: Graph) -> int:
    """Return the modelled cycles of one run, whose outputs are those of the reference."""
    inputs = {tensor.name: random_input(tensor, index) for index, tensor in enumerate(graph.inputs)}
    ran = api.Model(session, compiled).run(inputs)
    for name, wanted in evaluate(graph, inputs).items():
        assert (ran.outputs[name] == wanted).all(), f"{graph.name} is wrong"
    assert ran.measurement.cycles is not None
    return ran.measurement.cycles


def _ends(ratios: Sequence[float], worst: Callable[[Sequence[float]], float]) -> tuple[str, str]:
    return f"{statistics.median(ratios):.2f}", f"{worst(ratios):.2f}"


if __name__ == "__main__":
    main()
