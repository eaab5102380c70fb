"""Networks and inner blocks on the Cortex-M55: the tables of docs/helium.md.

    python benchmarks/helium.py --models DIR [--llvm-mca llvm-mca-19] [--write]
    python benchmarks/helium.py --layers FILE [--write]
    python benchmarks/helium.py --drawn [--write]
    python benchmarks/helium.py --blocks [--llvm-mca llvm-mca-19] [--write]

Networks run once on the emulated board, compiled by default; the same counts are priced by the core's table and, each
executed edge between blocks, by llvm-mca. `--layers` does the same with single layers beside
recorded cycles of others: FILE is a JSON object of names (as `utvm bench layers` has them) and cycles. `--drawn` says
which families the layers drawn by `utvm.bench.drawn` have by default, and what keeps vectors from others. `--blocks`
prices the inner loops of micro-kernels by the core's table and by llvm-mca.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from helium_int16 import checked_cycles
from llvm_mca import LlvmMca
from pipelines import connected, networks
from tables import DOCS, write_table

from utvm import api
from utvm.bench import layer_graph
from utvm.bench.drawn import drawn_layers
from utvm.cores import Core, get_core
from utvm.cores.microkernel import code_cycles
from utvm.emulators.cycles import CycleModel
from utvm.frontends import load
from utvm.graph import Operator
from utvm.graph.samples import random_input
from utvm.kernels import FAMILIES
from utvm.kernels.helium.block import micro_kernel
from utvm.kernels.helium.block_spec import BlockSpec, DepthwiseBlockSpec, WideBlockSpec
from utvm.kernels.helium.finish import VectorFinish
from utvm.kernels.helium.patch_code import PatchSpec, patch_kernel
from utvm.kernels.helium.wide_finish import WideFinish
from utvm.lowering import Options, lower
from utvm.toolchain import instruction_listing

BOARD, WITHOUT_VECTORS = "qemu-cortex-m55", "qemu-cortex-m33"
CMSIS_NN = {"KWS": 1_962_337, "IC": 4_888_353, "VWW": 6_947_923, "AD": 154_528, "CIFAR-10": 3_608_750}
"""Modelled cycles of CMSIS-NN 99f736a (GCC 12.2.1, -Ofast): sums of single int8 layers, counted in QEMU, each executed
edge priced by llvm-mca 19. That of CIFAR-10 is its int8 form."""
VECTORS, DSP, PLAIN = "vectors", "DSP extension", "plain C"
_TURNS = 50
_UNSIGNED = VectorFinish(product="vqrdmulh", left=False, lowers="", zero_point=-128, low=-128, high=127)
_ANY = replace(_UNSIGNED, lowers="all", zero_point=3)
_PAIR = BlockSpec(
    pixels=2, rows=1, row_stride=0, runs=(0,), run=16, pitch=16, out_pitch=64, groups=2, words=True, finish=_UNSIGNED
)
_ONE = replace(_PAIR, pixels=1, run=128, pitch=128, groups=1)
_INT16 = WideFinish(product="vrmulh", left=False, lowers="", zero_point=0, low=-32768, high=32767, has_addend=False)
_WIDE = WideBlockSpec(
    pixels=2, rows=1, row_stride=0, runs=(0,), run=128, pitch=128, out_pitch=32, groups=4, words=True, finish=_INT16
)  # fmt: skip
_TAPS = DepthwiseBlockSpec(
    pixels=2, rows=3, row_stride=512, runs=(0, 64, 128), run=16, pitch=64, out_pitch=64, groups=4, words=True,
    finish=_INT16,
)  # fmt: skip
_SQUARE = PatchSpec(square=True, taps=(0,), between=256, step=512, out_step=256, steps=8, finish=_UNSIGNED)
BLOCKS = {
    "convolution, 2 pixels, 16 taps, two blocks": _PAIR,
    "64 taps": replace(_PAIR, run=64, pitch=64),
    "144 taps": replace(_PAIR, run=144, pitch=144),
    "144 taps, any zero point": replace(_PAIR, run=144, pitch=144, finish=_ANY),
    "1 pixel, 128 taps": _ONE,
    "depthwise, a channel of eight patches of 2 x 2 outputs": _SQUARE,
    "depthwise, a channel of 32 patches of one output": replace(_SQUARE, square=False),
    "convolution of int16, 2 pixels, 64 taps, four blocks": _WIDE,
    "depthwise of int16, 2 pixels, 3 x 3 taps, four blocks": _TAPS,
}


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", type=Path, metavar="DIR")
    parser.add_argument("--blocks", action="store_true")
    parser.add_argument("--llvm-mca", default="llvm-mca-19", metavar="COMMAND")
    parser.add_argument("--layers", type=Path, metavar="FILE")
    parser.add_argument("--drawn", action="store_true")
    parser.add_argument("--write", action="store_true", help="write the table into docs/helium.md")
    arguments = parser.parse_args()
    if arguments.layers is not None:
        name, lines = "helium-layers", list(layers_table(json.loads(arguments.layers.read_text(encoding="utf-8"))))
    elif arguments.drawn:
        name, lines = "helium-drawn", list(drawn_table())
    elif arguments.blocks:
        name, lines = "helium-blocks", list(blocks_table(arguments.llvm_mca))
    elif arguments.models is None:
        parser.error("give --models DIR, --layers FILE, --drawn or --blocks")
    else:
        name, lines = "helium-networks", list(networks_table(arguments.models, arguments.llvm_mca))
    print("\n".join(lines))
    if arguments.write:
        write_table(DOCS / "helium.md", name, lines)


def networks_table(models: Path, tool: str) -> Iterator[str]:
    """Yield a row a network: its cycles by two tables beside CMSIS-NN's, and its memory with vectors and without."""
    yield "| network | µTVM | the same by llvm-mca | CMSIS-NN (recorded) | times | arena, flash | without vectors |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    session, target = connected(BOARD, None)
    with session:
        for name, path in networks(models).items():
            if name not in CMSIS_NN:
                continue
            graph = load(path)
            compiled = api.compile(graph, session.board)
            inputs = {t.name: random_input(t, i) for i, t in enumerate(graph.inputs)}
            cycles = api.Model(session, compiled).run(inputs).measurement.cycles
            counts = target.counts()
            assert cycles is not None
            assert counts is not None
            second = CycleModel(instruction_listing(compiled.image), LlvmMca(tool, session.board.core.name)).cycles(
                counts
            )
            assert second is not None
            peer = CMSIS_NN[name]
            times = f"{peer / cycles:.1f}, {peer / second:.1f}"
            cells = [f"{cycles:,}", f"{second:,}", f"{peer:,}", times, memory(compiled)]
            cells.append(memory(api.compile(graph, WITHOUT_VECTORS)))
            yield "| " + " | ".join([name, *cells]) + " |"


