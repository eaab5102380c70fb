"""The way through in a few calls: load a model, compile it for a board, run it there.

import utvm

compiled = utvm.compile("model.tflite", board="qemu-cortex-m7")
with utvm.connect("qemu-cortex-m7") as session:
    model = utvm.Model(session, compiled)
    result = model.run(image)
print(result.outputs, result.measurement.instructions)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.boards import Board, LinkKind, load_board
from utvm.codegen import ARENA_SYMBOL, RUN_SYMBOL, entry_source, step_symbol
from utvm.cores import Core
from utvm.device import LinkError, Measurement, Session, build_image, open_session
from utvm.dump import Dump
from utvm.emulators import emulator_target, get_assumption
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.frontends.inputs import fit_array, read_inputs
from utvm.graph import Graph
from utvm.graph.cost import macs
from utvm.kernels import FAMILIES, PORTABLE_FAMILIES, SMALL_FAMILIES, Config, KernelFamily
from utvm.lowering import FlashBudgetError, Program, lower
from utvm.passes import run_passes
from utvm.report import CompileReport, RunReport, records_used
from utvm.toolchain import Image, Source, default_cache_directory
from utvm.tuning.known import measurements

_RUNS = 3
"""How often a run is tried that the debug link breaks."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compiled:
    """A model compiled for a board: its program, its C files, the linked image, seconds spent per stage."""

    board: Board
    program: Program
    files: Mapping[str, str]
    image: Image
    seconds: Mapping[str, float]

    def report(self) -> CompileReport:
        """Return what the compilation showed."""
        return CompileReport(
            model=self.program.name,
            board=self.board.name,
            core=self.board.core.name,
            operators=len(self.program.calls),
            macs=macs(self.program.graph),
            arena_bytes=self.program.arena_bytes,
            arena_lower_bound=self.program.memory.lower_bound,
            constant_bytes=self.program.constant_bytes,
            flash_bytes=self.image.flash_bytes,
            seconds=self.seconds,
            records=records_used(self.program),
        )

    def write(self, directory: Path) -> tuple[Path, ...]:
        """Write the model's C files into `directory` (made if missing) and return their paths."""
        directory.mkdir(parents=True, exist_ok=True)
        paths = tuple(directory / name for name in self.files)
        for path, text in zip(paths, self.files.values(), strict=True):
            path.write_text(text, encoding="utf-8")
        return paths


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """One run: outputs by name, and what the session measured. `seconds` are the host's, per stage."""

    outputs: Mapping[str, NDArray[Any]]
    measurement: Measurement
    seconds: Mapping[str, float]


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent per named stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def as_board(board: str | Path | Board) -> Board:
    """Return a board by name, by the path of its TOML, or as it is."""
    return board if isinstance(board, Board) else load_board(board)


def compile(
    model: str | Path | Graph,
    board: str | Path | Board,
    *,
    name: str | None = None,
    small: bool = False,
    flash: int | None = None,
    ram: int | None = None,
    assume: str | None = None,
    records: str | Path | None = None,
    portable: Sequence[str] = (),
    steps: bool = False,
    dump: Path | None = None,
) -> Compiled:
    """Compile a model for a board.

    Args:
        model: a model file, or a graph.
        board: a board's name, the path of its TOML, or the board.
        name: the prefix of the C symbols; the model's name if None.
        small: whether to leave out kernels that buy speed with several times the flash and tens of KB of RAM.
        flash: bytes that code, weights and tables may take: kernels are chosen to fit; None is no limit, and an image
            larger than the board's memory is an error.
        ram: bytes that the arena may take; None likewise.
        assume: a part whose caches and flash the choice of kernels should suit: a name of
            `utvm.emulators.assumptions()`; None is what the board's file says, zero-wait memory if nothing.
        records: tuning records to choose kernels by: a file or URL, "none", or None for those that came with µTVM and
            those in the user's database (see `utvm.tuning.measurements`).
        portable: operators, by the names that a manifest or a profile shows, that get kernels in plain C; "all" is all.
        steps: whether the image has a function for each kernel call too, for profiling.
        dump: a directory for every stage: graph before and after each pass, program, plan, C, link map.

    Raises:
        UtvmError: the model can't be read or lowered, a tool is missing, or it does not fit the board.
    """
    watch, stages = Stopwatch(), Dump(dump)
    target = as_board(board)
    core = assumed_core(target, assume)
    with watch.stage("import"):
        graph = model if isinstance(model, Graph) else load(Path(model))
        stages.graph("imported", graph)
    with watch.stage("passes"):
        optimised = run_passes(graph, observe=stages.graph)
    families = SMALL_FAMILIES if small else FAMILIES
    with watch.stage("records"):
        measured = measurements(target, assume=assume or "", records=records)
    choices = _portable_choices(optimised, core, portable)

    def build(budget: int | None) -> tuple[Program, Mapping[str, str], Image]:
        with watch.stage("lowering"):
            program = lower(
                optimised, core, name=name, families=families, choices=choices, measured=measured, flash=budget, ram=ram
            )
        with watch.stage("codegen"):
            files = program.render(steps=steps)
        with watch.stage("build"):
            return program, files, build_program(target, program, files, steps=steps)

    program, files, image = build(None) if flash is None else _within_flash(build, flash)
    stages.program(program)
    stages.files(files)
    stages.image(image)
    return Compiled(board=target, program=program, files=files, image=image, seconds=watch.seconds)


