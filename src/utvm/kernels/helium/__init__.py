"""Kernels for the M-profile vector extension (Helium): sixteen products of bytes an instruction."""

from utvm.kernels.helium.bilinear import HeliumResizeBilinear
from utvm.kernels.helium.binary import HeliumBinary, HeliumWideBinary
from utvm.kernels.helium.convert import HeliumConvert
from utvm.kernels.helium.convolution import HeliumConvolution, HeliumWideConvolution, HeliumWideDepthwise
from utvm.kernels.helium.depthwise import HeliumDepthwise
from utvm.kernels.helium.lookup import HeliumLookup
from utvm.kernels.helium.matmul import HeliumBatchMatMul
from utvm.kernels.helium.mean import HeliumMean, HeliumWideMean
from utvm.kernels.helium.movement import HeliumMove
from utvm.kernels.helium.pool import HeliumPool2D, HeliumWidePool2D
from utvm.kernels.helium.softmax import HeliumSoftmax
from utvm.kernels.helium.wide_elements import HeliumWideElements

__all__ = [
    "HeliumBatchMatMul",
    "HeliumBinary",
    "HeliumConvert",
    "HeliumConvolution",
    "HeliumDepthwise",
    "HeliumLookup",
    "HeliumMean",
    "HeliumMove",
    "HeliumPool2D",
    "HeliumResizeBilinear",
    "HeliumSoftmax",
    "HeliumWideBinary",
    "HeliumWideConvolution",
    "HeliumWideDepthwise",
    "HeliumWideElements",
    "HeliumWideMean",
    "HeliumWidePool2D",
]
