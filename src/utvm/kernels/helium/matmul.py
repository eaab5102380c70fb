"""Products of two activations by vectors: rows of one matrix with rows of the other, turned where it lies across.

Zero points are taken out of sums of rows: a column's sum and bias are made once a matrix, a row's once a row.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.graph import BatchMatMul, Operator, Tensor
from utvm.graph.arithmetic import requantization
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import assembler_function, short_digest
from utvm.kernels.helium.code import constant
from utvm.kernels.helium.family import ScheduledVectors
from utvm.kernels.helium.four import AT_ONCE, COLLECT, POINTERS, SUMS, SumFinish
from utvm.kernels.helium.mean import SUM
from utvm.kernels.helium.movement_plan import copy_cycles, write_copy
from utvm.kernels.nest import Copy, broadcast_strides, index, loops, row_major
from utvm.kernels.runs import RUN_HELPERS
from utvm.kernels.workload_keys import dims, workload

_VECTOR = 16
_ROW_CYCLES, _GROUP_CYCLES, _TURN_CYCLES, _COLUMN_CYCLES = 70, 34, 13, 40
_FRAME = 12
_ROW, _LEFT = 0, 4
_DEPTH = _FRAME + 4 * 9
"""Where the fifth argument is, behind the frame and what is saved."""


class HeliumBatchMatMul(ScheduledVectors):
    """BatchMatMul of at least four columns; either matrix may lie across, batches may repeat."""

    name = "helium"
    kinds = (BatchMatMul,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that there are too few columns, or what the core lacks."""
        if not isinstance(op, BatchMatMul):
            return super().refusal(op, core)
        return "it has less than four columns" if op.y.shape[-1] < AT_ONCE else self.lacks(core)

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return about the cycles of all rows."""
        del config
        assert isinstance(op, BatchMatMul)
        assert core.timing is not None
        rows, columns, depth = _sizes(op)
        group = _GROUP_CYCLES + -(-depth // _VECTOR) * _TURN_CYCLES
        across = sum(copy_cycles(copy, core.timing) for copy in (_turned(op, "a"), _turned(op, "b")) if copy)
        each = rows * (_ROW_CYCLES + depth // 4 + -(-columns // AT_ONCE) * group)
        return prod(op.y.shape[:-2]) * (each + columns * (_COLUMN_CYCLES + depth // 4) + across)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a product."""
        assert isinstance(op, BatchMatMul)
        assert core.timing is not None
        rows, columns, depth = _sizes(op)
        batches = op.y.shape[:-2]
        products = _row_products(op)
        support: dict[str, CSupport] = {SUM.name: SUM, products.name: products}
        operands = {"a": op.a, "b": op.b} | ({} if op.bias is None else {"bias": op.bias})
        constants = {name: CArray.of(t.values) for name, t in operands.items() if t.is_constant}
        tables: dict[str, CArray] = {}
        places, scratch = _places(op)
        w = CWriter()
        w("int32_t *const starts = (int32_t *)(void *)scratch;")
        strides = [_batch_strides(t, batches) for t in (op.a, op.b)]
        with loops(w, batches) as names:
            for name, stride in zip(("a", "b"), strides, strict=True):
                copy = _turned(op, name)
                w(f"const int8_t *const {name}_matrix = {name} + {index(names, stride)};")
                if copy is None:
                    w(f"const int8_t *const {name}_rows = {name}_matrix;")
                else:
                    w(f"int8_t *const {name}_rows = scratch + {places[name]};")
                    write_copy(w, copy, f"{name}_matrix", f"{name}_rows", core, support, tables)
            with w.loop("column", columns):
                w(f"const int32_t sum = utvm_helium_sum(b_rows + column * {depth}, {depth}, 0);")
                whole = depth * op.a.zero_point * op.b.zero_point
                bias = "" if op.bias is None else "bias[column] + "
                w(f"starts[column] = {bias}{whole} - sum * ({op.a.zero_point});")
            out = index(names, row_major((*batches, rows * columns))[:-1])
            with w.loop("row", rows):
                to = f"y + {out} + row * {columns}"
                w(f"{products.name}(a_rows + row * {depth}, b_rows, {to}, starts, {depth}, {columns});")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"batchmatmul_{dims(op.y.shape)}_helium",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    *(
                        CParameter(name=n, c_type=t.dtype.c_type, role="constant" if t.is_constant else "input")
                        for n, t in operands.items()
                    ),
                    *(CParameter(name=n, c_type=a.c_type, role="constant") for n, a in tables.items()),
                    CParameter(name="scratch", c_type="int8_t", role="scratch"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=tuple(name for name in RUN_HELPERS if f"{name}(" in w.text),
                support=tuple(support.values()),
            ),
            constants={**constants, **tables},
            scratch_bytes=scratch,
        )


