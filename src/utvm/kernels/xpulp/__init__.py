"""Kernels for RISC-V cores with the Xpulp extension: four products of bytes an instruction, loops without branches."""

from utvm.kernels.xpulp.families import XpulpConv2D, XpulpFullyConnected

__all__ = ["XpulpConv2D", "XpulpFullyConnected"]
