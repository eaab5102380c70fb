"""The manifest of an export: what the C is made of, what it costs, and how that is known."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from operator import index
from pathlib import Path
from typing import Any

from utvm.errors import UtvmError
from utvm.graph import DType
from utvm.naming import identifier, plain

MANIFEST_FILE = "manifest.json"
FORMAT = 1
_FILE = re.compile(r"[a-z0-9_]+\.[ch]")


class ManifestError(UtvmError):
    """A directory that is no export, or one of another version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output: its tensor in the model, the C parameter, and its quantisation if it has one."""

    tensor: str
    parameter: str
    dtype: DType
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultEntry:
    """A tensor that an operator writes, and where in the arena it is just after that."""

    tensor: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorEntry:
    """One kernel call. Bytes."""

    name: str
    kind: str
    workload: str
    macs: int
    family: str
    config: Mapping[str, int | str]
    function: str
    constant_bytes: int
    scratch_bytes: int
    results: tuple[ResultEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CForm:
    """One of the two forms of the C: that for the core, or that with portable kernels. Bytes."""

    arena_bytes: int
    arena_lower_bound: int
    constant_bytes: int
    operators: tuple[OperatorEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowerEntry:
    """An operator of the core's form that a faster family of its kind does not compute.

    Attributes:
        name, kind, family: the operator, its type, and what computes it.
        reasons: why faster families do not.
        share: of the network's cycles that is lost, from 0 to 1.
        basis: how the share is known.
    """

    name: str
    kind: str
    family: str
    reasons: tuple[str, ...]
    share: float
    basis: str

    def __str__(self) -> str:
        """One line of plain characters."""
        lost = f"about {100 * self.share:.1f} percent of the network lost, {self.basis}"
        return "; ".join([plain(f"{self.name} ({self.kind}, {self.family}): {lost}"), *map(plain, self.reasons)])


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedSize:
    """What linking the model adds to a program under one optimisation. `stack_bytes` is a bound for the worst case."""

    optimize: str
    code_bytes: int
    constant_bytes: int
    data_bytes: int
    stack_bytes: int
    stack_chain: tuple[str, ...]

    @property
    def flash_bytes(self) -> int:
        """Code, constants and initial values."""
        return self.code_bytes + self.constant_bytes + self.data_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The cost of a run in instructions and cycles, and where the figures come from; None is not known.

    Attributes:
        clock_hz: the board's clock.
        ram_bytes: RAM of the board that data may lie in.
        storage_bytes: memory of the board for code and constants.
    """

    optimize: str
    instructions: int | None
    cycles: int | None
    source: str
    clock_hz: int = 0
    ram_bytes: int = 0
    storage_bytes: int = 0

    @property
    def milliseconds(self) -> float | None:
        """A run's time at the board's clock; None where it is not known."""
        return 1000 * self.cycles / self.clock_hz if self.cycles and self.clock_hz else None

    @property
    def how(self) -> str:
        """Where the figures come from, for people; modelled ones say so."""
        return f"modelled; {self.source}" if self.source.startswith("model:") else self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that is known of an export. `files` has the SHA-256 of each file.

    `state_bytes` of the arena are kept from run to run.
    """

    utvm: str
    name: str
    model_file: str
    model_sha256: str
    model_macs: int
    board: str
    core: str
    compiler: str
    flags: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    core_form: CForm
    portable_form: CForm | None
    builds: tuple[LinkedSize, ...]
    stack_bound: int
    expected: Expected
    budgets: Mapping[str, int]
    state_bytes: int
    slower: tuple[SlowerEntry, ...]
    files: Mapping[str, str]

    @property
    def flash_bytes(self) -> int:
        """The most flash of any build."""
        return max(build.flash_bytes for build in self.builds)

    @property
    def stack_bytes(self) -> int:
        """The most stack of a run under any compiler option that the header takes."""
        return self.stack_bound

    def to_json(self) -> str:
        """Return the manifest's text."""
        values = {"format": FORMAT, **asdict(self), "flash_bytes": self.flash_bytes, "stack_bytes": self.stack_bytes}
        for build, entry in zip(self.builds, values["builds"], strict=True):
            entry["flash_bytes"] = build.flash_bytes
        time = self.expected.milliseconds
        values["expected"]["milliseconds"] = time
        values["expected"]["inferences_per_second"] = 1000 / time if time else None
        return json.dumps(values, indent=2) + "\n"

    @staticmethod
    def read(directory: Path) -> Manifest:
        """Read the manifest of an export.

        Raises:
            ManifestError: there is none, or not one that this version understands.
        """
        path = directory / MANIFEST_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ManifestError(f"{directory} is no export: {path} can't be read: {error.strerror}") from error
        except ValueError as error:
            raise ManifestError(f"{path} is no JSON: {error} (export the model again)") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ManifestError(f"{path} is not in format {FORMAT}: export the model again with this version of µTVM")
        missing = [field for field in Manifest.__dataclass_fields__ if field not in values]
        if missing:
            raise ManifestError(
                f"{path} was written by another version of µTVM (no {', '.join(missing)}): export the model again with "
                "this one, then verify"
            )
        try:
            return _checked(_manifest(values), path)
        except KeyError as error:
            raise ManifestError(
                f"{path} is not complete (no {plain(str(error.args[0]))}): export the model again"
            ) from error
        except (TypeError, ValueError, AttributeError) as error:
            raise ManifestError(f"{path} is damaged: export the model again") from error


def _checked(manifest: Manifest, path: Path) -> Manifest:
    """Refuse names that a manifest of ours never has: they become C and paths."""
    ports = [port.parameter for port in (*manifest.inputs, *manifest.outputs)]
    wrong = [name for name in (manifest.name, *ports) if identifier(name, "x") != name]
    wrong += [file for file in manifest.files if not _FILE.fullmatch(file)]
    if wrong:
        raise ManifestError(f"{path} names {plain(str(wrong[0]))}, which no export has: export the model again")
    return manifest


def _manifest(values: dict[str, Any]) -> Manifest:
    taken = {key: values[key] for key in Manifest.__dataclass_fields__}
    for key in ("inputs", "outputs"):
        taken[key] = tuple(Port(**_typed(entry)) for entry in values[key])
    taken["core_form"] = _form(values["core_form"])
    taken["portable_form"] = None if values["portable_form"] is None else _form(values["portable_form"])
    taken["builds"] = tuple(
        LinkedSize(**{key: _plain(entry[key]) for key in LinkedSize.__dataclass_fields__}) for entry in values["builds"]
    )
    expected = values["expected"]
    taken["expected"] = Expected(**{key: expected[key] for key in Expected.__dataclass_fields__ if key in expected})
    taken["slower"] = tuple(
        SlowerEntry(**{**entry, "reasons": tuple(map(str, entry["reasons"]))}) for entry in values["slower"]
    )
    taken["flags"] = tuple(values["flags"])
    return Manifest(**taken)


def _form(values: dict[str, Any]) -> CForm:
    operators = []
    for entry in values["operators"]:
        results = tuple(
            ResultEntry(**{**_typed(result), "offset": index(result["offset"])}) for result in entry["results"]
        )
        operators.append(OperatorEntry(**{**entry, "results": results}))
    return CForm(**{**values, "operators": tuple(operators)})


def _typed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tensor's values with the types that they have."""
    return {**entry, "dtype": DType(entry["dtype"]), "shape": tuple(map(index, entry["shape"]))}


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