def _sizes(op: BatchMatMul) -> tuple[int, int, int]:
    """Return rows, columns and the depth of a product."""
    return op.y.shape[-2], op.y.shape[-1], op.a.shape[-2 if op.turned_a else -1]


def _places(op: BatchMatMul) -> tuple[dict[str, int], int]:
    """Return where turned matrices lie in the scratch, behind the columns' starts, and its bytes."""
    rows, columns, depth = _sizes(op)
    found, at = dict[str, int](), 4 * columns
    for name, size in (("a", rows * depth), ("b", columns * depth)):
        if _turned(op, name) is not None:
            found[name] = at
            at += -(-size // 4) * 4
    return found, at


def _turned(op: BatchMatMul, name: str) -> Copy | None:
    """Return the copy that turns a matrix; None where its rows lie as they are read."""
    rows, columns, depth = _sizes(op)
    size, across = (rows, op.turned_a) if name == "a" else (columns, not op.turned_b)
    if not across or size == 1 or depth == 1:
        return None
    return Copy(extents=(size, depth), from_strides=(1, size), to_strides=(depth, 1))


def _batch_strides(tensor: Tensor, batches: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides of a tensor's matrices along batches."""
    size = prod(tensor.shape[-2:])
    return tuple(size * stride for stride in broadcast_strides(tensor.shape[:-2], batches))


def _row_products(op: BatchMatMul) -> CSupport:
    factor = requantization(op.a.scale * op.b.scale / op.y.scale)
    return _function(op.b.zero_point, SumFinish(factor=factor, zero_point=op.y.zero_point, clamp=op.clamp))


@lru_cache(maxsize=64)
def _function(zero_point: int, finish: SumFinish) -> CSupport:
    """Return the function of a row's products with all columns, four at once; the last four may overlap others.

    `void name(const int8_t *a, const int8_t *b, int8_t *y, const int32_t *starts, int32_t depth, int32_t columns)`.
    """
    lines = ["mov.w r10, #0", "mov r12, r0", f"ldr r4, [sp, #{_DEPTH}]", "wlstp.8 lr, r4, 2f", "1:"]
    lines += ["vldrb.u8 q0, [r12], #16", "vaddva.s8 r10, q0", "letp lr, 1b", "2:"]
    lines += [*constant("r4", -zero_point), "mul r10, r10, r4", f"str r10, [sp, #{_ROW}]"]
    lines += [f"ldr r4, [sp, #{_DEPTH + 4}]", f"str r4, [sp, #{_LEFT}]"]
    lines += ["3:", f"ldr r12, [sp, #{_DEPTH}]", "mov r5, r1", "add r7, r5, r12", "add r9, r7, r12"]
    lines += ["add r11, r9, r12", "add r1, r11, r12", "ldrd r4, r6, [r3], #8", "ldrd r8, r10, [r3], #8"]
    lines += ["wlstp.8 lr, r12, 5f", "mov r12, r0", "4:", "vldrb.u8 q0, [r12], #16"]
    pairs = list(zip(SUMS, POINTERS, ("q1", "q2", "q3", "q1"), strict=True))
    for number, (_, column, register) in enumerate(pairs):
        lines.append(f"vldrb.u8 {register}, [{column}], #16")
        if number:
            lines.append(f"vmladava.s8 {pairs[number - 1][0]}, q0, {pairs[number - 1][2]}")
    lines += [f"vmladava.s8 {SUMS[-1]}, q0, q1", "letp lr, 4b", "5:"]
    lines += [*COLLECT, f"ldr r12, [sp, #{_ROW}]", "vadd.i32 q0, q0, r12", *finish.lines]
    lines += ["vstrb.32 q0, [r2], #4", f"ldr r4, [sp, #{_LEFT}]", f"subs.w r4, r4, #{AT_ONCE}", "beq.w 7f"]
    # Less than four are left: all addresses go back by what is missing.
    lines += [f"cmp r4, #{AT_ONCE}", "bge.w 6f", f"rsb.w r4, r4, #{AT_ONCE}", f"ldr r12, [sp, #{_DEPTH}]"]
    lines += ["mls r1, r4, r12, r1", "sub.w r2, r2, r4", "sub.w r3, r3, r4, lsl #2", f"mov.w r4, #{AT_ONCE}"]
    lines += ["6:", f"str r4, [sp, #{_LEFT}]", "b.w 3b", "7:"]
    name = f"utvm_helium_products_{short_digest(zero_point, finish)}"
    function = ["push {r4-r11, lr}", f"sub sp, sp, #{_FRAME}", *lines, f"add sp, sp, #{_FRAME}", "pop {r4-r11, pc}"]
    arguments = (
        "const int8_t *a, const int8_t *b, int8_t *y, const int32_t *starts,\n    int32_t depth, int32_t columns"
    )
    return assembler_function(name, f"void {name}({arguments})", function, "a row's products with all columns")
