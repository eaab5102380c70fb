"""Maximum pooling by vectors of bytes: first down the rows into a buffer of one row, then along it."""

from __future__ import annotations

from collections.abc import Callable

from utvm.codegen import CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.graph import MaxPool2D, Operator
from utvm.graph.operators import FULL_INT8
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.dsp.assembly import MAX_OFFSET, assembler_function
from utvm.kernels.dsp.words import write_bounds
from utvm.kernels.helium.family import no_vectors
from utvm.kernels.overlap import line_ahead
from utvm.kernels.workload_keys import dims, workload

_MOST_TAPS = 16


class HeliumMaxPool2D(KernelFamily):
    """MaxPool2D of any channels, for windows of up to 16 pixels across and down, without a clamp."""

    name = "helium"
    kinds = (MaxPool2D,)

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no vector extension; None where it has it."""
        return no_vectors(core)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that the window is too large, or that there is a clamp."""
        if not isinstance(op, MaxPool2D):
            return super().refusal(op, core)
        if max(op.filter) > _MOST_TAPS or op.clamp != FULL_INT8:
            return "its windows are large, or it has a clamp"
        row = op.x.shape[2] * op.x.shape[3]
        return "its rows are too long" if row * (_MOST_TAPS - 1) > 0xFFFF else self.lacks(core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a maximum pooling."""
        del core
        assert isinstance(op, MaxPool2D)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        row = width * channels
        used: dict[str, CSupport] = {}

        def most(taps: int, stride: int) -> str:
            function = _most(taps, stride)
            used[function.name] = function
            return function.name

        w = CWriter()
        with w.loop("n", batch), w.loop("oy", out_height):
            write_bounds(w, op, 0)
            down = f"line, x + (n * {height} + first_y) * {row}, {row}"
            _write_calls(w, _counts(op, 0), "count_y", lambda taps: f"{most(taps, row)}({down});")
            with w.loop("ox", out_width):
                write_bounds(w, op, 1)
                to = f"y + ((n * {out_height} + oy) * {out_width} + ox) * {channels}"
                along = f"{to}, line + first_x * {channels}, {channels}"
                _write_calls(w, _counts(op, 1), "count_x", lambda taps: f"{most(taps, channels)}({along});")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"max_pool_{dims(op.x.shape[1:])}_helium",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="line", c_type="int8_t", role="scratch"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                support=tuple(used.values()),
            ),
            scratch_bytes=row,
            ahead=line_ahead(op),
        )


def _counts(op: MaxPool2D, axis: int) -> list[int]:
    """Return the numbers of pixels that windows have inside the input, the most frequent first."""
    size, step, before = op.x.shape[1 + axis], op.stride[axis], (op.padding.top, op.padding.left)[axis]
    found: dict[int, int] = {}
    for place in range(op.y.shape[1 + axis]):
        start = place * step - before
        count = min(start + op.filter[axis], size) - max(start, 0)
        found[count] = found.get(count, 0) + 1
    return sorted(found, key=lambda count: -found[count])


def _write_calls(w: CWriter, counts: list[int], name: str, call: Callable[[int], str]) -> None:
    """Write a call for each number of pixels."""
    if len(counts) == 1:
        w(f"(void){name};", call(counts[0]))
        return
    for index, count in enumerate(counts):
        last = index == len(counts) - 1
        with w.block("else" if last else f"{'else ' if index else ''}if ({name} == {count})"):
            w(call(count))


def _most(taps: int, stride: int) -> CSupport:
    """Return `void name(int8_t *to, const int8_t *from, int32_t count)`: maxima of bytes that are `stride` apart."""
    name = f"utvm_helium_most_{taps}_{stride}"
    lines = ["push {r4, lr}", "wlstp.8 lr, r2, 2f", "1:", "vldrb.u8 q0, [r1]"]
    for first in range(1, taps, 2):
        pair = range(first, min(first + 2, taps))
        for tap in pair:
            at = tap * stride
            lines += [f"addw r3, r1, #{at}"] if at <= MAX_OFFSET else [f"movw r3, #{at}", "add r3, r3, r1"]
            lines.append(f"vldrb.u8 q{tap % 2 + 1}, [r3]")
        lines += [f"vmax.s8 q0, q0, q{tap % 2 + 1}" for tap in pair]
    lines += ["add.w r1, r1, #16", "vstrb.8 q0, [r0], #16", "letp lr, 1b", "2:", "pop {r4, pc}"]
    prototype = f"void {name}(int8_t *to, const int8_t *from, int32_t count)"
    return assembler_function(name, prototype, lines, f"the most of {taps} bytes, {stride} apart, count times")
