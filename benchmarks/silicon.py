"""Modelled times beside published ones on silicon: the tables of docs/cycle-model.md and docs/benchmarks.md.

    python benchmarks/silicon.py --models DIR [--estimates]

With --estimates: only what `utvm cost` says for the boards' own files, in seconds, beside the fastest published.
CMSIS-NN's kernels twice: the recorded cycles (`utvm.bench.RECORDED_ORIGIN`, zero-wait memory), and CMSIS-NN 4.0.0
built, checked and counted here, in zero-wait memory and in the part's. Then our own code in the part's memory beside
the fastest published results. DIR has MLPerf Tiny's int8 .tflite files and Arm's network as a q7 archive.

Published times: Lai, Suda, Chandra: CMSIS-NN (arXiv 1801.06601), table of the CIFAR-10 network's layers; µTVM's
evaluation (2019) of the same network; MLPerf Tiny v1.0, closed division (github.com/mlcommons/tiny_results_v1.0, commit
c7761cf8): the median throughput in closed/SUBMITTER/results/SYSTEM/NETWORK/performance/results.txt of OctoML
(microtvm_cmsis_nn), Plumerai and STMicroelectronics; clocks as closed/SUBMITTER/systems says.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from utvm import api
from utvm.bench import Figures, measure_cmsis_nn, recorded
from utvm.boards import Board
from utvm.frontends import load
from utvm.graph.samples import random_input
from utvm.tuning import NO_RECORDS

F746_HZ = 216_000_000
PAPER = (
    ("CMSIS-NN paper, conv1 (the only source of the fitted term)", "layer", "q7_conv1_RGB_32x32x3_32_k5", 31.4),
    ("CMSIS-NN paper, pool1", "layer", "q7_pool1_32x32x32", 1.6),
    ("CMSIS-NN paper, conv2", "layer", "q7P_conv2_fast_16x16x32_32_k5", 42.8),
    ("CMSIS-NN paper, pool2", "layer", "q7P_pool2_16x16x32", 0.4),
    ("CMSIS-NN paper, conv3", "layer", "q7P_conv3_fast_8x8x32_64_k5", 22.6),
    ("CMSIS-NN paper, pool3 (rounded to 0.1 ms)", "layer", "q7P_pool3_8x8x64", 0.3),
    ("CMSIS-NN paper, fully connected (rounded to 0.1 ms)", "layer", "q7P_fc_opt_1024_10", 0.1),
    ("CMSIS-NN paper, whole network", "net", "cifar10_paper_q7", 99.1),
    ("µTVM's evaluation, q7 CIFAR-10 CNN with CMSIS-NN", "net", "cifar10_arm_q7", 105.4),
    ("µTVM's evaluation, the same in int8", "net", "cifar10_arm", 135.9),
)
"""Case, kind and name of the recorded row, milliseconds measured on an STM32F746 at 216 MHz."""

NETWORKS = {
    "ic": ("ResNet8 (IC)", "mlperf_ic_resnet8"),
    "vww": ("MobileNetV1 (VWW)", "mlperf_vww_mobilenetv1_025_96"),
    "kws": ("DS-CNN (KWS)", "mlperf_kws_dscnn"),
    "ad": ("autoencoder (AD)", "mlperf_ad_autoencoder"),
}
"""Name → title, and name of the recorded row."""

ADDITIONS = ("rn8_add_32x32x16", "rn8_add_16x16x32", "rn8_add_8x8x64")
"""The layers of IC for which the package has no function: their recorded cycles are added to 4.0.0's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Published results on one part: inferences a second by network; `assume` is its memory model, if there is one."""

    name: str
    board: str
    hertz: int
    assume: str | None
    microtvm: Mapping[str, float]
    fastest: Mapping[str, Mapping[str, float]]


PARTS = (
    Part(
        name="STM32L4R5 (Cortex-M4) at 120 MHz",
        board="qemu-cortex-m4",
        hertz=120_000_000,
        assume="stm32l4r5",
        microtvm={"ic": 2.567, "vww": 3.320, "kws": 10.019, "ad": 116.212},
        fastest={
            "Plumerai": {"ic": 5.775, "vww": 4.795, "kws": 13.955, "ad": 179.448},
            "STMicroelectronics": {"ic": 4.407, "vww": 4.339, "kws": 13.323, "ad": 131.950},
        },
    ),
    Part(
        name="nRF5340 (Cortex-M33) at 128 MHz",
        board="qemu-cortex-m33",
        hertz=128_000_000,
        assume=None,
        microtvm={"ic": 3.163, "vww": 4.310, "kws": 13.143, "ad": 159.579},
        fastest={},
    ),
    Part(
        name="STM32F746 (Cortex-M7) at 216 MHz",
        board="qemu-cortex-m7",
        hertz=F746_HZ,
        assume="stm32f746",
        microtvm={},
        fastest={"Plumerai": {"ic": 15.440, "vww": 17.535, "kws": 52.288, "ad": 435.741}},
    ),
)


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--models", type=Path, required=True, metavar="DIR")
    parser.add_argument("--estimates", action="store_true", help="print what `utvm cost` says of the boards alone")
    arguments = parser.parse_args()
    models: Path = arguments.models
    if arguments.estimates:
        print("\n".join(estimates_table(models)))
        return
    for section in (paper_table(models), microtvm_tables(models), fastest_table(models)):
        print("\n".join(section) + "\n", flush=True)