_FLASH_REFINEMENTS = 6


def _within_flash(
    build: Callable[[int | None], tuple[Program, Mapping[str, str], Image]], flash: int
) -> tuple[Program, Mapping[str, str], Image]:
    """Return the fastest build whose image fits.

    The size of the compiled C is known only after building: what the last build took beside its kernels is left free in
    the next, and what it took less is given to it.

    Raises:
        UtvmError: none fits.
    """
    budget = flash
    best: tuple[Program, Mapping[str, str], Image] | None = None
    fits, exceeds = -1, flash + 2**31
    attempts = 0
    while attempts < _FLASH_REFINEMENTS:
        try:
            built = build(budget)
        except FlashBudgetError as error:
            if best is not None or error.needed >= exceeds:
                break
            # Code that calls share is counted for each of them: the smallest choice may fit all the same.
            budget = error.needed
            continue
        program, _, image = built
        left = flash - image.flash_bytes
        if left >= 0:
            best, fits = built, budget
        else:
            exceeds = min(budget, program.budgeted_bytes)  # from there on the choice would be the same
        budget = min(program.flash_bytes + left, exceeds - 1)
        if budget <= fits:
            break
        attempts += best is not None
    if best is None:
        raise FlashBudgetError(
            f"the flash does not suffice: the smallest image that was found takes {image.flash_bytes:,} bytes and "
            f"{flash:,} are allowed, {-left:,} too few (allow more, or choose a smaller model)",
            image.flash_bytes,
        )
    return best


def build_program(board: Board, program: Program, files: Mapping[str, str], *, steps: bool = False) -> Image:
    """Build the image that runs a program on a board.

    Args:
        board: the board.
        program: the program.
        files: what it was rendered to.
        steps: whether a function for each kernel call was rendered too.

    Raises:
        ToolchainError: it does not fit, or a tool is missing.
    """
    entries = [step_symbol(program.name, index) for index in range(len(program.calls))] if steps else []
    return build_image(board, image_sources(program.name, files), entries=[RUN_SYMBOL, *entries])


def assumed_core(board: Board, assume: str | None) -> Core:
    """Return a board's core with the caches of an assumed part (None: those that the board's file says).

    Raises:
        UtvmError: nothing of that name can be assumed for it.
    """
    memory = None if assume is None else get_assumption(assume, board.core.name).memory
    return board.core if memory is None else replace(board.core, caches=memory.caches("flash"))


def run_once(
    model: str | Path | Graph,
    board: str | Path | Board,
    input_file: Path,
    *,
    small: bool = False,
    flash: int | None = None,
    ram: int | None = None,
    assume: str | None = None,
    records: str | Path | None = None,
    link: LinkKind | None = None,
    dump: Path | None = None,
    timeout: float | None = None,
) -> RunReport:
    """Compile a model, run it once on a board on an input file, and return outputs and cost.

    Raises:
        UtvmError: any of it failed; the message says what to do.
    """
    watch = Stopwatch()
    compiled = compile(model, board, small=small, flash=flash, ram=ram, assume=assume, records=records, dump=dump)
    watch.seconds.update(compiled.seconds)
    inputs = read_inputs(Path(input_file), compiled.program.graph.inputs)
    with watch.stage("connect"):
        session = connect(compiled.board, link=link, assume=assume)
    with session:
        with watch.stage("load"):
            loaded = Model(session, compiled)
        result = loaded.run(inputs, timeout=timeout)
        watch.seconds.update(result.seconds)
        stack_bytes = session.stack_used()
    return RunReport(
        model=compiled.program.name,
        board=compiled.board.name,
        tensors=compiled.program.graph.outputs,
        outputs=result.outputs,
        instructions=result.measurement.instructions,
        cycles=result.measurement.cycles,
        cycles_source=result.measurement.cycles_source,
        arena_bytes=compiled.program.arena_bytes,
        flash_bytes=compiled.image.flash_bytes,
        stack_bytes=stack_bytes,
        seconds=watch.seconds,
        records=records_used(compiled.program),
    )


