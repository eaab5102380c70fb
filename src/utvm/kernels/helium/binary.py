"""Add, Sub and Mul, four elements a vector; an operand may be one row that is used for all.

In an addition, the operand of the larger scale is halved: its rescaled value is (a - zero point) * 2^19 exactly, or
2^14 on int16. The other is multiplied and shifted. What is left behind whole turns is done by a second loop, whose last
vector is predicated. Rows of neighbours follow one another in one call; an operand that is the same for all goes back
after each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import ClassVar

from utvm.codegen import CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.graph import Add, DType, Mul, Operator, Sub
from utvm.graph.arithmetic import Requantization, addition_parameters, multiplication_parameters
from utvm.graph.formulas import limits
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import assembler_function, short_digest
from utvm.kernels.dsp.binary_rows import merged_sizes
from utvm.kernels.element_pairs import constant_operands, operand_parameters, operands_in_place, refusal_of_number
from utvm.kernels.helium.code import constant, framed
from utvm.kernels.helium.family import ScheduledVectors
from utvm.kernels.nest import broadcast_strides, index, loops, row_major
from utvm.kernels.workload_keys import dims, workload

_LANES, _AT_ONCE = 4, 4
_HALF = Requantization(multiplier=1 << 30, shift=0)
_CALL_CYCLES = 60
_LOW, _HIGH, _COUNT, _FRAME = 0, 16, 32, 36
_ROWS = _FRAME + 4 * 9 + 64
"""Where the fifth argument is, behind the frame and what is saved."""
_ROW_CYCLES = 24
_SHORTEST = 8
"""Elements of a row from which vectors are worth it."""


class HeliumBinary(ScheduledVectors):
    """Add, Sub and Mul of any scales and clamps; both operands have rows of neighbours as the output has."""

    name = "helium"
    kinds = (Add, Sub, Mul)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact form here."""
        if not isinstance(op, Add | Sub | Mul):
            return super().refusal(op, core)
        if op.y.dtype is DType.INT8 and (found := refusal_of_number(op)) is not None:
            return found
        if _Rows.of(op) is None:
            return "an operand repeats its elements, or rows of neighbours are short"
        return self.lacks(core) or (None if _spec(op) is not None else "a scale shifts to the left")

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all turns."""
        del config
        assert isinstance(op, Add | Sub | Mul)
        assert core.timing is not None
        spec = _spec(op)
        assert spec is not None
        rows = _Rows.of(op)
        assert rows is not None
        _, cycles, single = _loop(spec, core.timing)
        turns, rest = divmod(rows.length, _LANES * _AT_ONCE)
        row = _ROW_CYCLES + turns * (cycles + 3) + -(-rest // _LANES) * single
        return prod(size for size, _, _ in rows.outer) * (_CALL_CYCLES + rows.count * row)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an element-wise operator."""
        assert isinstance(op, Add | Sub | Mul)
        assert core.timing is not None
        spec = _spec(op)
        assert spec is not None
        loop = _loop(spec, core.timing)[0]
        rows = _Rows.of(op)
        assert rows is not None
        w = CWriter()
        extents = [size for size, _, _ in rows.outer]
        steps = [step * rows.count * rows.length for step in row_major(extents)]
        with loops(w, extents) as names:
            read = [index(names, [size[which] for size in rows.outer]) for which in (1, 2)]
            operands = [f"{name}{f' + {at}' if at != '0' else ''}" for name, at in zip(("a", "b"), read, strict=True)]
            backs = [str(rows.length * spec.element if repeats else 0) for repeats in rows.repeats]
            if spec.swapped:
                operands, backs = operands[::-1], backs[::-1]
            to = index(names, steps)
            arguments = [*operands, f"y{f' + {to}' if to != '0' else ''}", str(rows.length), str(rows.count), *backs]
            w(f"{loop.name}({', '.join(arguments)});")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.y.shape)}_{self.name.replace('-', '_')}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(*operand_parameters(op), CParameter(name="y", c_type=op.y.dtype.c_type, role="output")),
                body=w.text,
                support=(loop,),
            ),
            constants=constant_operands(op),
            in_place=operands_in_place(op),
        )


