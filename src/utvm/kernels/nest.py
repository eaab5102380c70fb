"""Loop nests over dimensions with strides, in elements; and copies made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from utvm.codegen import CWriter

_MEMCPY_WORTH = 8


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

    def write(self, w: CWriter, source: str, target: str, itemsize: int) -> None:
        """Write the copy from array `source` to array `target`."""
        plain = self.merged()
        run = plain.extents[-1] if plain.extents else 1
        if plain.extents and plain.from_strides[-1] == plain.to_strides[-1] == 1 and run >= _MEMCPY_WORTH:
            with loops(w, plain.extents[:-1]) as names:
                read = index(names, plain.from_strides[:-1], plain.from_start)
                written = index(names, plain.to_strides[:-1], plain.to_start)
                w(f"memcpy({target} + {written}, {source} + {read}, {run * itemsize});")
            return
        with loops(w, plain.extents) as names:
            read = index(names, plain.from_strides, plain.from_start)
            w(f"{target}[{index(names, plain.to_strides, plain.to_start)}] = {source}[{read}];")
