"""Maximum pooling four bytes at a time, for cores with the DSP extension."""

from __future__ import annotations

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import MaxPool2D, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.dsp.words import WORD_HELPERS, Words, clamp_lines, whole_windows, write_bounds
from utvm.kernels.overlap import line_ahead
from utvm.kernels.rough import rough_cycles
from utvm.kernels.runs import WORD
from utvm.kernels.workload_keys import dims, workload

_MOST_UNROLLED = 32
"""Taps of a window that are written out, one after another."""

_HELPERS = ("utvm_max4", "utvm_min4", *WORD_HELPERS)


class WordMaxPool2D(KernelFamily):
    """MaxPool2D of any channels and clamp: first down the rows into a buffer of one row, then along it."""

    name = "words"
    kinds = (MaxPool2D,)

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no DSP extension; its pipeline need not be known."""
        return None if core.dsp else f"{core.name} has no DSP extension"

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that the core can't compare four bytes at once, or that a row has fewer."""
        if not isinstance(op, MaxPool2D):
            return super().refusal(op, core)
        if op.x.shape[2] * op.x.shape[3] < WORD:
            return "a row has fewer than four bytes"
        return self.lacks(core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles the loops over words take."""
        return rough_cycles(op, core, words=True)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a maximum pooling."""
        del core
        assert isinstance(op, MaxPool2D)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        row, out_row = width * channels, out_width * channels
        down, across = Words.beside(row), Words.beside(channels)
        in_rows, in_columns = whole_windows(op)
        w = CWriter()
        with w.loop("n", batch), w.loop("oy", out_height):
            write_bounds(w, op, 0)
            w(f"const int8_t *rows = x + (n * {height} + first_y) * {row};")
            _write_most(w, down, op.filter[0], "count_y", whole=in_rows, at="rows", step=row, target="line")
            if in_columns and op.stride[1] == 1 and out_row >= WORD:
                # The windows of a row lie one after another, and so do their maxima.
                across = Words(nbytes=out_row, aligned=channels % WORD == 0)
                w(f"int8_t *out = y + (n * {out_height} + oy) * {out_row};")
                _write_most(
                    *(w, across, op.filter[1], "count_x"),
                    whole=True,
                    at="line",
                    step=channels,
                    target="out",
                    clamp=op.clamp,
                )
            else:
                with w.loop("ox", out_width):
                    write_bounds(w, op, 1)
                    w(f"const int8_t *at = line + first_x * {channels};")
                    w(f"int8_t *out = y + ((n * {out_height} + oy) * {out_width} + ox) * {channels};")
                    _write_most(
                        *(w, across, op.filter[1], "count_x"),
                        whole=in_columns,
                        at="at",
                        step=channels,
                        target="out",
                        clamp=op.clamp,
                    )
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"max_pool_{dims(op.x.shape[1:])}_words",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="line", c_type="int8_t", role="scratch"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=tuple(name for name in _HELPERS if f"{name}(" in w.text),
            ),
            # Pixels of three bytes are read as words, the last one beyond the end of the row.
            scratch_bytes=-(-row // WORD) * WORD + (WORD if channels == WORD - 1 else 0),
            ahead=line_ahead(op),
        )


def _write_most(
    w: CWriter,
    words: Words,
    size: int,
    count: str,
    *,
    whole: bool,
    at: str,
    step: int,
    target: str,
    clamp: tuple[int, int] = (-128, 127),
) -> None:
    """Write the maxima of `count` runs, `step` bytes apart; `whole`: there are always `size`."""
    if whole and size <= _MOST_UNROLLED:
        _write_runs(w, words, [str(k * step) for k in range(1, size)], at, target, clamp)
    elif size <= _MOST_UNROLLED:
        with w.block(f"if ({count} == {size})"):
            _write_runs(w, words, [str(k * step) for k in range(1, size)], at, target, clamp)
        with w.block("else"):
            _write_counted(w, words, count, step, at, target, clamp)
    else:
        _write_counted(w, words, count, step, at, target, clamp)


def _write_runs(w: CWriter, words: Words, taps: list[str], at: str, target: str, clamp: tuple[int, int]) -> None:
    with words.loop(w, unroll=4):
        w(f"uint32_t most = {words.read(f'{at} + i')};")
        for tap in taps:
            w(f"most = utvm_max4(most, {words.read(f'{at} + i + {tap}')});")
        w(*clamp_lines("most", clamp))
        words.write(w, f"{target} + i", "most")


def _write_counted(
    w: CWriter, words: Words, count: str, step: int, at: str, target: str, clamp: tuple[int, int]
) -> None:
    with words.loop(w):
        w(f"uint32_t most = {words.read(f'{at} + i')};")
        with w.block(f"for (int32_t k = 1; k < {count}; k++)"):
            w(f"most = utvm_max4(most, {words.read(f'{at} + i + k * {step}')});")
        w(*clamp_lines("most", clamp))
        words.write(w, f"{target} + i", "most")
