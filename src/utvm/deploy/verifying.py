"""Checking an export against the model it came from: on this machine and on the emulated board, bit by bit."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm import api
from utvm.arguments import checked_arguments
from utvm.boards import Board, list_boards
from utvm.codegen import RESET_MODEL_SYMBOL, RUN_SYMBOL
from utvm.deploy.build import library_image, shipping
from utvm.deploy.directory import changed_files
from utvm.deploy.exporting import GivenModel, sha256
from utvm.deploy.harness import (
    COPY_SYMBOL,
    HOOKS_HEADER,
    WANTED_SYMBOL,
    board_harness,
    buffer,
    hooks_header,
    host_harness,
    results_of,
)
from utvm.deploy.manifest import CForm, Manifest, ResultEntry
from utvm.errors import UtvmError
from utvm.graph import Graph
from utvm.graph.reference import differing, evaluate
from utvm.graph.samples import random_input
from utvm.notebook import shortened
from utvm.passes import run_passes
from utvm.progress import end, say

Array = NDArray[Any]
Inputs = Sequence[Array]
Runner = Callable[[Sequence[Inputs], int | None], list[Array]]
"""Inputs of runs one after another from the start, and the number of a layer's result → the last run's outputs, or that
result alone. Where no state is kept, the last inputs are enough."""

HOST_FLAGS = (
    "-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2", "-g1", "-ffp-contract=off",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
)  # fmt: skip
_HOST_SECONDS = 120
_STRIPE = re.compile(r"(?P<whole>.*)\[(?P<first>\d+):(?P<end>\d+)\] stripe \d+", re.DOTALL)


class VerifyError(UtvmError):
    """A check that can't be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first place where an export is not what the model says. `operator` is None for an output of the whole."""

    input: int
    operator: str | None
    tensor: str
    element: tuple[int, ...]
    got: float
    wanted: float
    differing: int
    elements: int

    def __str__(self) -> str:
        where = "the outputs alone" if self.operator is None else self.operator
        return (
            f"input {self.input}: the first difference is in {where}: tensor '{self.tensor}' is {self.got:g} at "
            f"{list(self.element)}, should be {self.wanted:g}; {self.differing:,} of {self.elements:,} elements differ"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCheck:
    """What one machine showed.

    Attributes:
        place: the machine, and what it ran.
        inputs: how many were compared.
        layers: how many results of operators were compared.
        difference: the first, None if there is none.
        failure: why the export could not be built or run there, None if it ran.
    """

    place: str
    inputs: int
    layers: int
    difference: Difference | None
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All checks of an export.

    Attributes:
        name: of the export.
        checks: one a machine.
        changed: files that are not as they were exported, are missing, or that a build would take too.
        other_model: whether the model's file is another than the exported one.
        allow_changed: whether changed files may pass.

    Example:
        verification = utvm.verify("library", "model.tflite", inputs=4)
        print(verification.passed, verification.changed)
    """

    name: str
    checks: tuple[MachineCheck, ...]
    changed: tuple[str, ...]
    other_model: bool
    allow_changed: bool = False

    def __repr__(self) -> str:
        """A line, and one a machine."""
        told = "passed" if self.passed else "not passed"
        lines = [f"\n  {shortened(check.place)}: {check.inputs} inputs" for check in self.checks]
        return f"Verification({self.name!r}, {told}{''.join(lines)})"

    @property
    def passed(self) -> bool:
        """Whether the export ran, nothing differs, and its files are those that were exported or may be others."""
        ran = bool(self.checks) and all(c.difference is None and c.failure is None for c in self.checks)
        return ran and (self.allow_changed or not self.changed)


@checked_arguments
def verify(
    directory: str | Path,
    model: str | Path | api.QuantizedModel,
    *,
    inputs: int = 16,
    layers: bool = False,
    board: str | Path | Board | None = None,
    host: bool = True,
    allow_changed: bool = False,
) -> Verification:
    """Build an export from its files, run inputs through it, and compare with the model.

    A network that keeps state gets the inputs as one sequence, from its first values on. On this machine the files are
    built with address and undefined-behaviour sanitizers; what those report is an error.

    Args:
        directory: the export.
        model: the model that it should be equal to: its file, or what `utvm.quantize` made.
        inputs: how many seeded random inputs; the first are all lowest and all highest values.
        layers: whether to compare every operator's result too; where an output differs, that is done anyway.
        board: the board to run on; that of the manifest if None. For one that can't run here, the emulated board of
            its core takes its place.
        host: whether to run on this machine.
        allow_changed: whether files that were changed since the export may pass.

    Raises:
        VerifyError: the model is another's, or no input is asked for.
        UtvmError: the model, the manifest or the board can't be read.

    Example:
        assert utvm.verify("library", "model.tflite", inputs=4).passed
    """
    directory = Path(directory)
    if inputs < 1:
        raise VerifyError(f"{inputs} inputs show nothing: give at least 1")
    manifest = Manifest.read(directory)
    files = _files(directory, manifest)
    given = GivenModel.of(model)
    graph = given.graph
    _check_ports(manifest, graph)
    reference = _Reference(graph, inputs)
    checks = []
    say("reading the export")
    missing = [name for name in manifest.files if name not in files]
    if host:
        form = manifest.portable_form or manifest.core_form
        kernels = "portable kernels" if manifest.portable_form is not None else "same kernels"
        place = f"this machine ({kernels}, sanitizers)"
        checks.append(_checked(place, _on_host(manifest, files, form), missing, reference, form, layers))
    asked = shipping(api.as_board(manifest.board if board is None else board))
    target = asked if asked.emulator is not None else _emulated(asked)
    if target is None:
        failure = f"no emulated board has its core, {asked.core.name}"
        checks.append(MachineCheck(place=f"board {asked.name}", inputs=0, layers=0, difference=None, failure=failure))
    else:
        instead = "" if target is asked else f" in place of {asked.name}"
        place = f"board {target.name}{instead}"
        run = _on_board(manifest, files, target)
        checks.append(_checked(place, run, missing, reference, manifest.core_form, layers))
    end()
    return Verification(
        name=manifest.name,
        checks=tuple(checks),
        changed=_changed(directory, manifest, files),
        other_model=given.sha256 != manifest.model_sha256,
        allow_changed=allow_changed,
    )


def _emulated(board: Board) -> Board | None:
    """Return the emulated board of a board's core, None if there is none; QEMU's before simulated ones."""
    same = [b for b in list_boards() if b.emulator is not None and b.core.name == board.core.name]
    return min(same, key=lambda b: b.emulator is None or b.emulator.kind != "qemu", default=None)


def _checked(
    place: str,
    built: AbstractContextManager[Runner],
    missing: Sequence[str],
    reference: _Reference,
    form: CForm,
    layers: bool,
) -> MachineCheck:
    """Return what a machine showed; that it could not build or run is a check that failed."""
    try:
        if missing:
            raise VerifyError(f"{', '.join(missing)} can't be read: export the model again")
        say(f"building for {place}")
        with built as run:
            return _check(place, run, reference, form, layers)
    except UtvmError as error:
        return MachineCheck(place=place, inputs=0, layers=0, difference=None, failure=str(error))


class _Reference:
    """Inputs, and what the model makes of them: outputs by the imported graph, layers by that after all passes."""

    def __init__(self, graph: Graph, count: int) -> None:
        self.graph = graph
        self._optimised = run_passes(graph)
        self.inputs = [self._inputs(number) for number in range(count)]
        self._memory: dict[str, Array] = {}
        self._before: dict[str, Array] = {}

    def sequence(self, number: int) -> Sequence[Inputs]:
        """Return what must be run for the results of one of the inputs."""
        return self.inputs[: number + 1] if self.graph.states else self.inputs[number : number + 1]

    def outputs(self, number: int) -> list[Array]:
        """Return the outputs for the inputs, which come in their order; the first ones start anew."""
        if number == 0:
            self._memory.clear()
        self._before = dict(self._memory)
        values = evaluate(self.graph, self.inputs[number], memory=self._memory)
        return [values[tensor.name] for tensor in self.graph.outputs]

    def layers(self, number: int) -> Mapping[str, Array]:
        """Return what operators make of the inputs that `outputs` was asked for last."""
        return evaluate(self._optimised, self.inputs[number], keep=True, memory=dict(self._before))

    def _inputs(self, number: int) -> list[Array]:
        drawn = [random_input(tensor, number + index) for index, tensor in enumerate(self.graph.inputs)]
        if number < 2:
            return [np.full_like(a, a.min() if number == 0 else a.max()) for a in drawn]
        return drawn


def _check(place: str, run: Runner, reference: _Reference, form: CForm, layers: bool) -> MachineCheck:
    compared = 0
    for number in range(len(reference.inputs)):
        say(f"{place}: input {number + 1} of {len(reference.inputs)}")
        wanted = reference.outputs(number)
        sequence = reference.sequence(number)
        got = run(sequence, None)
        pairs = zip(reference.graph.outputs, got, wanted, strict=True)
        found = [d for t, g, w in pairs if (d := _difference(number, None, t.name, g, w)) is not None]
        if layers or found:
            by_name = reference.layers(number)
            for position, (index, result) in enumerate(results_of(form)):
                value = _wanted(by_name, result.tensor)
                if value is None or value.shape != result.shape:
                    continue
                compared += 1
                label = f"operator {index}, {form.operators[index].kind} '{form.operators[index].name}'"
                held = run(sequence, position)[0]
                if (here := _difference(number, label, result.tensor, held, value)) is not None:
                    found.insert(0, here)
                    break
        if found:
            return MachineCheck(place=place, inputs=number + 1, layers=compared, difference=found[0])
    return MachineCheck(place=place, inputs=len(reference.inputs), layers=compared, difference=None)


def _wanted(by_name: Mapping[str, Array], tensor: str) -> Array | None:
    """Return what a tensor should be; one that is computed in stripes is some rows of one of the model's."""
    stripe = _STRIPE.fullmatch(tensor)
    if stripe is None:
        return by_name.get(tensor)
    whole = by_name.get(stripe["whole"])
    return None if whole is None else whole[:, int(stripe["first"]) : int(stripe["end"])]


def _difference(number: int, operator: str | None, tensor: str, got: Array, wanted: Array) -> Difference | None:
    held = got.reshape(wanted.shape)
    differs = differing(held, wanted)
    if not differs.any():
        return None
    element = tuple(int(i) for i in np.argwhere(differs)[0])
    return Difference(
        input=number,
        operator=operator,
        tensor=tensor,
        element=element,
        got=float(held[element]),
        wanted=float(wanted[element]),
        differing=int(differs.sum()),
        elements=int(differs.size),
    )


def _files(directory: Path, manifest: Manifest) -> dict[str, str]:
    """Return the export's files that can be read; an Arduino library has them in `src`."""
    files: dict[str, str] = {}
    for name in manifest.files:
        for path in (directory / name, directory / "src" / name):
            with suppress(OSError, UnicodeDecodeError):
                files.setdefault(name, path.read_text(encoding="utf-8"))
    return files


def _changed(directory: Path, manifest: Manifest, files: Mapping[str, str]) -> tuple[str, ...]:
    """Return the files that are not those of the manifest, and then those that are not those of the export's record."""
    listed = [
        name if name in files else f"{name} (missing)"
        for name, digest in manifest.files.items()
        if name not in files or sha256(files[name].encode()) != digest
    ]
    others = changed_files(directory, f"{manifest.name}*.c")
    return (*listed, *(name for name in others if name.removeprefix("src/") not in listed))


def _check_ports(manifest: Manifest, graph: Graph) -> None:
    for kind, ports, tensors in (
        ("inputs", manifest.inputs, graph.inputs),
        ("outputs", manifest.outputs, graph.outputs),
    ):
        theirs = [(t.dtype, t.shape) for t in tensors]
        ours = [(p.dtype, p.shape) for p in ports]
        if theirs != ours:
            raise VerifyError(
                f"the model's {kind} are {_shapes(theirs)}, the export's {_shapes(ours)}: another model was exported"
            )


def _shapes(ports: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{dtype}{list(shape)}" for dtype, shape in ports)


def _arrays(manifest: Manifest, raw: bytes, result: ResultEntry | None) -> list[Array]:
    """Return the outputs, or one layer's result, out of the bytes that a harness gave."""
    if result is not None:
        return [np.frombuffer(raw, result.dtype).reshape(result.shape)]
    arrays, start = [], 0
    for port in manifest.outputs:
        arrays.append(np.frombuffer(raw[start : start + port.nbytes], port.dtype).reshape(port.shape))
        start += port.nbytes
    return arrays


def _hook_flags(name: str) -> tuple[str, ...]:
    return (f'-D{name.upper()}_HOOKS="{HOOKS_HEADER}"',)


@contextmanager
def _on_host(manifest: Manifest, files: Mapping[str, str], form: CForm) -> Iterator[Runner]:
    """Build for this machine; yields what runs it."""
    name, results = manifest.name, results_of(form)
    with tempfile.TemporaryDirectory(prefix="utvm-verify-") as scratch:
        folder = Path(scratch)
        main = host_harness(name, manifest.inputs, manifest.outputs, form)
        for file, text in {**files, HOOKS_HEADER: hooks_header(name), "utvm_main.c": main}.items():
            (folder / file).write_text(text, encoding="utf-8")
        units = sorted(path.name for path in folder.glob("*.c"))
        _host(["gcc", *HOST_FLAGS, *_hook_flags(name), *units, "-o", "run"], folder, b"", "build for this machine")

        def run(sequence: Sequence[Inputs], position: int | None) -> list[Array]:
            given = b"".join(np.ascontiguousarray(value).tobytes() for inputs in sequence for value in inputs)
            wanted = [] if position is None else [str(position)]
            raw = _host([str(folder / "run"), *wanted], folder, given, "run on this machine")
            last = raw[len(raw) // len(sequence) * (len(sequence) - 1) :]
            return _arrays(manifest, last, None if position is None else results[position][1])

        yield run


def _host(command: Sequence[str], folder: Path, given: bytes, purpose: str) -> bytes:
    try:
        done = subprocess.run(command, cwd=folder, input=given, capture_output=True, timeout=_HOST_SECONDS, check=False)
    except FileNotFoundError:
        raise VerifyError(
            f"{command[0]} is not installed: `apt-get install gcc libc6-dev`, then `utvm doctor`"
        ) from None
    except subprocess.TimeoutExpired:
        raise VerifyError(f"could not {purpose}: it took more than {_HOST_SECONDS} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
        shown = [line for line in lines if "error" in line.lower()] or lines
        raise VerifyError(f"could not {purpose} (status {done.returncode}):\n" + "\n".join(shown[:6]))
    return done.stdout


@contextmanager
def _on_board(manifest: Manifest, files: Mapping[str, str], board: Board) -> Iterator[Runner]:
    """Build for an emulated board, load it through its debug link; yields what runs it."""
    form = manifest.core_form
    results = results_of(form)
    every = {**files, HOOKS_HEADER: hooks_header(manifest.name)}
    states = manifest.state_bytes > 0
    harness = board_harness(manifest.name, manifest.inputs, manifest.outputs, form, states=states)
    image = library_image(board, every, harness, flags=_hook_flags(manifest.name), states=states)
    with api.connect(board) as session:
        session.load(image)
        done = 0  # runs since the last reset

        def step(inputs: Inputs) -> None:
            for port, value in zip(manifest.inputs, inputs, strict=True):
                session.write(buffer(port), np.ascontiguousarray(value).tobytes())
            status = session.call(RUN_SYMBOL).value
            if status:
                raise VerifyError(f"{manifest.name}_run returned status {status} on {board.name}")

        def run(sequence: Sequence[Inputs], position: int | None) -> list[Array]:
            nonlocal done
            if results:  # else the linker leaves out what copies them
                session.write(WANTED_SYMBOL, (-1 if position is None else position).to_bytes(4, "little", signed=True))
            if states and (done == 0 or done + 1 != len(sequence)):
                session.call(RESET_MODEL_SYMBOL)
                done = 0
            for inputs in sequence[done:] if states else sequence:
                step(inputs)
            done = len(sequence)
            if position is not None:
                result = results[position][1]
                return _arrays(manifest, session.read(COPY_SYMBOL, result.nbytes), result)
            raw = b"".join(session.read(buffer(port), port.nbytes) for port in manifest.outputs)
            return _arrays(manifest, raw, None)

        yield run
