"""The scales and zero points of activations: one for all tensors of a group that shares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from utvm.graph import DType, Elementwise, Graph, Operator, Pad, Quantization, Tensor
from utvm.graph.units import PRESCRIBED_INT16_UNITS, PRESCRIBED_UNITS
from utvm.quantization.groups import shares_units, sharing_groups
from utvm.quantization.ranges import ValueRange


def makers_of(graph: Graph, tensors: Iterable[Tensor]) -> list[Operator | None]:
    """Return what makes tensors."""
    return [graph.producers.get(t) for t in tensors]


def prescribed_units(op: Operator | None, dtype: DType) -> Quantization | None:
    """Return the units that TFLite prescribes for an operator's result in int8 or int16, None where it does not."""
    if op is None or type(op) not in PRESCRIBED_UNITS:
        return None
    return PRESCRIBED_INT16_UNITS if dtype is DType.INT16 else PRESCRIBED_UNITS[type(op)]


def activation_units(graph: Graph, ranges: Mapping[str, ValueRange], dtype: DType) -> dict[Tensor, Quantization]:
    """Return the quantisation of each activation, and of constants that share one.

    Args:
        graph: float32.
        ranges: tensor name → the range of real values to cover.
        dtype: int8, or int16 without a zero point.
    """
    roots = sharing_groups(graph)
    members: dict[Tensor, list[Tensor]] = {}
    for tensor, root in roots.items():
        members.setdefault(root, []).append(tensor)
    found: dict[Tensor, Quantization] = {}
    for group in members.values():
        makers = [p for t in group if not shares_units(p := graph.producers.get(t))]
        fixed = {prescribed_units(p, dtype) for p in makers}
        quant = next(iter(fixed), None)
        if len(fixed) != 1 or quant is None:
            quant = _covering(graph, group, ranges).quantization(dtype)
        found.update(dict.fromkeys(group, quant))
    return found


def _covering(graph: Graph, group: Sequence[Tensor], ranges: Mapping[str, ValueRange]) -> ValueRange:
    # A bound that no value reaches needs no room: it is cut to the range of the values.
    bounds = {t for t in group if t.is_constant and all(_bounds(op) for op in graph.consumers.get(t, ()))}
    seen = [t for t in group if t not in bounds] or group
    known = [_range(t, ranges) for t in seen if t.is_constant or t.name in ranges]
    pads = {p.value for p in makers_of(graph, group) if isinstance(p, Pad)}
    known += [ValueRange(low=min(0.0, value), high=max(0.0, value)) for value in pads]
    return ValueRange(low=min(r.low for r in known), high=max(r.high for r in known))


def _bounds(op: Operator) -> bool:
    return isinstance(op, Elementwise) and op.kind in ("Maximum", "Minimum")


def _range(tensor: Tensor, ranges: Mapping[str, ValueRange]) -> ValueRange:
    if tensor.is_constant:
        return ValueRange(low=min(0.0, float(tensor.values.min())), high=max(0.0, float(tensor.values.max())))
    return ranges[tensor.name]
