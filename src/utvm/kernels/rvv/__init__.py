"""Kernels for the vector extension of RISC-V (Zve32x), for registers of any size."""

from utvm.kernels.rvv.across import RvvAcross
from utvm.kernels.rvv.bilinear import RvvResizeBilinear
from utvm.kernels.rvv.binary import RvvBinary
from utvm.kernels.rvv.depthwise import RvvDepthwise
from utvm.kernels.rvv.lookup import RvvLookup
from utvm.kernels.rvv.matmul import RvvBatchMatMul
from utvm.kernels.rvv.mean import RvvMean
from utvm.kernels.rvv.movement import RvvMove
from utvm.kernels.rvv.pool import RvvAveragePool2D, RvvMaxPool2D
from utvm.kernels.rvv.product import RvvProduct
from utvm.kernels.rvv.softmax import RvvSoftmax

__all__ = [
    "RvvAcross",
    "RvvAveragePool2D",
    "RvvBatchMatMul",
    "RvvBinary",
    "RvvDepthwise",
    "RvvLookup",
    "RvvMaxPool2D",
    "RvvMean",
    "RvvMove",
    "RvvProduct",
    "RvvResizeBilinear",
    "RvvSoftmax",
]
