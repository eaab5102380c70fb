"""A record: one trial of one config of one workload on one board, and JSON Lines to pass records on."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from math import prod
from pathlib import Path
from typing import Any

from utvm.cache import digest
from utvm.errors import UtvmError
from utvm.kernels import Config

MOST_CYCLES = 10**13
"""Nobody waits longer for a kernel: ten hours at 278 MHz."""
MOST_SECONDS = 1e11
"""Seconds since 1970 that no clock says, by far."""


MOST_CHOICE = 4096
"""No knob of any family has a number near it."""
MOST_AT_ONCE, MOST_WAITING = 8, 10_000
"""Instructions that no core completes in a cycle, and cycles that none waits for one on average."""
MOST_BYTES = 64
"""Bytes that no instruction stores or loads at once: STM has up to 56."""
_MOVED = re.compile(r"\b(?:y|weights)=[a-z]*(\d+)\[([\dx]+)\]")
"""Tensors of a workload that are written or read whole: bits of an element, shape."""


_MOST_BYTES = 1 << 29
"""Of a file of records, decompressed."""


class RecordError(UtvmError):
    """Records that can't be read or written."""


class Outcome(StrEnum):
    """How a trial ended. All but OK cost their deadline at most, and are not tried again with the same code."""

    OK = "ok"
    WRONG = "wrong"
    CRASHED = "crashed"
    HUNG = "hung"
    TOO_LARGE = "too large"
    NO_SCHEDULE = "no schedule"
    NOT_BUILT = "not built"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Where trials are comparable: the board, its core, what its cycle model assumes, and the compiler.

    `assume` is a name of `utvm.emulators.ASSUMPTIONS`, empty for none.
    """

    board: str
    core: str
    assume: str
    compiler: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One trial.

    Attributes:
        workload: what the kernel is specialised to (`utvm.kernels.workload_keys`).
        family, config: the candidate.
        code: `utvm.kernels.code_digest` of its kernel; empty if there was none.
        conditions: where it was measured.
        generator: the version of µTVM that generated it.
        outcome, message: how it ended; the message is empty for OK.
        cycles, instructions: what the board's counter said; None is not known.
        cold_cycles: the first run after loading, on a physical board.
        cycles_source: who counted or modelled the cycles.
        spread: the slowest of several runs over the median, less one; 0 for a model, which runs once.
        scratch_bytes: what the kernel needs (`Kernel.scratch_bytes`).
        flash_bytes: of its constants and of its functions as they were linked.
        time: when it ended, seconds since 1970.
        build_seconds, load_seconds, run_seconds: the host's.
    """

    workload: str
    family: str
    config: Config
    code: str
    conditions: Conditions
    generator: str
    outcome: Outcome
    message: str = ""
    cycles: int | None = None
    cold_cycles: int | None = None
    instructions: int | None = None
    cycles_source: str | None = None
    spread: float = 0.0
    scratch_bytes: int = 0
    flash_bytes: int = 0
    time: float = 0.0
    build_seconds: float = 0.0
    load_seconds: float = 0.0
    run_seconds: float = 0.0

    @property
    def cost(self) -> int | None:
        """Cycles, or instructions where the board has neither counter nor model of cycles; None if it failed."""
        if self.outcome is not Outcome.OK:
            return None
        return self.instructions if self.cycles is None else self.cycles

    @property
    def candidate(self) -> str:
        """Family and config as one word, such as `direct/m=2,n=3`."""
        return candidate_key(self.family, self.config)

    @property
    def digest(self) -> str:
        """What tells this trial from all others."""
        return digest([to_line(self)])[:32]


def candidate_key(family: str, config: Config) -> str:
    """Return family and config as one word; knobs in alphabetical order."""
    return f"{family}/{','.join(f'{knob}={config[knob]}' for knob in sorted(config))}"


def to_line(record: Record) -> str:
    """Return a record as one line of JSON."""
    values = asdict(record)
    conditions = values.pop("conditions")
    values["config"] = dict(sorted(record.config.items()))
    values["outcome"] = record.outcome.value
    return json.dumps({**values, **conditions}, sort_keys=True, ensure_ascii=False)


def from_values(values: Mapping[str, Any]) -> Record:
    """Return a record from the values of its JSON object.

    Raises:
        RecordError: a value is missing, unknown, of the wrong kind, or one that no trial can have had.
    """
    known = {field.name for field in fields(Record)} - {"conditions"}
    places = {field.name for field in fields(Conditions)}
    unknown, absent = set(values) - known - places, places - set(values)
    if unknown or absent:
        raise RecordError(f"a record has unknown or missing values: {', '.join(sorted(unknown | absent))}")
    problem = _problem(values)
    if problem is not None:
        raise RecordError(f"no record of a trial: {problem}")
    try:
        own = {name: value for name, value in values.items() if name in known}
        own |= {"config": dict(values["config"]), "outcome": Outcome(values["outcome"])}
        return Record(**own, conditions=Conditions(**{name: values[name] for name in places}))
    except (TypeError, ValueError, KeyError) as error:
        raise RecordError(f"no record of a trial: {error}") from error