def paper_table(models: Path) -> Iterator[str]:
    """Yield the F746's rows."""
    yield "| case, STM32F746 at 216 MHz | modelled | measured | modelled / measured |"
    yield "|---|--:|--:|--:|"
    for case, kind, name, measured in PAPER:
        modelled = milliseconds(recorded()[kind, name].cycles["cortex-m7"], F746_HZ)
        yield f"| {case} | {modelled:.2f} ms | {measured} ms | {modelled / measured:.2f} |"
    for assume, memory in ((None, "zero-wait memory"), ("stm32f746", "the STM32F746's memory")):
        cycles = library(models, "cifar10", "qemu-cortex-m7", assume).cycles
        assert cycles is not None
        modelled, measured = milliseconds(cycles, F746_HZ), PAPER[-1][3]
        ratio = modelled / measured
        yield f"| the same by CMSIS-NN 4.0.0, {memory} | {modelled:.2f} ms | {measured} ms | {ratio:.2f} |"


def microtvm_tables(models: Path) -> Iterator[str]:
    """Yield a table for each part with results of microTVM."""
    tables = ["\n".join(microtvm_table(part, models)) for part in PARTS if part.microtvm]
    yield "\n\n".join(tables)


def microtvm_table(part: Part, models: Path) -> Iterator[str]:
    """Yield modelled / measured of microTVM with CMSIS-NN."""
    core = api.as_board(part.board).core.name
    known = core in recorded()["net", "mlperf_ic_resnet8"].cycles
    memories = [(None, "zero-wait"), *([(part.assume, "the part's memory")] if part.assume else [])]
    columns = [*(["recorded, zero-wait"] if known else []), *(f"4.0.0, {memory}" for _, memory in memories)]
    yield f"| {part.name} | measured | {' | '.join(columns)} |"
    yield "|---|--:|" + "--:|" * len(columns)
    for name, (title, row) in NETWORKS.items():
        measured = 1e3 / part.microtvm[name]
        found = [recorded()["net", row].cycles[core]] if known else []
        lacking = sum(recorded()["layer", layer].cycles.get(core, 0) for layer in ADDITIONS) if name == "ic" else 0
        for assume, _ in memories:
            cycles = library(models, name, part.board, assume).cycles
            assert cycles is not None
            found.append(cycles + lacking)
        times = [milliseconds(cycles, part.hertz) for cycles in found]
        cells = [f"{time:.2f} ms, {time / measured:.2f}" for time in times]
        yield f"| {title} | {measured:.2f} ms | {' | '.join(cells)} |"


def fastest_table(models: Path) -> Iterator[str]:
    """Yield our modelled times in the parts' memories beside the published ones of others."""
    yield "| part | network | µTVM, modelled | measured: Plumerai | STMicroelectronics | microTVM with CMSIS-NN |"
    yield "|---|---|--:|--:|--:|--:|"
    for part in PARTS:
        if not part.fastest:
            continue
        for name, (title, _) in NETWORKS.items():
            path = network(models, name)
            cycles = our_cycles(path, part.board, chosen_for=part.assume, assume=part.assume)
            whose = (*(part.fastest.get(who, {}) for who in ("Plumerai", "STMicroelectronics")), part.microtvm)
            others = [f"{1e3 / rates[name]:.2f} ms" if rates else "" for rates in whose]
            yield f"| {part.name} | {title} | {milliseconds(cycles, part.hertz):.2f} ms | {' | '.join(others)} |"


def estimates_table(models: Path) -> Iterator[str]:
    """Yield what `utvm cost` says of boards without a probe, beside the fastest published time on the part."""
    yield "| board | network | modelled, estimated | a second | fastest published | modelled / published |"
    yield "|---|---|--:|--:|--:|--:|"
    for board, part in (("nucleo-l4r5zi", PARTS[0]), ("stm32f746g-disco", PARTS[-1])):
        for name, (title, _) in NETWORKS.items():
            report = api.cost(network(models, name), board, records=NO_RECORDS)
            assert report.seconds is not None
            who, rate = max(((who, rates[name]) for who, rates in part.fastest.items()), key=lambda each: each[1])
            yield (
                f"| {board} | {title} | {1e3 * report.seconds:.2f} ms | {1 / report.seconds:,.1f} | "
                f"{1e3 / rate:.2f} ms ({who}) | {report.seconds * rate:.2f} |"
            )


def our_cycles(path: Path, board: str | Board, *, chosen_for: str | None = None, assume: str | None = None) -> int:
    """Return the cycles of a run under one assumption, of a network that was compiled for another."""
    compiled = api.compile(path, board, assume=chosen_for, records=NO_RECORDS)
    inputs = {t.name: random_input(t, i) for i, t in enumerate(compiled.program.graph.inputs)}
    with api.connect(board, assume=assume) as session:
        cycles = api.Model(session, compiled).run(inputs).measurement.cycles
    assert cycles is not None
    return cycles


def library(models: Path, name: str, board: str, assume: str | None) -> Figures:
    """Return what CMSIS-NN 4.0.0 needs for a network; its output was exact."""
    graph = load(network(models, name))
    inputs = {t.name: random_input(t, i) for i, t in enumerate(graph.inputs)}
    with api.connect(board, assume=assume) as session:
        found = measure_cmsis_nn(session, graph, inputs)
    assert found.exact
    return found


def network(models: Path, name: str) -> Path:
    """Return a network's file."""
    pattern = "*q7*.npz" if name == "cifar10" else f"{name}_*.tflite"
    return sorted(models.rglob(pattern))[0]


def milliseconds(cycles: int, hertz: int) -> float:
    """Return the time of so many cycles."""
    return 1e3 * cycles / hertz


if __name__ == "__main__":
    main()
