"""Add, Sub and Mul of any scales, clamps and shapes, for cores with the DSP extension, by `BinaryLoop`.

Operands of equal shape are one run. Otherwise rows are taken several at once, so that they fill words, and what an
operand repeats is written out for as many rows into scratch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Add, DType, Mul, Operator, Sub, Tensor
from utvm.graph.arithmetic import Requantization, addition_parameters, multiplication_parameters
from utvm.graph.formulas import limits
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import frame_cycles, loop_cycles
from utvm.kernels.dsp.binary_halves import HalfDoubling, HalfLoop
from utvm.kernels.dsp.binary_loop import LANES, Away, BinaryLoop, Doubling
from utvm.kernels.dsp.binary_rows import RowRuns, rows_of
from utvm.kernels.dsp.scheduled import ScheduledFamily
from utvm.kernels.dsp.stream import to_words
from utvm.kernels.element_pairs import (
    constant_operands,
    operand_parameters,
    operands_in_place,
    refusal_of_number,
    write_element,
)
from utvm.kernels.nest import index, loops
from utvm.kernels.workload_keys import dims, workload
from utvm.numerics import multiply_by_quantized_multiplier, scale_doubled

_HALF = Requantization(multiplier=1 << 30, shift=0)
_MOST_SUM = 1 << 28
"""Two operands of an addition, rescaled by at most one half, shifted left by 20: |sum| is at most this."""
_MOST_PRODUCT = 255 * 255
_MOST_DOUBLINGS = 7
"""Lanes of nine bits, doubled, still fit 16."""
_ZERO_FROM = 17
"""Right shifts from which every product rounds to zero: all of them do so alike."""
_WRITE_OUT_CYCLES = 1.5
"""About what writing out a byte of an operand costs, as GCC 12 compiles it."""


class WordBinary(ScheduledFamily):
    """Add, Sub and Mul, four elements a turn; 1 or 2 KB of tables for an addition of int8."""

    name = "words"
    kinds = (Add, Sub, Mul)
    dtypes = (DType.INT8, DType.INT16)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact form, or why its rows do not fill words together."""
        if not isinstance(op, Add | Sub | Mul):
            return super().refusal(op, core)
        if op.y.elements < LANES:
            return "it has fewer than four elements"
        if op.y.dtype is DType.INT8 and (number := refusal_of_number(op)) is not None:
            return number
        if rows_of(op) is None:
            return "its rows do not start at multiples of four bytes"
        plan = _plan(op)
        return self.lacks(core) or (plan if isinstance(plan, str) else None)

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all turns of the loop, of the calls, and of writing out operands."""
        assert isinstance(op, Add | Sub | Mul)
        assert core.timing is not None
        plan, rows = _plan(op), rows_of(op)
        assert isinstance(plan, _BinaryPlan)
        assert rows is not None
        turn = loop_cycles(plan.loop.function(core.timing), core.timing)
        calls = rows.calls * 2 * frame_cycles(core.timing)
        return calls + op.y.elements / LANES * turn + rows.written_elements * _WRITE_OUT_CYCLES

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an element-wise operator."""
        assert isinstance(op, Add | Sub | Mul)
        assert core.timing is not None
        plan, rows = _plan(op), rows_of(op)
        assert isinstance(plan, _BinaryPlan)
        assert rows is not None
        loop = plan.loop.function(core.timing)
        names = ("b", "a") if plan.swapped else ("a", "b")
        w = CWriter()
        _write_body(w, op, rows, loop.name, names)
        scratch = (CParameter(name="scratch", c_type=op.y.dtype.c_type, role="scratch"),) if rows.scratch_bytes else ()
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.y.shape)}_words",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    *operand_parameters(op),
                    CParameter(name="constants", c_type="int32_t", role="constant"),
                    *scratch,
                    CParameter(name="y", c_type=op.y.dtype.c_type, role="output"),
                ),
                body=w.text,
                helpers=("utvm_requantize_double", "utvm_clamp") if rows.leaves_elements else (),
                support=(loop,),
            ),
            constants={"constants": CArray(c_type="int32_t", values=plan.constants), **constant_operands(op)},
            scratch_bytes=rows.scratch_bytes,
            in_place=operands_in_place(op),
        )


