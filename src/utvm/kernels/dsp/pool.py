"""Pooling four channels at a time, for cores with the DSP extension."""

from __future__ import annotations

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import FULL_INT8, AveragePool2D, AverageRounding, MaxPool2D, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.overlap import line_ahead, nest_ahead
from utvm.kernels.workload import dims, workload

_MOST_SUMMED = 255


class WordMaxPool2D(KernelFamily):
    """MaxPool2D of a multiple of four channels: first down the rows into a buffer of one row, then along it."""

    name = "words"

    def applies(self, op: Operator, core: Core) -> bool:
        """Whether the channels fill words, and nothing is clamped."""
        return core.dsp and isinstance(op, MaxPool2D) and op.x.shape[3] % 4 == 0 and op.clamp == FULL_INT8

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a maximum pooling."""
        del core
        assert isinstance(op, MaxPool2D)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        row, pixel = width * channels // 4, channels // 4
        w = CWriter()
        w("const uint32_t *from = (const uint32_t *)(const void *)x;", "uint32_t *to = (uint32_t *)(void *)y;")
        with w.loop("n", batch), w.loop("oy", out_height):
            _write_bounds(w, "y", op.stride[0], op.padding.top, op.filter[0], height)
            w(f"const uint32_t *rows = from + (n * {height} + first_y) * {row};")
            _write_most(w, row, op.filter[0], "count_y", at="rows", step=row, target="line")
            with w.loop("ox", out_width):
                _write_bounds(w, "x", op.stride[1], op.padding.left, op.filter[1], width)
                w(f"const uint32_t *at = line + first_x * {pixel};")
                w(f"uint32_t *out = to + ((n * {out_height} + oy) * {out_width} + ox) * {pixel};")
                _write_most(w, pixel, op.filter[1], "count_x", at="at", step=pixel, target="out")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"max_pool_{dims(op.x.shape[1:])}_words",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="line", c_type="uint32_t", role="scratch"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=("utvm_max4",),
            ),
            scratch_bytes=4 * row,
            ahead=line_ahead(op),
        )


class WordAveragePool2D(KernelFamily):
    """AveragePool2D of a multiple of four channels: int16 sums of two channels in a word."""

    name = "words"

    def applies(self, op: Operator, core: Core) -> bool:
        """Whether the channels fill words, and the sums of a window fit 16 bits."""
        if not core.dsp or not isinstance(op, AveragePool2D):
            return False
        return op.x.shape[3] % 4 == 0 and op.filter[0] * op.filter[1] <= _MOST_SUMMED

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an average pooling."""
        del core
        assert isinstance(op, AveragePool2D)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        pixel = channels // 4
        w = CWriter()
        w("const uint32_t *from = (const uint32_t *)(const void *)x;")
        with w.loop("n", batch), w.loop("oy", out_height):
            _write_bounds(w, "y", op.stride[0], op.padding.top, op.filter[0], height)
            with w.loop("ox", out_width):
                _write_bounds(w, "x", op.stride[1], op.padding.left, op.filter[1], width)
                count = op.filter[0] * op.filter[1] if _never_clipped(op) else "count_y * count_x"
                w(f"const int32_t count = {count};")
                w(f"const uint32_t *pixels = from + ((n * {height} + first_y) * {width} + first_x) * {pixel};")
                w(f"int8_t *to = y + ((n * {out_height} + oy) * {out_width} + ox) * {channels};")
                with w.loop("c", pixel):
                    w("uint32_t even = 0;", "uint32_t odd = 0;")
                    with w.block("for (int32_t ky = 0; ky < count_y; ky++)"):
                        w(f"const uint32_t *at = pixels + ky * {width * pixel} + c;")
                        with w.block("for (int32_t kx = 0; kx < count_x; kx++)"):
                            w(f"const uint32_t four = at[kx * {pixel}];")
                            w("even = utvm_add_even(even, four);", "odd = utvm_add_odd(odd, four);")
                    for lane, sums in enumerate(
                        ("(int16_t)even", "(int16_t)odd", "(int32_t)even >> 16", "(int32_t)odd >> 16")
                    ):
                        _write_average(w, op, sums, f"to[4 * c + {lane}]")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"average_pool_{dims(op.x.shape[1:])}_words",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=("utvm_add_even", "utvm_add_odd", "utvm_average", "utvm_clamp")
                if op.rounding is AverageRounding.HALF_AWAY
                else ("utvm_add_even", "utvm_add_odd", "utvm_clamp"),
            ),
            ahead=nest_ahead(op),
        )


def _write_most(w: CWriter, words: int, size: int, count: str, *, at: str, step: int, target: str) -> None:
    """Write the maxima of `count` words each, `step` words apart; whole windows, of `size`, without a loop over it."""
    with w.block(f"if ({count} == {size})"):
        if words % 4 == 0:
            w("#pragma GCC unroll 4")
        with w.loop("i", words):
            w(f"uint32_t most = {at}[i];")
            for k in range(1, size):
                w(f"most = utvm_max4(most, {at}[i + {k * step}]);")
            w(f"{target}[i] = most;")
    with w.block("else"), w.loop("i", words):
        w(f"uint32_t most = {at}[i];")
        with w.block(f"for (int32_t k = 1; k < {count}; k++)"):
            w(f"most = utvm_max4(most, {at}[k * {step} + i]);")
        w(f"{target}[i] = most;")


def _write_bounds(w: CWriter, axis: str, stride: int, padding: int, size: int, limit: int) -> None:
    """Write the first pixel of the window that is inside the input, and how many are."""
    w(f"const int32_t start_{axis} = o{axis} * {stride} - {padding};")
    w(f"const int32_t first_{axis} = start_{axis} < 0 ? 0 : start_{axis};")
    w(f"const int32_t end_{axis} = start_{axis} + {size} < {limit} ? start_{axis} + {size} : {limit};")
    w(f"const int32_t count_{axis} = end_{axis} - first_{axis};")


def _never_clipped(op: AveragePool2D) -> bool:
    """Whether every window lies inside the input."""
    reach = [(op.y.shape[1 + d] - 1) * op.stride[d] + op.filter[d] for d in (0, 1)]
    return not op.padding.any and reach[0] <= op.x.shape[1] and reach[1] <= op.x.shape[2]


def _write_average(w: CWriter, op: AveragePool2D, total: str, target: str) -> None:
    value = f"utvm_average({total}, count)" if op.rounding is AverageRounding.HALF_AWAY else f"({total}) / count"
    if op.clamp != FULL_INT8:
        value = f"utvm_clamp({value}, {op.clamp[0]}, {op.clamp[1]})"
    w(f"{target} = (int8_t)({value});")
