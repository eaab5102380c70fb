"""One walk through time: instructions issued one by one, registers given and taken back.

Everything that all walks through one block share is turned into numbers first: registers and units become indices, and
the units that a cycle has left become one integer. The core's timing is that of `utvm.cores.timing`; a test compares.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utvm.cores.microkernel.block import Block, physical, rename, virtual_names
from utvm.cores.microkernel.issue import Issuing, PipelinedCode
from utvm.cores.thumb import Instruction, Kind
from utvm.cores.timing import InOrderPipeline, Timing

MULTIPLIES = frozenset({Kind.MAC, Kind.MULTIPLY})
LOADS = frozenset({Kind.LOAD, Kind.LOAD_NARROW})
_VECTOR_LOADS = frozenset({Kind.VECTOR_LOAD, Kind.GATHER})
_LONGEST_WAIT = 40
"""Cycles without an instruction after which a walk is given up."""
_SLACK = 2
"""Cycles by which a turn of many can be shorter than the first: where its last cycle has room for the next's first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How a walk chooses.

    Attributes:
        priority: `order`, oldest first; `pair`, in the first slot a load or ALU operation that a multiplication can
            follow; `critical`, longest path first.
        window: instructions of the written order, from the oldest that waits, among which it chooses.
        reserve: registers that all but the oldest instruction must leave free.
        lead: instructions of the written order by which `order` takes vector loads early.
        push: the same of sums across vectors.
    """

    priority: str
    window: int
    reserve: int
    lead: int = 0
    push: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """The order of a block's instructions, each virtual register's physical one, the cycles of one turn of many."""

    order: tuple[int, ...]
    registers: Mapping[str, str]
    cycles: float


class Walker:
    """A block, a core and a pool of registers, through which any number of walks can go."""

    def __init__(
        self,
        block: Block,
        timing: Timing,
        *,
        pool: Sequence[str],
        fixed: Mapping[str, str],
        live_in: Sequence[str],
    ) -> None:
        self.code = block.code
        self.timing = timing
        self.fixed = dict(fixed)
        self.entry = {name: pool[position] for position, name in enumerate(live_in)}
        self._stack = list(reversed(pool[len(live_in) :]))
        before = block.dependencies()
        self._waiting = [len(predecessors) for predecessors in before]
        self._followers: list[list[int]] = [[] for _ in self.code]
        for index, predecessors in enumerate(before):
            for predecessor in predecessors:
                self._followers[predecessor].append(index)
        self._number_registers()
        self._height = self._heights()
        self._early = [(ins.kind in _VECTOR_LOADS, ins.kind is Kind.VECTOR_SUM) for ins in self.code]
        self._kinds = [(ins.kind in LOADS, ins.kind in MULTIPLIES) for ins in self.code]
        self._pipeline = PipelinedCode(self.code, timing) if isinstance(timing, InOrderPipeline) else None
        self._local = _all_written_first(self.code, fixed)
        self._scarce, self._scarce_per_cycle = _scarcest(self.code, timing)

    @property
    def fewest_cycles(self) -> float:
        """A bound that no order can beat: issue slots and units of an in-order pipeline, else 0."""
        return sum(self._scarce) / self._scarce_per_cycle

    def walk(self, strategy: Strategy, *, below: float = math.inf) -> Walked | None:
        """Return what one strategy makes of the block.

        Returns:
            The walk; None where the registers run out, or where it is sure to take `below` cycles or more.
        """
        if self._pipeline is None:
            return self._in_batches(strategy)
        issued = self._in_order(strategy, below, len(self.code))
        return None if issued is None else self._walked(*issued[:2])

    def pace(self, strategy: Strategy, beginning: int) -> float:
        """Return the cycles of a walk's first `beginning` instructions, and at least how many the others take.

        Infinite where the registers run out on the way. Only for pipelines that issue in order.
        """
        issued = self._in_order(strategy, math.inf, beginning)
        return math.inf if issued is None else issued[1].cycle + issued[2] / self._scarce_per_cycle

    def lines(self, walked: Walked) -> list[str]:
        """Return the physical code of a walk."""
        registers = {**self.fixed, **walked.registers}
        return [rename(self.code[index].text, registers) for index in walked.order]

    def _number_registers(self) -> None:
        """Give each virtual register that is not fixed a number, and say who refers to it."""
        self._names: list[str] = []
        numbers: dict[str, int] = {}
        self._used: list[tuple[int, ...]] = []
        for instruction in self.code:
            found = []
            for name in sorted(virtual_names(instruction) - self.fixed.keys()):
                if name not in numbers:
                    numbers[name] = len(self._names)
                    self._names.append(name)
                found.append(numbers[name])
            self._used.append(tuple(found))
        self._references: list[list[int]] = [[] for _ in self._names]
        for index, used in enumerate(self._used):
            for number in used:
                self._references[number].append(index)

    def _heights(self) -> list[int]:
        """Return the cycles, about, of the longest chain that starts behind each instruction."""
        height = [0] * len(self.code)
        for index in range(len(self.code) - 1, -1, -1):
            step = 2 if self.code[index].kind in LOADS or self.code[index].kind is Kind.MAC else 1
            height[index] = max((height[follower] + step for follower in self._followers[index]), default=0)
        return height

    def _in_order(self, strategy: Strategy, below: float, most: int) -> tuple[_Taken, Issuing, int] | None:
        """Walk cycle by cycle through a pipeline that issues in order, until `most` instructions are issued.

        Returns:
            What was taken and issued, and how much of what is scarce the others need; None as in `walk`.
        """
        assert self._pipeline is not None
        state, taken = Issuing(self._pipeline), _Taken(self)
        operands_at, needs, height = state.operands_at, self._pipeline.needs, self._height
        first_result, guard, banks = self._pipeline.first_result, self._pipeline.guard, self._pipeline.banks
        buffered = self._pipeline.buffered
        critical, pair, reserve = strategy.priority == "critical", strategy.priority == "pair", strategy.reserve
        available, fresh, free = taken.available, taken.fresh, taken.free
        starts = [-1] * len(self.code)
        lead, push = strategy.lead, strategy.push
        places = [index - lead * loads - push * sums for index, (loads, sums) in enumerate(self._early)]
        window = strategy.window
        scarce, per_cycle, left_scarce = self._scarce, self._scarce_per_cycle, sum(self._scarce)
        for limit in range(window, window + most):
            # Another turn takes at least as long as this one, which starts with all operands there.
            if state.cycle + left_scarce / per_cycle >= below + _SLACK:
                return None
            while True:
                chosen, soonest = -1, -1
                cycle, empty, left = state.cycle, state.issued == 0, state.left
                open_, loaded = state.open, state.loaded
                for index in available:
                    if index >= limit:
                        break
                    missing = fresh[index]
                    if missing and not (
                        len(free) - missing >= reserve or taken.fits(index, missing, reserve, oldest=taken.oldest)
                    ):
                        continue
                    start = starts[index]
                    if start < 0:
                        start = starts[index] = operands_at(index)
                    ordered = state.written - first_result[index]
                    if ordered > start:
                        start = ordered
                    if buffered[index] is not None and state.room > start:
                        start = state.room
                    units, must_be_first = needs[index]
                    if (
                        start > cycle
                        or not open_
                        or (must_be_first and not empty)
                        or (left - units) & guard != guard
                        or (banks[index] and banks[index] == loaded)
                    ):
                        start = max(start, cycle + 1)
                        if soonest < 0 or start < soonest:
                            soonest = start
                    elif critical:
                        if chosen < 0 or height[index] > height[chosen]:
                            chosen = index
                    elif lead:
                        if chosen < 0 or places[index] < places[chosen]:
                            chosen = index
                    elif pair and empty and self._kinds[index][1]:
                        if chosen < 0:
                            chosen = index
                    else:
                        chosen = index
                        break
                if chosen >= 0:
                    break
                if soonest < 0 or soonest - cycle > _LONGEST_WAIT:
                    return None
                state.advance(soonest)
            state.issue(chosen)
            taken.take(chosen)
            left_scarce -= scarce[chosen]
        return taken, state, left_scarce

    def _in_batches(self, strategy: Strategy) -> Walked | None:
        """Walk on a core where loads pipeline with loads: a batch that has begun goes on as long as registers allow."""
        taken = _Taken(self)
        available, fresh, free, reserve = taken.available, taken.fresh, taken.free, strategy.reserve
        kinds, in_batch = self._kinds, False
        for limit in range(strategy.window, strategy.window + len(self.code)):
            second = chosen = -1
            for index in available:
                if index >= limit:
                    break
                missing = fresh[index]
                if missing and not (
                    len(free) - missing >= reserve or taken.fits(index, missing, reserve, oldest=taken.oldest)
                ):
                    continue
                if kinds[index][0] == in_batch:
                    chosen = index
                    break
                if second < 0:
                    second = index
            if chosen < 0:
                chosen = second
            if chosen < 0:
                return None
            in_batch = kinds[chosen][0]
            taken.take(chosen)
        return self._walked(taken, None)

    def _walked(self, taken: _Taken, state: Issuing | None) -> Walked:
        registers = {name: place for name, place in zip(self._names, taken.places, strict=True) if place is not None}
        walked = Walked(order=tuple(taken.order), registers=registers, cycles=0.0)
        if not self._local:
            ordered = physical(self.lines(walked))
            cycles = self.timing.cost(ordered, ordered)
        elif state is not None:
            cycles = state.another_turn(taken.order)
        else:
            ordered = [self.code[index] for index in taken.order]
            cycles = self.timing.cost(ordered, ordered)
        return Walked(order=walked.order, registers=registers, cycles=cycles)


def _scarcest(code: Sequence[Instruction], timing: Timing) -> tuple[list[int], int]:
    """Return how much each instruction takes of what the whole block needs longest, and how much of it a cycle has.

    That is issue slots, or a unit. Where nothing is known of the core, nothing is scarce.
    """
    if not isinstance(timing, InOrderPipeline):
        return [0] * len(code), 1
    units = [timing.table(instruction).units for instruction in code]
    takes = [([1] * len(code), timing.width)]
    takes += [([used.count(unit) for used in units], count) for unit, count in timing.units.items()]
    return max(takes, key=lambda item: sum(item[0]) / item[1])


def _all_written_first(code: Sequence[Instruction], fixed: Mapping[str, str]) -> bool:
    """Whether each virtual register is written before it is read: then names tell as much of time as places do."""
    written: set[str] = set()
    for instruction in code:
        for name in instruction.uses:
            if name.startswith("%") and name not in fixed and name not in written:
                return False
        written.update(instruction.writes)
    return True


class _Taken:
    """What of a block has been taken, and who has which register."""

    def __init__(self, walker: Walker) -> None:
        self._used, self._references = walker._used, walker._references
        self._followers = walker._followers
        self._waiting = list(walker._waiting)
        self._left = [len(references) for references in walker._references]
        self._done = [False] * len(walker.code)
        self.oldest = 0
        self.order: list[int] = []
        self.available = [index for index, count in enumerate(self._waiting) if count == 0]
        self.free = list(walker._stack)
        self.places: list[str | None] = [walker.entry.get(name) for name in walker._names]
        self.fresh = [sum(self.places[number] is None for number in used) for used in self._used]

    def fits(self, index: int, missing: int, reserve: int, *, oldest: int) -> bool:
        """Whether an instruction's new registers can be had, with what it gives back itself."""
        released = 0
        for number in self._used[index]:
            if self._left[number] == 1 and self.places[number] is not None:
                released += 1
        return len(self.free) + released - missing >= (0 if index == oldest else reserve)

    def take(self, index: int) -> None:
        """Give and take back the registers of the next instruction; those that waited for it may come now."""
        places, left, free = self.places, self._left, self.free
        new: tuple[int, ...] = ()
        for number in self._used[index]:
            left[number] -= 1
            place = places[number]
            if place is None:
                new = (*new, number)
            elif left[number] == 0:
                free.append(place)
        for number in new:
            place = places[number] = free.pop()
            for other in self._references[number]:
                self.fresh[other] -= 1
            if left[number] == 0:
                free.append(place)
        self.order.append(index)
        self._done[index] = True
        while self.oldest < len(self._done) and self._done[self.oldest]:
            self.oldest += 1
        self.available.remove(index)
        for follower in self._followers[index]:
            self._waiting[follower] -= 1
            if self._waiting[follower] == 0:
                insort(self.available, follower)
