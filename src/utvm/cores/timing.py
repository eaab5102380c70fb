"""How long a core takes for straight-line code: the interface, and an in-order pipeline described by a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, Protocol

from utvm.cores import thumb
from utvm.cores.banks import Banks, bank_of
from utvm.cores.instruction import Form, Instruction, Kind


class Timing(Protocol):
    """Cycles of code on one core, zero-wait memory."""

    @property
    def name(self) -> str:
        """What a figure of this model is called."""

    @property
    def mispredict_cycles(self) -> int:
        """Cycles of a branch that was not predicted."""

    @property
    def loads_at_words(self) -> bool:
        """Whether a load of 32 bits should begin at a multiple of 4."""

    def misprediction(self, block: Sequence[Instruction]) -> int:
        """Return the cycles of a conditional branch at the end of `block` that was not predicted."""

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


StorePlace = tuple[object, int] | None
"""Origin and bytes from there, as `Banks.address` says; None if there is no store."""

UNKNOWN_PLACE: StorePlace = (None, 0)
"""Where a store goes whose text does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """How one kind of instruction goes through a pipeline.

    Times are relative to the stage in which a plain ALU operation executes. `latency` is from issue to the use of a
    result by a plain operand; operands of an address or a shifter are needed `address_lead` or `early_lead` cycles
    before that, the addend of a multiply-accumulate and the data of a store `late_slack` cycles after. `alone` cannot
    share its cycle with any instruction, `first` must be the first of its cycle. `busy` is the cycles until the next
    instruction may issue (beyond the first) for those that occupy the pipeline.

    Attributes:
        blocks: units that nothing younger in the same cycle can have, though this does not need them.
        late_latency: `latency` as operands of a `waits` instruction see it; None is the same. Stages that forward to
            an ALU do not forward to every unit.
        waits: whether its operands (addend aside) see `late_latency` of what made them.
        ahead: whether it can execute a stage early, so that its result comes a cycle sooner. The operands must have
            come a cycle early too. `older` can only as the first of its cycle, `any` in each slot, there only beside
            an instruction that leaves the unit `shift` free.
        chain_slack: cycles that a multiply-accumulate's addend, whether of one register or two, may come later than
            an ordinary operand.
        banked: whether another load of its cycle has to be of another bank.
        after: units that must be free of longer instructions, in which it issues.
        holds: units, and the cycles from issue until what names them in `after` may issue.
        wide_fetch: whether it costs a cycle unless two 16-bit instructions before it have let fetching catch up.
    """

    units: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    latency: int = 1
    late_latency: int | None = None
    waits: bool = False
    ahead: Literal["", "older", "any"] = ""
    chain_slack: int = 1
    banked: bool = False
    after: tuple[str, ...] = ()
    holds: tuple[tuple[str, int], ...] = ()
    wide_fetch: bool = False
    address_lead: int = 1
    early_lead: int = 1
    operand_lead: int = 0
    late_slack: int = 0
    alone: bool = False
    first: bool = False
    busy: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InOrderPipeline:
    """An in-order core.

    Attributes:
        width: instructions that it issues in a cycle at most.
        units: name → how many there are in a cycle.
        kinds: how each kind goes through it.
        forms: the same of what differs within a kind.
        multiple_per_cycle: registers of a load or store multiple that are moved each cycle.
        ordered_writeback: whether an instruction waits until its first result comes no sooner than the last result of
            those before it.
        late_flags_cycles: what a branch that was not predicted costs more with flags that were made late.
        late_flags_within: flags are late if one of so many instructions before the branch made them.
        store_buffer: stores of less than a word that a buffer holds; 0 is no limit.
        narrow_store_cycles: cycles after which each of them has left it, if it is of the bank of the one before, or
            nothing is known of that.
        spread_store_cycles: the same if it is of the other bank.
        adjacent_store_cycles: the same if it is next to the one before.
        loads_at_words: see `Timing`.
        jump_ends_cycle: whether the target of a taken branch begins a cycle, unless two 16-bit instructions have let
            fetching catch up.
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
    forms: Mapping[tuple[Kind, Form], Timetable] = field(default_factory=dict)
    late_flags_cycles: int = 0
    late_flags_within: int = 0
    store_buffer: int = 0
    narrow_store_cycles: float = 0.0
    spread_store_cycles: float = 0.0
    adjacent_store_cycles: float = 0.0
    jump_ends_cycle: bool = False
    loads_at_words: bool = False

    def misprediction(self, block: Sequence[Instruction]) -> int:
        """Return the cycles of a branch that was not predicted; see `Timing`."""
        recent = block[-1 - self.late_flags_within : -1]
        late = not block or block[-1].form is Form.COMPARED or any("flags" in each.writes for each in recent)
        return self.mispredict_cycles + (self.late_flags_cycles if late else 0)

    def draining(self, before: StorePlace, place: StorePlace) -> float:
        """Return how long a store of less than a word is in the buffer, by where the one before it went."""
        if before is None or place is None or before[0] != place[0] or place == UNKNOWN_PLACE:
            return self.narrow_store_cycles
        if 0 < abs(place[1] - before[1]) <= _HALFWORD:
            return self.adjacent_store_cycles
        other_bank = bank_of(place[1]) != bank_of(before[1])
        return self.spread_store_cycles if other_bank else self.narrow_store_cycles

    def parse(self, text: str) -> Instruction:
        """Return an instruction from its text; see `Timing`."""
        return thumb.parse(text)

    def cost(self, context: Sequence[Instruction], block: Sequence[Instruction], *, jumped: bool = False) -> float:
        """Return the cycles that `block` adds after `context`; see `Timing`."""
        if not block:
            return 0.0
        state = IssueState(self)
        before = self._run(state, context)[-1] if context else -1.0
        if jumped and self.jump_ends_cycle:
            state.jump()
        return self._run(state, block)[-1] - before

    def issue_cycles(self, code: Sequence[Instruction]) -> list[float]:
        """Return, for each instruction, the time at which its issue slot ends, in cycles.

        Slots of one cycle end at even fractions of it, so that the time of a block is the difference of two ends and
        a half-filled last cycle is shared with what follows.
        """
        return self._run(IssueState(self), code)

    def _run(self, state: IssueState, code: Sequence[Instruction]) -> list[float]:
        ends = []
        for instruction in code:
            cycle = state.place(instruction)
            ends.append(cycle + state.issued / self.width if state.issued < self.width else cycle + 1.0)
        return ends

    def operands(self, instruction: Instruction) -> tuple[tuple[str, int], ...]:
        """Return what an instruction waits for: registers, and by how many cycles each must be there before it issues.

        `LATE` behind a register's name is its value as `Timetable.late_latency` has it.
        """
        return _operands(self, instruction)

    def table(self, instruction: Instruction) -> Timetable:
        """Return the timetable of an instruction."""
        found = self.forms.get((instruction.kind, instruction.form))
        return self.kinds[instruction.kind] if found is None else found


LATE = " late"


@lru_cache(maxsize=65536)
def _operands(pipeline: InOrderPipeline, instruction: Instruction) -> tuple[tuple[str, int], ...]:
    table = pipeline.table(instruction)
    suffix = LATE if table.waits else ""
    addends = instruction.writes if instruction.kind in _ADDS_TO_RESULT else ()
    found = [
        (name, -table.chain_slack) if name in addends else (name + suffix, table.operand_lead - table.late_slack)
        for name in instruction.reads
    ]
    found += [(name + suffix, table.address_lead) for name in instruction.address]
    found += [(name + suffix, table.early_lead) for name in instruction.early]
    if instruction.accumulates is not None:
        found.append((instruction.accumulates, -table.chain_slack))
    found += [(held(unit), 0) for unit in table.after]
    return tuple(found)


def held(unit: str) -> str:
    """Return the name under which pipelines note when a unit that is held is free, as if it were a register."""
    return f"{unit} unit"


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
        self._banks = Banks()
        self._loaded: tuple[object, int] | None = None
        self._narrow = 0
        self._drained: list[float] = []
        self._stored: StorePlace = None

    def earliest(self, instruction: Instruction) -> int:
        """Return the first cycle in which the operands of `instruction` are there."""
        start = max(self.cycle, self._operands(instruction))
        if self.pipeline.ordered_writeback:
            first = 0 if instruction.updates_base else self.pipeline.table(instruction).latency
            start = max(start, self._written - first)
        return start

    def fits(self, instruction: Instruction) -> bool:
        """Whether the current cycle has a slot and units for `instruction`."""
        table = self.pipeline.table(instruction)
        if self._closed or self.issued >= self.pipeline.width:
            return False
        if (table.alone or table.first) and self.issued:
            return False
        if table.banked and self._loaded is not None and self._banks.of(instruction) == self._loaded:
            return False
        return all(self._free[unit] > 0 for unit in table.units)

    def advance(self, cycle: int) -> None:
        """Begin a later cycle."""
        self.cycle, self.issued, self._closed = cycle, 0, False
        self._free = dict(self.pipeline.units)
        self._loaded = None

    def place(self, instruction: Instruction) -> int:
        """Issue `instruction` as soon as the pipeline allows and return the cycle."""
        table = self.pipeline.table(instruction)
        start = self.earliest(instruction)
        if start > self.cycle:
            self.advance(start)
        while not self.fits(instruction):
            self.advance(self.cycle + 1)
        self._buffer_store(instruction)
        cycle, ahead = self.cycle, self._is_ahead(instruction, table)
        for unit in table.units:
            self._free[unit] -= 1
        for unit in table.blocks:
            self._free[unit] = 0
        if table.banked:
            self._loaded = self._banks.of(instruction)
        self._banks.follow(instruction)
        self.issued += 1
        self._closed = table.alone
        late = table.latency if table.late_latency is None else table.late_latency
        for name in instruction.writes:
            self._ready[name] = cycle + table.latency - (ahead and name != "flags")
            self._ready[name + LATE] = cycle + late - (ahead and name != "flags")
        if instruction.updates_base and instruction.address:
            base = instruction.address[0]
            self._ready[base] = self._ready[base + LATE] = cycle
        for unit, cycles in table.holds:
            self._ready[held(unit)] = cycle + cycles
        self._written = max(self._written, cycle + table.latency)
        busy = table.busy + self._fetching(instruction, table)
        if instruction.kind in (Kind.LOAD_MULTIPLE, Kind.STORE_MULTIPLE):
            busy += -(-instruction.registers // self.pipeline.multiple_per_cycle) - 1
        if busy > 0:
            self.advance(cycle + busy)
            self.issued, self._closed = self.pipeline.width, True
        return self.cycle

    def jump(self) -> None:
        """Go where a taken branch leads: to a new cycle, unless fetching has caught up."""
        if self._narrow < _CATCH_UP:
            self._closed = True

    def _operands(self, instruction: Instruction) -> int:
        """Return when all operands are there."""
        ready, start = self._ready, 0
        for name, lead in self.pipeline.operands(instruction):
            start = max(start, ready.get(name, 0) + lead)
        return start

    def _is_ahead(self, instruction: Instruction, table: Timetable) -> bool:
        """Whether an instruction that issues now executes a stage early."""
        if not table.ahead or (self.issued and (table.ahead == "older" or not self._free["shift"])):
            return False
        return self._operands(instruction) < self.cycle

    def _fetching(self, instruction: Instruction, table: Timetable) -> int:
        """Return the cycles that `instruction` waits for fetching, and count what lets it catch up."""
        if not table.wide_fetch:
            self._narrow += instruction.size == _NARROW
            return 0
        caught_up = self._narrow >= _CATCH_UP
        if caught_up:
            self._narrow -= _CATCH_UP
        return 0 if caught_up else 1

    def _buffer_store(self, instruction: Instruction) -> None:
        """Wait until the buffer has room for a store of less than a word."""
        pipeline = self.pipeline
        if not pipeline.store_buffer or instruction.form is not Form.NARROW_STORE:
            return
        self._drained = [each for each in self._drained if each > self.cycle]
        if len(self._drained) >= pipeline.store_buffer:
            self.advance(math.ceil(self._drained[0]))
            self._drained = [each for each in self._drained if each > self.cycle]
        before = self._drained[-1] if self._drained else self.cycle
        place = self._banks.address(instruction) or UNKNOWN_PLACE
        self._drained.append(max(before, self.cycle) + pipeline.draining(self._stored, place))
        self._stored = place


_ADDS_TO_RESULT = frozenset({Kind.MAC_LONG, Kind.FP_MAC})
_HALFWORD = 2
_NARROW, _CATCH_UP = 2, 2
"""Bytes of a 16-bit instruction, and how many of them make up for one whose fetch waits."""
