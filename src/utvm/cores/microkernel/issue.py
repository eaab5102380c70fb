"""An in-order pipeline in motion, for code that is known beforehand: `utvm.cores.timing` with numbers for names."""

from __future__ import annotations

import math
from collections.abc import Sequence

from utvm.cores.banks import Banks
from utvm.cores.instruction import Form, Instruction, Kind
from utvm.cores.timing import LATE, UNKNOWN_PLACE, InOrderPipeline, StorePlace, Timetable, held

_UNIT_BITS = 4
"""Bits of the count of one unit. The highest is a guard, which taking one from none clears."""
_NO_ORDER = 1 << 30
"""Cycles before its first result by which an instruction may wait for others, where results need no order."""


class PipelinedCode:
    """What instructions ask of a pipeline, by their index.

    Attributes:
        width: instructions a cycle.
        units: what a new cycle offers, one count of `_UNIT_BITS` for each unit.
        guard: the guards of all counts.
        needs: the units that an instruction takes, as `units`, and whether it must be the first of its cycle.
        first_result: cycles from issue to the first result.
        banks: what a load reads, equal where two of one cycle would be of one bank; 0 is not known, or no load.
        buffered: where a store of less than a word goes, None for everything else.
        pipeline: the pipeline.
    """

    def __init__(self, code: Sequence[Instruction], pipeline: InOrderPipeline) -> None:
        position = {unit: _UNIT_BITS * index for index, unit in enumerate(pipeline.units)}
        self.pipeline = pipeline
        self.width = pipeline.width
        self.guard = sum(1 << (at + _UNIT_BITS - 1) for at in position.values())
        self.units = self.guard + sum(
            min(count, (1 << (_UNIT_BITS - 1)) - 1) << position[unit] for unit, count in pipeline.units.items()
        )
        tables = [pipeline.table(instruction) for instruction in code]
        self.needs = [
            (sum(1 << position[unit] for unit in table.units), table.alone or table.first) for table in tables
        ]
        ones = (1 << _UNIT_BITS - 1) - 1
        self.blocks = [sum(ones << position[unit] for unit in table.blocks) for table in tables]
        self.shift = ones << position["shift"] if "shift" in position else 0
        self.ahead = [{"": 0, "older": 1, "any": 2}[table.ahead] for table in tables]
        self.banks = _banks(code, pipeline)
        self.buffered = _buffered(code, pipeline)
        self.latency = [table.latency for table in tables]
        self.alone = [table.alone for table in tables]
        self.first_result = [
            (0 if instruction.updates_base else table.latency) if pipeline.ordered_writeback else _NO_ORDER
            for instruction, table in zip(code, tables, strict=True)
        ]
        self.busy = [
            table.busy + table.wide_fetch + _transfers(instruction, pipeline)
            for instruction, table in zip(code, tables, strict=True)
        ]
        numbers: dict[str, int] = {}

        def number(name: str) -> int:
            return numbers.setdefault(name, len(numbers))

        self.operands = [
            tuple((number(name), lead) for name, lead in pipeline.operands(instruction)) for instruction in code
        ]
        # Results as most see them, and as `Timetable.waits` does; flags never come ahead.
        self.writes = [
            tuple(
                (number(name + suffix), latency, name != "flags")
                for name in instruction.writes
                for suffix, latency in _latencies(table)
                if not suffix or name + suffix in numbers
            )
            + tuple((number(held(unit)), cycles, False) for unit, cycles in table.holds)
            for instruction, table in zip(code, tables, strict=True)
        ]
        self.moved = [
            tuple(numbers[name] for name in (instruction.address[0], instruction.address[0] + LATE) if name in numbers)
            if instruction.updates_base and instruction.address
            else ()
            for instruction in code
        ]
        self.registers = len(numbers)


