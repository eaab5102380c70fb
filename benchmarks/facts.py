"""How many facts of each source the tables of pipelines agree with: the table of docs/cycle-model.md.

    python benchmarks/facts.py [--each] [--write]

--each prints every fact beside what both tables of its core say: the table of docs/pipeline-facts.md.

Facts of instructions are priced here (`tests/cores/silicon_facts.py`). Programs of others are not part of µTVM: their
cycles are figures here, priced aside by the measured table of the Cortex-M7 from their published sources.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tables import DOCS, write_table

from utvm.emulators import get_assumption

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.cores.silicon_facts import silicon_facts

_EQUAL = 0.05
"""Cycles of a turn within which a table agrees."""
_WITHIN = 0.10
"""Share of the measured time within which a program's modelled time agrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Code that was measured on silicon by its authors: any unit, the same for both; `rounded`: half the last digit."""

    source: str
    what: str
    measured: float
    modelled: float
    rounded: float = 0.0


PROGRAMS = (
    Program(source="S", what="Keccak-f1600, M4 code, cycles", measured=6691, modelled=6722),
    Program(source="S", what="Keccak-f1600, XKCP, cycles", measured=6278, modelled=6046),
    Program(source="S", what="Keccak-f1600, by hand for the M7, cycles", measured=5573, modelled=5521),
    Program(source="eprint 2025/366", what="ML-KEM NTT, speed-up by scheduling", measured=1.69, modelled=1.65),
    Program(source="µTVM's evaluation", what="CIFAR-10 in int8, CMSIS-NN 4.0.0", measured=135.9, modelled=125.6),
    Program(source="CMSIS-NN paper", what="conv1, ms", measured=31.4, modelled=36.63, rounded=0.05),
    Program(source="CMSIS-NN paper", what="pool1, ms", measured=1.6, modelled=1.42, rounded=0.05),
    Program(source="CMSIS-NN paper", what="conv2, ms", measured=42.8, modelled=42.18, rounded=0.05),
    Program(source="CMSIS-NN paper", what="pool2, ms", measured=0.4, modelled=0.35, rounded=0.05),
    Program(source="CMSIS-NN paper", what="conv3, ms", measured=22.6, modelled=20.66, rounded=0.05),
    Program(source="CMSIS-NN paper", what="pool3, ms", measured=0.3, modelled=0.16, rounded=0.05),
    Program(source="CMSIS-NN paper", what="fully connected, ms", measured=0.1, modelled=0.09, rounded=0.05),
    Program(source="CMSIS-NN paper", what="whole network, ms", measured=99.1, modelled=101.85, rounded=0.05),
)
"""The paper's kernels are those of CMSIS-NN's first release, without waits; docs/cycle-model.md says what misses."""


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--each", action="store_true", help="every fact, by both tables")
    parser.add_argument("--write", action="store_true", help="write the table into its document")
    arguments = parser.parse_args()
    lines = list(each_fact() if arguments.each else facts_table())
    print("\n".join(lines))
    if arguments.write:
        document, name = ("pipeline-facts.md", "each-fact") if arguments.each else ("cycle-model.md", "facts")
        write_table(DOCS / document, name, lines)


def each_fact() -> Iterator[str]:
    """Yield every fact: cycles on silicon by source, by the measured table, and by the compilers'."""
    before = {
        core: get_assumption("compilers", core).timings[core] for core in ("cortex-m7", "cortex-m4", "cortex-m33")
    }
    yield "| core | fact | measured | measured table | compilers' table |"
    yield "|---|---|--:|--:|--:|"
    for fact, old in zip(silicon_facts(), silicon_facts(before), strict=True):
        said = ", ".join(f"{source} {_cycles(cycles)}" for source, cycles in fact.measured.items())
        sources, _, rest = fact.what.partition(": ")
        title = rest if sources.partition(",")[0] in ("J", "S") else fact.what
        yield f"| {fact.core} | {title} | {said or 'unclear'} | {_cycles(fact.table)} | {_cycles(old.table)} |"


def _cycles(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def facts_table() -> Iterator[str]:
    """Yield by source how many facts agree, and how the rest lies."""
    yield "| source | core | facts | agree | table slower | table faster | worst, table / measured | mean |"
    yield "|---|---|--:|--:|--:|--:|---|--:|"
    facts = list(silicon_facts())
    for core in dict.fromkeys(fact.core for fact in facts):
        for source in ("J", "S"):
            mine = [
                (fact.what.partition(": ")[2], fact.table, fact.measured[source])
                for fact in facts
                if fact.core == core and source in fact.measured
            ]
            if mine:
                equal = [abs(table - measured) <= _EQUAL for _, table, measured in mine]
                yield f"| {source} | {core} | " + " | ".join(_cells(mine, equal)) + " |"
        unsaid = sum(not fact.measured for fact in facts if fact.core == core)
        if unsaid:
            yield f"| unclear, or said by none: the worse is taken | {core} | {unsaid} | | | | | |"
    for source in dict.fromkeys(program.source for program in PROGRAMS):
        programs = [(each.what, each.modelled, each.measured) for each in PROGRAMS if each.source == source]
        within = [
            abs(each.modelled - each.measured) <= max(_WITHIN * each.measured, each.rounded + 1e-9)
            for each in PROGRAMS
            if each.source == source
        ]
        yield f"| {source}, programs, within 10 % | cortex-m7 | " + " | ".join(_cells(programs, within)) + " |"


def _cells(rows: Sequence[tuple[str, float, float]], agree: Sequence[bool]) -> list[str]:
    """Return the cells of rows of what, table and measured."""
    ratios = [table / measured for _, table, measured in rows]
    worst = max(range(len(rows)), key=lambda index: abs(ratios[index] - 1))
    slower = sum(ratio > 1 and not equal for ratio, equal in zip(ratios, agree, strict=True))
    faster = sum(ratio < 1 and not equal for ratio, equal in zip(ratios, agree, strict=True))
    named = "all equal" if sum(agree) == len(rows) and abs(ratios[worst] - 1) < _EQUAL else ""
    return [
        str(len(rows)),
        str(sum(agree)),
        str(slower),
        str(faster),
        named or f"{ratios[worst]:.2f} ({rows[worst][0]})",
        f"{statistics.mean(ratios):.2f}",
    ]


if __name__ == "__main__":
    main()
