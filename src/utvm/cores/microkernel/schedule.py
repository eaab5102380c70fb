"""A list scheduler with register allocation, driven by a core's timing.

Each attempt walks time forward and issues, of the instructions whose predecessors are done, the best that the core can
take now, inside a window of the written order; a virtual register takes a physical one where it is first written and
gives it back at its last use. A few windows, register reserves and priorities are tried; the core's timing judges.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from utvm.cache import Cache, CacheError, digest
from utvm.cores.microkernel.block import Block, physical, rename, virtual_names
from utvm.cores.thumb import Instruction, Kind
from utvm.cores.timing import InOrderPipeline, IssueState, Timing

# fmt: off
_ATTEMPTS = {
    True: (("pair", 24, 0), ("pair", 12, 1), ("pair", 8, 0), ("critical", 4, 0), ("critical", 40, 1), ("pair", 4, 0),
           ("order", 1, 0)),
    False: (("order", 8, 0), ("order", 12, 1), ("order", 16, 0), ("order", 24, 2), ("order", 40, 1), ("order", 40, 3),
            ("order", 4, 0), ("order", 1, 0)),
}
# fmt: on
"""(priority, window, reserve) for in-order pipelines and for others; few that together found the best of a full search,
and last the written order.

Priorities: a load or ALU operation in the first slot, which a multiplication can follow; longest path; oldest first.
"""
_SUFFIX = ".schedule"
_GOOD_ENOUGH = 1.005
_MULTIPLIES = frozenset({Kind.MAC, Kind.MULTIPLY})
_LOADS = frozenset({Kind.LOAD, Kind.LOAD_NARROW})


class ScheduleError(ValueError):
    """No attempt found an order in which the registers suffice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """Physical code in issue order, the cycles of one turn when it repeats, and where live-in registers are."""

    lines: tuple[str, ...]
    cycles: float
    registers: Mapping[str, str]


def schedule(
    block: Block,
    timing: Timing,
    *,
    pool: Sequence[str],
    fixed: Mapping[str, str] | None = None,
    live_in: Sequence[str] = (),
) -> Scheduled:
    """Order a block for a core and give its virtual registers physical ones. Results are kept in the user's cache.

    Args:
        block: the code. A virtual register that is written before it is read is local; see `live_in`.
        timing: the core.
        pool: physical registers for virtual ones.
        fixed: virtual registers (with `%`) whose physical register is given; they keep it throughout.
        live_in: virtual registers that have a value before the block; they take the first registers of `pool`.

    Raises:
        ScheduleError: the registers do not suffice in any order tried.
    """
    key = digest(
        [_version(), timing.name, *pool, "", *(f"{k} {v}" for k, v in (fixed or {}).items()), "", *live_in, ""]
        + [instruction.text for instruction in block.code]
    )
    known = _recall(key)
    if known is not None:
        return known
    found = _search(block, timing, pool=pool, fixed=fixed or {}, live_in=live_in)
    _remember(key, found)
    return found


@lru_cache(maxsize=1)
def _version() -> str:
    """Return a digest of everything here that an order depends on."""
    package = Path(__file__).parents[1]
    return digest(path.read_bytes() for path in sorted(package.rglob("*.py")))


def _recall(key: str) -> Scheduled | None:
    try:
        path = Cache().find(key, _SUFFIX)
        if path is None:
            return None
        held = json.loads(path.read_text(encoding="utf-8"))
    except (CacheError, OSError, ValueError):
        return None
    return Scheduled(lines=tuple(held["lines"]), cycles=held["cycles"], registers=held["registers"])


def _remember(key: str, found: Scheduled) -> None:
    held = {"lines": found.lines, "cycles": found.cycles, "registers": dict(found.registers)}
    with contextlib.suppress(CacheError, OSError):
        cache = Cache()
        with cache.scratch() as folder:
            made = Path(folder) / "schedule"
            made.write_text(json.dumps(held), encoding="utf-8")
            cache.store(key, _SUFFIX, made)


def _search(
    block: Block, timing: Timing, *, pool: Sequence[str], fixed: Mapping[str, str], live_in: Sequence[str]
) -> Scheduled:
    good_enough = _GOOD_ENOUGH * fewest_cycles(block.code, timing)
    best: Scheduled | None = None
    shared = _Shared(block, timing, tuple(pool), dict(fixed), tuple(live_in))
    for priority, window, reserve in _ATTEMPTS[isinstance(timing, InOrderPipeline)]:
        lines = _Attempt(shared, window, reserve, priority).run()
        if lines is None:
            continue
        cycles = steady_cycles(physical(lines), timing)
        if best is None or cycles < best.cycles:
            best = Scheduled(lines=tuple(lines), cycles=cycles, registers=shared.entry)
        if best.cycles <= good_enough:
            break
    if best is None:
        raise ScheduleError(f"{len(block)} instructions do not fit {len(pool)} registers in any order tried")
    return best


def fewest_cycles(code: Sequence[Instruction], timing: Timing) -> float:
    """Return a bound that no order of a block can beat: issue slots and units of an in-order pipeline, else 0."""
    if not isinstance(timing, InOrderPipeline):
        return 0.0
    used = Counter(unit for instruction in code for unit in timing.kinds[instruction.kind].units)
    return max(len(code) / timing.width, *(count / timing.units[unit] for unit, count in used.items()), 0.0)


