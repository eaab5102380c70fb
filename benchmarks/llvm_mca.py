"""A core's table against llvm-mca on whole networks: the same counts, priced by both.

    python benchmarks/llvm_mca.py [--board BOARD] [--llvm-mca llvm-mca-19] MODEL ...

Each executed edge between blocks is priced once by llvm-mca as the difference of two sequences, so a network takes a
minute. What llvm-mca does not know is added as our model has it: transfers of several registers, mispredictions,
misaligned accesses. Starts and ends of hardware loops are NOPs
to it, as VPST is. The Cortex-M55's networks
are in the tables of `benchmarks/helium.py`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from utvm import api
from utvm.cores import get_core
from utvm.cores.thumb import Instruction, Kind
from utvm.device import GdbRemoteLink, Session
from utvm.emulators import QemuTarget
from utvm.emulators.cycles import CycleModel
from utvm.graph.samples import random_input
from utvm.toolchain import default_cache_directory, instruction_listing
from utvm.tuning import NO_RECORDS

BOARD = "qemu-cortex-m7"
MACHINES = {
    "cortex-m7": ("-mtriple=thumbv7em-none-eabi", "-mcpu=cortex-m7"),
    "cortex-m55": ("-mtriple=thumbv8.1m.main-none-eabi", "-mcpu=cortex-m55", "-mattr=+mve.fp"),
}
_MULTIPLE = (Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE)
_BRANCHES = (Kind.BRANCH, Kind.CALL)
_CONDITION = re.compile(r"(eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)$")
_PREDICATED = re.compile(r"^(v(?:ld|st)r[bhw])t")
_HEAD = ".syntax unified\n.thumb\n"


class LlvmMca:
    """A `Timing` whose costs llvm-mca computes."""

    def __init__(self, tool: str, core: str) -> None:
        own = get_core(core).timing
        assert own is not None
        self.name, self.command = tool, (tool, *MACHINES[core])
        self.mispredict_cycles, self.unaligned_cycles = own.mispredict_cycles, own.unaligned_cycles
        self.misaligned_target_cycles, self.parse = own.misaligned_target_cycles, own.parse
        self.loads_at_words, self.misprediction = own.loads_at_words, own.misprediction

    def cost(self, context: Sequence[Instruction], block: Sequence[Instruction], *, jumped: bool = False) -> float:
        """Return what `block` adds after `context`."""
        del jumped
        before, after = tuple(_text(i) for i in context), tuple(_text(i) for i in block)
        multiple = sum((i.registers + 1) // 2 - 1 for i in block if i.kind in _MULTIPLE)
        return _cycles(self.command, before + after) - _cycles(self.command, before) + multiple


def _text(instruction: Instruction) -> str:
    """Return an instruction as llvm-mca reads it alone: no IT block, no address to branch to."""
    name, _, operands = instruction.text.partition(" ")
    name = name.removesuffix(".w").removesuffix(".n")
    if instruction.kind is Kind.IT:
        return "cmp r0, r0"
    if instruction.kind is Kind.LOOP:
        return "nop"
    if instruction.kind is Kind.PREDICATE:
        return "nop"
    name = _PREDICATED.sub(r"\1", name)
    if instruction.kind in _BRANCHES:
        registers = operands.rpartition(",")[0] if name.startswith("cb") else ""
        return f"{name} {registers + ', ' if registers else ''}#4"
    if instruction.conditional:
        name = _CONDITION.sub("", name)
    return f"{name} {operands}"


@cache
def _cycles(command: tuple[str, ...], lines: tuple[str, ...]) -> int:
    if not lines:
        return 0
    options = [*command, "-iterations=1", "-call-latency=1"]
    done = subprocess.run(options, input=_HEAD + "\n".join(lines), capture_output=True, text=True, check=False)
    found = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if found is None:
        raise SystemExit(f"{command[0]}: {done.stderr[:400]}")
    return int(found.group(1))


def main() -> None:
    """Print, for each network, our cycles, llvm-mca's and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--board", default=BOARD, choices=[f"qemu-{core}" for core in MACHINES])
    parser.add_argument("--llvm-mca", default="llvm-mca-19")
    arguments = parser.parse_args()
    for model in arguments.models:
        compiled = api.compile(model, arguments.board, records=NO_RECORDS)
        inputs = {t.name: random_input(t, i) for i, t in enumerate(compiled.program.graph.inputs)}
        target = QemuTarget(compiled.board, cache_directory=default_cache_directory())
        with Session(compiled.board, target, GdbRemoteLink) as session:
            ours = api.Model(session, compiled).run(inputs).measurement.cycles
            counts = target.counts()
        assert ours is not None
        assert counts is not None
        theirs = CycleModel(
            instruction_listing(compiled.image), LlvmMca(arguments.llvm_mca, compiled.board.core.name)
        ).cycles(counts)
        assert theirs is not None
        print(f"{model.stem:<32} {ours:>10,} {theirs:>10,} {ours / theirs:.3f}", flush=True)


if __name__ == "__main__":
    main()
