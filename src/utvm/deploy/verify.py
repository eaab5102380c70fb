"""Checking an export against the model it came from: on this machine and on the emulated board, bit by bit."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm import api
from utvm.boards import Board
from utvm.deploy.build import library_image, shipping
from utvm.deploy.export import sha256
from utvm.deploy.harness import (
    COPY_SYMBOL,
    HOOKS_HEADER,
    RUN_SYMBOL,
    WANTED_SYMBOL,
    board_harness,
    buffer,
    hooks_header,
    host_harness,
    results_of,
)
from utvm.deploy.manifest import Form, Manifest, Result
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.graph import Graph
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.passes import run_passes

Array = NDArray[Any]
Inputs = Sequence[Array]
Runner = Callable[[Inputs, int | None], list[Array]]
"""Inputs and the number of a layer's result → the outputs, or that result alone."""

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
class Check:
    """What one machine showed: how it ran the export, how much was compared, and the first difference."""

    place: str
    inputs: int
    layers: int
    difference: Difference | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """All checks; `changed` are files that are not as they were exported, `other_model` that the model's file is."""

    name: str
    checks: tuple[Check, ...]
    changed: tuple[str, ...]
    other_model: bool

    @property
    def passed(self) -> bool:
        """Whether nothing differs."""
        return all(check.difference is None for check in self.checks)


def verify(
    directory: Path,
    model: Path,
    *,
    inputs: int = 16,
    layers: bool = False,
    board: str | Path | Board | None = None,
    host: bool = True,
) -> Verification:
    """Build an export from its files, run inputs through it, and compare with the model.

    On this machine the files are built with address and undefined-behaviour sanitizers; what those report is an error.

    Args:
        directory: the export.
        model: the model file that it should be equal to.
        inputs: how many seeded random inputs; the first are all lowest and all highest values.
        layers: whether to compare every operator's result too; where an output differs, that is done anyway.
        board: an emulated board to run on; that of the manifest if None. Boards without an emulator are left out.
        host: whether to run on this machine.

    Raises:
        VerifyError: the files can't be built or run, or a sanitizer has something to report.
        UtvmError: the model, the manifest or the board can't be read.
    """
    if inputs < 1:
        raise VerifyError(f"{inputs} inputs show nothing: give at least 1")
    manifest = Manifest.read(directory)
    files = _files(directory, manifest)
    graph = load(model)
    _check_ports(manifest, graph)
    reference = _Reference(graph, inputs)
    checks = []
    if host:
        form = manifest.portable_form or manifest.core_form
        kernels = "portable kernels" if manifest.portable_form is not None else "same kernels"
        with _on_host(manifest, files, form) as run:
            checks.append(_check(f"this machine ({kernels}, sanitizers)", run, reference, form, layers))
    target = shipping(api.as_board(manifest.board if board is None else board))
    if target.emulator is not None:
        with _on_board(manifest, files, target) as run:
            checks.append(_check(f"board {target.name}", run, reference, manifest.core_form, layers))
    return Verification(
        name=manifest.name,
        checks=tuple(checks),
        changed=tuple(name for name, digest in manifest.files.items() if sha256(files[name].encode()) != digest),
        other_model=sha256(model.read_bytes()) != manifest.model_sha256,
    )


class _Reference:
    """Inputs, and what the model makes of them: outputs by the imported graph, layers by that after all passes."""

    def __init__(self, graph: Graph, count: int) -> None:
        self.graph = graph
        self._optimised = run_passes(graph)
        self.inputs = [self._inputs(number) for number in range(count)]

    def outputs(self, number: int) -> list[Array]:
        values = evaluate(self.graph, self.inputs[number])
        return [values[tensor.name] for tensor in self.graph.outputs]

    def layers(self, number: int) -> Mapping[str, Array]:
        return evaluate(self._optimised, self.inputs[number], keep=True)

    def _inputs(self, number: int) -> list[Array]:
        drawn = [random_input(tensor, number + index) for index, tensor in enumerate(self.graph.inputs)]
        if number < 2:
            return [np.full_like(a, a.min() if number == 0 else a.max()) for a in drawn]
        return drawn