def _problem(values: Mapping[str, Any]) -> str | None:
    """Return which value no trial can have had: a wrong type, a figure below zero, not finite or absurd."""
    for name in ("workload", "family", "code", "generator", "message", *(field.name for field in fields(Conditions))):
        if not isinstance(values.get(name, ""), str):
            return f"{name} is no text"
    succeeded = values.get("outcome") == Outcome.OK
    for name in ("cycles", "cold_cycles", "instructions"):
        count = values.get(name)
        least = 1 if succeeded else 0
        if count is not None and not (type(count) is int and least <= count <= MOST_CYCLES):
            return f"{name} is {count!r}, a whole number from {least} to {MOST_CYCLES:,} is expected"
    for name in ("scratch_bytes", "flash_bytes"):
        count = values.get(name, 0)
        if not (type(count) is int and 0 <= count < 1 << 32):
            return f"{name} is {count!r}, a size in bytes is expected"
    for name in ("spread", "time", "build_seconds", "load_seconds", "run_seconds"):
        number = values.get(name, 0.0)
        if not (type(number) in (int, float) and 0 <= number < MOST_SECONDS):
            return f"{name} is {number!r}, a finite number from 0 on is expected"
    config = values.get("config")
    if not isinstance(config, Mapping) or not all(
        isinstance(knob, str) and type(choice) in (int, str) for knob, choice in config.items()
    ):
        return "config is not a choice for each knob"
    return None


def absurdity(record: Record) -> str | None:
    """Return which figures of a record, each possible by itself, no trial can have had together; None is plausible."""
    for knob, choice in record.config.items():
        if type(choice) is int and not 0 <= choice <= MOST_CHOICE:
            return f"config has {knob} {choice}, a number from 0 to {MOST_CHOICE:,} is expected"
    cycles, instructions = record.cycles, record.instructions
    if record.outcome is not Outcome.OK:
        return None
    moved = max(
        (prod(map(int, dims.split("x"))) * int(bits) // 8 for bits, dims in _MOVED.findall(record.workload)), default=0
    )
    least = moved // MOST_BYTES
    if instructions is not None and instructions < least:
        return f"instructions is {instructions} for a tensor of {moved:,} bytes, fewer than any core takes"
    if cycles is not None and cycles * MOST_AT_ONCE < least:
        return f"cycles is {cycles} for a tensor of {moved:,} bytes, fewer than any core takes"
    if cycles is None or instructions is None:
        return None
    if instructions > MOST_AT_ONCE * cycles:
        return f"cycles is {cycles} for {instructions:,} instructions, fewer than any core takes"
    if cycles > MOST_WAITING * instructions:
        return f"cycles is {cycles:,} for {instructions} instructions, more than any memory makes a core wait"
    return None


def read_lines(path: Path) -> Iterator[Record]:
    """Yield the records of a JSON Lines file, `.gz` or plain.

    Raises:
        RecordError: the file can't be read; the message names the line.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise RecordError(f"{path} can't be read: {error}") from error
    if len(data) > _MOST_BYTES:
        raise RecordError(f"{path} has more than {_MOST_BYTES:,} bytes of records: split it")
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip():
                values = json.loads(line)
                if not isinstance(values, dict):
                    raise RecordError("no record of a trial: an object is expected")
                record = from_values(values)
                absurd = absurdity(record)
                if absurd is not None:
                    raise RecordError(f"no record of a trial: {absurd}")
                yield record
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path}, line {number}: no JSON: {error}") from error
        except RecordError as error:
            raise RecordError(f"{path}, line {number}: {error}") from error


def write_lines(records: Iterable[Record], path: Path) -> int:
    """Write records as JSON Lines, compressed if the name ends in `.gz`, and return how many.

    Equal records give equal bytes.

    Raises:
        RecordError: the file can't be written.
    """
    lines = [to_line(record) for record in records]
    data = "".join(f"{line}\n" for line in lines).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    except OSError as error:
        raise RecordError(f"{path} can't be written: {error.strerror}") from error
    return len(lines)


def select(records: Iterable[Record], *, board: str | None, workload: str | None) -> list[Record]:
    """Return the records of a board, and of workloads that contain a text; None is all."""
    return [
        record
        for record in records
        if (board is None or record.conditions.board == board) and (workload is None or workload in record.workload)
    ]


def superseded(records: Iterable[Record]) -> list[Record]:
    """Return failures, and all but the newest trial of each candidate under each conditions."""
    newest: dict[tuple[str, str, Conditions], Record] = {}
    old = []
    for record in records:
        if record.cost is None:
            old.append(record)
            continue
        key = record.workload, record.candidate, record.conditions
        held = newest.get(key)
        if held is not None:
            old.append(min(held, record, key=lambda each: each.time))
        newest[key] = record if held is None else max(held, record, key=lambda each: each.time)
    return old
