"""A workload is what a kernel is specialised to: kind, shapes, quantisation constants, attributes; not the weights."""

from __future__ import annotations

import dataclasses
import hashlib

from utvm.graph import CSource, Function, Operator, Reducer, Tensor


def workload(op: Operator) -> str:
    """Return one line that two operators share exactly when one kernel can serve both.

    Activation tensors are given as type, shape and zero point; constants as type and shape.
    """
    parts = []
    for field in dataclasses.fields(op):
        if field.name == "name":
            continue
        value = getattr(op, field.name)
        if field.name in (*op.input_fields, *op.output_fields):
            tensors = value if isinstance(value, tuple) else (value,)
            parts.append(f"{field.name}={'+'.join(map(_tensor, tensors))}")
        else:
            parts.append(f"{field.name}={_plain(value)}")
    return f"{op.kind}({', '.join(parts)})"


def dims(shape: tuple[int, ...]) -> str:
    """Return a shape as 1x32x32x3."""
    return "x".join(map(str, shape)) or "scalar"


def _tensor(tensor: Tensor | None) -> str:
    if tensor is None:
        return "none"
    text = f"{tensor.dtype}[{dims(tensor.shape)}]"
    if tensor.quant is not None and tensor.quant.axis is None and not tensor.is_constant:
        text += f"zp{tensor.zero_point}"
    return text


def _plain(value: object) -> str:
    if isinstance(value, Function | Reducer):
        return value.name
    if isinstance(value, CSource):
        return f"{value.name}/{_digest(value.text.encode())}"
    if isinstance(value, bytes):
        return _digest(value) if value else "none"
    if dataclasses.is_dataclass(value):
        return "/".join(str(getattr(value, f.name)) for f in dataclasses.fields(value))
    if isinstance(value, tuple):
        return "/".join(_plain(v) for v in value)
    return str(value)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
