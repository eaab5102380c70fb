"""quantized_decomposed operators, as PyTorch's pt2e quantisers leave them: pairs around layers, integers of weights."""

from __future__ import annotations

import numpy as np

from utvm.frontends.onnx_quantized import Steps, quantized
from utvm.frontends.refusal import RefusedError, axis_of
from utvm.frontends.torch_node import TorchNode, Value
from utvm.graph import Dequantize, DType, Quantization, Tensor

_SHIFTS = {"int8": 0, "uint8": 128}
"""How much lower the zero points of int8 are."""


def quantize(n: TorchNode) -> Value:
    """An activation becomes int8."""
    x = n.arg(0, "input")
    units = _units(n)
    if not isinstance(x, Tensor):
        raise RefusedError("it quantises a constant")
    return quantized(n.b, x, units)


def dequantize(n: TorchNode) -> tuple[Value, Steps | None]:
    """An activation or a constant becomes real; of a constant also which integers it stands for."""
    x = n.arg(0, "input")
    if isinstance(x, Tensor):
        if x.dtype is not DType.INT8 or x.quant != _units(n):
            raise RefusedError("its scale or zero point are not those of the operator that quantises")
        return n.b.add(Dequantize, x.shape, x=x), None
    scales = np.atleast_1d(np.asarray(n.arg(1, "scales"), np.float32))
    zeros = np.atleast_1d(np.asarray(n.arg(2, "zero_points")))
    several = n.kind.startswith("dequantize_per_channel")
    axis = axis_of(int(n.arg(3, "axis")), x.ndim) if several else 0
    lined = [1] * x.ndim
    lined[axis if several else 0] = -1
    if scales.ndim > 1 or zeros.ndim > 1 or scales.size not in (1, x.shape[axis] if several else 1):
        raise RefusedError(f"it has {scales.size} scales for a constant of shape {list(x.shape)}")
    if zeros.size not in (1, scales.size):
        raise RefusedError(f"it has {scales.size} scales and {zeros.size} zero points")
    wide = x.astype(np.float32)
    real = (wide - zeros.reshape(lined if several else ())) * scales.reshape(lined if several else ())
    shift = _SHIFTS.get(str(x.dtype), 0)
    found = Steps(scales=tuple(map(float, scales)), zero=int(zeros[0]) - shift, axis=axis)
    return real.astype(np.float32), found if np.all(scales > 0) else None


def _units(n: TorchNode) -> Quantization:
    scale, zero, dtype = n.arg(1, "scale"), n.arg(2, "zero_point"), str(n.arg(5, "dtype")).removeprefix("torch.")
    if n.kind.partition(".")[0].endswith("per_channel") or np.size(scale) != 1:
        raise RefusedError("it has a scale for each channel of an activation; one for all is supported")
    if isinstance(scale, Tensor) or dtype not in _SHIFTS:
        raise RefusedError(f"it makes {dtype} with a scale that is found while the network runs, or of another type")
    step = float(np.asarray(scale).reshape(-1)[0])
    if not step > 0 or not np.isfinite(step):
        raise RefusedError("its scale is not positive")
    shift = _SHIFTS[dtype]
    least, most = (int(n.arg(at, name)) - shift for at, name in ((3, "quant_min"), (4, "quant_max")))
    if least > -127 or most < 127:
        raise RefusedError(f"it makes {least + shift} ... {most + shift} only; all of {dtype} is expected")
    stored = int(np.asarray(zero).reshape(-1)[0]) - shift
    if not -128 <= stored <= 127:
        raise RefusedError(f"its zero point {stored + shift} is outside of {dtype}")
    return Quantization.per_tensor(step, stored)
