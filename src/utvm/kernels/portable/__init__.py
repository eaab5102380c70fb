"""Portable kernels: C11 for any core, one family a file.

`defined` and `fully_connected` are schedules of loops over an operator's definition. The others say why they are not.
"""

from utvm.kernels.portable.bilinear import PortableResizeBilinear
from utvm.kernels.portable.conv2d import PortableConv2D
from utvm.kernels.portable.convert import PortableConvert
from utvm.kernels.portable.cumulative import PortableCumulativeSum
from utvm.kernels.portable.defined import PortableDefined
from utvm.kernels.portable.depthwise import PortableDepthwise
from utvm.kernels.portable.foreign import PortableForeign
from utvm.kernels.portable.fully_connected import PortableFullyConnected
from utvm.kernels.portable.l2_normalize import PortableL2Normalize
from utvm.kernels.portable.lookup import PortableLookup
from utvm.kernels.portable.lstm import PortableLstm
from utvm.kernels.portable.lstm_real import PortableRealLstm
from utvm.kernels.portable.mean import PortableMean
from utvm.kernels.portable.move import PortableMove
from utvm.kernels.portable.packed import PortablePacked
from utvm.kernels.portable.pool import PortablePool2D
from utvm.kernels.portable.softmax import PortableSoftmax
from utvm.kernels.portable.typed_pool import TypedPool2D

__all__ = [
    "PortableConv2D",
    "PortableConvert",
    "PortableCumulativeSum",
    "PortableDefined",
    "PortableDepthwise",
    "PortableForeign",
    "PortableFullyConnected",
    "PortableL2Normalize",
    "PortableLookup",
    "PortableLstm",
    "PortableMean",
    "PortableMove",
    "PortablePacked",
    "PortablePool2D",
    "PortableRealLstm",
    "PortableResizeBilinear",
    "PortableSoftmax",
    "TypedPool2D",
]
