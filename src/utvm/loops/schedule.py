"""In which order, and from what, a computation is made. Each verb returns a new schedule, or says why it can't.

Integer sums wrap and maxima commute: any order of their terms is exact. Sums of float keep theirs. What is checked is
that loops nest as the renderer writes them, that padding adds nothing, and that an instruction computes what it stands
for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from utvm.compute import (
    Affine,
    Apply,
    Buffer,
    Compute,
    Const,
    Expr,
    Load,
    Range,
    axis,
    loaded,
    loads,
    mapped,
    number,
    part,
)
from utvm.loops.steps import IllegalScheduleError, text_of, verb
from utvm.naming import RESERVED

_LARGEST_INPUT = 128
_OWN_NAMES = re.compile(r"i|to|from|run|window|words|(acc|v|b)\d+|.*_staged")
"""Variables that the renderer makes."""
_NEW_NAME = re.compile(r"(?!utvm)(?!.*_t$)[a-z][a-z0-9_]{0,40}")
_BITS = {"int8_t": 8, "uint8_t": 8, "int16_t": 16, "uint16_t": 16, "int32_t": 32, "uint32_t": 32}


class ProductInstruction(Protocol):
    """A sum of products of small vectors, as `utvm.cores.instructions` describes them.

    An operand is `words` words; lane i of a word is an element shifted left by `shifts[i]`.
    """

    @property
    def name(self) -> str:
        """What configs call it."""

    @property
    def words(self) -> int:
        """Words of each operand."""

    @property
    def left_type(self) -> str:
        """The C type of a word of activations."""

    @property
    def right_type(self) -> str:
        """The C type of a word of weights."""

    @property
    def left_shifts(self) -> tuple[int, ...]:
        """Where the lanes of a word of activations are."""

    @property
    def right_shifts(self) -> tuple[int, ...]:
        """Where the lanes of a word of weights are."""

    @property
    def borrows(self) -> bool:
        """Whether a negative lane borrows from the next: words are sums, not fields."""

    @property
    def bound(self) -> int | None:
        """What the sum of the magnitudes of its products must not exceed; None is no bound."""

    @property
    def load(self) -> str:
        """The helper that loads a word whose lanes are bytes as they are in memory; "" for none."""

    @property
    def text(self) -> str:
        """C with {acc}, {x0} and on, {w0} and on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """One loop. Unrolled ones become straight code; those over the output, registers.

    `cuts` are the places at which the loop is cut in pieces, each written for itself.
    """

    axis: str
    extent: int
    unroll: bool = False
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """A buffer that is read from a copy, in the order of `layout`, which are axes; outermost first.

    Attributes:
        buffer: the copy, in words if an instruction reads it.
        layout: its dimensions.
        at: the loop in which it is made anew; None if it is made when compiling.
    """

    buffer: Buffer
    layout: tuple[str, ...]
    at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """A computation and how it is made.

    Attributes:
        compute: what is computed.
        constants: values of buffers that are known when compiling.
        loops: the loops, outermost first.
        extents: the extent of every axis there ever was.
        where: an axis that is no loop any more, in terms of others.
        tails: inner axis → (outer axis, turns of the inner one in the last turn of the outer one).
        copies: buffer → the copy that is read instead.
        boxes: buffer → the loop in which the part that is read inside it is copied.
        instruction: what computes the sum, and the axis of its lanes.
        reduced: the axes that are part of the sum.
        steps: the verbs that made it, each with its words.

    Example:
        s = utvm.schedule("model.tflite", "conv_2d_0")
        print(s.split("oc", 4))
    """

    compute: Compute
    constants: Mapping[str, NDArray[Any]]
    loops: tuple[Loop, ...]
    extents: Mapping[str, int]
    where: Mapping[str, Affine] = field(default_factory=dict)
    tails: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    copies: Mapping[str, Copied] = field(default_factory=dict)
    boxes: Mapping[str, str] = field(default_factory=dict)
    instruction: ProductInstruction | None = None
    lanes: str | None = None
    reduced: frozenset[str] = frozenset()
    steps: tuple[tuple[str, ...], ...] = ()

    @property
    def text(self) -> str:
        """The steps as text: what records hold."""
        return text_of(self.steps)

    def __repr__(self) -> str:
        """The loops, outermost first, and the steps."""
        loops = " ".join(
            f"{loop.axis}:{loop.extent}{'*' if loop.unroll else ''}{'+' if self.is_reduced(loop.axis) else ''}"
            for loop in self.loops
        )
        return f"Schedule(loops {loops}; * unrolled, + summed\n  steps {self.text or 'none'})"

    def after(self, *steps: tuple[str, ...]) -> Schedule:
        """Return the same schedule, made by these steps."""
        return replace(self, steps=steps)

    @staticmethod
    def of(compute: Compute, constants: Mapping[str, NDArray[Any]] | None = None) -> Schedule:
        """Return the plain order: the loops of the output, then those of the sum."""
        taken = {buffer.name for buffer in (*compute.buffers, compute.output)}
        for name in compute.axes:
            _check_name(name, taken)
        loops = tuple(Loop(axis=name, extent=extent) for name, extent in compute.axes.items())
        return Schedule(
            compute=compute,
            constants=constants or {},
            loops=loops,
            extents=dict(compute.axes),
            reduced=frozenset(compute.reduce),
        )

    # Loops

    @verb
    def merge(self, axes: Sequence[str], name: str) -> Schedule:
        """Make one loop of neighbours."""
        places = [self._place(each) for each in axes]
        if not axes or places != list(range(places[0], places[0] + len(axes))):
            raise IllegalScheduleError(f"{', '.join(axes)} are not neighbours, in this order: reorder first")
        self._check_new(name)
        if len({self.is_reduced(each) for each in axes}) > 1:
            raise IllegalScheduleError(f"{', '.join(axes)}: axes of the output and of the sum can't be one loop")
        for each, place in zip(axes, places, strict=True):
            if each in self.tails or self._has_tail(each) or self.loops[place].cuts or self.loops[place].unroll:
                raise IllegalScheduleError(f"'{each}' is unrolled, cut or has a shorter last block: it can't be merged")
            self._check_staged(each)
        where, div = dict(self.where), 1
        first = next((each for each in axes if self.extents[each] > 1), axes[0])
        for each in reversed(axes):
            where[each] = part(axis(name), div, None if each == first else self.extents[each])
            div *= self.extents[each]
        loops = (*self.loops[: places[0]], Loop(axis=name, extent=div), *self.loops[places[-1] + 1 :])
        reduced = self.reduced | {name} if self.is_reduced(axes[0]) else self.reduced
        return replace(self, loops=loops, where=where, extents={**self.extents, name: div}, reduced=reduced)

    @verb
    def split(self, name: str, size: int, *, pad: bool = False) -> Schedule:
        """Make two loops of one: `name_o` over blocks and `name_i` inside of a block of `size`.

        Where `size` does not divide the extent, the last block is shorter; with `pad` it has zeros in it instead.
        """
        place = self._place(name)
        loop, outer, inner = self.loops[place], f"{name}_o", f"{name}_i"
        if size < 1 or (size > loop.extent and not pad):
            raise IllegalScheduleError(f"'{name}' has {loop.extent} turns: blocks of {size} are none")
        if loop.cuts or name in self.tails or loop.unroll or self._has_tail(name):
            raise IllegalScheduleError(f"'{name}' is unrolled, cut or has a shorter last block: split it before that")
        self._check_staged(name)
        self._check_new(outer, inner)
        blocks, rest = -(-loop.extent // size), loop.extent % size
        tails, compute = dict(self.tails), self.compute
        if rest and pad:
            compute = self._padded(name, loop.extent, blocks * size)
        elif rest:
            tails[inner] = outer, rest
        loops = Loop(axis=outer, extent=blocks), Loop(axis=inner, extent=size)
        changed = replace(
            self,
            compute=compute,
            loops=(*self.loops[:place], *loops, *self.loops[place + 1 :]),
            where={**self.where, name: axis(outer) * size + axis(inner)},
            extents={**self.extents, outer: blocks, inner: size},
            tails=tails,
            reduced=self.reduced | {outer, inner} if self.is_reduced(name) else self.reduced,
        )
        return changed._longer(self, name) if rest and pad else changed

    @verb
    def reorder(self, *names: str) -> Schedule:
        """Order all loops, outermost first."""
        if sorted(names) != sorted(loop.axis for loop in self.loops):
            raise IllegalScheduleError(
                f"an order of {', '.join(loop.axis for loop in self.loops)} names each of them once"
            )
        if self.boxes or any(copied.at for copied in self.copies.values()):
            raise IllegalScheduleError("what is staged depends on the order: reorder before")
        summed = [loop.axis for loop in self.loops if self.is_reduced(loop.axis)]
        if self.compute.c_type == "float" and [name for name in names if self.is_reduced(name)] != summed:
            raise IllegalScheduleError(f"sums of float keep their order: {', '.join(summed)}")
        return replace(self, loops=tuple(self.loops[self._place(name)] for name in names))

    @verb
    def unroll(self, *names: str) -> Schedule:
        """Write the turns of loops one after another; those over the output are registers."""
        changed = self
        for name in names:
            place = changed._place(name)
            if changed.loops[place].cuts or changed._has_tail(name):
                raise IllegalScheduleError(f"'{name}' is written in pieces: it can't be unrolled")
            staged = [*changed.boxes.values(), *(copied.at for copied in changed.copies.values() if copied.at)]
            if any(place <= changed._place(at) for at in staged):
                raise IllegalScheduleError(f"'{name}' has something staged in it: it can't be unrolled")
            changed = changed._with_loop(place, replace(changed.loops[place], unroll=True))
        return changed

    @verb
    def peel(self, name: str) -> Schedule:
        """Cut a loop where its turns begin or cease to read outside of a buffer, so that only the edges ask."""
        place = self._place(name)
        loop = self.loops[place]
        if loop.unroll or self.is_reduced(name):
            raise IllegalScheduleError(f"'{name}' is unrolled or part of the sum: only loops over the output are cut")
        guarded = [self.guarded(load, {name: (t, t)}) for load in loads(self.compute.term) for t in range(loop.extent)]
        count = loop.extent
        states = [tuple(guarded[i] for i in range(t, len(guarded), count)) for t in range(count)]
        cuts = tuple(t for t in range(1, count) if states[t] != states[t - 1])
        return self._with_loop(place, replace(loop, cuts=cuts))

    # Values

    @verb
    def fold_zero_point(self) -> Schedule:
        """Multiply `w` by `x`, not `x - zero`, and take `zero` times the sums of `w` from the start of the sum."""
        product = self.product()
        init = self.compute.init
        if product is None or not isinstance(init, Load):
            raise IllegalScheduleError(
                "only a sum of (x - zero) * w that starts from a constant has a zero point to fold"
            )
        x, w, zero = product
        if w.buffer.name not in self.constants or init.buffer.name not in self.constants:
            raise IllegalScheduleError(f"'{w.buffer.name}' and '{init.buffer.name}' must be known when compiling")
        if zero == 0:
            return self
        names = sorted({a for index in init.index for a in index.axes})
        free = {a for index in w.index for a in index.axes} - set(self.compute.reduce)
        if not free <= set(names) or not set(names) <= set(self.compute.space):
            raise IllegalScheduleError(f"'{w.buffer.name}' is read by other axes than '{init.buffer.name}'")
        grid = self._grid([*names, *self.compute.reduce], self.compute.axes)
        kept = tuple(self.compute.space[a] for a in names)
        sums = np.broadcast_to(
            loaded(w, grid, self.constants[w.buffer.name]), (*kept, *self.compute.reduce.values())
        ).sum(axis=tuple(range(len(kept), len(grid))))
        flat = init.buffer.flat(init.index).values(self._grid(names, self.compute.axes))
        places = np.broadcast_to(flat, kept).reshape(-1)
        if np.unique(places).size != places.size:
            raise IllegalScheduleError(f"sums of '{w.buffer.name}' share elements of '{init.buffer.name}'")
        start = self.constants[init.buffer.name].astype(np.int64).reshape(-1)
        start[places] -= zero * sums.reshape(-1)
        wrapped = start.astype(np.uint32).astype(np.int32)
        return replace(
            self,
            compute=replace(self.compute, term=Apply(operation="*", left=x, right=w)),
            constants={**self.constants, init.buffer.name: wrapped},
        )

    @verb
    def pack(self, name: str, *layout: str) -> Schedule:
        """Store a constant in the order of axes, outermost first; what is beyond its ends is 0."""
        if name not in self.constants:
            raise IllegalScheduleError(f"'{name}' is not known when compiling: it can't be packed")
        return self._copied(name, layout, None)

    @verb
    def stage(self, name: str, at: str, *layout: str) -> Schedule:
        """Copy what each turn of loop `at` reads of an input, in the order of axes inside of it."""
        if name in self.constants:
            raise IllegalScheduleError(f"'{name}' is a constant: pack it")
        place = self._place(at)
        if self.is_reduced(at) or self.loops[place].unroll:
            raise IllegalScheduleError(f"'{at}' is unrolled or part of the sum: nothing can be staged in it")
        load = self._copyable(name)
        if any(not isinstance(term, str) for index in load.index for term, _ in index.terms):
            raise IllegalScheduleError(f"'{name}' is read by parts of axes: no window holds that")
        before = {loop.axis for loop in self.loops[: place + 1]}
        for each in layout:
            if each in before or (not self.is_reduced(each) and all(loop.axis != each for loop in self.loops)):
                raise IllegalScheduleError(f"'{each}' is no loop inside of '{at}'")
        self._check_windows(name, [each for each in layout if self.is_reduced(each)])
        known = {*layout, *(loop.axis for loop in self.loops[: place + 1] if not loop.unroll)}
        missing = {a for index in load.index for a in self.resolved(index, known).axes} - known
        if missing:
            raise IllegalScheduleError(f"'{name}' also depends on {', '.join(sorted(missing))}, not known in '{at}'")
        return self._copied(name, layout, at)

    @verb
    def stage_box(self, name: str, at: str) -> Schedule:
        """Copy the part of an input that each turn of loop `at` reads, with what is outside of it filled in."""
        if name in self.constants or name in self.copies:
            raise IllegalScheduleError(f"'{name}' is a constant or staged already")
        place = self._place(at)
        if self.is_reduced(at) or self.loops[place].unroll:
            raise IllegalScheduleError(f"'{at}' is unrolled or part of the sum: nothing can be staged in it")
        load = self._copyable(name)
        for index in load.index:
            if any(not isinstance(term, str) for term, _ in self.resolved(index).terms):
                raise IllegalScheduleError(f"'{name}' is read by parts of merged axes: no box holds that")
        fixed = {loop.axis for loop in self.loops[: place + 1]}
        last, size = self.resolved(load.index[-1]), load.buffer.shape[-1]
        if last.axes & fixed or last.range(self.ranges()) != (0, size - 1):
            raise IllegalScheduleError(f"a box of '{name}' must hold whole rows of its last dimension")
        return replace(self, boxes={**self.boxes, name: at})

    @verb
    def replace(self, instruction: ProductInstruction, lanes: str) -> Schedule:
        """Compute the products of the turns of `lanes` by an instruction."""
        product = self.product()
        if product is None or product[2] != 0 or self.compute.c_type != "int32_t":
            raise IllegalScheduleError(f"{instruction.name} adds products of integers: fold the zero point first")
        x, w, _ = product
        if (x.buffer.c_type, w.buffer.c_type) != ("int8_t", "int8_t") or w.buffer.name not in self.constants:
            raise IllegalScheduleError(f"{instruction.name} multiplies int8 by int8 that is known when compiling")
        count = instruction.words * len(instruction.left_shifts)
        if lanes not in self.extents or self.extents[lanes] != count or lanes in self.tails:
            raise IllegalScheduleError(f"{instruction.name} has {count} lanes, '{lanes}' has not: split with pad")
        for load in (x, w):
            copied = self.copies.get(load.buffer.name)
            if copied is None or copied.layout[-1] != lanes:
                raise IllegalScheduleError(f"'{load.buffer.name}' must be staged or packed, '{lanes}' last")
        packed = self.packed(w.buffer.name).astype(np.int64)
        if instruction.bound is not None:
            most = int(np.abs(packed).reshape(-1, count).sum(axis=1).max()) * _LARGEST_INPUT
            if most > instruction.bound:
                raise IllegalScheduleError(
                    f"{instruction.name} is exact up to {instruction.bound}; these weights can make {most}"
                )
        copies = dict(self.copies)
        for load, c_type in ((x, instruction.left_type), (w, instruction.right_type)):
            copied = copies[load.buffer.name]
            shape = (*copied.buffer.shape[:-1], instruction.words)
            copies[load.buffer.name] = replace(copied, buffer=replace(copied.buffer, c_type=c_type, shape=shape))
        kept = tuple(loop for loop in self.loops if loop.axis != lanes)
        return replace(self, copies=copies, instruction=instruction, lanes=lanes, loops=kept)

    # Questions

    def is_reduced(self, name: str) -> bool:
        """Whether an axis is part of the sum."""
        return name in self.reduced

    def sources(self, names: Sequence[str]) -> set[str]:
        """Return the axes of the computation that axes are made from."""
        return {a for a in self.compute.axes if self.resolved(axis(a)).axes & self._leaves(names)}

    def resolved(self, index: Affine, known: set[str] | None = None) -> Affine:
        """Return an index in terms of loops, or of `known` axes."""
        while True:
            found = index.at({a: i for a, i in self.where.items() if known is None or a not in known})
            if found == index:
                return found
            index = found

    def product(self) -> tuple[Load, Load, int] | None:
        """Return x, w and zero where the computation is a sum of (x - zero) * w."""
        term = self.compute.term
        if self.compute.combine != "sum" or not isinstance(term, Apply) or term.operation != "*":
            return None
        match term.left, term.right:
            case Load() as x, Load() as w:
                return x, w, 0
            case Apply(operation="-", left=Load() as x, right=Const(value=int() as zero)), Load() as w:
                return x, w, zero
            case _:
                return None

    def load_of(self, name: str) -> Load:
        """Return how the term reads a buffer.

        Raises:
            IllegalScheduleError: it does not, or in more than one way.
        """
        found = {load for load in loads(self.compute.term) if load.buffer.name == name}
        if len(found) != 1:
            raise IllegalScheduleError(f"'{name}' is read in {len(found)} ways by the term: one is needed")
        return found.pop()

    def ranges(self) -> dict[str, Range]:
        """Return the range of every axis."""
        return {name: (0, extent - 1) for name, extent in self.extents.items()}

    def guarded(self, load: Load, narrowed: Mapping[str, Range]) -> tuple[bool, bool]:
        """Return whether a load may read outside, and whether it always does, for ranges of axes."""
        if load.outside is None:
            return False, False
        ranges = {**self.ranges(), **narrowed}
        may, always = False, False
        for index, size in zip(load.index, load.buffer.shape, strict=True):
            low, high = self.resolved(index).range(ranges)
            may |= low < 0 or high >= size
            always |= high < 0 or low >= size
        return may, always

    def packed(self, name: str) -> NDArray[Any]:
        """Return the elements of a packed constant in the order of its layout, one for each lane."""
        load, layout = self.load_of(name), self.copies[name].layout
        grid = self._grid(layout, self.extents)
        known = set(layout)
        free = replace(load, index=tuple(self.resolved(index, known) for index in load.index), outside=0)
        shape = tuple(self.extents[a] for a in layout)
        return np.broadcast_to(loaded(free, grid, self.constants[name]), shape)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the values of all constants as they are stored: packed ones in words."""
        found = dict(self.constants)
        for name, copied in self.copies.items():
            if copied.at is None:
                elements = self.packed(name)
                found[name] = elements if self.instruction is None else words(elements, self.instruction)
        return found

    # Helpers

    def _check_new(self, *names: str) -> None:
        for name in names:
            if name in self.extents:
                raise IllegalScheduleError(f"there is an axis '{name}' already")
            if name in RESERVED or not _NEW_NAME.fullmatch(name):
                raise IllegalScheduleError(f"an axis can't be named '{name}': a short word in lower case is expected")
            _check_name(name, {buffer.name for buffer in (*self.compute.buffers, self.compute.output)})

    def _has_tail(self, name: str) -> bool:
        return any(outer == name for outer, _ in self.tails.values())

    def _check_staged(self, name: str) -> None:
        if any(name == copied.at or name in copied.layout for copied in self.copies.values() if copied.at):
            raise IllegalScheduleError(f"what is staged is in the order of '{name}': change the loop before")
        if self.boxes:
            raise IllegalScheduleError(f"what is staged depends on '{name}': change the loop before")

    def _longer(self, before: Schedule, name: str) -> Schedule:
        """Return the schedule with the extents that axes have since `name` was filled up; copies must not hold them."""
        grown = {}
        for each in self.where:
            end, old = (s.resolved(axis(each)).range(s.ranges())[1] for s in (self, before))
            if end > old:
                grown[each] = end + 1
        for source, copied in self.copies.items():
            if grown.keys() & set(copied.layout):
                raise IllegalScheduleError(f"'{source}' is packed in the order of '{name}': fill up before")
        return replace(self, extents={**self.extents, **grown})

    def _copyable(self, name: str) -> Load:
        """Return how the term reads a buffer, of which copies are made byte by byte and by words."""
        load = self.load_of(name)
        if load.buffer.c_type != "int8_t":
            raise IllegalScheduleError(f"'{name}' is {load.buffer.c_type}: only int8 is copied")
        return load

    def _check_windows(self, name: str, reduced: Sequence[str]) -> None:
        """Refuse layouts that are not steps of the whole sum in its order, perhaps with lanes of a step last."""
        order = number(0)
        for each, extent in self.compute.reduce.items():
            order = order * extent + axis(each)
        flat = self.resolved(order, set(reduced))
        steps = axis(reduced[0]) if reduced else number(0)
        if len(reduced) == 2:
            steps = steps * self.extents[reduced[1]] + axis(reduced[1])
        if not 1 <= len(reduced) <= 2 or flat != steps:
            raise IllegalScheduleError(f"windows of '{name}' are one axis over the whole sum, or steps and lanes of it")

    def _place(self, name: str) -> int:
        places = [i for i, loop in enumerate(self.loops) if loop.axis == name]
        if not places:
            raise IllegalScheduleError(f"no loop is named '{name}': {', '.join(loop.axis for loop in self.loops)}")
        return places[0]

    def _with_loop(self, place: int, loop: Loop) -> Schedule:
        return replace(self, loops=(*self.loops[:place], loop, *self.loops[place + 1 :]))

    def _leaves(self, names: Sequence[str]) -> frozenset[str]:
        return frozenset().union(*(self.resolved(axis(name)).axes for name in names))

    def _grid(self, names: Sequence[str], extents: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
        count = len(names)
        return {
            name: np.arange(extents[name], dtype=np.int64).reshape((1,) * i + (-1,) + (1,) * (count - i - 1))
            for i, name in enumerate(names)
        }

    def _padded(self, name: str, extent: int, padded: int) -> Compute:
        """Return the computation with 0 beyond the ends of what a longer axis reads; refuse if no factor is 0 there."""
        reason = f"blocks of '{name}' can't be filled up: no factor of the term is 0 beyond its end"
        product = self.product()
        if product is None or not self.is_reduced(name):
            raise IllegalScheduleError(reason)
        ranges = {**self.ranges(), name: (extent, padded - 1)}

        def filled(expr: Expr) -> Expr:
            return replace(expr, outside=0) if isinstance(expr, Load) and expr.outside is None else expr

        for load in product[:2]:
            zero = load.outside == 0 or load.buffer.name in self.constants
            index = [self.resolved(i, {name}) for i in load.index]
            beyond = any(i.range(ranges)[0] >= size for i, size in zip(index, load.buffer.shape, strict=True))
            if zero and beyond:
                return replace(self.compute, term=mapped(self.compute.term, filled))
        raise IllegalScheduleError(reason)

    def _copied(self, name: str, layout: Sequence[str], at: str | None) -> Schedule:
        load = self.load_of(name)
        if name in self.copies or name in self.boxes:
            raise IllegalScheduleError(f"'{name}' is packed or staged already")
        unknown = [a for a in layout if a not in self.extents]
        if unknown or len(set(layout)) != len(layout):
            raise IllegalScheduleError(f"a layout names axes once: {', '.join(layout)}")
        if at is None:
            known = set(layout)
            missing = {a for index in load.index for a in self.resolved(index, known).axes} - known
            if missing:
                raise IllegalScheduleError(f"'{name}' also depends on {', '.join(sorted(missing))}")
        buffer = Buffer(name=name, c_type=load.buffer.c_type, shape=tuple(self.extents[a] for a in layout))
        if at is not None:
            buffer = replace(buffer, name=f"{name}_staged")
        return replace(self, copies={**self.copies, name: Copied(buffer=buffer, layout=tuple(layout), at=at)})


def _check_name(name: str, taken: set[str]) -> None:
    """Refuse a name that C, a buffer or the renderer has."""
    if name in taken or _OWN_NAMES.fullmatch(name) or not name.isidentifier():
        raise IllegalScheduleError(f"an axis can't be named '{name}': it is no C name, or one of the renderer's")


def words(elements: NDArray[Any], instruction: ProductInstruction) -> NDArray[Any]:
    """Return weights as words of an instruction; the last dimension is that of its lanes."""
    shifts = instruction.right_shifts
    bits = _BITS[instruction.right_type]
    lanes = elements.astype(np.int64).reshape(*elements.shape[:-1], instruction.words, len(shifts))
    if not instruction.borrows:
        lanes = lanes & ((1 << (bits // len(shifts))) - 1)
    total = sum(lanes[..., i] << shift for i, shift in enumerate(shifts)) & ((1 << bits) - 1)
    signed = instruction.right_type.startswith("int")
    return np.where(signed & (total >= 1 << (bits - 1)), total - (1 << bits), total)
