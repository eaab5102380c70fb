"""Loop nests over dimensions with strides, in elements; and copies made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from utvm.codegen import CWriter
from utvm.kernels.runs import WORD, write_run

_UNROLLED_BY_ITSELF = 32
"""Turns up to which GCC 12 writes out a loop of single copies, in better code than ours for the Cortex-M7."""


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a dense array."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= size
    return tuple(strides)


def broadcast_strides(shape: Sequence[int], target: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of an array of `shape` read as one of `target`: 0 where it is broadcast."""
    padded = (1,) * (len(target) - len(shape)) + tuple(shape)
    return tuple(0 if size == 1 else stride for size, stride in zip(padded, row_major(padded), strict=True))


def index(variables: Sequence[str], strides: Sequence[int], start: int = 0) -> str:
    """Return the C expression of an element's index."""
    terms = [
        name if stride == 1 else f"{name} * {stride}" for name, stride in zip(variables, strides, strict=True) if stride
    ]
    if start or not terms:
        terms.insert(0, str(start))
    return " + ".join(terms).replace("+ -", "- ")


@contextmanager
def loops(w: CWriter, extents: Sequence[int]) -> Iterator[list[str]]:
    """Open one loop a dimension; yields the variables' names. Dimensions of 1 get no loop and the name 0."""
    names = [f"i{d}" if extent > 1 else "0" for d, extent in enumerate(extents)]
    with ExitStack() as stack:
        for name, extent in zip(names, extents, strict=True):
            if name != "0":
                stack.enter_context(w.loop(name, extent))
        yield names


def unrolled(w: CWriter, extents: Sequence[int], at_once: int, write: Callable[[list[str]], None]) -> None:
    """Write loops as `loops` does, the innermost with `at_once` turns in one; `write` gets the names of a turn."""
    innermost = max((d for d, extent in enumerate(extents) if extent > 1), default=None)
    if innermost is None or extents[innermost] < 2 * at_once:
        with loops(w, extents) as names:
            write(names)
        return
    whole = extents[innermost] - extents[innermost] % at_once
    with loops(w, extents[:innermost]) as names:
        after = ["0"] * (len(extents) - innermost - 1)
        variable = f"i{innermost}"
        with w.loop(variable, whole, step=at_once):
            for turn in range(at_once):
                with w.block(""):
                    write([*names, f"({variable} + {turn})" if turn else variable, *after])
        for turn in range(whole, extents[innermost]):
            with w.block(""):
                write([*names, str(turn), *after])


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """`to[to_start + Σ i*to_strides] = from[from_start + Σ i*from_strides]` for all i below `extents`."""

    extents: tuple[int, ...]
    from_strides: tuple[int, ...]
    to_strides: tuple[int, ...]
    from_start: int = 0
    to_start: int = 0

    def merged(self) -> Copy:
        """Return the same copy in as few dimensions as possible."""
        kept: list[tuple[int, int, int]] = []
        for extent, source, target in zip(self.extents, self.from_strides, self.to_strides, strict=True):
            if extent == 1:
                continue
            if kept and kept[-1][1] == source * extent and kept[-1][2] == target * extent:
                kept[-1] = (kept[-1][0] * extent, source, target)
            else:
                kept.append((extent, source, target))
        return Copy(
            extents=tuple(k[0] for k in kept),
            from_strides=tuple(k[1] for k in kept),
            to_strides=tuple(k[2] for k in kept),
            from_start=self.from_start,
            to_start=self.to_start,
        )

    def reversed(self) -> Copy:
        """Return the copy of the same elements the other way."""
        return Copy(
            extents=self.extents,
            from_strides=self.to_strides,
            to_strides=self.from_strides,
            from_start=self.to_start,
            to_start=self.from_start,
        )

    def write(self, w: CWriter, source: str, target: str, itemsize: int, *, anywhere: bool) -> None:
        """Write the copy from array `source` to array `target`; it may call `RUN_HELPERS`.

        Args:
            w: what to write to.
            source, target: names of arrays that start at words.
            itemsize: bytes of an element.
            anywhere: whether the core reads and writes words at any address.
        """
        plain = self.merged()
        last = plain.extents[-1] if plain.extents else 1
        if plain.extents and plain.from_strides[-1] == plain.to_strides[-1] == 1 and last * itemsize > 1:
            steps = (*plain.from_strides[:-1], *plain.to_strides[:-1], plain.from_start, plain.to_start)
            aligned = not any(step * itemsize % WORD for step in steps)
            with loops(w, plain.extents[:-1]) as names:
                read = index(names, plain.from_strides[:-1], plain.from_start)
                written = index(names, plain.to_strides[:-1], plain.to_start)
                write_run(
                    w,
                    f"{target} + {written}",
                    f"{source} + {read}",
                    last * itemsize,
                    aligned=aligned,
                    anywhere=anywhere,
                )
            return
        plain._write_single(w, source, target)

    def _write_single(self, w: CWriter, source: str, target: str) -> None:
        """Write the copy of single elements, of the last dimension several at once: their loads before their stores."""
        last = self.extents[-1] if self.extents else 1
        at_once = next((count for count in (8, 4, 2) if last % count == 0), 1) if last > _UNROLLED_BY_ITSELF else 1
        extents = (*self.extents[:-1], self.extents[-1] // at_once) if self.extents else ()

        def spread(strides: tuple[int, ...]) -> tuple[int, ...]:
            return (*strides[:-1], strides[-1] * at_once) if strides else ()

        with loops(w, extents) as names:
            for lane in range(at_once):
                start = self.from_start + (lane * self.from_strides[-1] if self.extents else 0)
                value = f"{source}[{index(names, spread(self.from_strides), start)}]"
                if at_once > 1:
                    w(f"const __typeof__({target}[0]) v{lane} = {value};")
                else:
                    w(f"{target}[{index(names, self.to_strides, self.to_start)}] = {value};")
            if at_once == 1:
                return
            for lane in range(at_once):
                start = self.to_start + lane * self.to_strides[-1]
                w(f"{target}[{index(names, spread(self.to_strides), start)}] = v{lane};")
