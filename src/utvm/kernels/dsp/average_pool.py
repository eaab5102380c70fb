"""Average pooling four channels at a time, for cores with the DSP extension.

Sums are unsigned 16-bit lanes, two channels a word. They start at 128 * count plus the rounding's half, so that the
average plus 128 is one multiplication by the reciprocal of the count, or one shift. Where words would not be aligned
and the core takes long for that, bytes are added to four sums, of which the lanes are made.
"""

from __future__ import annotations

from dataclasses import dataclass

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import AveragePool2D, AverageRounding, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.dsp.words import WORD_HELPERS, Lanes, Words, whole_windows, write_bounds
from utvm.kernels.misaligned import sums_by_bytes
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.rough import rough_cycles
from utvm.kernels.runs import WORD
from utvm.kernels.workload_keys import dims, workload

_MOST_SUMMED = 255
"""Taps whose sum of unsigned bytes, half a count added, fits 16 bits."""
_MOST_UNROLLED = 16
_HELPERS = (
    *("utvm_add_even", "utvm_add_odd", "utvm_add_below16", "utvm_max4", "utvm_min4", "utvm_pack_low"),
    *WORD_HELPERS,
)


class WordAveragePool2D(KernelFamily):
    """AveragePool2D of at least four channels, any clamp: 16-bit sums of two channels in a word."""

    name = "words"
    kinds = (AveragePool2D,)

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no DSP extension; its pipeline need not be known."""
        return None if core.dsp else f"{core.name} has no DSP extension"

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that there are fewer than four channels, or that the sums of a window do not fit 16 bits."""
        if not isinstance(op, AveragePool2D):
            return super().refusal(op, core)
        if op.x.shape[3] < WORD:
            return "it has fewer than four channels"
        if op.filter[0] * op.filter[1] > _MOST_SUMMED:
            return f"its windows have more than {_MOST_SUMMED} taps"
        return self.lacks(core)

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles the loops over words take."""
        return rough_cycles(op, core, words=True)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an average pooling."""
        assert isinstance(op, AveragePool2D)
        batch, height, width, channels = op.x.shape
        _, out_height, out_width, _ = op.y.shape
        words, whole = Words.beside(channels), all(whole_windows(op))
        tap = _Tap(words=words, by_bytes=sums_by_bytes(core, channels))
        taps = op.filter[0] * op.filter[1]
        w = CWriter()
        with w.loop("n", batch), w.loop("oy", out_height):
            write_bounds(w, op, 0)
            with w.loop("ox", out_width):
                write_bounds(w, op, 1)
                _write_count(w, op, str(taps) if whole else "count_y * count_x")
                w(f"const int8_t *pixels = x + ((n * {height} + first_y) * {width} + first_x) * {channels};")
                w(f"int8_t *to = y + ((n * {out_height} + oy) * {out_width} + ox) * {channels};")
                with words.loop(w):
                    tap.write_start(w)
                    if taps > _MOST_UNROLLED:
                        _write_counted(w, op, tap)
                    elif whole:
                        _write_taps(w, op, tap)
                    else:
                        with w.block(f"if (count == {taps})"):
                            _write_taps(w, op, tap)
                        with w.block("else"):
                            _write_counted(w, op, tap)
                    tap.write_lanes(w)
                    _write_average(w, op, taps if whole else None)
                    w(*Lanes.of(op).clamp_lines("four"))
                    words.write(w, "to + i", "four")
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
                helpers=tuple(name for name in _HELPERS if f"{name}(" in w.text),
            ),
            ahead=nest_ahead(op),
        )


