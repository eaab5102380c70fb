"""Depthwise convolutions by patches (`patch_code`): any kernel, stride, dilation, padding and channel multiplier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CWriter
from utvm.cores import Core
from utvm.graph import DepthwiseConv2D, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.dsp.finish import folded_bias
from utvm.kernels.dsp.stream import to_words
from utvm.kernels.helium.family import WEIGHTED_PARAMETERS, ScheduledVectors
from utvm.kernels.helium.finish import VectorFinish, constants, refusal
from utvm.kernels.helium.move import FILL, fill_cycles
from utvm.kernels.helium.patch_code import (
    INTERLEAVE,
    WRITTEN,
    PatchSpec,
    interleave_cycles,
    patch_kernel,
    separate,
    separate_cycles,
)
from utvm.kernels.overlap import line_ahead
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload

_ROWS = 4
"""Rows that lie interleaved, and columns of a patch."""
_SIDE = 3
"""The largest kernel of which a patch makes 2 x 2 outputs."""
_SLACK, _LANES = 64, 16
_MOST_PATCHES = 16


class HeliumDepthwise(ScheduledVectors):
    """DepthwiseConv2D of any shape whose kernel has up to 16 patches of 4 x 4 taps.

    Knob: `lines` of 2 x 2 outputs that are made of a channel before the next, where rows are short.
    """

    name = "helium-depthwise"
    kinds = (DepthwiseConv2D,)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact finish, or that its kernel is too large."""
        if not isinstance(op, DepthwiseConv2D):
            return super().refusal(op, core)
        lacking = self.lacks(core) or refusal(op)
        if lacking is not None:
            return lacking
        patches = len(_DepthwisePlan.of(op, 1).spec.taps)
        return f"its kernel has more than {_MOST_PATCHES} patches of 4 x 4 taps" if patches > _MOST_PATCHES else None

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knob; rows of many sets are made one by one."""
        del core
        assert isinstance(op, DepthwiseConv2D)
        return {"lines": tuple(range(_most_lines(op), 0, -1))}

    def default(self, op: Operator, core: Core) -> Config:
        """Return the fastest config."""
        return min(self.contenders(op, core), key=lambda config: self.estimate(op, core, config) or 0.0)

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return all configs."""
        return tuple({"lines": lines} for lines in self.space(op, core)["lines"])

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all rows."""
        assert isinstance(op, DepthwiseConv2D)
        return _DepthwisePlan.of(op, int(config["lines"])).cycles(core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        assert isinstance(op, DepthwiseConv2D)
        assert core.timing is not None
        plan = _DepthwisePlan.of(op, int(config["lines"]))
        kernel = patch_kernel(plan.spec, core.timing)[0]
        way_back = separate(op.y.shape[3], plan.columns * op.y.shape[3], flip=plan.spec.finish.unsigned)
        w = CWriter()
        _write(w, plan, kernel.name, way_back.name)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"depthwise_{dims(op.x.shape[1:])}_k{op.weights.shape[1]}x{op.weights.shape[2]}_helium",
                comment=f"{workload(op)}\nfamily {self.name}, lines {plan.spec.lines}",
                parameters=WEIGHTED_PARAMETERS,
                body=w.text,
                support=(FILL, INTERLEAVE, way_back, kernel),
            ),
            constants={"stream": CArray(c_type="int32_t", values=plan.stream())},
            scratch_bytes=plan.scratch_bytes,
            ahead=line_ahead(op, rows=plan.out_rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _DepthwisePlan:
    """What the C, the micro-kernel and the stream of one layer agree on.

    `quads` sets of four interleaved rows have `wide` columns each: the taps of an output, or a line of patches each.
    """

    op: DepthwiseConv2D
    spec: PatchSpec
    quads: int
    wide: int

    @staticmethod
    def of(op: DepthwiseConv2D, lines: int) -> _DepthwisePlan:
        _, height, width, _ = op.weights.shape
        channels, out_channels, out_width = op.x.shape[3], op.y.shape[3], op.y.shape[2]
        square = _is_square(op)
        word = 4 * channels
        columns = 2 if square else 4
        steps = -(-out_width // columns)
        across = 1 if square else -(-width // _ROWS)
        quads = lines if square else -(-height // _ROWS)
        last = (steps * columns - 1) * op.stride[1] + ((across * _ROWS) - 1) * op.dilation[1]
        wide = max(last + _ROWS, op.padding.left + op.x.shape[2] + op.padding.right)
        parts = [(quad, part) for quad in range(1 if square else quads) for part in range(across)]
        taps = tuple(quad * wide * word + part * _ROWS * op.dilation[1] * word for quad, part in parts)
        spec = PatchSpec(
            square=square,
            taps=taps,
            between=op.dilation[1] * word,
            step=columns * word if square else op.stride[1] * word,
            out_step=4 * out_channels,
            steps=steps * lines,
            finish=VectorFinish.of(op),
            lines=lines,
            jump=(wide - steps * columns) * word if lines > 1 else 0,
        )
        return _DepthwisePlan(op=op, spec=spec, quads=quads, wide=wide)

    @property
    def out_rows(self) -> int:
        """Output rows at once."""
        return 2 * self.spec.lines if self.spec.square else 1

    @property
    def line_steps(self) -> int:
        """Sets of four outputs of a line."""
        return self.spec.steps // self.spec.lines

    @property
    def columns(self) -> int:
        """Output columns of a set."""
        return 2 if self.spec.square else 4

    @property
    def rows_bytes(self) -> int:
        """Bytes of all interleaved rows, and what is written behind them."""
        return _rounded(self.quads * self.wide * 4 * self.op.x.shape[3] + _SLACK)

    @property
    def out_bytes(self) -> int:
        """Bytes of the sets of outputs of all columns, and what is read behind them."""
        return _rounded(self.spec.steps * 4 * self.op.y.shape[3] + _SLACK)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of the input."""
        return self.op.x.shape[2] * self.op.x.shape[3]

    @property
    def pads(self) -> tuple[int, int]:
        """Bytes of padding before and behind the interleaved rows."""
        word, left = 4 * self.op.x.shape[3], self.op.padding.left
        return left * word, (self.wide - left - self.op.x.shape[2]) * word

    @property
    def reached(self) -> tuple[bool, bool]:
        """Whether rows reach the padding before and behind, which is written each time then, and once elsewhere.

        Whole vectors are written, beyond rows of other lengths.
        """
        beyond = self.row_bytes % _LANES > 0
        return beyond and self.quads > 1, beyond

    @property
    def scratch_bytes(self) -> int:
        """Interleaved rows, outputs, a row of padding, and where outputs go that are none."""
        return self.rows_bytes + self.out_bytes + _rounded(self.row_bytes) + _rounded(self.dump_bytes)

    @property
    def dump_bytes(self) -> int:
        """Bytes of a row of outputs that are none."""
        return self.line_steps * self.columns * self.op.y.shape[3]

    def stream(self) -> NDArray[np.int32]:
        """Return, for each output channel, its weights as patches, then its constants."""
        op, finish = self.op, self.spec.finish
        weights = op.weights.values.astype(np.int8)[0]
        height, width, out_channels = weights.shape
        patches = np.zeros((out_channels, self.spec.vectors, _ROWS, _ROWS), np.int8)
        if self.spec.square:
            for index in range(4):
                column, row = index // 2, index % 2
                patches[:, index, column : column + width, row : row + height] = weights.transpose(2, 1, 0)
        else:
            across = -(-width // _ROWS)
            padded = np.zeros((self.quads * _ROWS, across * _ROWS, out_channels), np.int8)
            padded[:height, :width] = weights
            split = padded.reshape(self.quads, _ROWS, across, _ROWS, out_channels)
            patches[:] = split.transpose(4, 0, 2, 3, 1).reshape(patches.shape)
        words = np.ascontiguousarray(patches).reshape(out_channels, -1).view(np.int32)
        tail = np.zeros((out_channels, 8), np.int64)
        tail[:, 0] = folded_bias(op)
        others = list(constants(op))
        if finish.left:
            tail[:, 3] = others.pop(0)
        if finish.multiplies:
            tail[:, 1] = others.pop(0)
        tail[:, 2] = others.pop(0)
        tail[:, 4] = 4 * ((np.arange(out_channels) + 1) % op.multiplier == 0)
        return np.concatenate([words, to_words(tail).reshape(tail.shape)], axis=1).reshape(-1)

    def cycles(self, core: Core) -> float:
        """Return the modelled cycles."""
        assert core.timing is not None
        op = self.op
        channel = patch_kernel(self.spec, core.timing)[1]
        fills = [fill_cycles(count) for count in self.pads]
        each_time = sum(fill for fill, reached in zip(fills, self.reached, strict=True) if reached)
        quad = interleave_cycles(self.row_bytes) + 60 + each_time
        back = self.spec.lines * (separate_cycles(op.y.shape[3], self.line_steps) + 40)
        row = self.quads * quad + 60 + op.y.shape[3] * channel + back
        rows = op.x.shape[0] * -(-op.y.shape[1] // self.out_rows)
        return rows * row + fill_cycles(self.row_bytes) + self.quads * (sum(fills) - each_time)


def _is_square(op: DepthwiseConv2D) -> bool:
    return op.stride == op.dilation == (1, 1) and max(op.weights.shape[1:3]) <= _SIDE


def _most_lines(op: DepthwiseConv2D) -> int:
    """Return how many lines of patches are made at once at most: as many as are written without a loop."""
    if not _is_square(op):
        return 1
    return max(1, min(WRITTEN // -(-op.y.shape[2] // 2), -(-op.y.shape[1] // 2)))


def _rounded(nbytes: int) -> int:
    return -(-nbytes // 16) * 16


def _write(w: CWriter, plan: _DepthwisePlan, kernel: str, way_back: str) -> None:
    op = plan.op
    images, height, width, channels = op.x.shape
    _, out_height, out_width, out_channels = op.y.shape
    word, row = 4 * channels, plan.row_bytes
    out_at = plan.rows_bytes
    padding_at = out_at + plan.out_bytes
    dump_at = padding_at + _rounded(row)
    full, rest = divmod(out_width, plan.columns)
    zero = op.x.zero_point
    w(f"int8_t *const outputs = scratch + {out_at};", f"int8_t *const padding = scratch + {padding_at};")
    w(f"int8_t *const dump = scratch + {dump_at};", "(void)dump;")
    w(f"utvm_helium_fill(padding, {zero}, {row});")
    left, right = plan.pads
    left_reached, right_reached = plan.reached
    lasting = [(0, 0 if left_reached else left), (left + width * word, 0 if right_reached else right)]
    if any(count for _, count in lasting):
        with w.loop("quad", plan.quads):
            w(f"int8_t *const to = scratch + quad * {plan.wide * word};")
            for at, count in lasting:
                if count:
                    w(f"utvm_helium_fill(to + {at}, {zero}, {count});")
    with w.loop("n", images), w.loop("oy", out_height, step=plan.out_rows):
        with w.loop("quad", plan.quads):
            w("const int8_t *rows[4];")
            with w.loop("k", _ROWS):
                rows_apart = 2 if plan.spec.square else _ROWS
                place = f"({rows_apart} * quad + k) * {op.dilation[0]}"
                w(f"const int32_t iy = oy * {op.stride[0]} + {place} - {op.padding.top};")
                w(f"rows[k] = iy >= 0 && iy < {height} ? x + (n * {height} + iy) * {row} : padding;")
            w(f"int8_t *const to = scratch + quad * {plan.wide * word};")
            if left and left_reached:
                w(f"utvm_helium_fill(to, {zero}, {left});")
            w(f"utvm_helium_interleave(to + {left}, rows, {row});")
            if right and right_reached:
                w(f"utvm_helium_fill(to + {left + width * word}, {zero}, {right});")
        w(f"{kernel}(scratch, stream, outputs, {out_channels});")
        line = out_width * out_channels
        if plan.spec.square:
            for number in range(plan.spec.lines):
                _write_line(w, plan, way_back, number)
            return
        w(f"int8_t *const out = y + (n * {out_height} + oy) * {line};")
        _write_sets(w, way_back, full, 0, [f"out + {k * out_channels}" for k in range(4)])
        at = 4 * full * out_channels
        targets = [f"out + {at + k * out_channels}" if k < rest else "dump" for k in range(4)]
        if rest:
            _write_sets(w, way_back, 1, full * 4 * out_channels, targets)


def _write_line(w: CWriter, plan: _DepthwisePlan, way_back: str, number: int) -> None:
    """Write the way back of a line of sets of 2 x 2 outputs."""
    op = plan.op
    _, out_height, out_width, out_channels = op.y.shape
    line = out_width * out_channels
    full, rest = divmod(out_width, plan.columns)
    start = number * plan.line_steps * 4 * out_channels
    with w.block(""):
        for name, row in (("out", 2 * number), ("below", 2 * number + 1)):
            place = f"y + (n * {out_height} + oy{offset(row)}) * {line}"
            inside = f"oy{offset(row)} < {out_height} ? {place} : dump"
            w(f"int8_t *const {name} = {inside if row else place};")
        _write_sets(w, way_back, full, start, ["out", "below", f"out + {out_channels}", f"below + {out_channels}"])
        if rest:
            at = 2 * full * out_channels
            _write_sets(
                w, way_back, 1, start + full * 4 * out_channels, [f"out + {at}", f"below + {at}", "dump", "dump"]
            )


def _write_sets(w: CWriter, way_back: str, sets: int, start: int, targets: list[str]) -> None:
    if sets:
        with w.block(""):
            w(f"int8_t *const to[4] = {{{', '.join(targets)}}};")
            w(f"{way_back}(outputs + {start}, to, {sets});")