def _portable_choices(graph: Graph, core: Core, names: Sequence[str]) -> dict[str, tuple[KernelFamily, Config]]:
    """Return the portable family of each named operator.

    Raises:
        UtvmError: the graph has no operator of that name.
    """
    found: dict[str, tuple[KernelFamily, Config]] = {}
    for op in graph.operators:
        family = next((family for family in PORTABLE_FAMILIES if family.applies(op, core)), None)
        if family is not None:
            found[op.name] = family, family.default(op, core)
    if "all" in names:
        return found
    unknown = [name for name in names if name not in found]
    if unknown:
        raise UtvmError(f"no operator is named {', '.join(unknown)}; there are: {', '.join(found)}")
    return {name: found[name] for name in names}


def image_sources(name: str, files: Mapping[str, str]) -> tuple[Source, ...]:
    """Return the sources of an image that runs model `name`: its files and the entry that owns the arena."""
    every = {**files, f"{name}_entry.c": entry_source(name)}
    return tuple(Source(name=file, text=text) for file, text in every.items())


def connect(board: str | Path | Board, *, link: LinkKind | None = None, assume: str | None = None) -> Session:
    """Open a session with a board; close it with `with` or `close()`.

    Args:
        board: a board's name, the path of its TOML, or the board.
        link: which of the board's debug links to use; the one its TOML names if None.
        assume: what modelled cycles assume instead of zero-wait memory: a name in `utvm.emulators.assumptions()`.

    Raises:
        UtvmError: the board or its emulator can't be reached.
    """
    described = as_board(board) if link is None else as_board(board).linked_by(link)
    assumption = None if assume is None else get_assumption(assume, described.core.name)
    target = emulator_target(described, cache_directory=default_cache_directory(), assume=assumption)
    return open_session(described, target)


class Model:
    """A compiled model in a session: loaded once, run as often as wanted."""

    def __init__(self, session: Session, compiled: Compiled) -> None:
        """Load the image; raises `UtvmError` if it can't be loaded or verified."""
        self.session = session
        self.compiled = compiled
        self._c_model = compiled.program.c_model()
        session.load(compiled.image)

    def run(
        self,
        inputs: NDArray[Any] | Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]],
        *,
        timeout: float | None = None,
    ) -> Result:
        """Run once.

        Args:
            inputs: one array, one a model input in order, or by name; converted as `fit_array` says.
            timeout: seconds the target may take; the session's default if None.

        Raises:
            UtvmError: an input does not fit, or the call failed (fault, time-out, lost link); the session stays usable.
                A run that the debug link broke is tried again first.
        """
        for _ in range(_RUNS - 1):
            with suppress(LinkError):
                return self._run(inputs, timeout)
        return self._run(inputs, timeout)

    def _run(
        self, inputs: NDArray[Any] | Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]], timeout: float | None
    ) -> Result:
        watch = Stopwatch()
        with watch.stage("write"):
            self.write_inputs(inputs)
        with watch.stage("run"):
            measurement = self.session.call(RUN_SYMBOL, timeout=timeout)
        with watch.stage("read"):
            outputs = {}
            for port in self._c_model.outputs:
                raw = self.session.read(ARENA_SYMBOL, port.tensor.nbytes, offset=port.offset)
                outputs[port.tensor.name] = np.frombuffer(raw, dtype=port.tensor.dtype.value).reshape(port.tensor.shape)
        return Result(outputs=outputs, measurement=measurement, seconds=watch.seconds)

    def write_inputs(self, inputs: NDArray[Any] | Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]]) -> None:
        """Write the inputs into the arena; see `run`."""
        for port, array in zip(self._c_model.inputs, self._arrays(inputs), strict=True):
            self.session.write(ARENA_SYMBOL, fit_array(array, port.tensor).tobytes(), offset=port.offset)

    def _arrays(self, inputs: NDArray[Any] | Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        names = [port.tensor.name for port in self._c_model.inputs]
        if isinstance(inputs, Mapping):
            missing = [name for name in names if name not in inputs]
            if missing:
                raise UtvmError(f"no value for the inputs {', '.join(missing)}; the model takes {', '.join(names)}")
            return [np.asarray(inputs[name]) for name in names]
        arrays = [inputs] if isinstance(inputs, np.ndarray) else [np.asarray(value) for value in inputs]
        if len(arrays) != len(names):
            raise UtvmError(f"the model takes {len(names)} inputs ({', '.join(names)}), got {len(arrays)}")
        return arrays