def _write_body(w: CWriter, op: Add | Sub | Mul, rows: RowRuns, loop: str, names: tuple[str, str]) -> None:
    """Write the calls of the loop on runs of whole words, and what is left of the last of them element by element."""
    taken, c_type = {}, op.y.dtype.c_type
    for name, operand in (("a", rows.a), ("b", rows.b)):
        taken[name] = f"run_{name}" if operand.at is None else f"scratch + {operand.at}" if operand.at else "scratch"
        if operand.once:
            operand.write_out(w, name, taken[name], rows, rows.at_once)
    with loops(w, rows.outer) as place:
        for name, operand in (("a", rows.a), ("b", rows.b)):
            start = index(place, operand.outer) if rows.outer else "0"
            w(f"const {c_type} *const from_{name} = {name} + {start};")
            if operand.once:
                w(f"(void)from_{name};")
        start = index(place, rows.y_outer) if rows.outer else "0"
        w(f"{c_type} *const to = y + {start};")
        whole, rest = divmod(rows.count, rows.at_once)
        if whole:
            with w.loop("row", whole * rows.at_once, step=rows.at_once):
                _write_run(w, op, rows, loop, names, taken, rows.at_once)
        if rest:
            with w.block(""):
                w(f"const int32_t row = {whole * rows.at_once};")
                _write_run(w, op, rows, loop, names, taken, rest)


def _write_run(
    w: CWriter, op: Add | Sub | Mul, rows: RowRuns, loop: str, names: tuple[str, str], taken: dict[str, str], count: int
) -> None:
    c_type = op.y.dtype.c_type
    for name, operand in (("a", rows.a), ("b", rows.b)):
        if operand.at is None:
            w(f"const {c_type} *const run_{name} = from_{name} + row * {rows.length};")
        elif not operand.once:
            operand.write_out(w, f"from_{name}", taken[name], rows, count, "row")
    elements = count * rows.length
    w(f"{c_type} *const run_y = to + row * {rows.length};")
    if elements >= LANES:
        w(f"{loop}({taken[names[0]]}, {taken[names[1]]}, run_y, {elements // LANES}, constants);")
    if elements % LANES:
        with w.loop("i", elements, start=elements - elements % LANES):
            write_element(w, op, f"({taken['a']})[i]", f"({taken['b']})[i]", "run_y[i]")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _BinaryPlan:
    """The loop, whether b is its first operand, and its constants: tables, multiplier, offset, zero points."""

    loop: BinaryLoop | HalfLoop
    swapped: bool
    constants: NDArray[np.int32]


def _plan(op: Add | Sub | Mul) -> _BinaryPlan | str:
    """Return how to compute an operator, or why no form is exact."""
    if op.y.dtype is DType.INT16:
        return _multiplied_halves(op) if isinstance(op, Mul) else _added_halves(op)
    return _multiplied(op) if isinstance(op, Mul) else _added(op)


def _multiplied(op: Mul) -> _BinaryPlan | str:
    factor = multiplication_parameters(op)
    left, right = max(factor.shift, 0), min(max(-factor.shift, 0), _ZERO_FROM)
    if factor.multiplier < 1 << 30 or left + 1 > _MOST_DOUBLINGS or _MOST_PRODUCT << (left + 1) >= 1 << 31:
        return "the scale of its output is far from that of its products"
    loop = BinaryLoop(
        form=Doubling.PRODUCT,
        doublings=left + 1,
        shift=right,
        away=_away(op, right, less_is_zero=factor.multiplier == 1 << 30 and left == 0),
        clamp=op.clamp,
    )
    zeros = [(-t.zero_point & 0xFFFF) * 0x00010001 for t in (op.a, op.b)]
    constants = to_words([factor.multiplier, _offset(op, loop), *zeros])
    return _BinaryPlan(loop=loop, swapped=False, constants=constants)


