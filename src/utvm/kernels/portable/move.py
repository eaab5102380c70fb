"""Operators that only move values: pad, concatenate, split, slice, transpose, resize, reshape.

Not schedules of loops: runs of neighbours are moved by words, memset and memcpy, and some have several outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CWriter, float_literal, int_literal
from utvm.cores import Core
from utvm.graph import (
    BatchToSpace,
    Concatenation,
    DType,
    Operator,
    Pad,
    Reshape,
    ResizeNearestNeighbor,
    SpaceToBatch,
    Split,
    Store,
    StridedSlice,
    Tensor,
    Transpose,
)
from utvm.graph.arithmetic import nearest_indices
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.nest import Copy, row_major
from utvm.kernels.portable.blocks import block_copies
from utvm.kernels.runs import RUN_HELPERS, WORD, write_run
from utvm.kernels.workload_keys import dims, workload

Moving = (
    Pad
    | Concatenation
    | Split
    | StridedSlice
    | Transpose
    | ResizeNearestNeighbor
    | Reshape
    | Store
    | SpaceToBatch
    | BatchToSpace
)


class PortableMove(KernelFamily):
    """Copies with strides; contiguous runs by words."""

    name = "portable"
    kinds: ClassVar[tuple[type[Operator], ...]] = (
        Pad,
        Concatenation,
        Split,
        StridedSlice,
        Transpose,
        ResizeNearestNeighbor,
        Reshape,
        Store,
        SpaceToBatch,
        BatchToSpace,
    )
    dtypes = tuple(DType)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that `op` makes another type than it moves."""
        wrong = {t.dtype for t in op.outputs} - {t.dtype for t in op.inputs}
        return super().refusal(op, core) or ("it makes another type than it moves" if wrong else None)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a move."""
        assert isinstance(op, Moving)
        w = CWriter()
        constants: dict[str, CArray] = {}
        inputs, outputs = _inputs(op), op.outputs
        if isinstance(op, ResizeNearestNeighbor):
            constants = _write_resize(w, op, anywhere=core.unaligned)
        else:
            if isinstance(op, Pad):
                write_filled(w, op.y, op.value)
            elif isinstance(op, SpaceToBatch) and op.padding.any:
                write_filled(w, op.y, op.x.zero_point)
            for source, target, copy in copies_of(op):
                copy.write(w, source, target, op.inputs[0].dtype.itemsize, anywhere=core.unaligned)
        names = [f"x{i}" for i in range(len(inputs))] if isinstance(op, Concatenation) else ["x"]
        constants |= {n: CArray.of(t.values) for n, t in zip(names, inputs, strict=True) if t.is_constant}
        targets = [f"y{i}" for i in range(len(outputs))] if isinstance(op, Split) else ["y"]
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(outputs[0].shape)}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    *(
                        _parameter(n, t, "constant" if t.is_constant else "input")
                        for n, t in zip(names, inputs, strict=True)
                    ),
                    *(
                        CParameter(name=n, c_type=a.c_type, role="constant")
                        for n, a in constants.items()
                        if n not in names
                    ),
                    *(_parameter(n, t, "output") for n, t in zip(targets, outputs, strict=True)),
                ),
                body=w.text,
                helpers=tuple(name for name in RUN_HELPERS if f"{name}(" in w.text),
            ),
            constants=constants,
        )


def write_filled(w: CWriter, y: Tensor, value: float) -> None:
    """Write the same value to all of y: by bytes where they are alike."""
    raw = np.array(value, y.dtype.value).tobytes()
    if len(set(raw)) == 1:
        w(f"memset(y, {value if y.dtype.itemsize == 1 else raw[0]}, {y.nbytes});")
        return
    with w.loop("i", y.elements):
        w(f"y[i] = {float_literal(value) if y.dtype is DType.FLOAT32 else int_literal(int(value))};")


def _inputs(op: Moving) -> tuple[Tensor, ...]:
    return op.xs if isinstance(op, Concatenation) else (op.x,)


def _parameter(name: str, tensor: Tensor, role: str) -> CParameter:
    return CParameter(name=name, c_type=tensor.dtype.c_type, role=role)  # type: ignore[arg-type]


def copies_of(op: Moving) -> list[tuple[str, str, Copy]]:
    """Return (source, target, copy) for each copy that makes up the operator; none for a resizing."""
    match op:
        case Pad():
            strides = row_major(op.y.shape)
            start = sum(before * stride for (before, _), stride in zip(op.paddings, strides, strict=True))
            return [("x", "y", _dense(op.x.shape, to_strides=strides, to_start=start))]
        case Concatenation():
            strides = row_major(op.y.shape)
            found, position = [], 0
            for number, x in enumerate(op.xs):
                copy = _dense(x.shape, to_strides=strides, to_start=position * strides[op.axis])
                found.append((f"x{number}", "y", copy))
                position += x.shape[op.axis]
            return found
        case Split():
            strides = row_major(op.x.shape)
            found, position = [], 0
            for number, y in enumerate(op.ys):
                start = position * strides[op.axis]
                copy = Copy(extents=y.shape, from_strides=strides, to_strides=row_major(y.shape), from_start=start)
                found.append(("x", f"y{number}", copy))
                position += y.shape[op.axis]
            return found
        case StridedSlice():
            strides = row_major(op.x.shape)
            start = sum(first * stride for first, stride in zip(op.begin, strides, strict=True))
            steps = tuple(step * stride for step, stride in zip(op.strides, strides, strict=True))
            extents = op.extents
            return [
                (
                    "x",
                    "y",
                    Copy(extents=extents, from_strides=steps, to_strides=row_major(extents), from_start=start),
                )
            ]
        case Transpose():
            strides = row_major(op.x.shape)
            source = tuple(strides[d] for d in op.perm)
            return [("x", "y", Copy(extents=op.y.shape, from_strides=source, to_strides=row_major(op.y.shape)))]
        case Reshape() | Store():
            return [("x", "y", _dense((op.x.elements,), to_strides=(1,)))]
        case SpaceToBatch():
            return [("x", "y", copy) for copy in block_copies(op.x, op.y, op.block, op.padding)]
        case BatchToSpace():
            return [("x", "y", copy.reversed()) for copy in block_copies(op.y, op.x, op.block, op.crop)]
        case ResizeNearestNeighbor():
            return []


def _dense(shape: Sequence[int], *, to_strides: tuple[int, ...], to_start: int = 0) -> Copy:
    return Copy(extents=tuple(shape), from_strides=row_major(shape), to_strides=to_strides, to_start=to_start)


def _write_resize(w: CWriter, op: ResizeNearestNeighbor, *, anywhere: bool) -> dict[str, CArray]:
    """Write a copy of each pixel; a row that repeats the one above is copied from there."""
    batch, height, width, channels = op.x.shape
    _, out_height, out_width, _ = op.y.shape
    channels *= op.x.dtype.itemsize
    source, target = (
        ("x", "y") if op.x.dtype is DType.INT8 else ("(const int8_t *)(const void *)x", "(int8_t *)(void *)y")
    )
    row, aligned = out_width * channels, channels % WORD == 0
    with w.loop("n", batch), w.loop("oy", out_height):
        w(f"int8_t *const to = {target} + (n * {out_height} + oy) * {row};")
        w(f"const int8_t *const from = {source} + (n * {height} + from_row[oy]) * {width * channels};")
        with w.block("if (oy > 0 && from_row[oy] == from_row[oy - 1])"):
            write_run(w, "to", f"to - {row}", row, aligned=row % WORD == 0, anywhere=anywhere)
        with w.block("else"), w.loop("ox", out_width):
            into, out_of = f"to + ox * {channels}", f"from + from_column[ox] * {channels}"
            write_run(w, into, out_of, channels, aligned=aligned, anywhere=anywhere)
    rows, columns = nearest_indices(op)
    return {
        "from_row": CArray(c_type="int32_t", values=rows),
        "from_column": CArray(c_type="int32_t", values=columns),
    }
