"""Convolutions with few outputs by vectors of pixels: of a row, or of all rows where each pixel is one tap.

Lanes that are channels stay empty where there are few. Inputs with padding are copied first, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.dsp.finish import folded_bias
from utvm.kernels.helium.finish import VectorFinish, refusal
from utvm.kernels.overlap import line_ahead
from utvm.kernels.rvv.code import COPY, FILL, OUTPUT, WEIGHTED_PARAMETERS, RvvFamily, group, vector_function
from utvm.kernels.rvv.finish import clamped, constants, finish_instructions, narrowed, requantized_by_numbers, way
from utvm.kernels.rvv.product_plan import is_flat
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload

_GROUP = 4
_MOST_OUTPUTS = 4
_MOST_CHANNELS = 16
"""Outputs from which lanes that are channels are full at 128 bits."""


class RvvAcross(RvvFamily):
    """Conv2D of few outputs, without groups. Knob: `n` outputs at once."""

    name = "rvv-across"
    kinds = (Conv2D,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that there are groups or many outputs, or why `op` has no exact finish."""
        found = super().refusal(op, core)
        if found is not None or not isinstance(op, Conv2D):
            return found
        if op.groups > 1 or op.weights.shape[0] > _MOST_CHANNELS:
            return f"it has groups, or more than {_MOST_CHANNELS} outputs"
        return refusal(op)

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knob."""
        del op, core
        return {"n": tuple(range(1, _MOST_OUTPUTS + 1))}

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether there are as many outputs."""
        del core
        assert isinstance(op, Conv2D)
        return int(config["n"]) <= op.weights.shape[0]

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config of the fewest instructions."""
        every = [{"n": n} for n in range(1, _MOST_OUTPUTS + 1)]
        return min(
            (config for config in every if self.legal(op, core, config)),
            key=lambda config: self.estimate(op, core, config),
        )

    def estimate(self, op: Operator, core: Core, config: Config) -> float:
        """Return about the instructions of all calls and copies."""
        assert isinstance(op, Conv2D)
        plan = _Plan(op, config)
        rows, taps, channels = op.weights.shape[1:]
        strips = -(-plan.pixels // (core.zve32x // 32 * _GROUP))
        total = 0.0
        for n, first, end in plan.blocks:
            tap = rows * (6 + taps * (6 + channels * (6 + 2 * n)))
            strip = 20 + tap + n * (6 + finish_instructions(plan.finish))
            total += (end - first) // n * (45 + strips * strip)
        copies = rows * (40 + plan.row_bytes / 8) if plan.copied else 10.0
        return plan.lines * (total + copies)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        del core
        assert isinstance(op, Conv2D)
        plan = _Plan(op, config)
        w = CWriter()
        plan.write(w)
        functions = tuple(across_function(n, plan.finish) for n, _, _ in plan.blocks)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"conv2d_{dims(op.x.shape[1:])}_{op.weights.shape[0]}_k{dims(op.weights.shape[1:3])}_across",
                comment=f"{workload(op)}\nfamily {self.name}, n {config['n']}",
                parameters=(
                    *WEIGHTED_PARAMETERS,
                    *([CParameter(name="rows", c_type="int8_t", role="scratch")] if plan.copied else []),
                    OUTPUT,
                ),
                body=w.text,
                support=(*((COPY, FILL) if plan.copied else ()), *functions),
            ),
            constants={
                "weights": CArray(c_type="int8_t", values=plan.weights()),
                "finish": CArray(c_type="int32_t", values=plan.numbers()),
                "shape": CArray(c_type="int32_t", values=plan.shape()),
            },
            scratch_bytes=op.weights.shape[1] * plan.row_bytes if plan.copied else 0,
            # Outputs of one block are written before the next one reads.
            ahead=line_ahead(op) if plan.copied else None,
        )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the C and the constants of one layer agree on."""

    op: Conv2D
    config: Config

    @property
    def finish(self) -> VectorFinish:
        """The way to int8."""
        return VectorFinish.of(self.op)

    @property
    def copied(self) -> bool:
        """Whether rows are copied."""
        return self.op.padding.any

    @property
    def pixels(self) -> int:
        """Pixels of a call."""
        return self.op.y.elements // self.op.y.shape[3] if is_flat(self.op) else self.op.y.shape[2]

    @property
    def lines(self) -> int:
        """Rows of pixels."""
        return 1 if is_flat(self.op) else self.op.y.shape[0] * self.op.y.shape[1]

    @property
    def columns(self) -> int:
        """Pixels of the input, padding included, that a row of pixels reads."""
        return (self.op.y.shape[2] - 1) * self.op.stride[1] + (self.op.weights.shape[2] - 1) * self.op.dilation[1] + 1

    @property
    def row_bytes(self) -> int:
        """Bytes from a row of taps to the next."""
        columns = self.columns if self.copied else self.op.dilation[0] * self.op.x.shape[2]
        return columns * self.op.x.shape[3]

    @property
    def blocks(self) -> list[tuple[int, int, int]]:
        """Outputs at once, the first and the end of so many: of n, and what is left."""
        n, outputs = int(self.config["n"]), self.op.weights.shape[0]
        whole = outputs // n * n
        every = [(n, 0, whole), (outputs - whole, whole, outputs)]
        return [each for each in every if each[1] < each[2]]

    def weights(self) -> NDArray[np.int8]:
        """Return the weights as [block, tap, output]."""
        values = self.op.weights.values.reshape(self.op.weights.shape[0], -1)
        pieces = [
            values[first : first + n].T.reshape(-1) for n, begin, end in self.blocks for first in range(begin, end, n)
        ]
        return np.concatenate(pieces).astype(np.int8)

    def numbers(self) -> NDArray[np.int32]:
        """Return the bias and the numbers of the finish of each output."""
        return np.stack([folded_bias(self.op), *constants(self.op)], axis=1).astype(np.int32)

    def shape(self) -> NDArray[np.int32]:
        """Return the words that functions read."""
        op, finish = self.op, self.finish
        rows, taps, channels = op.weights.shape[1:]
        steps = self.row_bytes, op.dilation[1] * channels, op.stride[1] * channels
        words = [rows, taps, channels, *steps, self.pixels, op.y.shape[3], finish.zero_point, finish.low, finish.high]
        return np.array(words, np.int32)

    def write(self, w: CWriter) -> None:
        """Write the loops over rows of pixels."""
        op = self.op
        _, height, width, channels = op.x.shape
        batch, lines, across, outputs = op.y.shape
        if is_flat(op):
            self._call(w, "x", "y")
            return
        rows, line = op.weights.shape[1], width * channels
        if self.copied:
            w(f"{FILL.name}(rows, {op.x.zero_point}, {rows * self.row_bytes});")
        with w.loop("n", batch), w.loop("oy", lines):
            w(f"int8_t *row = y + (n * {lines} + oy) * {across * outputs};")
            if not self.copied:
                self._call(w, f"x + (n * {height} + oy * {op.stride[0]}) * {line}", "row")
                return
            inside = max(min(width, self.columns - op.padding.left), 0) * channels
            with w.loop("ky", rows):
                w(f"const int32_t iy = oy * {op.stride[0]} + ky * {op.dilation[0]}{offset(-op.padding.top)};")
                w(f"int8_t *to = rows + ky * {self.row_bytes}{offset(op.padding.left * channels)};")
                with w.block(f"if (iy >= 0 && iy < {height})"):
                    w(f"{COPY.name}(to, x + (n * {height} + iy) * {line}, {inside});")
                with w.block("else"):
                    w(f"{FILL.name}(to, {op.x.zero_point}, {inside});")
            self._call(w, "rows", "row")

    def _call(self, w: CWriter, x: str, y: str) -> None:
        """Write the calls for all outputs of a row of pixels."""
        taps, numbers = self.weights().size // self.op.weights.shape[0], self.finish.vectors + 1
        for n, begin, end in self.blocks:
            name = across_function(n, self.finish).name
            with w.block(f"for (int32_t o = {begin}; o < {end}; o += {n})"):
                w(f"{name}({x}, weights + o * {taps}, finish + o * {numbers}, shape, {y} + o);")


