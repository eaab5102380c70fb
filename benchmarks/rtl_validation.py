"""The cycle model of RISC-V beside the real core: the table "Against the core's RTL" of docs/cycle-model.md.

    python benchmarks/rtl_validation.py [MODEL ...]

Without MODEL: the example network, about two minutes on an idle machine. The same C, compiled by the same flags, runs
call by call on qemu-riscv32, where cycles are modelled, and on rtl-cv32e40p, where they are the core's own mcycle.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from utvm.profiling import profile
from utvm.report import ProfileReport

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "cifar10" / "cifar10_cnn.tflite"
MODELLED, REAL = "qemu-riscv32", "rtl-cv32e40p"
SECONDS = 3600.0


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL", default=[EXAMPLE])
    for model in parser.parse_args().models:
        modelled, _ = profile(model, MODELLED)
        real, _ = profile(model, REAL, timeout=SECONDS)
        print(table(modelled, real), flush=True)


def table(modelled: ProfileReport, real: ProfileReport) -> str:
    """Return the calls of a network in Markdown, then the whole of it."""
    lines = [
        f"| {real.model} | instructions | {real.cycles_source} | {modelled.cycles_source} | model / mcycle |",
        "|---|--:|--:|--:|--:|",
    ]
    for ours, theirs in zip(modelled.operators, real.operators, strict=True):
        lines.append(_row(f"{ours.kind} ({ours.family})", ours.cycles, theirs.instructions, theirs.cycles))
    lines.append(_row("whole network", modelled.cycles, real.instructions, real.cycles))
    return "\n".join(lines) + "\n"


def _row(what: str, modelled: int | None, instructions: int | None, cycles: int | None) -> str:
    if modelled is None or instructions is None or cycles is None:
        return f"| {what} | unknown | | | |"
    return f"| {what} | {instructions:,} | {cycles:,} | {modelled:,} | {modelled / cycles:.3f} |"


if __name__ == "__main__":
    main()