class Issuing:
    """What is ready when, and what the current cycle still has room for.

    Attributes:
        cycle: the current cycle.
        issued: instructions in it.
        open: whether another may join them.
        left: units left in it, as `PipelinedCode.units`.
        ready: the cycle in which each register can be read.
        written: the cycle of the last result so far.
        loaded: what a load of this cycle reads, as `PipelinedCode.banks`; -1 if there is none.
        room: the cycle from which the buffer has room for a store of less than a word.
    """

    __slots__ = (
        "_code",
        "_drained",
        "_stored",
        "cycle",
        "issued",
        "left",
        "loaded",
        "open",
        "ready",
        "room",
        "written",
    )

    def __init__(self, code: PipelinedCode) -> None:
        self._code = code
        self.cycle = self.issued = self.written = 0
        self.open = True
        self.left = code.units
        self.loaded = -1
        self.ready = [0] * code.registers
        self.room = 0
        self._drained: list[float] = []
        self._stored: StorePlace = None

    def operands_at(self, index: int) -> int:
        """Return the cycle in which the operands of an instruction are there."""
        start, ready = 0, self.ready
        for register, lead in self._code.operands[index]:
            at = ready[register] + lead
            if at > start:
                start = at
        return start

    def advance(self, cycle: int) -> None:
        """Begin a later cycle."""
        self.cycle, self.issued, self.open, self.left, self.loaded = cycle, 0, True, self._code.units, -1

    def issue(self, index: int) -> None:
        """Issue an instruction, for which there is room, in this cycle."""
        code, cycle, ready = self._code, self.cycle, self.ready
        kind = code.ahead[index]
        ahead = kind and (not self.issued or (kind == 2 and self.left & code.shift)) and self.operands_at(index) < cycle
        self.left -= code.needs[index][0]
        if code.blocks[index]:
            self.left &= ~code.blocks[index]
        if code.banks[index]:
            self.loaded = code.banks[index]
        self.issued += 1
        self.open = self.issued < code.width and not code.alone[index]
        result = cycle + code.latency[index]
        for register, latency, data in code.writes[index]:
            ready[register] = cycle + latency - 1 if ahead and data else cycle + latency
        for register in code.moved[index]:
            ready[register] = cycle
        if result > self.written:
            self.written = result
        if code.buffered[index] is not None:
            self._buffer(code.buffered[index])
        if code.busy[index] > 0:
            self.advance(cycle + code.busy[index])
            self.issued, self.open = code.width, False

    def _buffer(self, place: StorePlace) -> None:
        """Put a store of this cycle into the buffer; as `InOrderPipeline`'s own."""
        pipeline, cycle = self._code.pipeline, self.cycle
        drained = [each for each in self._drained if each > cycle]
        before = drained[-1] if drained else cycle
        drained.append(max(before, cycle) + pipeline.draining(self._stored, place))
        self._drained, self._stored = drained, place
        full = len(drained) - pipeline.store_buffer
        self.room = math.ceil(drained[full]) if full >= 0 else 0

    @property
    def end(self) -> float:
        """Where the last instruction's issue slot ends, in cycles; as `InOrderPipeline.issue_cycles`."""
        width = self._code.width
        return self.cycle + self.issued / width if self.issued < width else self.cycle + 1.0

    def another_turn(self, order: Sequence[int]) -> float:
        """Return the cycles of the same instructions once more, in the order in which they came."""
        code, before = self._code, self.end
        for index in order:
            start = max(self.operands_at(index), self.written - code.first_result[index])
            if code.buffered[index] is not None:
                start = max(start, self.room)
            if start > self.cycle:
                self.advance(start)
            units, must_be_first = code.needs[index]
            while (
                not self.open
                or (must_be_first and self.issued > 0)
                or (self.left - units) & code.guard != code.guard
                or (code.banks[index] and code.banks[index] == self.loaded)
            ):
                self.advance(self.cycle + 1)
            self.issue(index)
        return self.end - before


def _transfers(instruction: Instruction, pipeline: InOrderPipeline) -> int:
    """Return the further cycles of a load or store of several registers."""
    if instruction.kind not in (Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE):
        return 0
    return -(-instruction.registers // pipeline.multiple_per_cycle) - 1


def _latencies(table: Timetable) -> tuple[tuple[str, int], ...]:
    return ("", table.latency), (LATE, table.latency if table.late_latency is None else table.late_latency)


def _banks(code: Sequence[Instruction], pipeline: InOrderPipeline) -> list[int]:
    """Number the banks that loads read; in their written order, which those that move a base keep."""
    banks, numbers, found = Banks(), dict[object, int](), []
    for instruction in code:
        place = banks.of(instruction) if pipeline.table(instruction).banked else None
        found.append(0 if place is None else numbers.setdefault(place, len(numbers) + 1))
        banks.follow(instruction)
    return found


def _buffered(code: Sequence[Instruction], pipeline: InOrderPipeline) -> list[StorePlace]:
    """Return where stores of less than a word go; in their written order, which those that move a base keep."""
    banks, found = Banks(), list[StorePlace]()
    for instruction in code:
        narrow = pipeline.store_buffer and instruction.form is Form.NARROW_STORE
        found.append((banks.address(instruction) or UNKNOWN_PLACE) if narrow else None)
        banks.follow(instruction)
    return found
