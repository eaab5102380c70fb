"""Pools of int16 and float32 in plain C: several channels, or pixels of few channels, in registers at once.

What a window reads is found once a row and once a pixel; pixels whose columns are all inside need not ask. Sums and
extremes take taps in the order of the definition, so that reals have its bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

from utvm.codegen import CFunction, CParameter, CWriter, float_literal
from utvm.cores import Core
from utvm.graph import AveragePool2D, AverageRounding, DType, MaxPool2D, Operator
from utvm.graph.definitions.floating import LOWEST
from utvm.graph.formulas import INT16, limits
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.portable.window import Taps, window_taps
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload

_LANES = 4
"""Results at once: as many chains of sums as hide what an addition of reals takes, and as many as registers hold."""
_MOST_UNROLLED = 16
"""Taps that are written out, one after another."""

_ONE_BY_ONE = (
    *("ldrsh r4, [r0]", "ldrsh r5, [r0, #2]", "ldrsh r6, [r0, #4]", "ldrsh r7, [r0, #6]"),
    *("add r1, r1, r4", "add r2, r2, r5", "add r3, r3, r6", "add r8, r8, r7"),
)
_BY_PAIRS = (
    *("ldr r4, [r0]", "ldr r5, [r0, #4]"),
    *("sxtah r1, r1, r4", "add r2, r2, r4, asr #16", "sxtah r3, r3, r5", "add r8, r8, r5, asr #16"),
)
"""Four elements that are added to four sums."""

Lane = tuple[int, int]
"""A pixel and a channel of a block."""


class TypedPool2D(KernelFamily):
    """MaxPool2D and AveragePool2D of int16 or float32."""

    name = "pixels"
    kinds = (MaxPool2D, AveragePool2D)
    dtypes = (DType.INT16, DType.FLOAT32)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that averages are rounded as int8 alone has it."""
        if isinstance(op, AveragePool2D) and op.rounding is AverageRounding.HALF_UP:
            return "its averages are rounded halves up"
        return super().refusal(op, core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a pooling."""
        assert isinstance(op, MaxPool2D | AveragePool2D)
        w = CWriter()
        even = isinstance(op, AveragePool2D) and op.x.dtype is DType.INT16 and op.x.shape[3] % 2 == 0
        _Pool(w, op, pairs=even and _sums_by_pairs(core)).write()
        c_type = op.y.dtype.c_type
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{'max' if isinstance(op, MaxPool2D) else 'average'}_pool_{dims(op.x.shape[1:])}_{op.y.dtype}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type=c_type, role="input"),
                    CParameter(name="y", c_type=c_type, role="output"),
                ),
                body=w.text,
                helpers=tuple(name for name in ("utvm_clamp", "utvm_load4") if f"{name}(" in w.text),
            ),
            ahead=nest_ahead(op),
        )


@lru_cache(maxsize=64)
def _sums_by_pairs(core: Core) -> bool:
    """Whether a core adds two elements of a word faster than two that it loads one by one."""
    if core.timing is None or not core.dsp:
        return False
    one, two = ([core.timing.parse(line) for line in code] for code in (_ONE_BY_ONE, _BY_PAIRS))
    return core.timing.cost(two, two) < core.timing.cost(one, one)


class _Pool:
    def __init__(self, w: CWriter, op: MaxPool2D | AveragePool2D, *, pairs: bool) -> None:
        self.w, self.op, self.pairs = w, op, pairs
        self.real = op.y.dtype is DType.FLOAT32
        self.value = "float" if self.real else "int32_t"
        self.channels, self.step = op.x.shape[3], op.stride[1] * op.x.shape[3]

    def write(self) -> None:
        """Write the whole operator."""
        w, op = self.w, self.op
        with w.loop("n", op.y.shape[0]), w.loop("oy", op.y.shape[1]):
            ty = window_taps(w, op, "y")
            for start, stop, pixels, inside in self._pieces():
                with w.loop("ox", stop, start=start, step=pixels), self._columns(inside=inside) as tx:
                    self._write_pixels(pixels, ty, tx)

    def _pieces(self) -> list[tuple[int, int, int, bool]]:
        """Return stretches of a row: from where to where, pixels at once, whether all columns are inside."""
        op = self.op
        first = [ox * op.stride[1] - op.padding.left for ox in range(op.y.shape[2])]
        whole = [ox for ox, x in enumerate(first) if x >= 0 and x + op.filter[1] <= op.x.shape[2]]
        low, high = (whole[0], whole[-1] + 1) if whole else (op.y.shape[2], op.y.shape[2])
        at_once = min(max(1, _LANES // self.channels), max(1, high - low))
        end = low + (high - low) // at_once * at_once
        every = ((0, low, 1, False), (low, end, at_once, True), (end, high, 1, True), (high, len(first), 1, False))
        return [piece for piece in every if piece[0] < piece[1]]

    @contextmanager
    def _columns(self, *, inside: bool) -> Iterator[Taps]:
        op = self.op
        if not inside:
            yield window_taps(self.w, op, "x")
            return
        self.w(f"const int32_t start_x = ox * {op.stride[1]}{offset(-op.padding.left)};")
        size = op.filter[1]
        yield Taps(axis="x", first="0", last=str(size), window=size, dilation=1, may_be_none=False)

    def _write_pixels(self, pixels: int, ty: Taps, tx: Taps) -> None:
        """Write all channels of some pixels."""
        w, op = self.w, self.op
        _, height, width, channels = op.x.shape
        c_type = op.y.dtype.c_type
        place = f"(n * {height} + {ty.position(ty.first)}) * {width} + {tx.position(tx.first)}"
        w(f"const {c_type} *const pixels = x + ({place}) * {channels};")
        w(f"{c_type} *const to = y + ((n * {op.y.shape[1]} + oy) * {op.y.shape[2]} + ox) * {channels};")
        count = self._count(ty, tx)
        if isinstance(op, AveragePool2D) and not count.isdigit():
            w(f"const int32_t count = {count};")
            count = "count"
        block = min(_LANES, channels)
        rest = channels % block
        if channels - rest > block:
            with w.loop("c", channels - rest, step=block):
                self._write_block([(p, c) for p in range(pixels) for c in range(block)], "c", ty, tx, count)
        else:
            rest = channels
        if rest:
            first = channels - rest
            for start in range(first, channels, block):
                lanes = [(p, c) for p in range(pixels) for c in range(min(block, channels - start))]
                with w.block(""):
                    self._write_block(lanes, str(start), ty, tx, count)

    def _count(self, ty: Taps, tx: Taps) -> str:
        rows, columns = (str(t.window) if t.all_inside else t.count for t in (ty, tx))
        if rows.isdigit() and columns.isdigit():
            return str(int(rows) * int(columns))
        return f"({rows}) * ({columns})"

    def _write_block(self, lanes: Sequence[Lane], c: str, ty: Taps, tx: Taps, count: str) -> None:
        """Write the results of some pixels and channels from channel `c` on."""
        w, op = self.w, self.op
        row, pixel = op.x.shape[2] * self.channels, self.channels
        start = "0"
        if isinstance(op, MaxPool2D):
            start = float_literal(LOWEST) if self.real else str(INT16[0])
        elif self.real:
            start = "0.0f"
        for lane in range(len(lanes)):
            w(f"{self.value} v{lane} = {start};")
        height, width = op.filter
        # A pointer that moves on, and constants: GCC makes a pointer of each place that an index goes to.
        w(f"const {op.y.dtype.c_type} *at = pixels + {c};")
        if ty.all_inside and tx.all_inside and height * width * len(lanes) <= _MOST_UNROLLED * _LANES:
            for tap in (ky * row + kx * pixel for ky in range(height) for kx in range(width)):
                self._write_tap(lanes, tap)
        elif tx.all_inside and width * len(lanes) <= _MOST_UNROLLED * _LANES:
            with w.block(f"for (int32_t ky = {_rows(ty)}; ky > 0; ky--)"):
                for kx in range(width):
                    self._write_tap(lanes, kx * pixel)
                w(f"at += {row};")
        else:
            columns = str(width) if tx.all_inside else tx.count
            with w.block(f"for (int32_t ky = {_rows(ty)}; ky > 0; ky--)"):
                with w.block(f"for (int32_t kx = {columns}; kx > 0; kx--)"):
                    self._write_tap(lanes, 0)
                    w(f"at += {pixel};")
                w(f"at += {row} - {columns} * {pixel};")
        results = [self._result(f"v{lane}", count) for lane in range(len(lanes))]
        for (p, channel), result in zip(lanes, results, strict=True):
            at = offset(p * self.channels + channel)
            w(f"to[{c}{at}] = {result};" if self.real else f"to[{c}{at}] = (int16_t){result};")

    def _write_tap(self, lanes: Sequence[Lane], tap: int) -> None:
        """Write one tap of all lanes, so far behind `at`: their loads, then what is done with them."""
        w = self.w
        if self.pairs:
            with w.block(""):
                for lane in range(0, len(lanes), 2):
                    p, channel = lanes[lane]
                    place = f"(const int8_t *)(at{offset(tap + p * self.step + channel)})"
                    w(f"const uint32_t x{lane} = utvm_load4({place});")
                for lane in range(0, len(lanes), 2):
                    w(f"v{lane} += (int16_t)x{lane};", f"v{lane + 1} += (int32_t)x{lane} >> 16;")
            return
        with w.block(""):
            for lane, (p, channel) in enumerate(lanes):
                w(f"const {self.value} x{lane} = at[{tap + p * self.step + channel}];")
            for lane in range(len(lanes)):
                if isinstance(self.op, MaxPool2D):
                    w(f"v{lane} = v{lane} > x{lane} ? v{lane} : x{lane};")
                else:
                    w(f"v{lane} += x{lane};")

    def _result(self, value: str, count: str) -> str:
        op = self.op
        if self.real:
            return value if isinstance(op, MaxPool2D) else f"{value} / {_real(count)}"
        if isinstance(op, AveragePool2D):
            value = self._average(op, value, count)
        low, high = limits(op)
        return value if (low, high) == INT16 else f"utvm_clamp({value}, {low}, {high})"

    def _average(self, op: AveragePool2D, value: str, count: str) -> str:
        """Return a sum over the count, halves away from zero or cut toward it."""
        if op.rounding is AverageRounding.TOWARD_ZERO:
            return f"({value} / {count})"
        if count.isdigit() and int(count) & (int(count) - 1) == 0:
            shift = int(count).bit_length() - 1
            return f"(({value} + {int(count) // 2} + ({value} >> 31)) >> {shift})" if shift else value
        half = int(count) // 2 if count.isdigit() else f"{count} / 2"
        return f"(({value} + ({value} < 0 ? -({half}) : {half})) / {count})"


def _rows(ty: Taps) -> str:
    return str(ty.window) if ty.all_inside else ty.count


def _real(count: str) -> str:
    return float_literal(float(count)) if count.isdigit() else f"(float){count}"