def _write_count(w: CWriter, op: AveragePool2D, count: str) -> None:
    """Write the number of taps and what follows from it: where sums start, what they are divided by."""
    w(f"const uint32_t count = {count};")
    half = "" if op.rounding is AverageRounding.TOWARD_ZERO else " + count / 2"
    w(f"const uint32_t start = (128 * count{half}) * 0x00010001u;")
    if not count.isdigit():
        w("const uint32_t reciprocal = 0x80000000u / count + 1;")
        if op.rounding is AverageRounding.HALF_AWAY:
            w("const uint32_t below = ((count & 1u) - 1) & 0xFFFFu;")
        elif op.rounding is AverageRounding.TOWARD_ZERO:
            w("const uint32_t below = count - 1;")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tap:
    """How four neighbours of a window are added up: as a word to lanes of two sums, or by bytes to a sum each."""

    words: Words
    by_bytes: bool

    def write_start(self, w: CWriter) -> None:
        """Write the sums of no taps."""
        if self.by_bytes:
            w(*(f"int32_t sum{lane} = 0;" for lane in range(WORD)))
        else:
            w("uint32_t even = start;", "uint32_t odd = start;")

    def write(self, w: CWriter, place: str) -> None:
        """Write the addition of the four at a place."""
        if self.by_bytes:
            w(*(f"sum{lane} += ({place})[{lane}];" for lane in range(WORD)))
            return
        w(f"const uint32_t four = {self.words.read(place)};")
        w("even = utvm_add_even(even, four);", "odd = utvm_add_odd(odd, four);")

    def write_lanes(self, w: CWriter) -> None:
        """Write the sums as lanes, if they are not."""
        if self.by_bytes:
            for name, low, high in (("even", 0, 2), ("odd", 1, 3)):
                w(f"uint32_t {name} = utvm_pack_low(start + (uint32_t)sum{low}, start + (uint32_t)sum{high});")


def _write_taps(w: CWriter, op: AveragePool2D, tap: _Tap) -> None:
    row, pixel = op.x.shape[2] * op.x.shape[3], op.x.shape[3]
    for place in (ky * row + kx * pixel for ky in range(op.filter[0]) for kx in range(op.filter[1])):
        with w.block(""):
            tap.write(w, f"pixels + i + {place}")


def _write_counted(w: CWriter, op: AveragePool2D, tap: _Tap) -> None:
    row, pixel = op.x.shape[2] * op.x.shape[3], op.x.shape[3]
    with w.block("for (int32_t ky = 0; ky < count_y; ky++)"):
        w(f"const int8_t *at = pixels + i + ky * {row};")
        with w.block("for (int32_t kx = 0; kx < count_x; kx++)"):
            tap.write(w, f"at + kx * {pixel}")


def _write_average(w: CWriter, op: AveragePool2D, taps: int | None) -> None:
    """Write `four`, the averages of the sums; `taps` is their number where it is always the same.

    Sums below zero are rounded the other way: what is added to them is -1 for halves of even counts away from zero,
    and the count less one toward zero. Halves upward need nothing.
    """
    away = op.rounding is AverageRounding.HALF_AWAY
    if op.rounding is AverageRounding.HALF_UP:
        below = ""
    elif taps is None:
        below = "below * 0x00010001u"
    else:
        value = (-(1 - taps % 2) if away else taps - 1) & 0xFFFF
        below = f"0x{value * 0x00010001:08X}u" if value else ""
    if below:
        w(*(f"{lanes} = utvm_add_below16({lanes}, start, {below});" for lanes in ("even", "odd")))
    if taps is not None and taps & (taps - 1) == 0:
        shift = taps.bit_length() - 1
        parts = [f"({lanes}{f' >> {shift}' if shift else ''} & 0x00FF00FFu)" for lanes in ("even", "odd")]
        w(f"uint32_t four = ({parts[0]} | {parts[1]} << 8) ^ 0x80808080u;")
        return
    sums = ("(even & 0xFFFFu)", "(odd & 0xFFFFu)", "(even >> 16)", "(odd >> 16)")
    factor = "reciprocal >> 31" if taps is None else f"{(1 << 32) // taps + 1}u >> 32"
    for lane, total in enumerate(sums):
        w(f"const uint32_t average{lane} = (uint32_t)((uint64_t){total} * {factor});")
    w("uint32_t four = (average0 | average1 << 8 | average2 << 16 | average3 << 24) ^ 0x80808080u;")