def layers_table(recorded: Mapping[str, int]) -> Iterator[str]:
    """Yield a row a layer: its kernel and its cycles beside those that were recorded; then the least and the median."""
    yield "| layer | kernel | µTVM | recorded | times |"
    yield "|---|---|--:|--:|--:|"
    times = []
    with api.connect(BOARD) as session:
        for name, peer in recorded.items():
            graph = layer_graph(name)
            if graph is None:
                continue
            compiled = api.compile(graph, session.board)
            cycles = checked_cycles(session, compiled, graph)
            times.append(peer / cycles)
            family = compiled.program.calls[0].kernel.family
            yield f"| {name} | {family} | {cycles:,} | {peer:,} | {times[-1]:.2f} |"
    yield f"| least, median of {len(times)} | | | | {min(times):.2f}, {statistics.median(times):.2f} |"


def drawn_table() -> Iterator[str]:
    """Yield a row an operator: how many drawn layers have vectors, and what keeps vectors from the others."""
    core = get_core("cortex-m55")
    found: dict[str, Counter[str]] = {}
    for layer in drawn_layers():
        (op,) = layer.graph.operators
        program = lower(layer.graph, core, Options())
        counts = found.setdefault(op.kind, Counter())
        for call in program.calls:
            family = call.kernel.family
            group = VECTORS if family.startswith("helium") else PLAIN if family == "portable" else DSP
            counts[group] += 1
            if group != VECTORS:
                counts[why_no_vectors(op, core)] += 1
    yield f"| operator | {VECTORS} | {DSP} | {PLAIN} | what keeps vectors out |"
    yield "|---|--:|--:|--:|---|"
    for kind, counts in found.items():
        reasons = "; ".join(f"{each} ({counts[each]})" for each in counts if each not in (VECTORS, DSP, PLAIN))
        yield f"| {kind} | {counts[VECTORS]} | {counts[DSP]} | {counts[PLAIN]} | {reasons} |"


def why_no_vectors(op: Operator, core: Core) -> str:
    """Return what keeps the families of vectors from an operator."""
    reasons = []
    for family in FAMILIES:
        takes = op.outputs[0].dtype in family.dtypes
        if takes and family.name.startswith("helium") and isinstance(op, family.kinds):
            reason = family.outside_signature(op) or family.refusal(op, core)
            if reason is None:
                return "another is faster by estimate"
            reasons.append(reason)
    # Sums and products with a number are a table's, and a table's are not others'.
    return next((each for each in reasons if "number" not in each), reasons[0] if reasons else "no family")


def memory(compiled: api.Compiled) -> str:
    """Return the bytes of a network's arena and of its code and constants."""
    return f"{compiled.program.arena_bytes:,} B, {compiled.image.flash_bytes:,} B"


def blocks_table(tool: str) -> Iterator[str]:
    """Yield a row a block: cycles of a turn by the core's table and by llvm-mca."""
    timing = get_core("cortex-m55").timing
    assert timing is not None
    yield "| block | µTVM's table | llvm-mca |"
    yield "|---|--:|--:|"
    for name, spec in BLOCKS.items():
        kernel = micro_kernel(spec, timing) if isinstance(spec, BlockSpec) else patch_kernel(spec, timing)
        lines = kernel[0].assembly
        start = lines.index("2:" if "2:" in lines else "1:") + 1
        turn = lines[start : next(i for i in range(start, len(lines)) if lines[i].startswith("subs"))]
        yield f"| {name} | {code_cycles(turn, timing):.0f} | {by_llvm_mca(tool, turn):.0f} |"


def by_llvm_mca(tool: str, turn: tuple[str, ...]) -> float:
    """Return llvm-mca's cycles of a turn among equal ones."""
    options = ("-mtriple=thumbv8.1m.main-none-eabi", "-mcpu=cortex-m55", "-mattr=+mve", f"-iterations={_TURNS}")
    text = ".syntax unified\n.thumb\n" + "\n".join(turn)
    done = subprocess.run([tool, *options], input=text, capture_output=True, text=True, check=False)
    found = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if found is None:
        raise SystemExit(f"{tool}: {done.stderr[:400]}")
    return int(found.group(1)) / _TURNS


if __name__ == "__main__":
    main()
