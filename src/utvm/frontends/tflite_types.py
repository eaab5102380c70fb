"""Which types the activations of each TFLite operator may have; int8 alone for those that are not named.

`QUANTIZE`, `DEQUANTIZE`, `CAST` and the operators of `tflite_general` that name types themselves are not here.
"""

from __future__ import annotations

from collections.abc import Mapping

from utvm.graph import DType

QUANTISED = (DType.INT8, DType.UINT8, DType.INT16)
"""Types whose tensors have a scale and a zero point."""
_MOVED = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32, DType.FLOAT32, DType.BOOL)
_REAL = (DType.INT8, DType.FLOAT32)
_WIDE = (DType.INT8, DType.INT16, DType.FLOAT32)

TYPES: Mapping[str, tuple[DType, ...]] = {
    **dict.fromkeys(
        (
            *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "PAD", "PADV2", "CONCATENATION", "SPLIT", "SPLIT_V"),
            *("STRIDED_SLICE", "SLICE", "TRANSPOSE", "PACK", "UNPACK", "REVERSE_V2", "MIRROR_PAD"),
            *("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE"),
            *("GATHER", "GATHER_ND", "EMBEDDING_LOOKUP", "RESIZE_NEAREST_NEIGHBOR"),
        ),
        _MOVED,
    ),
    **dict.fromkeys(
        (
            *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "MAX_POOL_2D", "AVERAGE_POOL_2D"),
            *("ADD", "SUB", "MUL", "MEAN", "SOFTMAX", "LOGISTIC", "TANH", "RELU", "RELU6"),
            *("LEAKY_RELU", "BATCH_MATMUL"),
        ),
        _WIDE,
    ),
    **dict.fromkeys(("SELECT", "SELECT_V2"), (DType.INT8, DType.INT16, DType.INT32, DType.FLOAT32)),
    **dict.fromkeys(
        (
            *("LOG_SOFTMAX", "L2_NORMALIZATION", "RESIZE_BILINEAR", "ADD_N", "CUMSUM"),
            *("ARG_MAX", "ARG_MIN", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"),
        ),
        _REAL,
    ),
    "L2_POOL_2D": (DType.FLOAT32,),
}
"""Operator → types."""
