"""A schedule as C: loops, registers of a block, loads made once, no question about edges where there are none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise, product

from utvm.codegen import CWriter, float_literal
from utvm.compute import (
    Affine,
    Apply,
    Cast,
    Const,
    Expr,
    HelperCall,
    Index,
    Load,
    Lookup,
    Range,
    Reduced,
    Select,
    axis,
    loads,
    number,
)
from utvm.loops.schedule import Loop, Schedule
from utvm.loops.stage import box_index, write_box, write_stage
from utvm.loops.steps import IllegalScheduleError

_COMPARISONS = {"max": ">", "min": "<"}
_MULTIPLY_ADD = "utvm_multiply_add"
"""A float product rounded, added and rounded: one instruction where the core has it."""


def render(w: CWriter, schedule: Schedule) -> tuple[str, ...]:
    """Write a schedule and return the names of the helpers it calls.

    Raises:
        IllegalScheduleError: a loop of the sum is outside of one of the output.
    """
    seen_sum = False
    for loop in schedule.loops:
        if schedule.is_reduced(loop.axis):
            seen_sum = True
        elif seen_sum and not loop.unroll:
            raise IllegalScheduleError(f"loop '{loop.axis}' of the output is inside of the sum: unroll it")
    for inner, (outer, _) in schedule.tails.items():
        order = [loop.axis for loop in schedule.loops]
        if inner in order and order.index(inner) < order.index(outer):
            raise IllegalScheduleError(f"'{inner}' must be inside of '{outer}', whose last turn is shorter")
    for name, copied in schedule.copies.items():
        reduced = [each for each in copied.layout if schedule.is_reduced(each)]
        if copied.at is not None and len(reduced) > 1 and schedule.instruction is None:
            raise IllegalScheduleError(f"'{name}' is staged for an instruction: replace the lanes by one")
    renderer = _Renderer(w, schedule)
    renderer.write()
    for buffer in schedule.compute.buffers:
        # A load that lies outside its buffer in every turn is its outside value: nothing reads the parameter.
        if re.search(rf"\b{buffer.name}\b", w.text) is None:
            w(f"(void){buffer.name};")
    return tuple(dict.fromkeys(renderer.helpers))


class _Renderer:
    def __init__(self, w: CWriter, schedule: Schedule) -> None:
        self.w = w
        self.s = schedule
        self.helpers: list[str] = []
        self.bound: dict[str, Affine] = {}
        self.ranges: dict[str, Range] = schedule.ranges()
        self.extents = dict(schedule.extents)
        # Wider operands come before all sums of a block: a sum that follows its load waits for it.
        self.narrow = any(load.buffer.c_type == "int8_t" for load in loads(schedule.compute.term))

    def write(self) -> None:
        """Write everything."""
        outer = [loop for loop in self.s.loops if not self.s.is_reduced(loop.axis) and not loop.unroll]
        self._nest(outer, self._tile)

    def _nest(self, loops: Sequence[Loop], body: Callable[[], None]) -> None:
        if not loops:
            body()
            return
        loop, rest = loops[0], loops[1:]
        pieces = self._pieces(loop)
        for start, stop, tails in pieces:
            kept = dict(self.extents), dict(self.ranges), dict(self.bound)
            for inner, turns in tails.items():
                self.extents[inner] = turns
                self.ranges[inner] = 0, turns - 1
            self.ranges[loop.axis] = start, stop - 1
            with self._loop(loop.axis, start, stop, alone=len(pieces) == 1):
                self._stages(loop.axis)
                self._nest(rest, body)
            self.extents, self.ranges, self.bound = kept

    @contextmanager
    def _loop(self, name: str, start: int, stop: int, *, alone: bool) -> Iterator[None]:
        if stop - start > 1:
            with self.w.loop(name, stop, start=start):
                yield
            return
        self.bound[name] = number(start)
        if alone:
            yield
        else:
            with self.w.block(""):
                yield

    def _pieces(self, loop: Loop) -> list[tuple[int, int, dict[str, int]]]:
        """Return from where to where a loop is written, with the turns of inner loops that are shorter there."""
        extent = self.extents[loop.axis]
        short = {inner: rest for inner, (outer, rest) in self.s.tails.items() if outer == loop.axis}
        cuts = [c for c in loop.cuts if c < extent]
        if short and self._is_whole(loop.axis):
            cuts.append(extent - 1)
        ends = sorted({0, extent, *cuts} - ({0} if extent == 0 else set()))
        pieces = []
        for start, stop in pairwise(ends):
            tails = short if short and stop == extent and self._is_whole(loop.axis) else {}
            pieces.append((start, stop, tails))
        return pieces

    def _is_whole(self, name: str) -> bool:
        return self.extents[name] == self.s.extents[name]

    def _stages(self, name: str) -> None:
        for source, copied in self.s.copies.items():
            if copied.at == name:
                write_stage(self.w, self.s, source, self.bound, self.extents, self.ranges)
        for source, at in self.s.boxes.items():
            if at == name:
                write_box(self.w, self.s, source, self.bound)

    # The block

    def _tile(self) -> None:
        block = [loop for loop in self.s.loops if loop.unroll and not self.s.is_reduced(loop.axis)]
        points = [
            {loop.axis: number(v) for loop, v in zip(block, values, strict=True)}
            for values in product(*(range(self.extents[loop.axis]) for loop in block))
        ]
        names = ["" for _ in points]
        if self.s.compute.reduce:
            for i, point in enumerate(points):
                names[i] = f"acc{i}"
                init = self._expr(self.s.compute.init, point, None, None)
                self.w(f"{self.s.compute.c_type} acc{i} = {init};")
            sums = [loop for loop in self.s.loops if self.s.is_reduced(loop.axis)]
            serial = [loop for loop in sums if not loop.unroll]
            runs = [loop for loop in sums if loop.unroll]
            self._nest(serial, lambda: self._terms(runs, points, names))
        if self.s.compute.reduce:
            self._stores(points, names, None)
        else:
            with self.w.block(""):
                self._stores(points, names, {})

    def _stores(
        self, points: Sequence[Mapping[str, Affine]], names: Sequence[str], seen: dict[str, str] | None
    ) -> None:
        """Write the values of a block: without a sum, what they read comes before all of them."""
        output = self.s.compute.output
        values = [
            self._expr(self.s.compute.epilogue, point, name, seen) for point, name in zip(points, names, strict=True)
        ]
        for point, value in zip(points, values, strict=True):
            place = self._index(output.flat(self.s.compute.index), point)
            self.w(f"{output.name}[{place}] = ({output.c_type}){value};")

    def _terms(self, runs: Sequence[Loop], points: Sequence[Mapping[str, Affine]], names: Sequence[str]) -> None:
        for values in product(*(range(self.extents[loop.axis]) for loop in runs)):
            turn = {loop.axis: number(v) for loop, v in zip(runs, values, strict=True)}
            with self.w.block(""):
                seen: dict[str, str] = {}
                lines: list[str] = []
                for point, name in zip(points, names, strict=True):
                    lines += self._term({**point, **turn}, name, seen)
                    if self.narrow:
                        self.w(*lines)
                        lines.clear()
                self.w(*lines)

    def _term(self, point: Mapping[str, Affine], name: str, seen: dict[str, str]) -> list[str]:
        """Write what a term reads; return the statement that adds it, nothing where it is nothing."""
        instruction, compute = self.s.instruction, self.s.compute
        if instruction is None:
            if self._is_nothing(compute.term, point):
                return []
            if compute.c_type == "float" and isinstance(compute.term, Apply) and compute.term.operation == "*":
                left, right = (self._expr(e, point, None, seen) for e in (compute.term.left, compute.term.right))
                self.helpers.append(_MULTIPLY_ADD)
                return [f"{name} = {_MULTIPLY_ADD}({name}, {left}, {right});"]
            value = self._expr(compute.term, point, None, seen)
            if compute.combine == "sum":
                return [f"{name} += {value};"]
            return [f"{name} = {name} {_COMPARISONS[compute.combine]} {value} ? {name} : {value};"]
        factors = self.s.product()
        assert factors is not None
        operands = {"acc": name}
        for letter, load, c_type in (
            ("x", factors[0], instruction.left_type),
            ("w", factors[1], instruction.right_type),
        ):
            copied = self.s.copies[load.buffer.name]
            for word in range(instruction.words):
                index = copied.buffer.flat([*(axis(a) for a in copied.layout[:-1]), number(word)])
                text = f"{copied.buffer.name}[{self._index(index, point)}]"
                operands[f"{letter}{word}"] = self._named(text, c_type, seen)
        if instruction.load:
            self.helpers.append(instruction.load)
        return [instruction.text.format(**operands)]

    def _is_nothing(self, term: Expr, point: Mapping[str, Affine]) -> bool:
        """Whether a product is 0 since it reads outside, where the value is the zero point that is subtracted."""
        factors = self.s.product()
        if factors is None or term is not self.s.compute.term:
            return False
        x, _, zero = factors
        return x.outside == zero and self.s.guarded(x, self._narrowed(point))[1]

    # Expressions

    def _expr(self, expr: Expr, point: Mapping[str, Affine], reduced: str | None, seen: dict[str, str] | None) -> str:
        match expr:
            case Const():
                return _number(expr.value)
            case Index():
                return f"({self._index(expr.value, point)})"
            case Lookup():
                return f"{expr.buffer.name}[{self._expr(expr.place, point, reduced, seen)}]"
            case Reduced():
                assert reduced is not None
                return reduced
            case Load():
                return self._load(expr, point, seen)
            case Apply():
                left, right = (self._expr(e, point, reduced, seen) for e in (expr.left, expr.right))
                if expr.operation in _COMPARISONS:
                    return f"({left} {_COMPARISONS[expr.operation]} {right} ? {left} : {right})"
                return f"({left} {expr.operation} {right})"
            case Select():
                condition, then, other = (
                    self._expr(e, point, reduced, seen) for e in (expr.condition, expr.then, expr.other)
                )
                return f"({condition} >= 0 ? {then} : {other})"
            case Cast():
                return f"({expr.c_type}){self._expr(expr.value, point, reduced, seen)}"
            case HelperCall():
                self.helpers.append(expr.helper.name)
                arguments = ", ".join(self._expr(e, point, reduced, seen) for e in expr.arguments)
                return f"{expr.helper.name}({arguments})"

    def _load(self, load: Load, point: Mapping[str, Affine], seen: dict[str, str] | None) -> str:
        name = load.buffer.name
        may, always = self.s.guarded(load, self._narrowed(point))
        guards: list[str] = []
        copied = self.s.copies.get(name)
        if copied is not None:
            text = f"{copied.buffer.name}[{self._index(copied.buffer.flat([axis(a) for a in copied.layout]), point)}]"
        elif name in self.s.boxes:
            index = box_index(self.s, load)
            text = f"{name}_staged[{self._index(index, point)}]"
        elif always:
            return _plain(load.outside or 0)
        else:
            if may:
                guards = self._guards(load, point)
            text = f"{name}[{self._index(load.buffer.flat(load.index), point)}]"
        value = f"({' && '.join(guards)} ? {text} : {_plain(load.outside or 0)})" if guards else text
        kind = load.buffer.c_type if load.buffer.c_type == "float" else self.s.compute.c_type
        return value if seen is None else self._named(value, kind, seen)

    def _guards(self, load: Load, point: Mapping[str, Affine]) -> list[str]:
        found = []
        ranges = {**self.ranges, **self._narrowed(point)}
        for index, size in zip(load.index, load.buffer.shape, strict=True):
            resolved = self.s.resolved(index)
            low, high = resolved.range(ranges)
            text = str(resolved.at({**self.bound, **point}))
            if low < 0:
                found.append(f"{text} >= 0")
            if high >= size:
                found.append(f"{text} < {size}")
        return found

    def _narrowed(self, point: Mapping[str, Affine]) -> dict[str, Range]:
        fixed = {name: (i.const, i.const) for name, i in point.items()}
        return {**self.ranges, **fixed}

    def _index(self, index: Affine, point: Mapping[str, Affine]) -> str:
        return str(self.s.resolved(index).at({**self.bound, **point}))

    def _named(self, text: str, c_type: str, seen: dict[str, str]) -> str:
        if text not in seen:
            seen[text] = f"v{len(seen)}"
            self.w(f"const {c_type} {seen[text]} = {text};")
        return seen[text]


def _number(value: float) -> str:
    return f"({_plain(value)})" if value < 0 else _plain(value)


def _plain(value: float) -> str:
    return float_literal(value) if isinstance(value, float) else str(value)
