"""An in-order pipeline in motion, for code that is known beforehand: `utvm.cores.timing` with numbers for names."""

from __future__ import annotations

from collections.abc import Sequence

from utvm.cores.instruction import Instruction, Kind
from utvm.cores.timing import InOrderPipeline

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
    """

    def __init__(self, code: Sequence[Instruction], pipeline: InOrderPipeline) -> None:
        position = {unit: _UNIT_BITS * index for index, unit in enumerate(pipeline.units)}
        self.width = pipeline.width
        self.guard = sum(1 << (at + _UNIT_BITS - 1) for at in position.values())
        self.units = self.guard + sum(
            min(count, (1 << (_UNIT_BITS - 1)) - 1) << position[unit] for unit, count in pipeline.units.items()
        )
        tables = [pipeline.kinds[instruction.kind] for instruction in code]
        self.needs = [
            (sum(1 << position[unit] for unit in table.units), table.alone or table.first) for table in tables
        ]
        self.latency = [table.latency for table in tables]
        self.alone = [table.alone for table in tables]
        self.first_result = [
            (0 if instruction.updates_base else table.latency) if pipeline.ordered_writeback else _NO_ORDER
            for instruction, table in zip(code, tables, strict=True)
        ]
        self.busy = [
            table.busy + _transfers(instruction, pipeline) for instruction, table in zip(code, tables, strict=True)
        ]
        numbers: dict[str, int] = {}

        def number(name: str) -> int:
            return numbers.setdefault(name, len(numbers))

        self.operands = [
            (
                *((number(name), table.operand_lead - table.late_slack) for name in instruction.reads),
                *((number(name), table.address_lead) for name in instruction.address),
                *((number(name), table.early_lead) for name in instruction.early),
                *(() if instruction.accumulates is None else ((number(instruction.accumulates), -1),)),
            )
            for instruction, table in zip(code, tables, strict=True)
        ]
        self.writes = [tuple(map(number, instruction.writes)) for instruction in code]
        self.moved = [
            number(instruction.address[0]) if instruction.updates_base and instruction.address else -1
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
    """

    __slots__ = ("_code", "cycle", "issued", "left", "open", "ready", "written")

    def __init__(self, code: PipelinedCode) -> None:
        self._code = code
        self.cycle = self.issued = self.written = 0
        self.open = True
        self.left = code.units
        self.ready = [0] * code.registers

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
        self.cycle, self.issued, self.open, self.left = cycle, 0, True, self._code.units

    def issue(self, index: int) -> None:
        """Issue an instruction, for which there is room, in this cycle."""
        code, cycle, ready = self._code, self.cycle, self.ready
        self.left -= code.needs[index][0]
        self.issued += 1
        self.open = self.issued < code.width and not code.alone[index]
        result = cycle + code.latency[index]
        for register in code.writes[index]:
            ready[register] = result
        if code.moved[index] >= 0:
            ready[code.moved[index]] = cycle
        if result > self.written:
            self.written = result
        if code.busy[index] > 0:
            self.advance(cycle + code.busy[index])
            self.issued, self.open = code.width, False

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
            if start > self.cycle:
                self.advance(start)
            units, must_be_first = code.needs[index]
            while (
                not self.open or (must_be_first and self.issued > 0) or (self.left - units) & code.guard != code.guard
            ):
                self.advance(self.cycle + 1)
            self.issue(index)
        return self.end - before


def _transfers(instruction: Instruction, pipeline: InOrderPipeline) -> int:
    """Return the further cycles of a load or store of several registers."""
    if instruction.kind not in (Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE):
        return 0
    return -(-instruction.registers // pipeline.multiple_per_cycle) - 1