class HeliumWideBinary(HeliumBinary):
    """The same on int16."""

    name = "helium-wide"
    dtypes = (DType.INT16,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows of a call, and the loops around calls.

    Attributes:
        outer: (turns, stride of a, stride of b) of each loop.
        count: rows of a call.
        length: elements of a row.
        repeats: whether a, and b, is the same for all rows.
    """

    outer: tuple[tuple[int, int, int], ...]
    count: int
    length: int
    repeats: tuple[bool, bool]

    @staticmethod
    def of(op: Add | Sub | Mul) -> _Rows | None:
        """Return the rows of an operator, None where it has no long ones."""
        shape = op.y.shape
        *outer, last = merged_sizes(shape, *(broadcast_strides(t.shape, shape) for t in (op.a, op.b)))
        length = last[0]
        if last[1:] != (1, 1) or (outer and length < _SHORTEST):
            return None
        if outer and all(stride in (0, length) for stride in outer[-1][1:]):
            count, a, b = outer.pop()
            return _Rows(outer=tuple(outer), count=count, length=length, repeats=(a == 0, b == 0))
        return _Rows(outer=tuple(outer), count=1, length=length, repeats=(False, False))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spec:
    """The arithmetic of one layer.

    Attributes:
        product: whether the operands are multiplied.
        swapped: whether the first operand is the layer's second.
        zeros: the operands' zero points.
        first: the sign of the first operand, which is halved; 0 in a product.
        second: how the other is rescaled, and its sign.
        total: how the sum or product is.
        lowers: whether a negative result of the last rounding matters.
    """

    product: bool
    swapped: bool
    zeros: tuple[int, int]
    first: int
    second: tuple[Requantization, int]
    total: Requantization
    lowers: bool
    zero_point: int
    clamp: tuple[int, int]

    element: ClassVar[int] = 1
    """Bytes of an element."""
    left: ClassVar[int] = 20
    """Bits by which operands of a sum are shifted to the left."""

    @property
    def is_full(self) -> bool:
        """Whether saturation is the clamp."""
        half = 1 << 8 * self.element - 1
        return self.clamp == (-half, half - 1)


class _WideSpec(_Spec):
    """The arithmetic of a layer of int16."""

    element: ClassVar[int] = 2
    left: ClassVar[int] = 15


def _spec(op: Add | Sub | Mul) -> _Spec | None:
    """Return the arithmetic of a layer; None where a scale shifts to the left."""
    make, clamp = _WideSpec if op.y.dtype is DType.INT16 else _Spec, limits(op)
    lowers = clamp[0] < op.y.zero_point
    if isinstance(op, Mul):
        total = multiplication_parameters(op)
        if total.shift > 0:
            return None
        return make(
            product=True, swapped=False, zeros=(op.a.zero_point, op.b.zero_point), first=0, second=(_HALF, 1),
            total=total, lowers=lowers, zero_point=op.y.zero_point, clamp=clamp,
        )  # fmt: skip
    parameters = addition_parameters(op)
    sign = -1 if isinstance(op, Sub) else 1
    swapped = parameters.a != _HALF
    halved, other = (parameters.b, parameters.a) if swapped else (parameters.a, parameters.b)
    if halved != _HALF or other.shift > 0 or parameters.y.shift > 0:
        return None
    zeros = (op.b.zero_point, op.a.zero_point) if swapped else (op.a.zero_point, op.b.zero_point)
    return make(
        product=False, swapped=swapped, zeros=zeros, first=sign if swapped else 1,
        second=(other, 1 if swapped else sign), total=parameters.y, lowers=lowers, zero_point=op.y.zero_point,
        clamp=clamp,
    )  # fmt: skip


class _Elements:
    """Writes vectors of four elements.

    q5, q6 and q7 hold 2^20, 2^19 with the first operand's sign, and ones; or 2^15 and 2^14 on int16.
    """

    def __init__(self, spec: _Spec) -> None:
        self.spec, self.block, self._names = spec, Block(), 0

    def new(self) -> str:
        self._names += 1
        return f"%q{self._names}"

    def write(self) -> None:
        spec, block = self.spec, self.block
        a, b = self.new(), self.new()
        memory, moved = ("b", 4) if spec.element == 1 else ("h", 8)
        block(f"vldr{memory}.s32 {a}, [r0], #{moved}", f"vldr{memory}.s32 {b}, [r1], #{moved}")
        if spec.product:
            for value, zero, register in ((a, spec.zeros[0], "r4"), (b, spec.zeros[1], "r5")):
                if zero:
                    block(f"vsub.i32 {value}, {value}, {register}")
            block(f"vmul.i32 {b}, {b}, {a}")
        else:
            block(f"vmlas.s32 {b}, q5, r5")
            other, sign = spec.second
            if other != _HALF:
                self._scale(b, other, "r6", "r7", lowers=True)
            else:
                block(f"vshr.s32 {b}, {b}, #1")
            if sign < 0:
                block(f"vneg.s32 {b}, {b}")
            block(f"vmlas.s32 {a}, q6, r4", f"vadd.i32 {b}, {b}, {a}")
        self._scale(b, spec.total, "r8", "r9", lowers=spec.lowers)
        if spec.zero_point:
            block(f"vadd.i32 {b}, {b}, r10")
        if spec.is_full:
            block(f"vqmovnb.s32 {b}, {b}", *([f"vqmovnb.s16 {b}, {b}"] if spec.element == 1 else []))
        else:
            for at, name in ((_LOW, "vmax"), (_HIGH, "vmin")):
                limit = self.new()
                block(f"vldrw.u32 {limit}, [sp, #{at}]", f"{name}.s32 {b}, {b}, {limit}")
        block(f"vstr{memory}.32 {b}, [r2], #{moved}")

    def _scale(self, value: str, factor: Requantization, multiplier: str, shift: str, *, lowers: bool) -> None:
        self.block(f"vqrdmulh.s32 {value}, {value}, {multiplier}")
        if factor.shift:
            if lowers:
                sign = self.new()
                # The high half of a product with one is the sign, made by the unit that is less busy.
                self.block(f"vmulh.s32 {sign}, {value}, q7", f"vadd.i32 {value}, {value}, {sign}")
            self.block(f"vrshl.s32 {value}, {shift}")


@lru_cache(maxsize=128)
def _loop(spec: _Spec, timing: Timing) -> tuple[CSupport, float, float]:
    """Return the function of rows, the cycles of a turn of sixteen elements, and of one of four.

    `void name(const int8_t *a, const int8_t *b, int8_t *y, int32_t count, int32_t rows, int32_t back_a,
    int32_t back_b)`, or with int16_t, goes back by so many bytes in the operands after each row of `count` elements.

    Raises:
        ScheduleError: it can't be scheduled.
    """
    bodies = []
    for count in (_AT_ONCE, 1):
        writer = _Elements(spec)
        for _ in range(count):
            writer.write()
        bodies.append(schedule(writer.block, timing, pool=tuple(f"q{number}" for number in range(5))))
    other, _ = spec.second
    first, second = spec.zeros
    scalars = (
        ("r4", first if spec.product else -spec.first * first * (1 << spec.left - 1)),
        ("r5", second if spec.product else -second * (1 << spec.left)),
        ("r6", other.multiplier),
        ("r7", other.shift),
        ("r8", spec.total.multiplier),
        ("r9", spec.total.shift),
        ("r10", spec.zero_point),
    )
    vectors = (("q5", 1 << spec.left), ("q6", spec.first * (1 << spec.left - 1)), ("q7", 1))
    lines: list[str] = []
    for register, value in vectors:
        lines += [*constant("r11", value), f"vdup.32 {register}, r11"]
    for at, value in ((_LOW, spec.clamp[0]), (_HIGH, spec.clamp[1])):
        lines += [*constant("r11", value), "vdup.32 q0, r11", f"vstrw.32 q0, [sp, #{at}]"]
    for register, value in scalars:
        lines += constant(register, value)
    lines += [
        f"str r3, [sp, #{_COUNT}]",
        "5:",
        f"subs.w r3, r3, #{_LANES * _AT_ONCE}",
        "blt.w 2f",
        ".balign 4",
        "1:",
        *bodies[0].lines,
        f"subs.w r3, r3, #{_LANES * _AT_ONCE}",
        "bge.w 1b",
        "2:",
        f"add.w r3, r3, #{_LANES * _AT_ONCE}",
        "wlstp.32 lr, r3, 4f",
        "3:",
        *bodies[1].lines,
        "letp lr, 3b",
        "4:",
        # The last vector moves addresses by four elements, however many it has.
        f"ldr r3, [sp, #{_COUNT}]",
        "rsb r11, r3, #0",
        f"and r11, r11, #{_LANES - 1}",
        *(["lsl r11, r11, #1"] if spec.element > 1 else []),
        f"ldr r12, [sp, #{_ROWS + 4}]",
        "sub r2, r2, r11",
        "add r12, r12, r11",
        "sub r0, r0, r12",
        f"ldr r12, [sp, #{_ROWS + 8}]",
        "add r12, r12, r11",
        "sub r1, r1, r12",
        f"ldr r12, [sp, #{_ROWS}]",
        "subs.w r12, r12, #1",
        f"str r12, [sp, #{_ROWS}]",
        "bne.w 5b",
    ]
    name = f"utvm_helium_{'product' if spec.product else 'sum'}_{short_digest(spec)}"
    element = "int8_t" if spec.element == 1 else "int16_t"
    arguments = "int32_t count, int32_t rows,\n    int32_t back_a, int32_t back_b"
    prototype = f"void {name}(const {element} *a, const {element} *b, {element} *y, {arguments})"
    comment = "products of elements" if spec.product else "sums of elements"
    return assembler_function(name, prototype, framed(_FRAME, lines), comment), bodies[0].cycles, bodies[1].cycles