def _added(op: Add | Sub) -> _BinaryPlan | str:
    factors = addition_parameters(op)
    multiplier, shift = factors.y.multiplier, -factors.y.shift
    if multiplier < 1 << 30 or not 0 <= shift <= 31 or min(factors.a.multiplier, factors.b.multiplier) == 0:
        return "the scales of its operands and its output are far apart"
    signs = (1, -1 if isinstance(op, Sub) else 1)
    values = [
        sign * _rescaled(tensor, factor, factors.left_shift)
        for sign, tensor, factor in zip(signs, (op.a, op.b), (factors.a, factors.b), strict=True)
    ]
    # A negative sum has to stay negative when it is multiplied: with one half, -1 does not.
    less = multiplier == 1 << 30
    away = _away(op, shift, less_is_zero=less)
    swapped = factors.a == _HALF
    if _HALF in (factors.a, factors.b):
        loop = BinaryLoop(
            form=Doubling.SHIFTED,
            subtracts=isinstance(op, Sub) and not swapped,
            shift=shift,
            away=away,
            clamp=op.clamp,
        )
        shifted, looked = (op.a, values[1]) if swapped else (op.b, values[0])
        zero = shifted.zero_point << factors.left_shift
        tables = 2 * looked + (zero if loop.subtracts else -zero)
    else:
        loop = BinaryLoop(form=Doubling.LOOKED_UP, shift=shift, away=away, clamp=op.clamp)
        swapped, tables = False, 2 * np.concatenate(values)
    offset = _offset(op, loop)
    if abs(offset) + _MOST_SUM >= 1 << 31:
        return "the scale of its output is far greater than those of its operands"
    constants = to_words(np.concatenate([tables, np.array([multiplier, offset], np.int64)]))
    return _BinaryPlan(loop=loop, swapped=swapped, constants=constants)


def _multiplied_halves(op: Mul) -> _BinaryPlan | str:
    factor = multiplication_parameters(op)
    if factor.multiplier < 1 << 30 or factor.shift > 0:
        return "the scale of its output is far from that of its products"
    # Twice the product of the least values, 2^31, saturates one below: that must not show.
    exact, made = (int(scale_doubled(twice, factor.multiplier, -factor.shift)) for twice in (1 << 31, (1 << 31) - 1))
    if exact != made and made < limits(op)[1]:
        return "the product of its least values is not exact"
    loop = HalfLoop(form=HalfDoubling.PRODUCT, shift=-factor.shift, away=_away_of_halves(op, factor), clamp=limits(op))
    return _BinaryPlan(loop=loop, swapped=False, constants=to_words(loop.constants(factor.multiplier, 0)))


def _added_halves(op: Add | Sub) -> _BinaryPlan | str:
    factors = addition_parameters(op)
    if factors.y.multiplier < 1 << 30 or factors.y.shift > 0 or min(factors.a.multiplier, factors.b.multiplier) == 0:
        return "the scales of its operands and its output are far apart"
    swapped = factors.a != _HALF
    own = factors.a if swapped else factors.b
    second = -1 if isinstance(op, Sub) else 1
    loop = HalfLoop(
        form=HalfDoubling.SUM if own == _HALF else HalfDoubling.SCALED,
        signs=(second, 1) if swapped else (1, second),
        own_shift=-own.shift,
        shift=-factors.y.shift,
        away=_away_of_halves(op, factors.y),
        clamp=limits(op),
    )
    constants = loop.constants(factors.y.multiplier, own.multiplier)
    return _BinaryPlan(loop=loop, swapped=swapped, constants=to_words(constants))


def _away_of_halves(op: Add | Sub | Mul, factor: Requantization) -> Away:
    if factor.shift == 0 or limits(op)[0] >= 0:
        return Away.NEVER
    # A value of -1/2, doubled -1, times one half rounds to 0, and so does no other.
    return Away.BY_PRODUCT if factor.multiplier == 1 << 30 else Away.BY_VALUE


def _away(op: Add | Sub | Mul, shift: int, *, less_is_zero: bool) -> Away:
    if shift == 0 or op.clamp[0] >= op.y.zero_point:
        return Away.NEVER
    return Away.BY_PRODUCT if less_is_zero else Away.BY_VALUE


def _offset(op: Add | Sub | Mul, loop: BinaryLoop) -> int:
    """Return the second rounding's half and the output zero point, shifted left."""
    return (1 << loop.shift >> 1) + ((op.y.zero_point + (128 if loop.packs else 0)) << loop.shift)


def _rescaled(tensor: Tensor, factor: Requantization, left_shift: int) -> NDArray[np.int64]:
    """Return the int32 value of each byte, the byte taken as unsigned."""
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64) - tensor.zero_point
    return multiply_by_quantized_multiplier(values * (1 << left_shift), factor.multiplier, factor.shift).astype(
        np.int64
    )
