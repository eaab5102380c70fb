"""What the cycle model may assume beyond zero-wait memory: the memories of a real part, or a slower pipeline.

The memories are those that the parts' TOML describe (`utvm.boards.MemoryModel`). Nothing here was compared with silicon
access by access; docs/cycle-model.md says what was.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from utvm.boards import MemoryModel, list_boards
from utvm.cores.cortex_m4_timing import CORTEX_M3_TIMING, CORTEX_M4_TIMING, CORTEX_M33_TIMING
from utvm.cores.cortex_m7_measured import PESSIMISTIC_CORTEX_M7_TIMING
from utvm.cores.cortex_m7_timing import CORTEX_M7_TIMING
from utvm.cores.measured import MEASURED, measured_timing
from utvm.cores.timing import Timing
from utvm.emulators.counters import RangeCounts
from utvm.errors import UtvmError


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """A variant of the cycle model.

    Attributes:
        name: what `--assume` calls it; several names between commas for several at once.
        description: one line.
        cores: those that it can be made for.
        timings: core → pipeline that cycles are modelled with, instead of the core's own.
        memory: the memories of a part, instead of zero-wait memory.
        schedules: whether kernels are chosen and scheduled for that pipeline too.
    """

    name: str
    description: str
    cores: tuple[str, ...]
    timings: Mapping[str, Timing] = field(default_factory=dict)
    memory: MemoryModel | None = None
    schedules: bool = False


_COMPILERS: Mapping[str, Timing] = {
    "cortex-m7": CORTEX_M7_TIMING,
    "cortex-m4": CORTEX_M4_TIMING,
    "cortex-m3": CORTEX_M3_TIMING,
    "cortex-m33": CORTEX_M33_TIMING,
}


@cache
def assumptions() -> dict[str, Assumption]:
    """Return all by name."""
    memories = {
        board.memory_model.name: Assumption(
            name=board.memory_model.name,
            description=board.memory_model.description,
            cores=(board.core.name,),
            memory=board.memory_model,
        )
        for board in list_boards()
        if board.memory_model is not None
    }
    pipelines = (
        Assumption(
            name="measured",
            description="pipelines as others measured them on silicon: the default",
            cores=tuple(MEASURED),
            timings=MEASURED,
            schedules=True,
        ),
        Assumption(
            name="compilers",
            description="pipelines as compilers and manuals have them",
            cores=tuple(_COMPILERS),
            timings=_COMPILERS,
            schedules=True,
        ),
        Assumption(
            name="pessimistic-m7",
            description="Cortex-M7 with one load a cycle and one cycle more from a load to its use",
            cores=("cortex-m7",),
            timings={"cortex-m7": PESSIMISTIC_CORTEX_M7_TIMING},
        ),
    )
    return {**memories, **{each.name: each for each in pipelines}}


def get_assumption(name: str, core: str) -> Assumption:
    """Return an assumption that can be made for a core; of several names between commas, all together.

    A name that ends in `.toml` is a file of a `[pipeline]`, as `utvm boards check --pipeline` prints it.

    Raises:
        UtvmError: there is none of that name, or it is for other cores, or two exclude each other, or a file is wrong.
    """
    known = {key: value for key, value in assumptions().items() if core in value.cores}
    names = [each.strip() for each in name.split(",")]
    known |= {each: _from_file(Path(each), core) for each in names if each.endswith(".toml")}
    for each in names:
        if each not in known:
            raise UtvmError(
                f"nothing is known to assume as '{each}' for {core}; known: {', '.join(known) or 'nothing'}"
            )
    chosen = [known[each] for each in names]
    if sum(bool(each.timings) for each in chosen) > 1 or sum(each.memory is not None for each in chosen) > 1:
        raise UtvmError(f"'{name}' assumes two pipelines or two memories at once: name one of each")
    if len(chosen) == 1:
        return chosen[0]
    return Assumption(
        name=",".join(names),
        description="; ".join(each.description for each in chosen),
        cores=(core,),
        timings=next((each.timings for each in chosen if each.timings), {}),
        memory=next((each.memory for each in chosen if each.memory is not None), None),
        schedules=any(each.schedules for each in chosen),
    )


def _from_file(path: Path, core: str) -> Assumption:
    """Return the pipeline that a file describes: the measured one, with the facts of its `[pipeline]` changed."""
    try:
        text = path.read_text(encoding="utf-8")
        pipeline = tomllib.loads(text).get("pipeline")
    except (OSError, ValueError) as error:
        raise UtvmError(f"{path} can't be read as TOML: {error}") from error
    if not isinstance(pipeline, dict) or pipeline.get("core") != core:
        raise UtvmError(f'{path} has no [pipeline] with core = "{core}": see `utvm boards check --pipeline`')
    changes = {key: value for key, value in pipeline.items() if key != "core"}
    # Schedules are kept by the name of the timing: equal facts, equal name.
    name = f"model: {core} as {path.stem} ({hashlib.sha256(repr(sorted(changes.items())).encode()).hexdigest()[:8]})"
    return Assumption(
        name=str(path),
        description=f"the pipeline of {path.name}",
        cores=(core,),
        timings={core: measured_timing(core, changes, name)},
        schedules=True,
    )


def stalls(memory: MemoryModel, flash: RangeCounts, ram: RangeCounts) -> int:
    """Return the cycles that the counted misses wait."""
    return (
        memory.sequential_fetch_miss * flash.sequential_fetch_misses
        + memory.fetch_miss * (flash.fetch_misses - flash.sequential_fetch_misses)
        + memory.sequential_constant_miss * flash.sequential_read_misses
        + memory.constant_miss * (flash.read_misses - flash.sequential_read_misses)
        + memory.ram_miss * (ram.read_misses + ram.write_misses)
    )
