"""Kernel families: operators as C, specialised to the layer."""

from utvm.kernels.base import Config, Kernel, KernelFamily, Outline, Space
from utvm.kernels.blocked import BlockedDepthwise, BlockedProduct, BlockedReal
from utvm.kernels.by_hand import ByHand, plain_schedule
from utvm.kernels.dsp.average_pool import WordAveragePool2D
from utvm.kernels.dsp.binary import WordBinary
from utvm.kernels.dsp.channels import ChannelDepthwise
from utvm.kernels.dsp.depthwise import PlaneDepthwise
from utvm.kernels.dsp.direct import DirectConvolution
from utvm.kernels.dsp.pool import WordMaxPool2D
from utvm.kernels.dsp.row import RowFullyConnected
from utvm.kernels.dsp.wide_depthwise import WideChannelDepthwise, WidePlaneDepthwise
from utvm.kernels.dsp.wide_direct import WideConvolution
from utvm.kernels.dsp.winograd import WinogradConvolution, WinogradRows
from utvm.kernels.fingerprint import code_digest, content_digest
from utvm.kernels.helium import (
    HeliumBatchMatMul,
    HeliumBinary,
    HeliumConvert,
    HeliumConvolution,
    HeliumDepthwise,
    HeliumLookup,
    HeliumMean,
    HeliumMove,
    HeliumPool2D,
    HeliumResizeBilinear,
    HeliumSoftmax,
    HeliumWideBinary,
    HeliumWideConvolution,
    HeliumWideDepthwise,
    HeliumWideElements,
    HeliumWideMean,
    HeliumWidePool2D,
)
from utvm.kernels.portable import (
    PortableConv2D,
    PortableConvert,
    PortableCumulativeSum,
    PortableDefined,
    PortableDepthwise,
    PortableForeign,
    PortableFullyConnected,
    PortableL2Normalize,
    PortableLookup,
    PortableLstm,
    PortableMean,
    PortableMove,
    PortablePacked,
    PortablePool2D,
    PortableRealLstm,
    PortableResizeBilinear,
    PortableSoftmax,
    TypedPool2D,
)
from utvm.kernels.prelude import PRELUDE, with_dependencies
from utvm.kernels.rvv import (
    RvvAcross,
    RvvAveragePool2D,
    RvvBatchMatMul,
    RvvBinary,
    RvvDepthwise,
    RvvLookup,
    RvvMaxPool2D,
    RvvMean,
    RvvMove,
    RvvProduct,
    RvvResizeBilinear,
    RvvSoftmax,
)
from utvm.kernels.workload_keys import workload
from utvm.kernels.xpulp import (
    XpulpAveragePool2D,
    XpulpBinary,
    XpulpDepthwise,
    XpulpLookup,
    XpulpMaxPool2D,
    XpulpMean,
    XpulpMove,
    XpulpProduct,
    XpulpResizeBilinear,
    XpulpSoftmax,
)

PORTABLE_FAMILIES: tuple[KernelFamily, ...] = (
    PortableConv2D(),
    PortableDepthwise(),
    PortableFullyConnected(),
    PortablePool2D(),
    TypedPool2D(),
    PortableMean(),
    PortableSoftmax(),
    PortableLookup(),
    PortableConvert(),
    PortableMove(),
    PortableResizeBilinear(),
    PortableCumulativeSum(),
    PortableDefined(),
    PortableLstm(),
    PortableRealLstm(),
    PortableForeign(),
    PortableL2Normalize(),
    PortablePacked(),
)
"""Plain C11, for every operator and every core."""

FAMILIES: tuple[KernelFamily, ...] = (
    HeliumConvolution(),
    HeliumDepthwise(),
    HeliumBinary(),
    HeliumPool2D(),
    HeliumLookup(),
    HeliumMean(),
    HeliumSoftmax(),
    HeliumWideBinary(),
    HeliumWideConvolution(),
    HeliumWideDepthwise(),
    HeliumWideElements(),
    HeliumWideMean(),
    HeliumWidePool2D(),
    HeliumResizeBilinear(),
    HeliumMove(),
    HeliumBatchMatMul(),
    HeliumConvert(),
    RvvProduct(),
    RvvAcross(),
    RvvDepthwise(),
    RvvBinary(),
    RvvMaxPool2D(),
    RvvAveragePool2D(),
    RvvMean(),
    RvvLookup(),
    RvvSoftmax(),
    RvvBatchMatMul(),
    RvvResizeBilinear(),
    RvvMove(),
    XpulpProduct(),
    XpulpDepthwise(),
    XpulpBinary(),
    XpulpMaxPool2D(),
    XpulpAveragePool2D(),
    XpulpLookup(),
    XpulpMean(),
    XpulpMove(),
    XpulpResizeBilinear(),
    XpulpSoftmax(),
    WinogradConvolution(),
    WinogradRows(),
    DirectConvolution(),
    RowFullyConnected(),
    PlaneDepthwise(),
    ChannelDepthwise(),
    WordMaxPool2D(),
    WordAveragePool2D(),
    WordBinary(),
    BlockedProduct(),
    BlockedDepthwise(),
    BlockedReal(),
    WideConvolution(),
    WidePlaneDepthwise(),
    WideChannelDepthwise(),
    *PORTABLE_FAMILIES,
)
"""All families. Those that estimate their cycles compete for an operator; of the others the first that applies is
taken."""

SMALL_FAMILIES: tuple[KernelFamily, ...] = tuple(
    f for f in FAMILIES if not isinstance(f, WinogradConvolution | WinogradRows)
)
"""Without those that pay for speed with several times the weights and tens of kilobytes of scratch."""

BY_HAND = ByHand()
"""Schedules of users: a family that proposes nothing, and is chosen by records or by an operator's name alone."""

__all__ = [
    "BY_HAND",
    "FAMILIES",
    "PORTABLE_FAMILIES",
    "PRELUDE",
    "SMALL_FAMILIES",
    "Config",
    "Kernel",
    "KernelFamily",
    "Outline",
    "Space",
    "code_digest",
    "content_digest",
    "plain_schedule",
    "with_dependencies",
    "workload",
]
