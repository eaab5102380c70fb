"""What a compilation or a run showed, as values, JSON and text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.errors import UtvmError
from utvm.graph import DType, Tensor
from utvm.lowering import Program, SlowerCall
from utvm.notebook import shortened


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsUsed:
    """Which records chose kernels: operators by origin of the record, and how many have none, or outdated ones."""

    by_origin: Mapping[str, int]
    estimated: int
    outdated: int

    def __str__(self) -> str:
        """One line, for people."""
        parts = [f"{count} kernels by records ({origin})" for origin, count in self.by_origin.items()]
        if self.estimated or not (parts or self.outdated):
            parts.append(f"{self.estimated} by estimate")
        if self.outdated:
            why = "their records are of other weights, of another version or of no config"
            parts.append(f"{self.outdated} by estimate, since {why}")
        return ", ".join(parts)


def records_used(program: Program) -> RecordsUsed:
    """Return which records chose the kernels of a program."""
    origins = Counter(call.measured.origin for call in program.calls if call.measured is not None)
    outdated = sum(call.outdated for call in program.calls)
    return RecordsUsed(
        by_origin=dict(origins),
        estimated=len(program.calls) - origins.total() - outdated,
        outdated=outdated,
    )


def records_json(used: RecordsUsed) -> dict[str, Any]:
    """Return which records chose kernels as one JSON object."""
    return {"by_origin": dict(used.by_origin), "estimated": used.estimated, "outdated": used.outdated}


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileReport:
    """A compiled model's cost. Bytes; `flash_bytes` is code, constants and initialised data of the whole image.

    `slower` are operators that got a slower family than the core has for their kind. `distance` is by what share the
    plan's cycles exceed those that no plan within the budgets goes below, by estimate.
    """

    model: str
    board: str
    core: str
    operators: int
    macs: int
    arena_bytes: int
    arena_lower_bound: int
    constant_bytes: int
    flash_bytes: int
    seconds: Mapping[str, float]
    records: RecordsUsed
    slower: tuple[SlowerCall, ...] = ()
    distance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunReport:
    """One run. `cycles` is None where the board has no counter that can be trusted; `stack_bytes` is what was used."""

    model: str
    board: str
    tensors: tuple[Tensor, ...]
    outputs: Mapping[str, NDArray[Any]]
    instructions: int | None
    cycles: int | None
    cycles_source: str | None
    arena_bytes: int
    flash_bytes: int
    stack_bytes: int | None
    seconds: Mapping[str, float]
    records: RecordsUsed

    def __repr__(self) -> str:
        """A few lines, without the arrays."""
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in list(self.outputs.items())[:4])
        return (
            f"RunReport({shortened(self.model)!r} on {self.board}, outputs {shortened(shapes, 120)},\n"
            f"  cycles {self.cycles} ({self.cycles_source}), instructions {self.instructions})"
        )


def compiled_json(report: CompileReport, paths: Sequence[Path]) -> dict[str, Any]:
    """Return a compilation as one JSON object."""
    return {
        "model": report.model,
        "board": report.board,
        "core": report.core,
        "operators": report.operators,
        "macs": report.macs,
        "arena_bytes": report.arena_bytes,
        "arena_lower_bound": report.arena_lower_bound,
        "constant_bytes": report.constant_bytes,
        "flash_bytes": report.flash_bytes,
        "records": records_json(report.records),
        "slower": [asdict(call) for call in report.slower],
        "distance": None if report.distance is None else round(report.distance, 6),
        "files": [str(path) for path in paths],
        "seconds": _rounded(report.seconds),
    }


def compiled_text(report: CompileReport, paths: Sequence[Path]) -> str:
    """Return a compilation for people."""
    lines = [
        f"{report.model} for {report.board} ({report.core}): {report.operators} kernel calls, {report.macs:,} MACs",
        f"  RAM    {report.arena_bytes:>9,} B arena (lower bound {report.arena_lower_bound:,} B)",
        f"  flash  {report.flash_bytes:>9,} B, of which {report.constant_bytes:,} B constants",
        f"  chosen {report.records}",
        *_distance(report),
        *(f"  slower {call}" for call in report.slower),
        f"  time   {_times(report.seconds)}",
        "  files  " + ", ".join(str(path) for path in paths),
    ]
    return "\n".join(lines)


def _distance(report: CompileReport) -> Sequence[str]:
    """Say how far the plan can be from the best."""
    if report.distance is None:
        return []
    return [f"  plan   within {100 * report.distance:.1f} % of the fewest cycles for this budget, by estimate"]


def run_json(report: RunReport) -> dict[str, Any]:
    """Return a run as one JSON object; outputs are the raw integers (floats for a float output)."""
    return {
        "model": report.model,
        "board": report.board,
        "outputs": {name: array.tolist() for name, array in report.outputs.items()},
        "instructions": report.instructions,
        "cycles": None if report.cycles is None else {"value": report.cycles, "source": report.cycles_source},
        "arena_bytes": report.arena_bytes,
        "flash_bytes": report.flash_bytes,
        "stack_bytes": report.stack_bytes,
        "records": records_json(report.records),
        "seconds": _rounded(report.seconds),
    }


def run_text(report: RunReport, labels: Sequence[str] | None = None) -> str:
    """Return a run for people; small outputs as scores, the best first."""
    lines = [f"{report.model} on {report.board}"]
    for tensor in report.tensors:
        lines += [f"  {line}" for line in _output_lines(tensor, report.outputs[tensor.name], labels)]
    instructions = "not counted" if report.instructions is None else f"{report.instructions:,} (exact)"
    lines.append(f"  instructions  {instructions}")
    if report.cycles is not None:
        lines.append(f"  cycles        {report.cycles:,} ({report.cycles_source})")
    stack = "" if report.stack_bytes is None else f" + {report.stack_bytes:,} B stack used"
    lines.append(f"  RAM           {report.arena_bytes:,} B arena{stack}")
    lines.append(f"  flash         {report.flash_bytes:,} B")
    lines.append(f"  chosen        {report.records}")
    lines.append(f"  time          {_times(report.seconds)}")
    return "\n".join(lines)


def read_labels(path: Path | None) -> tuple[str, ...] | None:
    """Read class names, one a line; None gives None.

    Raises:
        UtvmError: the file can't be read.
    """
    if path is None:
        return None
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UtvmError(f"the labels in {path} can't be read: {error}") from error


def scores(tensor: Tensor, array: NDArray[Any]) -> NDArray[np.float64]:
    """Return an output as real numbers: dequantised if it is quantised."""
    values = array.astype(np.float64)
    if tensor.dtype is DType.FLOAT32 or tensor.quant is None:
        return values
    return (values - tensor.zero_point) * tensor.scale


def _output_lines(tensor: Tensor, array: NDArray[Any], labels: Sequence[str] | None) -> list[str]:
    real, raw = scores(tensor, array).reshape(-1), array.reshape(-1)
    head = f"{tensor.name}: {tensor.dtype}{list(tensor.shape)}"
    if labels is not None and len(labels) != raw.size:
        raise UtvmError(f"there are {len(labels)} labels, but output '{tensor.name}' has {raw.size} values")
    if raw.size > 1000 and labels is None:
        return [f"{head}, from {raw.min()} to {raw.max()}"]
    best = sorted(range(raw.size), key=lambda i: -real[i])[:5]
    names = labels or [f"[{index}]" for index in range(raw.size)]
    width = max(len(names[index]) for index in best)
    return [head, *(f"  {names[index]:<{width}}  {real[index]:9.4f}  (raw {raw[index]})" for index in best)]


def _times(seconds: Mapping[str, float]) -> str:
    parts = ", ".join(f"{stage} {value * 1e3:.0f} ms" for stage, value in seconds.items())
    return f"{sum(seconds.values()):.2f} s: {parts}"


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(value, 6) for stage, value in seconds.items()}
