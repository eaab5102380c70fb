"""A real RISC-V core in RTL as a board."""

from utvm.emulators.rtl.simulator import build_simulator
from utvm.emulators.rtl.target import CYCLES_SOURCE, RtlTarget

__all__ = ["CYCLES_SOURCE", "RtlTarget", "build_simulator"]
