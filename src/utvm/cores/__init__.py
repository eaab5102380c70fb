"""Cores: what each can do, how long its instructions take, and micro-kernels scheduled for it."""

from utvm.cores.catalogue import CORES, CoreError, get_core
from utvm.cores.core import Core, FlashCaches

__all__ = ["CORES", "Core", "CoreError", "FlashCaches", "get_core"]
