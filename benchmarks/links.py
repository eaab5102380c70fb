"""What each debug link costs on each target: the table of docs/debug-links.md.

    python benchmarks/links.py [--rigs NAME,...] [--write]

Transfer rates are those of the link alone, 64 KB at a time; a call is that of an empty function in a session, with all
that is verified; a load is that of the example network, first as a whole and then with one of its constants changed.
Medians of a few runs; wall time of this machine. Simulated chips and QEMU, no hardware.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.device.conftest import ENTRIES, PROGRAM  # noqa: E402
from tests.device.rigs import RIGS, Rig  # noqa: E402

from utvm import api  # noqa: E402
from utvm.device import build_image  # noqa: E402
from utvm.toolchain import Image, Source  # noqa: E402

NETWORK = ROOT / "examples" / "cifar10" / "cifar10_cnn.tflite"
DOCUMENT = ROOT / "docs" / "debug-links.md"
BEGIN, END = "<!-- links -->\n", "<!-- end -->"
TRANSFER_BYTES = 64 * 1024
SHOWN = (
    "gdb-qemu-cortex-m7",
    "gdb-qemu-riscv32",
    "openocd-cortex-m7",
    "pyocd-cortex-m7",
    "gdb-openocd-cortex-m7",
    "gdb-pyocd-cortex-m7",
    "openocd-rtl-cv32e40p",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Of one link before one target. Bytes per second, seconds."""

    write: float
    read: float
    call: float
    first_load: float
    second_load: float


def main() -> None:
    """Print the table, or write it into the document."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rigs", default=",".join(SHOWN))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    lines = [
        "| link and target | write | read | call | load | load of a difference |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for rig in RIGS:
        if rig.name in arguments.rigs.split(","):
            lines.append(row(rig, costs(rig)))
            print(lines[-1], flush=True)
    if arguments.write:
        before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        DOCUMENT.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after, encoding="utf-8")


def row(rig: Rig, found: Costs) -> str:
    """Return a line of the table."""
    return (
        f"| {rig.name} | {rate(found.write)} | {rate(found.read)} | {1e3 * found.call:.1f} ms "
        f"| {1e3 * found.first_load:,.0f} ms | {1e3 * found.second_load:,.0f} ms |"
    )


def rate(per_second: float) -> str:
    """Return a transfer rate for people."""
    return f"{per_second / 1e6:.1f} MB/s" if per_second >= 1e6 else f"{per_second / 1e3:.0f} KB/s"


def costs(rig: Rig) -> Costs:
    """Measure a link."""
    write, read = transfer_rates(rig)
    program = build_image(rig.board, [Source(name="program.c", text=PROGRAM)], entries=ENTRIES)
    network = api.compile(NETWORK, rig.board).image
    with rig.session() as session:
        first = seconds(lambda: session.load(network))
        second = seconds(lambda: session.load(with_one_change(network)))
        session.load(program)
        session.call("answer")
        call = statistics.median(seconds(lambda: session.call("answer")) for _ in range(15))
    return Costs(write=write, read=read, call=call, first_load=first, second_load=second)


def transfer_rates(rig: Rig) -> tuple[float, float]:
    """Return bytes per second, written and read, into the RAM of code, where nothing goes past a probe's pins."""
    data = random.Random(2).randbytes(TRANSFER_BYTES)
    address = rig.board.code.origin
    target = rig.make_target()
    link = rig.open_link(target.start())
    try:
        link.reset()
        writing = statistics.median(seconds(lambda: link.write_memory(address, data)) for _ in range(3))
        reading = statistics.median(seconds(lambda: link.read_memory(address, TRANSFER_BYTES)) for _ in range(3))
    finally:
        link.close()
        target.stop()
    return TRANSFER_BYTES / writing, TRANSFER_BYTES / reading


def with_one_change(image: Image) -> Image:
    """Return an image with another byte in the middle of its constants."""
    sections = []
    for section in image.sections:
        data = section.data
        if section.name == ".rodata" and data is not None:
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]
        sections.append(replace(section, data=data))
    return replace(image, sections=tuple(sections))


def seconds(action: Callable[[], object]) -> float:
    """Return how long it takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
