"""Mean over any axes in plain C.

Not a schedule of loops: four bytes of a word are added at once, in lanes that are emptied before they run over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Mean, Operator
from utvm.graph.arithmetic import MeanParameters, mean_parameters
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.misaligned import sums_by_bytes
from utvm.kernels.nest import index, loops, row_major, unrolled
from utvm.kernels.runs import WORD
from utvm.kernels.weighted import offset
from utvm.kernels.workload_keys import dims, workload

_UNROLL = 8
"""Turns of a long sum's loop that stand in one."""
_LANE_TERMS = 256
"""Bytes, as numbers from 0 to 255, whose sum fits a lane of 16 bits."""
_BIAS = 128
"""What is added to a byte so that it is not negative."""
_LANES = ("even & 0xFFFFu", "odd & 0xFFFFu", "even >> 16", "odd >> 16")
"""The sums of the four bytes of words."""
_RUN = 8
"""Neighbours from which a sum goes by words."""
_SMALL_SUM = 1 << 22
"""Terms of a sum that stays below 2^30."""
_HELPERS = (
    *("utvm_requantize_double", "utvm_scale_right", "utvm_clamp"),
    *("utvm_load4", "utvm_store4", "utvm_load4_anywhere", "utvm_store4_anywhere"),
)


class PortableMean(KernelFamily):
    """Mean as two loop nests: over what is kept, and inside it over what is averaged.

    Where neighbours in memory are kept, four of them are averaged at once: their bytes come in one word, and two lanes
    of 16 bits in each of two words add them up.
    """

    name = "portable"
    kinds = (Mean,)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a mean."""
        assert isinstance(op, Mean)
        w = CWriter()
        nest = _Nest.of(op)
        last, rest = nest.sizes[-1], nest.sizes[-1] % WORD
        aligned = rest == 0 or (len(nest.sizes) == 1 and nest.averaged[-1])
        load, store = (f"{name}{'' if aligned else '_anywhere'}" for name in ("utvm_load4", "utvm_store4"))
        by_words = aligned or (core.unaligned and not sums_by_bytes(core, last))
        words = by_words and last >= (_RUN if nest.averaged[-1] else WORD)
        with loops(w, nest.kept if nest.averaged[-1] else [*nest.kept[:-1], 1 if words else last]) as names:
            if words and nest.averaged[-1]:
                nest.write_run(w, names, load)
            elif words:
                with w.loop("c", last - rest, step=WORD):
                    nest.write_four(w, [*names[:-1], "c"], load, store)
                if rest == 1:
                    nest.write_one(w, [*names[:-1], str(last - 1)])
                elif rest:
                    # The last four lie over the end of those before.
                    with w.block(""):
                        nest.write_four(w, [*names[:-1], str(last - WORD)], load, store)
            else:
                nest.write_one(w, names)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"mean_{dims(op.x.shape)}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=tuple(name for name in _HELPERS if f"{name}(" in w.text),
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nest:
    """The dimensions of a mean's input: neighbours that are both kept, or both averaged, are one."""

    sizes: tuple[int, ...]
    averaged: tuple[bool, ...]
    factor: MeanParameters
    x_zero: int
    y_zero: int

    @classmethod
    def of(cls, op: Mean) -> _Nest:
        groups: list[tuple[int, bool]] = []
        for axis, size in enumerate(op.x.shape):
            if groups and (size == 1 or groups[-1][1] == (axis in op.axes)):
                groups[-1] = groups[-1][0] * size, groups[-1][1]
            elif size > 1:
                groups.append((size, axis in op.axes))
        groups = groups or [(1, True)]
        return cls(
            sizes=tuple(size for size, _ in groups),
            averaged=tuple(averaged for _, averaged in groups),
            factor=mean_parameters(op),
            x_zero=op.x.zero_point,
            y_zero=op.y.zero_point,
        )

    @property
    def kept(self) -> list[int]:
        """The sizes of what is kept, 1 for what is averaged."""
        return [1 if averaged else size for size, averaged in zip(self.sizes, self.averaged, strict=True)]

    def write_one(self, w: CWriter, place: Sequence[str]) -> None:
        """Write the mean at `place`: a name for each dimension, "0" for those that are averaged."""
        extents = [size if averaged else 1 for size, averaged in zip(self.sizes, self.averaged, strict=True)]
        w(f"int32_t sum = {-self.factor.count * self.x_zero};")
        unrolled(w, extents, _UNROLL, lambda inner: w(f"sum += x[{self._source(place, inner)}];"))
        w(f"y[{self._target(place)}] = (int8_t){self._mean('sum')};")

    def write_four(self, w: CWriter, place: Sequence[str], load: str, store: str) -> None:
        """Write the means at `place` and the three places behind it."""
        for lane in range(WORD):
            w(f"int32_t sum{lane} = {-self.factor.count * (self.x_zero + _BIAS)};")
        extents = [size if averaged else 1 for size, averaged in zip(self.sizes, self.averaged, strict=True)]
        ends = [f"sum{lane} += (int32_t)({bits});" for lane, bits in enumerate(_LANES)]
        _write_lanes(w, extents, lambda turns: f"{load}(x + {self._source(place, turns)})", ends)
        for lane in range(WORD):
            w(f"const uint32_t y{lane} = (uint8_t){self._mean(f'sum{lane}')};")
        w(f"{store}(y + {self._target(place)}, y0 | y1 << 8 | y2 << 16 | y3 << 24);")

    def write_run(self, w: CWriter, place: Sequence[str], load: str) -> None:
        """Write the mean at `place`, of runs of neighbours: by words, and what is left of a run by itself."""
        extents = [size if averaged else 1 for size, averaged in zip(self.sizes, self.averaged, strict=True)]
        words, rest = divmod(extents[-1], WORD)
        biased = self.factor.count // extents[-1] * words * WORD
        w(f"int32_t sum = {-self.factor.count * self.x_zero - biased * _BIAS};")
        ends = ["sum += (int32_t)(" + " + ".join(f"({bits})" for bits in _LANES) + ");"]

        def word(turns: Sequence[str]) -> str:
            last = f"{turns[-1]} * {WORD}" if turns[-1] != "0" else "0"
            return f"{load}(x + {self._source(place, [*turns[:-1], last])})"

        _write_lanes(w, [*extents[:-1], words], word, ends)
        if rest:
            with loops(w, [*extents[:-1], 1]) as turns:
                for at in range(extents[-1] - rest, extents[-1]):
                    w(f"sum += x[{self._source(place, [*turns[:-1], str(at)])}];")
        w(f"y[{self._target(place)}] = (int8_t){self._mean('sum')};")

    def _source(self, place: Sequence[str], inner: Sequence[str]) -> str:
        names = [i if averaged else p for i, p, averaged in zip(inner, place, self.averaged, strict=True)]
        return _index(names, self.sizes)

    def _target(self, place: Sequence[str]) -> str:
        return _index(place, self.kept)

    def _mean(self, total: str) -> str:
        """Return the mean of a sum, as it is stored."""
        multiplier, shift = self.factor.multiplier, self.factor.shift
        if -30 <= shift <= -1 and self.factor.count < _SMALL_SUM:
            scaled = f"utvm_scale_right({total}, {multiplier}, {-shift})"
        else:
            scaled = f"utvm_requantize_double({total}, {multiplier}, {shift})"
        return f"utvm_clamp({scaled}{offset(self.y_zero)}, -128, 127)"


