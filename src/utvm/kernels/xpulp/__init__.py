"""Kernels for the Xpulp extension of RISC-V: dot products of four bytes, hardware loops, exact finishes by halves."""

from utvm.kernels.xpulp.average import XpulpAveragePool2D
from utvm.kernels.xpulp.bilinear import XpulpResizeBilinear
from utvm.kernels.xpulp.binary import XpulpBinary
from utvm.kernels.xpulp.depthwise import XpulpDepthwise
from utvm.kernels.xpulp.lookup import XpulpLookup
from utvm.kernels.xpulp.mean import XpulpMean
from utvm.kernels.xpulp.movement import XpulpMove
from utvm.kernels.xpulp.pool import XpulpMaxPool2D
from utvm.kernels.xpulp.product import XpulpProduct
from utvm.kernels.xpulp.softmax import XpulpSoftmax

__all__ = [
    "XpulpAveragePool2D",
    "XpulpBinary",
    "XpulpDepthwise",
    "XpulpLookup",
    "XpulpMaxPool2D",
    "XpulpMean",
    "XpulpMove",
    "XpulpProduct",
    "XpulpResizeBilinear",
    "XpulpSoftmax",
]