def steady_cycles(code: Sequence[Instruction], timing: Timing) -> float:
    """Return the cycles of one turn of a block that is executed again and again."""
    return timing.cost(code, code)


class _Shared:
    """What all attempts at one block have in common."""

    def __init__(
        self,
        block: Block,
        timing: Timing,
        pool: tuple[str, ...],
        fixed: dict[str, str],
        live_in: tuple[str, ...],
    ) -> None:
        self.code = block.code
        self.timing = timing
        self.fixed = fixed
        self.entry = {name: pool[position] for position, name in enumerate(live_in)}
        self.free = pool[len(live_in) :]
        before = block.dependencies()
        self.waiting = [len(predecessors) for predecessors in before]
        self.followers: list[list[int]] = [[] for _ in self.code]
        for index, predecessors in enumerate(before):
            for predecessor in predecessors:
                self.followers[predecessor].append(index)
        self.names = [sorted(virtual_names(instruction) - fixed.keys()) for instruction in self.code]
        self.references: dict[str, int] = {}
        for names in self.names:
            for name in names:
                self.references[name] = self.references.get(name, 0) + 1
        self.height = self._heights()

    def _heights(self) -> list[int]:
        height = [0] * len(self.code)
        for index in range(len(self.code) - 1, -1, -1):
            step = 2 if self.code[index].kind in _LOADS or self.code[index].kind is Kind.MAC else 1
            height[index] = max((height[follower] + step for follower in self.followers[index]), default=0)
        return height


@dataclass(slots=True)
class _Attempt:
    """One walk through time."""

    shared: _Shared
    window: int
    reserve: int
    priority: str
    waiting: list[int] = field(init=False)
    done: list[bool] = field(init=False)
    free: list[str] = field(init=False)
    places: dict[str, str] = field(init=False)
    references: dict[str, int] = field(init=False)
    lines: list[str] = field(init=False, default_factory=list)
    oldest: int = field(init=False, default=0)

    def run(self) -> list[str] | None:
        """Return the physical code, or None when the registers ran out."""
        shared = self.shared
        self.waiting = list(shared.waiting)
        self.done = [False] * len(shared.code)
        self.free = list(shared.free)
        self.places = {**shared.fixed, **shared.entry}
        self.references = dict(shared.references)
        if isinstance(shared.timing, InOrderPipeline):
            return self._by_cycle(IssueState(shared.timing))
        return self._by_batches()

    def _by_cycle(self, state: IssueState) -> list[str] | None:
        code, idle = self.shared.code, 0
        while len(self.lines) < len(code):
            choices = self._choices()
            ready = [i for i in choices if state.earliest(code[i]) <= state.cycle and state.fits(code[i])]
            if not ready:
                idle += 1
                if idle > 40:
                    return None
                state.advance(state.cycle + 1)
                continue
            idle = 0
            chosen = self._prefer(ready, state)
            state.place(code[chosen])
            self._issue(chosen)
        return self.lines

    def _prefer(self, ready: list[int], state: IssueState) -> int:
        code, height = self.shared.code, self.shared.height
        if self.priority == "critical":
            return max(ready, key=lambda i: (height[i], -i))
        if self.priority == "pair" and state.issued == 0:
            return next((i for i in ready if code[i].kind not in _MULTIPLIES), ready[0])
        return ready[0]

    def _by_batches(self) -> list[str] | None:
        """Loads pipeline with loads: once a batch has begun, go on with it as long as registers allow."""
        code, previous = self.shared.code, None
        while len(self.lines) < len(code):
            choices = self._choices()
            if not choices:
                return None
            loads = [i for i in choices if code[i].kind in _LOADS]
            others = [i for i in choices if code[i].kind not in _LOADS]
            in_batch = previous is not None and previous.kind in _LOADS
            chosen = loads[0] if loads and (in_batch or not others) else others[0]
            previous = code[chosen]
            self._issue(chosen)
        return self.lines

    def _choices(self) -> list[int]:
        """Return the instructions in the window that may come next and whose registers can be had, oldest first."""
        done, found, seen = self.done, [], 0
        while self.oldest < len(done) and done[self.oldest]:
            self.oldest += 1
        index = self.oldest
        while index < len(done) and seen < self.window:
            if not done[index]:
                seen += 1
                if self.waiting[index] == 0 and self._has_registers(index):
                    found.append(index)
            index += 1
        return found

    def _has_registers(self, index: int) -> bool:
        names = self.shared.names[index]
        fresh = sum(name not in self.places for name in names)
        if not fresh:
            return True
        released = sum(name in self.places and self.references[name] == 1 for name in names)
        margin = len(self.free) + released - fresh
        return margin >= (0 if index == self.oldest else self.reserve)

    def _issue(self, index: int) -> None:
        names = self.shared.names[index]
        used = {name: self.places[name] for name in names if name in self.places}
        for name in names:
            self.references[name] -= 1
            if name in self.places and self.references[name] == 0:
                self.free.insert(0, self.places.pop(name))
        for name in [name for name in names if name not in used]:
            used[name] = self.free.pop(0)
            if self.references[name] > 0:
                self.places[name] = used[name]
            else:
                self.free.insert(0, used[name])
        self.lines.append(rename(self.shared.code[index].text, {**self.shared.fixed, **used}))
        self.done[index] = True
        for follower in self.shared.followers[index]:
            self.waiting[follower] -= 1
