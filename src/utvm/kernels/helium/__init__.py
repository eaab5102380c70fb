"""Kernels for the M-profile vector extension (Helium): sixteen products of bytes an instruction."""

from utvm.kernels.helium.binary import HeliumBinary
from utvm.kernels.helium.convolution import HeliumConvolution
from utvm.kernels.helium.depthwise import HeliumDepthwise
from utvm.kernels.helium.pool import HeliumPool2D

__all__ = ["HeliumBinary", "HeliumConvolution", "HeliumDepthwise", "HeliumPool2D"]
