"""Functions of one element of int16 by vectors of four: sigmoid and tangent between entries of a table, and rescaling.

The tables are those of plain C: a word holds 1024 * what a step begins at, plus its height. A gather takes one for each
lane. Arguments are saturated by a shift to the left, from which index, place inside of the step and sign are shifted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CSupport, statements
from utvm.cores import Core
from utvm.cores.microkernel import Block
from utvm.cores.timing import Timing
from utvm.graph import DType, Logistic, Operator, Quantize, Relu, Tanh
from utvm.graph.arithmetic import Requantization, rescale_parameters
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import assembler_function, short_digest
from utvm.kernels.helium.code import constant
from utvm.kernels.helium.element_loops import TURN, loops_by_fours
from utvm.kernels.helium.family import ScheduledVectors
from utvm.kernels.workload_keys import dims, workload
from utvm.numerics.wide import sigmoid_argument, sigmoid_words, tanh_words

_POOL = tuple(f"q{number}" for number in range(6))
_CALL_CYCLES = 70
_MIDDLE = 256
"""The entry of a table for 0."""
_STEP_BITS = 10
"""Bits of the height of a step."""
_MOST_LEFT = 15
"""The largest shift to the left of int16 in 32 bits."""


class HeliumWideElements(ScheduledVectors):
    """Logistic, Tanh, Relu and Quantize from int16 to int16."""

    name = "helium-wide"
    kinds = (Logistic, Tanh, Relu, Quantize)
    dtypes = (DType.INT16,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why vectors do not compute `op` exactly."""
        if not isinstance(op, Logistic | Tanh | Relu | Quantize):
            return super().refusal(op, core)
        if op.x.zero_point or op.y.zero_point:
            return "it has a zero point"
        if isinstance(op, Relu | Quantize) and rescale_parameters(op.x, op.y).shift > _MOST_LEFT:
            return "its scale is large"
        return self.lacks(core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles all vectors take."""
        assert core.timing is not None
        return _CALL_CYCLES + op.outputs[0].elements / TURN * (_function(_spec(op), core.timing)[1] + 1)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        assert core.timing is not None
        spec = _spec(op)
        support, _ = _function(spec, core.timing)
        words = {"words": CArray(c_type="int32_t", values=spec.table)} if spec.table is not None else {}
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.outputs[0].shape)}_helium_wide",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int16_t", role="input"),
                    *(CParameter(name=name, c_type="int32_t", role="constant") for name in words),
                    CParameter(name="y", c_type="int16_t", role="output"),
                ),
                body=statements(f"{support.name}(x, y, {op.outputs[0].elements}, {'words' if words else '0'});"),
                support=(support,),
            ),
            constants=words,
            in_place=(0,),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Between:
    """A value between two entries: `x * multiplier >> shift`, of which `bits` are inside of a step.

    Attributes:
        multiplier, shift: of the argument.
        bits: of the place inside of a step.
        out: by which the result is shifted, rounding.
    """

    multiplier: int
    shift: int
    bits: int
    out: int

    @property
    def table(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        """The entries."""
        return sigmoid_words() if self.bits == 9 else tanh_words()

    @property
    def scalars(self) -> tuple[int, int, int]:
        """What r4, r5 and r6 hold."""
        return self.multiplier, -self.shift, _MIDDLE

    @property
    def vectors(self) -> tuple[int, int]:
        """What the lanes of q6 and q7 hold."""
        return (1 << _STEP_BITS) - 1, (1 << self.bits) - 1

    def write(self, block: Block, number: int) -> None:
        """Write a vector."""
        x, place, entry, value = (f"%{name}{number}" for name in ("x", "p", "e", "v"))
        spare = 32 - (self.bits + 9)
        block(f"vldrh.s32 {x}, [r0], #8", f"vmul.i32 {x}, {x}, r4")
        block(*([f"vrshl.s32 {x}, r5"] if self.shift else []), f"vqshl.s32 {x}, {x}, #{spare}")
        block(f"vshr.s32 {place}, {x}, #{spare + self.bits}", f"vadd.i32 {place}, {place}, r6")
        block(f"vldrw.u32 {entry}, [r3, {place}, uxtw #2]")
        block(f"vshr.s32 {value}, {entry}, #{_STEP_BITS}", f"vshl.i32 {value}, {value}, #{self.bits}")
        block(f"vand {entry}, {entry}, q6", f"vshr.s32 {place}, {x}, #{spare}", f"vand {place}, {place}, q7")
        block(f"vmul.i32 {entry}, {entry}, {place}", f"vadd.i32 {value}, {value}, {entry}")
        block(f"vshr.s32 {x}, {x}, #31", f"vadd.i32 {value}, {value}, {x}")
        block(f"vrshr.s32 {value}, {value}, #{self.out}", f"vstrh.32 {value}, [r1], #8")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rescaled:
    """A value at another scale.

    Attributes:
        factor: by which it is requantised.
        positive: whether negative values become 0.
    """

    factor: Requantization
    positive: bool

    @property
    def table(self) -> None:
        """No entries."""
        return

    @property
    def scalars(self) -> tuple[int, int, int]:
        """What r4, r5 and r6 hold."""
        return self.factor.multiplier, min(self.factor.shift, 0), 0

    @property
    def vectors(self) -> tuple[int, int]:
        """What the lanes of q6 and q7 hold."""
        return 0, 0

    def write(self, block: Block, number: int) -> None:
        """Write a vector."""
        x, sign, shift = f"%x{number}", f"%s{number}", self.factor.shift
        block(f"vldrh.s32 {x}, [r0], #8", *([f"vshl.i32 {x}, {x}, #{shift}"] if shift > 0 else []))
        block(f"vqrdmulh.s32 {x}, {x}, r4")
        if shift < 0:
            block(f"vshr.s32 {sign}, {x}, #31", f"vadd.i32 {x}, {x}, {sign}", f"vrshl.s32 {x}, r5")
        block(*([f"vmax.s32 {x}, {x}, q6"] if self.positive else []))
        block(f"vqmovnb.s32 {x}, {x}", f"vstrh.32 {x}, [r1], #8")


def _spec(op: Operator) -> _Between | _Rescaled:
    match op:
        case Logistic() | Tanh():
            tanh = isinstance(op, Tanh)
            multiplier, shift = sigmoid_argument(op.x.scale, tanh=tanh)
            return _Between(multiplier=multiplier, shift=shift, bits=8 if tanh else 9, out=8 if tanh else 10)
        case Relu() | Quantize():
            return _Rescaled(factor=rescale_parameters(op.x, op.y), positive=isinstance(op, Relu))
        case _:
            raise AssertionError(op.kind)


@lru_cache(maxsize=64)
def _function(spec: _Between | _Rescaled, timing: Timing) -> tuple[CSupport, float]:
    """Return `void name(const int16_t *x, int16_t *y, int32_t count, const int32_t *words)`, and the cycles of a turn
    of sixteen elements.

    Raises:
        ScheduleError: it can't be scheduled.
    """
    loops, cycles = loops_by_fours(spec.write, timing, pool=_POOL, turns="r12")
    lines = ["push {r4-r6, lr}", "vpush {d8-d15}"]
    for register, value in zip(("q6", "q7"), spec.vectors, strict=True):
        lines += [*constant("r4", value), f"vdup.32 {register}, r4"]
    for register, value in zip(("r4", "r5", "r6"), spec.scalars, strict=True):
        lines += constant(register, value)
    lines += [*loops, "vpop {d8-d15}", "pop {r4-r6, pc}"]
    name = f"utvm_helium_{'between' if isinstance(spec, _Between) else 'rescaled'}_{short_digest(spec)}"
    prototype = f"void {name}(const int16_t *x, int16_t *y, int32_t count, const int32_t *words)"
    return assembler_function(name, prototype, lines, "count elements of int16"), cycles