@lru_cache(maxsize=32)
def across_function(n: int, finish: VectorFinish) -> CSupport:
    """Return `void name(x, weights, finish, shape, y)`, for n outputs of all pixels of a row.

    `weights` are [tap, output], `finish` [output, number]. `shape`: rows, taps and channels of a window, bytes from row
    to row, from tap to tap and from pixel to pixel, pixels, bytes from output pixel to output pixel, zero point, clamp.
    """
    byte, wide, spare = "v0", "v2", "v24"
    sums = [group(8, _GROUP, o) for o in range(n)]
    numbers = 4 * (finish.vectors + 1)
    lines = ["lw s0, 24(a3)", "lw s1, 20(a3)", "lw s4, 16(a3)", "lw s5, 12(a3)", "lw s6, 28(a3)"]
    lines += ["1:", f"vsetvli s7, s0, e32, m{_GROUP}, ta, ma"]
    for o, total in enumerate(sums):
        lines += [f"lw t0, {o * numbers}(a2)", f"vmv.v.x {total}, t0"]
    lines += ["vsetvli x0, x0, e16, m2, ta, ma", "mv t6, a1", "mv t1, a0", "lw t2, 0(a3)"]
    lines += ["2:", "mv t3, t1", "lw t4, 4(a3)", "3:", "mv t5, t3", "lw s3, 8(a3)"]
    lines += ["4:", f"vlse8.v {byte}, (t5), s1", "addi t5, t5, 1", f"vsext.vf2 {wide}, {byte}"]
    for o, total in enumerate(sums):
        lines += [f"lb {('s2', 't0')[o % 2]}, {o}(t6)", f"vwmacc.vx {total}, {('s2', 't0')[o % 2]}, {wide}"]
    lines += [f"addi t6, t6, {n}", "addi s3, s3, -1", "bnez s3, 4b", "add t3, t3, s4", "addi t4, t4, -1"]
    lines += ["bnez t4, 3b", "add t1, t1, s5", "addi t2, t2, -1", "bnez t2, 2b"]
    lines += [f"vsetvli x0, x0, e32, m{_GROUP}, ta, ma", "lw a5, 32(a3)", "lw a6, 36(a3)", "lw a7, 40(a3)"]
    for o, total in enumerate(sums):
        lines += requantized_by_numbers(
            total, finish, at="a2", first=o * numbers + 4, number="t0", flag="t1", spare=spare
        )
        lines += clamped(total, zero_point="a5", low="a6", high="a7")
    lines += narrowed(sums, _GROUP)
    for o, total in enumerate(sums):
        lines += [f"addi t0, a4, {o}", f"vsse8.v {total}, (t0), s6"]
    lines += ["mul t0, s7, s1", "add a0, a0, t0", "mul t0, s7, s6", "add a4, a4, t0", "sub s0, s0, s7", "bnez s0, 1b"]
    name = f"utvm_rvv_across_{n}{way(finish)}"
    operands = "const int8_t *x, const int8_t *weights, const int32_t *finish, const int32_t *shape, int8_t *y"
    comment = f"{n} outputs of a row of pixels; shape: rows, taps, channels, distances, pixels, ..."
    return vector_function(name, f"void {name}({operands})", lines, comment, saved=8)
