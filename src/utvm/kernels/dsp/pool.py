"""Maximum pooling of int8 and int16 a word at a time, for cores with the DSP extension."""

from __future__ import annotations

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import DType, MaxPool2D, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.dsp.words import WORD_HELPERS, Lanes, Words, whole_windows, write_bounds
from utvm.kernels.overlap import line_ahead
from utvm.kernels.rough import rough_cycles
from utvm.kernels.runs import WORD
from utvm.kernels.workload_keys import dims, workload

_MOST_UNROLLED = 32
"""Taps of a window that are written out, one after another."""

_HELPERS = ("utvm_max4", "utvm_min4", "utvm_max2", "utvm_min2", *WORD_HELPERS)


class WordMaxPool2D(KernelFamily):
    """MaxPool2D of any channels and clamp: first down the rows into a buffer of one row, then along it."""

    name = "words"
    kinds = (MaxPool2D,)
    dtypes = (DType.INT8, DType.INT16)

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no DSP extension; its pipeline need not be known."""
        return None if core.dsp else f"{core.name} has no DSP extension"

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that the core can't compare four bytes at once, or that a row has fewer."""
        if not isinstance(op, MaxPool2D):
            return super().refusal(op, core)
        if op.x.shape[2] * op.x.shape[3] * op.x.dtype.itemsize < WORD:
            return "a row has fewer than four bytes"
        if op.x.dtype is DType.INT16 and op.x.shape[3] % 2 and op.stride[1] > 1:
            return "its pixels are no words, and its windows do not follow one another"
        return self.lacks(core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles the loops over words take."""
        return rough_cycles(op, core, words=True)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a maximum pooling."""
        del core
        assert isinstance(op, MaxPool2D)
        batch, height, width, _ = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        pixel = op.x.shape[3] * op.x.dtype.itemsize
        row, out_row = width * pixel, out_width * pixel
        down, across = Words.beside(row), Words.beside(pixel)
        in_rows, in_columns = whole_windows(op)
        lanes = Lanes.of(op)
        w, (x, y) = CWriter(), ("x", "y")
        if op.x.dtype is not DType.INT8:
            x, y = "from", "to"
            w("const int8_t *const from = (const int8_t *)x;", "int8_t *const to = (int8_t *)y;")
        with w.loop("n", batch), w.loop("oy", out_height):
            write_bounds(w, op, 0)
            w(f"const int8_t *rows = {x} + (n * {height} + first_y) * {row};")
            _write_most(w, down, lanes, op.filter[0], "count_y", whole=in_rows, at="rows", step=row, target="line")
            if in_columns and op.stride[1] == 1 and out_row >= WORD:
                # The windows of a row lie one after another, and so do their maxima.
                across = Words(nbytes=out_row, aligned=pixel % WORD == 0)
                w(f"int8_t *out = {y} + (n * {out_height} + oy) * {out_row};")
                _write_most(
                    *(w, across, lanes, op.filter[1], "count_x"),
                    whole=True,
                    at="line",
                    step=pixel,
                    target="out",
                    clamp=True,
                )
            else:
                with w.loop("ox", out_width):
                    write_bounds(w, op, 1)
                    w(f"const int8_t *at = line + first_x * {pixel};")
                    w(f"int8_t *out = {y} + ((n * {out_height} + oy) * {out_width} + ox) * {pixel};")
                    _write_most(
                        *(w, across, lanes, op.filter[1], "count_x"),
                        whole=in_columns,
                        at="at",
                        step=pixel,
                        target="out",
                        clamp=True,
                    )
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"max_pool_{dims(op.x.shape[1:])}_words",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type=op.x.dtype.c_type, role="input"),
                    CParameter(name="line", c_type="int8_t", role="scratch"),
                    CParameter(name="y", c_type=op.y.dtype.c_type, role="output"),
                ),
                body=w.text,
                helpers=tuple(name for name in _HELPERS if f"{name}(" in w.text),
            ),
            # Pixels of three bytes are read as words, the last one beyond the end of the row.
            scratch_bytes=-(-row // WORD) * WORD + (WORD if pixel == WORD - 1 else 0),
            ahead=line_ahead(op),
        )


def _write_most(
    w: CWriter,
    words: Words,
    lanes: Lanes,
    size: int,
    count: str,
    *,
    whole: bool,
    at: str,
    step: int,
    target: str,
    clamp: bool = False,
) -> None:
    """Write the maxima of `count` runs, `step` bytes apart; `whole`: there are always `size`."""
    ends = lanes.clamp_lines("most") if clamp else []
    if whole and size <= _MOST_UNROLLED:
        _write_runs(w, words, lanes, [str(k * step) for k in range(1, size)], at, target, ends)
    elif size <= _MOST_UNROLLED:
        with w.block(f"if ({count} == {size})"):
            _write_runs(w, words, lanes, [str(k * step) for k in range(1, size)], at, target, ends)
        with w.block("else"):
            _write_counted(w, words, lanes, count, step, at, target, ends)
    else:
        _write_counted(w, words, lanes, count, step, at, target, ends)


def _write_runs(w: CWriter, words: Words, lanes: Lanes, taps: list[str], at: str, target: str, ends: list[str]) -> None:
    with words.loop(w, unroll=4):
        w(f"uint32_t most = {words.read(f'{at} + i')};")
        for tap in taps:
            w(f"most = {lanes.larger}(most, {words.read(f'{at} + i + {tap}')});")
        w(*ends)
        words.write(w, f"{target} + i", "most")


def _write_counted(
    w: CWriter, words: Words, lanes: Lanes, count: str, step: int, at: str, target: str, ends: list[str]
) -> None:
    with words.loop(w):
        w(f"uint32_t most = {words.read(f'{at} + i')};")
        with w.block(f"for (int32_t k = 1; k < {count}; k++)"):
            w(f"most = {lanes.larger}(most, {words.read(f'{at} + i + k * {step}')});")
        w(*ends)
        words.write(w, f"{target} + i", "most")