def _check(place: str, run: Runner, reference: _Reference, form: Form, layers: bool) -> Check:
    compared = 0
    for number, inputs in enumerate(reference.inputs):
        wanted = reference.outputs(number)
        got = run(inputs, None)
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
                held = run(inputs, position)[0]
                if (here := _difference(number, label, result.tensor, held, value)) is not None:
                    found.insert(0, here)
                    break
        if found:
            return Check(place=place, inputs=number + 1, layers=compared, difference=found[0])
    return Check(place=place, inputs=len(reference.inputs), layers=compared, difference=None)


def _wanted(by_name: Mapping[str, Array], tensor: str) -> Array | None:
    """Return what a tensor should be; one that is computed in stripes is some rows of one of the model's."""
    stripe = _STRIPE.fullmatch(tensor)
    if stripe is None:
        return by_name.get(tensor)
    whole = by_name.get(stripe["whole"])
    return None if whole is None else whole[:, int(stripe["first"]) : int(stripe["end"])]


def _difference(number: int, operator: str | None, tensor: str, got: Array, wanted: Array) -> Difference | None:
    held = got.reshape(wanted.shape)
    # Bits, not values: NaN equals itself, and the two zeros differ.
    differs = held.view(f"u{held.itemsize}") != np.ascontiguousarray(wanted).view(f"u{wanted.itemsize}")
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
    files = {}
    for name in manifest.files:
        try:
            files[name] = (directory / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise VerifyError(f"{directory / name} can't be read ({error}): export the model again") from error
    return files


def _check_ports(manifest: Manifest, graph: Graph) -> None:
    for kind, ports, tensors in (
        ("inputs", manifest.inputs, graph.inputs),
        ("outputs", manifest.outputs, graph.outputs),
    ):
        theirs = [(str(t.dtype), t.shape) for t in tensors]
        ours = [(p.dtype, p.shape) for p in ports]
        if theirs != ours:
            raise VerifyError(
                f"the model's {kind} are {_shapes(theirs)}, the export's {_shapes(ours)}: another model was exported"
            )


def _shapes(ports: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{dtype}{list(shape)}" for dtype, shape in ports)


def _arrays(manifest: Manifest, raw: bytes, result: Result | None) -> list[Array]:
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
def _on_host(manifest: Manifest, files: Mapping[str, str], form: Form) -> Iterator[Runner]:
    """Build for this machine; yields what runs it."""
    name, results = manifest.name, results_of(form)
    with tempfile.TemporaryDirectory(prefix="utvm-verify-") as scratch:
        folder = Path(scratch)
        main = host_harness(name, manifest.inputs, manifest.outputs, form)
        for file, text in {**files, HOOKS_HEADER: hooks_header(name), "utvm_main.c": main}.items():
            (folder / file).write_text(text, encoding="utf-8")
        units = sorted(path.name for path in folder.glob("*.c"))
        _host(["gcc", *HOST_FLAGS, *_hook_flags(name), *units, "-o", "run"], folder, b"", "build for this machine")

        def run(inputs: Inputs, position: int | None) -> list[Array]:
            given = b"".join(np.ascontiguousarray(value).tobytes() for value in inputs)
            wanted = [] if position is None else [str(position)]
            raw = _host([str(folder / "run"), *wanted], folder, given, "run on this machine")
            return _arrays(manifest, raw, None if position is None else results[position][1])

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
    harness = board_harness(manifest.name, manifest.inputs, manifest.outputs, form)
    image = library_image(board, every, harness, flags=_hook_flags(manifest.name))
    with api.connect(board) as session:
        session.load(image)

        def run(inputs: Inputs, position: int | None) -> list[Array]:
            for port, value in zip(manifest.inputs, inputs, strict=True):
                session.write(buffer(port), np.ascontiguousarray(value).tobytes())
            session.write(WANTED_SYMBOL, (-1 if position is None else position).to_bytes(4, "little", signed=True))
            status = session.call(RUN_SYMBOL).value
            if status:
                raise VerifyError(f"{manifest.name}_run returned status {status} on {board.name}")
            if position is not None:
                result = results[position][1]
                return _arrays(manifest, session.read(COPY_SYMBOL, result.nbytes), result)
            raw = b"".join(session.read(buffer(port), port.nbytes) for port in manifest.outputs)
            return _arrays(manifest, raw, None)

        yield run