def _write_lanes(w: CWriter, extents: Sequence[int], word: Callable[[Sequence[str]], str], ends: Sequence[str]) -> None:
    """Write the sum of words in lanes of 16 bits, `even` and `odd`; `ends` are done before a lane can overflow.

    Args:
        w: what to write to.
        extents: the loops over words.
        word: the names of their variables → the C expression of a word.
        ends: the lines that read the lanes.
    """
    outside = list(extents)
    lanes, left = [1] * len(outside), _LANE_TERMS
    for axis in reversed(range(len(outside))):
        if outside[axis] > left:
            break
        left //= outside[axis]
        lanes[axis], outside[axis] = outside[axis], 1

    def write(names: Sequence[str], turns: Sequence[int]) -> None:
        def add(places: Sequence[str]) -> None:
            found = [_sum_of(name, place) for name, place in zip(names, places, strict=True)]
            w(f"const uint32_t four = {word(found)} ^ 0x80808080u;")
            w("even += four & 0x00FF00FFu;", "odd += four >> 8 & 0x00FF00FFu;")

        w("uint32_t even = 0;", "uint32_t odd = 0;")
        unrolled(w, turns, _UNROLL, add)
        w(*ends)

    # A dimension that is too long for the lanes goes by parts.
    long = max((axis for axis, size in enumerate(outside) if size > 1), default=0)
    if max(lanes) > 1 or outside[long] == 1:
        with loops(w, outside) as names:
            write(names, lanes)
        return
    whole, rest = divmod(outside[long], _LANE_TERMS)
    outside[long] = 1
    with loops(w, outside) as names:
        with w.loop("part", whole * _LANE_TERMS, step=_LANE_TERMS):
            names[long], lanes[long] = "part", _LANE_TERMS
            write(names, lanes)
        if rest:
            with w.block(""):
                names[long], lanes[long] = str(whole * _LANE_TERMS), rest
                write(names, lanes)


def _sum_of(a: str, b: str) -> str:
    """Return the C expression of a sum of which either may be 0."""
    return f"({a} + {b})" if a != "0" != b else a if b == "0" else b


def _index(names: Sequence[str], sizes: Sequence[int]) -> str:
    used = [(name, stride) for name, stride in zip(names, row_major(sizes), strict=True) if name != "0"]
    return index([name for name, _ in used], [stride for _, stride in used])
