"""How long a core takes for straight-line code: the interface, and an in-order pipeline described by a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from utvm.cores import thumb
from utvm.cores.instruction import Instruction, Kind


class Timing(Protocol):
    """Cycles of code on one core, zero-wait memory."""

    @property
    def name(self) -> str:
        """What a figure of this model is called."""

    @property
    def mispredict_cycles(self) -> int:
        """Cycles of a branch that was not predicted."""

    @property
    def unaligned_cycles(self) -> Mapping[str, int]:
        """Cycles of an access, by how it is misaligned."""

    @property
    def misaligned_target_cycles(self) -> int:
        """Cycles of a jump to an instruction of 32 bits that does not start at a word."""

    def __hash__(self) -> int:
        """A model is itself."""

    def parse(self, text: str) -> Instruction:
        """Return an instruction of this core from its assembler text.

        Raises:
            UnknownInstructionError: it is not known.
        """

    def cost(self, context: Sequence[Instruction], block: Sequence[Instruction], *, jumped: bool = False) -> float:
        """Return the cycles that `block` adds when it is executed right after `context`.

        `jumped` says that control came by a taken branch at the end of `context`.
        """


def word_crossing_cycles(timing: Timing) -> int:
    """Return what a word costs more at an odd halfword than at its own alignment."""
    return max(timing.unaligned_cycles.get(kind, 0) for kind in ("word_at_2", "crosses_word"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """How one kind of instruction goes through a pipeline.

    Times are relative to the stage in which a plain ALU operation executes. `latency` is from issue to the use of a
    result by a plain operand; operands of an address or a shifter are needed `address_lead` or `early_lead` cycles
    before that, the addend of a multiply-accumulate and the data of a store `late_slack` cycles after. `alone` cannot
    share its cycle with any instruction, `first` must be the first of its cycle. `busy` is the cycles until the next
    instruction may issue (beyond the first) for those that occupy the pipeline.
    """

    units: tuple[str, ...] = ()
    latency: int = 1
    address_lead: int = 1
    early_lead: int = 1
    operand_lead: int = 0
    late_slack: int = 0
    alone: bool = False
    first: bool = False
    busy: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InOrderPipeline:
    """An in-order core that issues up to `width` instructions a cycle to `units` (name → how many).

    `multiple_per_cycle` registers of a load or store multiple are moved each cycle. With `ordered_writeback` an
    instruction waits until its first result comes no sooner than the last result of those before it.
    """

    name: str
    width: int
    units: Mapping[str, int]
    kinds: Mapping[Kind, Timetable]
    mispredict_cycles: int = 0
    unaligned_cycles: Mapping[str, int] = field(default_factory=dict)
    misaligned_target_cycles: int = 0
    multiple_per_cycle: int = 1
    ordered_writeback: bool = False

    def parse(self, text: str) -> Instruction:
        """Return an instruction from its text; see `Timing`."""
        return thumb.parse(text)

    def cost(self, context: Sequence[Instruction], block: Sequence[Instruction], *, jumped: bool = False) -> float:
        """Return the cycles that `block` adds after `context`; see `Timing`."""
        del jumped
        schedule = self.issue_cycles([*context, *block])
        if not block:
            return 0.0
        before = schedule[len(context) - 1] if context else -1.0
        return schedule[-1] - before

    def issue_cycles(self, code: Sequence[Instruction]) -> list[float]:
        """Return, for each instruction, the time at which its issue slot ends, in cycles.

        Slots of one cycle end at even fractions of it, so that the time of a block is the difference of two ends and
        a half-filled last cycle is shared with what follows.
        """
        state = IssueState(self)
        ends = []
        for instruction in code:
            cycle = state.place(instruction)
            ends.append(cycle + state.issued / self.width if state.issued < self.width else cycle + 1.0)
        return ends

    def table(self, instruction: Instruction) -> Timetable:
        """Return the timetable of an instruction's kind."""
        return self.kinds[instruction.kind]


class IssueState:
    """A pipeline in motion: what is ready when, and what the current cycle still has room for."""

    def __init__(self, pipeline: InOrderPipeline) -> None:
        self.pipeline = pipeline
        self.cycle = 0
        self.issued = 0
        self._closed = False
        self._free = dict(pipeline.units)
        self._ready: dict[str, int] = {}
        self._written = 0

    def earliest(self, instruction: Instruction) -> int:
        """Return the first cycle in which the operands of `instruction` are there."""
        table, ready = self.pipeline.kinds[instruction.kind], self._ready
        start = self.cycle
        for name in instruction.reads:
            lead = table.operand_lead - (table.late_slack if table.late_slack else 0)
            start = max(start, ready.get(name, 0) + lead)
        for name in instruction.address:
            start = max(start, ready.get(name, 0) + table.address_lead)
        for name in instruction.early:
            start = max(start, ready.get(name, 0) + table.early_lead)
        if instruction.accumulates is not None:
            start = max(start, ready.get(instruction.accumulates, 0) - 1)
        if self.pipeline.ordered_writeback:
            first = 0 if instruction.updates_base else table.latency
            start = max(start, self._written - first)
        return start

    def fits(self, instruction: Instruction) -> bool:
        """Whether the current cycle has a slot and units for `instruction`."""
        table = self.pipeline.kinds[instruction.kind]
        if self._closed or self.issued >= self.pipeline.width:
            return False
        if (table.alone or table.first) and self.issued:
            return False
        return all(self._free[unit] > 0 for unit in table.units)

    def advance(self, cycle: int) -> None:
        """Begin a later cycle."""
        self.cycle, self.issued, self._closed = cycle, 0, False
        self._free = dict(self.pipeline.units)

    def place(self, instruction: Instruction) -> int:
        """Issue `instruction` as soon as the pipeline allows and return the cycle."""
        table = self.pipeline.kinds[instruction.kind]
        start = self.earliest(instruction)
        if start > self.cycle:
            self.advance(start)
        while not self.fits(instruction):
            self.advance(self.cycle + 1)
        cycle = self.cycle
        for unit in table.units:
            self._free[unit] -= 1
        self.issued += 1
        self._closed = table.alone
        for name in instruction.writes:
            self._ready[name] = cycle + table.latency
        if instruction.updates_base and instruction.address:
            self._ready[instruction.address[0]] = cycle
        self._written = max(self._written, cycle + table.latency)
        busy = table.busy
        if instruction.kind in (Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE):
            busy += -(-instruction.registers // self.pipeline.multiple_per_cycle) - 1
        if busy > 0:
            self.advance(cycle + busy)
            self.issued, self._closed = self.pipeline.width, True
        return self.cycle
