"""Movement of bytes by vectors, where C would move few or single ones at once."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from utvm.codegen import CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.graph import DType, Operator, Pad, SpaceToBatch
from utvm.kernels.base import Config, Kernel
from utvm.kernels.helium.family import ScheduledVectors
from utvm.kernels.helium.movement_plan import CopyCalls, plain_cycles, plan_copy, planned_cycles, write_parts
from utvm.kernels.helium.rows_code import VECTOR
from utvm.kernels.move_calls import MoveByCalls, all_copies
from utvm.kernels.portable.move import Moving, PortableMove, write_filled
from utvm.kernels.runs import RUN_HELPERS

_LEAST = 64
"""Bytes from which vectors are worth a call."""


class HeliumMove(ScheduledVectors, PortableMove):
    """What `PortableMove` serves, of bytes, where vectors take fewer cycles than single bytes do."""

    name = "helium"
    kinds = MoveByCalls.kinds
    dtypes = (DType.INT8, DType.UINT8, DType.BOOL)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why vectors do not pay for `op`."""
        reason = super().refusal(op, core)
        if reason is not None:
            return reason
        assert isinstance(op, Moving)
        assert core.timing is not None
        if all(planned is None for planned in _plans(op, core.timing)):
            return "plain C moves its bytes as fast"
        return None

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles all copies take."""
        assert isinstance(op, Moving)
        assert core.timing is not None
        filled = op.outputs[0].elements / VECTOR if isinstance(op, Pad) else 0.0
        plans = zip(all_copies(op), _plans(op, core.timing), strict=True)
        return filled + sum(planned_cycles(copy.merged(), parts) for (_, _, copy), parts in plans)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a move."""
        assert isinstance(op, Moving)
        assert core.timing is not None
        plain = super().build(op, core, config)
        w = CWriter()
        if isinstance(op, Pad):
            write_filled(w, op.y, op.value)
        elif isinstance(op, SpaceToBatch) and op.padding.any:
            write_filled(w, op.y, op.x.zero_point)
        constants = {name: a for name, a in plain.constants.items() if name.startswith("x")}
        support: dict[str, CSupport] = {}
        for (source, target, copy), parts in zip(all_copies(op), _plans(op, core.timing), strict=True):
            if parts is None:
                copy.write(w, source, target, 1, anywhere=core.unaligned)
            else:
                write_parts(w, parts, source, target, support, constants)
        tables = tuple(
            CParameter(name=name, c_type=a.c_type, role="constant")
            for name, a in constants.items()
            if not name.startswith("x")
        )
        kept = tuple(p for p in plain.function.parameters if p.name in constants or p.role != "constant")
        function = replace(
            plain.function,
            stem=f"{plain.function.stem}_helium",
            comment=plain.function.comment.replace("family portable", f"family {self.name}"),
            parameters=(*kept, *tables),
            body=w.text,
            helpers=tuple(name for name in RUN_HELPERS if f"{name}(" in w.text),
            support=tuple(support.values()),
        )
        return replace(plain, family=self.name, function=function, constants=constants)


def _plans(op: Moving, timing: Timing) -> list[list[CopyCalls] | None]:
    """Return the calls of each copy, None for those of bytes that C writes apart; none at all where C is as fast."""
    copies = [copy.merged() for _, _, copy in all_copies(op)]
    found = [plan_copy(copy, timing) for copy in copies]
    cycles = sum(planned_cycles(copy, parts) for copy, parts in zip(copies, found, strict=True))
    worth = sum(prod(copy.extents) for copy in copies) >= _LEAST and cycles < sum(map(plain_cycles, copies))
    return found if worth else [None] * len(copies)
