"""What CMSIS-NN needs for the same work, recorded once: instructions exact, cycles modelled, zero-wait memory."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

RECORDED_ORIGIN = {
    "s8": (
        "CMSIS-NN 99f736a63036 (int8), arm-none-eabi-gcc 12.2.1 -Ofast; instructions exact under QEMU 7.2, cycles "
        "modelled (llvm-mca 19 for the Cortex-M7, the TRM's table for the Cortex-M4)"
    ),
    "q7": (
        "CMSIS-NN 6352d17f (April 2018, legacy q7: arm_convolve_HWC_q7_RGB, _fast), arm-none-eabi-gcc 12.2.1 -Ofast; "
        "counted and modelled likewise"
    ),
}
"""Library → where its recorded figures come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One layer or network. `instructions` and `cycles` are by core name."""

    name: str
    library: str
    macs: int
    instructions: Mapping[str, int]
    cycles: Mapping[str, int]


@lru_cache(maxsize=1)
def recorded() -> Mapping[tuple[str, str], Recorded]:
    """Return (kind, name) → figures; kind is "layer" or "net"."""
    text = (files("utvm.bench") / "recorded.csv").read_text(encoding="utf-8")
    found = {}
    for line in csv.DictReader(text.splitlines()):
        figures = {
            what: {
                f"cortex-{core}": int(line[f"{core}_{what}"]) for core in ("m7", "m4") if line[f"{core}_{what}"] != ""
            }
            for what in ("instructions", "cycles")
        }
        found[line["kind"], line["name"]] = Recorded(
            name=line["name"],
            library=line["library"],
            macs=int(line["macs"]),
            instructions=figures["instructions"],
            cycles=figures["cycles"],
        )
    return found
