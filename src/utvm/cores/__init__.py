"""Cores: what each can do, how long its instructions take, and micro-kernels scheduled for it."""

from utvm.cores.catalogue import CORES, CoreError, get_core
from utvm.cores.core import Core, FlashCaches
from utvm.cores.isa import CallingConvention, Isa, TrapRegisters

__all__ = [
    "CORES",
    "CallingConvention",
    "Core",
    "CoreError",
    "FlashCaches",
    "Isa",
    "TrapRegisters",
    "get_core",
]
