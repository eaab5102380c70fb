"""Copies of what a block or a row reads: windows in the order in which they are summed, or boxes with their padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import prod

from utvm.codegen import CWriter
from utvm.compute import Affine, Load, Range, axis, number
from utvm.loops.schedule import Copied, Schedule

_WORD = 4


def write_stage(
    w: CWriter,
    s: Schedule,
    name: str,
    bound: Mapping[str, Affine],
    extents: Mapping[str, int],
    ranges: Mapping[str, Range],
) -> None:
    """Write the copy of the windows of one block, each in the order of the sum, in words of the instruction."""
    _Windows(w, s, name, bound, extents, ranges).write()


def window_bytes(s: Schedule, name: str) -> int:
    """Return the elements of scratch that one window takes before it becomes words; 0 if none is needed."""
    return _Windows(CWriter(), s, name, {}, s.extents, s.ranges()).window


class _Windows:
    def __init__(
        self,
        w: CWriter,
        s: Schedule,
        name: str,
        bound: Mapping[str, Affine],
        extents: Mapping[str, int],
        ranges: Mapping[str, Range],
    ) -> None:
        self.w, self.s, self.bound, self.extents, self.ranges = w, s, bound, extents, ranges
        self.load: Load = s.load_of(name)
        self.copied: Copied = s.copies[name]
        self.reduce = s.compute.reduce
        self.lanes = 1 if s.instruction is None else s.instruction.words * len(s.instruction.left_shifts)
        self.flat = self.load.buffer.flat(self.load.index)
        self.factors = {t: f for t, f in self.flat.terms if isinstance(t, str) and t in self.reduce}
        self.run, self.rows = self._runs()
        self.whole = self._padded()
        self.inside = self._inside()
        self.direct = self.run % self.lanes == 0 and (not self.rows or self.run * prod(self._rows()) == self.whole)
        if not self.rows:
            self.direct = self.run == self.whole
        self.window = self.whole if self.inside or not self.direct else 0

    def _runs(self) -> tuple[int, list[str]]:
        """Return how many elements of the sum lie one after another, and the axes over such runs."""
        axes, run = list(self.reduce), 1
        while axes and (self.factors.get(axes[-1], 0) == run or self.reduce[axes[-1]] == 1):
            run *= self.reduce[axes.pop()]
        return run, axes

    def _rows(self) -> list[int]:
        return [self.reduce[a] for a in self.rows]

    def _padded(self) -> int:
        """Return the elements of a window in the copy: with the zeros that fill its last word."""
        inner = [a for a in self.copied.layout if self.s.is_reduced(a)]
        return prod(self.s.extents[a] for a in inner)

    def _base(self, index: Affine) -> Affine:
        """Return an index at the start of the sum, in terms of loops."""
        return self.s.resolved(index.at({a: number(0) for a in self.reduce})).at(self.bound)

    def _inside(self) -> list[str]:
        """Return the conditions under which a whole window lies inside."""
        if self.load.outside is None:
            return []
        found = []
        last = {a: (0, extent - 1) for a, extent in self.reduce.items()}
        for index, size in zip(self.load.index, self.load.buffer.shape, strict=True):
            own = Affine(terms=tuple(t for t in index.terms if t[0] in self.reduce))
            base = self._base(index)
            low, high = base.range(self.ranges)
            first, furthest = own.range(last)
            if low + first < 0:
                found.append(f"{base + first} >= 0")
            if high + furthest >= size:
                found.append(f"{base + furthest} < {size}")
        return found

    def write(self) -> None:
        """Write the copy of every window of the block."""
        spaces = [a for a in self.copied.layout if not self.s.is_reduced(a)]
        with ExitStack() as stack:
            for name in spaces:
                stack.enter_context(self.w.loop(name, self.extents[name]))
            if self.window:
                words = self.copied.buffer.elements
                kind = self.copied.buffer.c_type
                start = f"{self.copied.buffer.name} + {words}"
                cast = start if kind == "int8_t" else f"(int8_t *)(void *)({start})"
                self.w(f"int8_t *const window = {cast};")
            if not self.direct:
                self._write_window()
                self._write_words("window", self.whole, number(0))
            elif self.inside:
                with self.w.block(f"if ({' && '.join(self.inside)})"):
                    self._write_direct()
                with self.w.block("else"):
                    self._write_window()
                    self._write_words("window", self.whole, number(0))
            else:
                self._write_direct()

    def _write_direct(self) -> None:
        place = str(self._base(self.flat))
        with ExitStack() as stack:
            start = number(0)
            for name in self.rows:
                stack.enter_context(self.w.loop(name, self.reduce[name]))
                start = start * self.reduce[name] + axis(name)
                place += f" + {axis(name) * self.factors.get(name, 0)}"
            self.w(f"const int8_t *const run = {self.load.buffer.name} + {place};".replace("+ -", "- "))
            self._write_words("run", self.run, start * (self.run // self.lanes))

    def _write_words(self, source: str, count: int, start: Affine) -> None:
        """Write the copy of `count` elements of `source` into the words of a point, from word `start` on."""
        per_word = 1 if self.s.instruction is None else len(self.s.instruction.left_shifts)
        layout = list(self.copied.layout)
        sizes = self.copied.buffer.shape
        with self.w.loop("i", count // self.lanes):
            for word in range(self.lanes // per_word):
                place, step = number(0), 1
                for name, size in reversed(list(zip(layout, sizes, strict=True))):
                    if self.s.instruction is not None and name == layout[-1]:
                        place, step = place + word, step * size
                    elif self.s.is_reduced(name):
                        place, step = place + (start + axis("i")) * step, step * size
                    else:
                        place, step = place + axis(name) * step, step * size
                first = axis("i") * self.lanes + word * per_word
                self.w(f"{self.copied.buffer.name}[{place}] = {self._word(source, first)};")

    def _word(self, source: str, first: Affine) -> str:
        if self.s.instruction is None:
            return f"{source}[{first}]"
        if self.s.instruction.load:
            return f"{self.s.instruction.load}({source} + {first})"
        kind = self.s.instruction.left_type
        parts = []
        for lane, shift in enumerate(self.s.instruction.left_shifts):
            value = f"{source}[{first + lane}]"
            value = f"({kind})(int32_t){value}" if self.s.instruction.borrows else f"({kind})(uint8_t){value}"
            parts.append(f"({value} << {shift})" if shift else value)
        return " + ".join(parts)

    def _write_window(self) -> None:
        """Write the elements of a window one after another, with what is outside filled in."""
        last = {a: (0, e - 1) for a, e in self.reduce.items()}
        guards: dict[str, list[str]] = {a: [] for a in ("", *self.reduce)}
        order = list(self.reduce)
        for index, size in zip(self.load.index, self.load.buffer.shape, strict=True):
            if self.load.outside is None:
                continue
            own = [t for t, _ in index.terms if t in self.reduce]
            base = self._base(index)
            text = base + Affine(terms=tuple(t for t in index.terms if t[0] in self.reduce))
            low, high = text.range({**self.ranges, **last})
            deepest = max(own, key=lambda t: order.index(str(t))) if own else ""
            if low < 0:
                guards[str(deepest)].append(f"{text} >= 0")
            if high >= size:
                guards[str(deepest)].append(f"{text} < {size}")
        deepest_guard = max((order.index(a) + 1 for a, texts in guards.items() if a and texts), default=0)
        self.w("int8_t *to = window;")
        conditions = [text for texts in guards.values() for text in texts]
        with ExitStack() as stack:
            for name in order[:deepest_guard]:
                stack.enter_context(self.w.loop(name, self.reduce[name]))
            if conditions:
                with self.w.block(f"if ({' && '.join(conditions)})"):
                    self._write_rest(order[deepest_guard:], order[:deepest_guard])
                with self.w.block("else"), self.w.loop("i", prod(self.reduce[a] for a in order[deepest_guard:])):
                    self.w(f"*to++ = {self.load.outside};")
            else:
                self._write_rest(order[deepest_guard:], order[:deepest_guard])
        taken = prod(self.reduce.values())
        if self.whole > taken:
            with self.w.loop("i", self.whole - taken):
                self.w("*to++ = 0;")

    def _write_rest(self, inner: Sequence[str], outer: Sequence[str]) -> None:
        place = self._base(self.flat) + Affine(terms=tuple((a, self.factors.get(a, 0)) for a in (*outer, *inner)))
        with ExitStack() as stack:
            for name in inner:
                stack.enter_context(self.w.loop(name, self.reduce[name]))
            self.w(f"*to++ = {self.load.buffer.name}[{place.at({})}];")


# Boxes


def _box(s: Schedule, name: str) -> list[tuple[Affine, int, int]]:
    """Return, for each dimension, the part of its index that is fixed in the loop, the least rest, and the extent."""
    at = s.boxes[name]
    names = [loop.axis for loop in s.loops]
    fixed = {loop.axis for loop in s.loops[: names.index(at) + 1] if not loop.unroll}
    found = []
    for index in s.load_of(name).index:
        resolved = s.resolved(index)
        outer = Affine(terms=tuple(t for t in resolved.terms if t[0] in fixed), const=0)
        inner = Affine(terms=tuple(t for t in resolved.terms if t[0] not in fixed), const=resolved.const)
        low, high = inner.range(s.ranges())
        found.append((outer, low, high - low + 1))
    return found


def box_elements(s: Schedule, name: str) -> int:
    """Return the elements of the copy."""
    return prod(size for _, _, size in _box(s, name))


def box_index(s: Schedule, load: Load) -> Affine:
    """Return the place of an element in the copy."""
    place = number(0)
    for (outer, low, size), index in zip(_box(s, load.buffer.name), load.index, strict=True):
        place = place * size + (s.resolved(index) + outer * -1 + -low)
    return place


def write_box(w: CWriter, s: Schedule, name: str, bound: Mapping[str, Affine]) -> None:
    """Write the copy of a box, element by element in the last dimension, which is never outside."""
    load = s.load_of(name)
    box = _box(s, name)
    variables = [f"b{d}" for d in range(len(box))]
    starts = [(outer + low).at(bound) for outer, low, _ in box]
    source, target, guards = number(0), number(0), []
    ranges = s.ranges()
    for (outer, low, size), start, variable, extent in zip(box, starts, variables, load.buffer.shape, strict=True):
        index = start + (axis(variable) if size > 1 else 0)
        source, target = source * extent + index, target * size + (axis(variable) if size > 1 else 0)
        least, most = (outer + low).range(ranges)
        if load.outside is not None and least < 0:
            guards.append(f"{index} >= 0")
        if load.outside is not None and most + size - 1 >= extent:
            guards.append(f"{index} < {extent}")
    row = box[-1][2]
    with ExitStack() as stack:
        for variable, (_, _, size) in zip(variables[:-1], box[:-1], strict=True):
            if size > 1:
                stack.enter_context(w.loop(variable, size))
        zero = {variables[-1]: number(0)}
        w(f"int8_t *to = {name}_staged + {target.at(zero)};")
        wide = row % _WORD == 0
        filled = str(load.outside) if not wide else f"0x{(int(load.outside or 0) & 0xFF) * 0x01010101:08X}u"
        if guards:
            with w.block(f"if ({' && '.join(guards)})"):
                _write_row(w, f"{name} + {source.at(zero)}", row)
            with w.block("else"):
                _write_filled(w, filled, row)
        else:
            _write_row(w, f"{name} + {source.at(zero)}", row)


def _write_row(w: CWriter, source: str, count: int) -> None:
    """Write the copy of a row, by words where it is made of words: tensors and scratch are aligned."""
    if count % _WORD == 0:
        w(f"const uint32_t *from = (const uint32_t *)(const void *)({source});")
        w("uint32_t *const words = (uint32_t *)(void *)to;")
        with w.loop("i", count // _WORD):
            w("words[i] = from[i];")
        return
    w(f"const int8_t *from = {source};")
    with w.loop("i", count):
        w("to[i] = from[i];")


def _write_filled(w: CWriter, value: str, count: int) -> None:
    if count % _WORD == 0:
        w("uint32_t *const words = (uint32_t *)(void *)to;")
        with w.loop("i", count // _WORD):
            w(f"words[i] = {value};")
        return
    with w.loop("i", count):
        w(f"to[i] = {value};")
