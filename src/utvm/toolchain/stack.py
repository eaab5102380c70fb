"""Worst-case stack of a function, from the call graph that the compiler writes (GCC's -fcallgraph-info=su)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from utvm.toolchain.source import ToolchainError

INDIRECT_CALL = "__indirect_call"
"""GCC's name for whatever a pointer points to."""

_NODE = re.compile(r'^node: \{ title: "(?P<title>[^"]*)" label: "(?P<label>[^"]*)"')
_EDGE = re.compile(r'^edge: \{ sourcename: "(?P<caller>[^"]*)" targetname: "(?P<callee>[^"]*)"')
_FRAME = re.compile(r"(?P<bytes>\d+) bytes \((?P<kind>[a-z,]+)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A function's own stack, in bytes, and the functions it calls. `bounded` is false for a frame of variable size."""

    size: int
    callees: tuple[str, ...] = ()
    bounded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StackBound:
    """The deepest chain of calls: its functions, outermost first, and the bytes of stack that it needs."""

    bytes: int
    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallGraph:
    """Functions by name; one that is static has its file's name before it (`model.c:pad`)."""

    frames: Mapping[str, Frame]

    @staticmethod
    def parse(texts: Iterable[str]) -> CallGraph:
        """Read the files that GCC wrote, one a compiled source."""
        sizes: dict[str, tuple[int, bool]] = {}
        calls: dict[str, dict[str, None]] = {}
        for line in (line for text in texts for line in text.splitlines()):
            if node := _NODE.match(line):
                if frame := _FRAME.search(node["label"]):
                    sizes[node["title"]] = (int(frame["bytes"]), frame["kind"] != "dynamic")
            elif edge := _EDGE.match(line):
                calls.setdefault(edge["caller"], {})[edge["callee"]] = None
        return CallGraph(
            frames={
                name: Frame(size=size, callees=tuple(calls.get(name, ())), bounded=bounded)
                for name, (size, bounded) in sorted(sizes.items())
            }
        )

    def dumps(self) -> str:
        """Return the graph as text that `loads` reads."""
        return json.dumps({name: [f.size, f.bounded, *f.callees] for name, f in self.frames.items()}, indent=0)

    @staticmethod
    def loads(text: str) -> CallGraph:
        """Return the graph that `dumps` wrote."""
        frames = {}
        for name, (size, bounded, *callees) in json.loads(text).items():
            frames[name] = Frame(size=size, callees=tuple(callees), bounded=bounded)
        return CallGraph(frames=frames)

    def bound(self, function: str, other: Callable[[str], Frame]) -> StackBound:
        """Return the most stack that a call of `function` can need, its own frame included.

        Args:
            function: its name.
            other: gives the frame of a function that is not in the graph, by name.

        Raises:
            ToolchainError: there is no bound: recursion, a call through a pointer, or a frame of variable size.
        """
        return self._bound(function, other, {}, ())

    def _bound(
        self,
        name: str,
        other: Callable[[str], Frame],
        known: dict[str, StackBound],
        callers: tuple[str, ...],
    ) -> StackBound:
        if name in known:
            return known[name]
        chain = " → ".join((*callers, name))
        if name in callers:
            raise ToolchainError(f"the stack has no bound: recursion ({chain})")
        if name == INDIRECT_CALL:
            raise ToolchainError(f"the stack has no bound: {callers[-1]} calls through a pointer")
        frame = self.frames[name] if name in self.frames else other(name)
        if not frame.bounded:
            raise ToolchainError(f"the stack has no bound: the frame of {name} has no fixed size")
        deepest = StackBound(bytes=0, chain=())
        for callee in frame.callees:
            below = self._bound(callee, other, known, (*callers, name))
            if below.bytes > deepest.bytes:
                deepest = below
        known[name] = StackBound(bytes=frame.size + deepest.bytes, chain=(name, *deepest.chain))
        return known[name]
