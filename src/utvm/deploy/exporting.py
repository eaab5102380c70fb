"""A model as C for other people's programs: files, manifest, and promises that are kept or refused."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import utvm
from utvm import api
from utvm.api.sizes import Size, size_in_bytes
from utvm.arguments import checked_arguments
from utvm.boards import Board
from utvm.codegen import RESET_MODEL_SYMBOL, RUN_SYMBOL, CLibrary, port_names, render_library
from utvm.deploy.build import count_build, library_flags, library_image, shipping
from utvm.deploy.directory import write_directory
from utvm.deploy.harness import board_harness, buffer
from utvm.deploy.manifest import (
    MANIFEST_FILE,
    CForm,
    Expected,
    LinkedSize,
    Manifest,
    OperatorEntry,
    Port,
    ResultEntry,
    SlowerEntry,
)
from utvm.deploy.projects import project
from utvm.deploy.readme_text import README_FILE, readme
from utvm.device import Session
from utvm.emulators import EmulatorError, stand_in
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.frontends.reading import model_bytes, model_file
from utvm.graph import Graph, Tensor
from utvm.graph.cost import macs, macs_of
from utvm.graph.samples import random_input
from utvm.kernels import PORTABLE_FAMILIES, PRELUDE, with_dependencies, workload
from utvm.lowering import Options, Program, lower
from utvm.naming import renaming
from utvm.passes import run_passes
from utvm.progress import end, say
from utvm.toolchain import Image, MemoryOverflowError, Toolchain, compiler_major, compiler_version

OPTIMIZATIONS = ("-O3", "-Os")
_STACK_LEVELS = ("-O1", "-Og", "-O2", "-O3", "-Os")
_STACK_FLAGS = ("-fno-omit-frame-pointer", "-Wno-error")
_UNKNOWN_STACK = (
    "__clang__",
    "__NO_INLINE__",
    "__PIC__",
    "__SSP__",
    "__SSP_ALL__",
    "__SSP_STRONG__",
    "__SSP_EXPLICIT__",
    "__SANITIZE_ADDRESS__",
    "__SANITIZE_THREAD__",
)
"""Macros of compilers and options under which frames are larger than those that were counted."""


class BudgetError(UtvmError):
    """An export that would break a promise."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GivenModel:
    """A model as a manifest knows it: the name of its file, the digest of its bytes; and its graph."""

    name: str
    graph: Graph
    sha256: str

    @staticmethod
    def of(model: str | Path | api.QuantizedModel) -> GivenModel:
        """Return a model file, or one that was made here.

        Raises:
            UtvmError: the file can't be read.
        """
        if isinstance(model, api.QuantizedModel):
            return GivenModel(name=f"{model.graph.name}.tflite", graph=model.graph, sha256=sha256(model.file))
        path = Path(model)
        return GivenModel(name=path.name, graph=load(path), sha256=sha256(model_bytes(model_file(path)[0])))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Export:
    """A model ready to ship.

    Attributes:
        board: the board it was made for.
        program: the model, lowered.
        files: texts by file name.
        manifest: all that is known of it.
        renamed: why its name is not the one that was asked for, None if it is.

    Example:
        export = utvm.export("model.tflite", "qemu-cortex-m4")
        print(export, export.manifest.name)
        export.write("library-m4")
    """

    board: Board
    program: Program
    files: Mapping[str, str]
    manifest: Manifest
    renamed: str | None = None

    def __repr__(self) -> str:
        """A few lines, without the files' texts."""
        return f"Export({self.program!r},\n  board {self.board.name}, files {', '.join(self.files)})"

    def as_project(self, kind: str) -> Export:
        """Return the export with the files of a build system, a key of `PROJECTS`."""
        return replace(self, files=project(kind, self.manifest, self.files))

    @checked_arguments
    def write(self, directory: str | Path, *, force: bool = False) -> tuple[Path, ...]:
        """Write all files into a directory and return their paths; see `write_directory`."""
        directory = Path(directory)
        return write_directory(directory, self.contents(), owner=self.manifest.name, force=force)

    def contents(self) -> dict[str, bytes]:
        """Return what each file holds, by name."""
        return {name: text.encode() for name, text in self.files.items()}


@checked_arguments
def export(
    model: str | Path | api.QuantizedModel,
    board: str | Path | Board,
    *,
    name: str | None = None,
    stack: Size | None = None,
    **options: Any,
) -> Export:
    """Make a model's C library for a board's core, build it, run it on the board if that is emulated, and count.

    Args:
        model: a model file, or what `utvm.quantize` made.
        board: a board's name, the path of its TOML, or the board.
        name: the prefix of every public name; the model's name if None.
        stack: bytes of stack that a run may need, or text as "2K"; None is no limit.
        options: those of `api.compile`, `flash` and `ram` among them: limits for the model alone, without the
            program that it is linked into.

    Raises:
        BudgetError: a limit can't be kept; the message says what to change.
        UtvmError: the model can't be compiled for the board.

    Example:
        utvm.export("model.tflite", "nucleo-f746zg", ram="64K", stack="2K").write(Path("library"))
    """
    sizes = {key: size_in_bytes(options.get(key)) for key in ("ram", "flash")} | {"stack": size_in_bytes(stack)}
    compiled = api.compile(model, shipping(api.as_board(board)), name=name, **options)
    given = GivenModel.of(model)
    program, target = compiled.program, compiled.board
    prefix = program.name
    portable = None
    if target.core.feature and any(call.kernel.family != "portable" for call in program.calls):
        portable = lower(program.graph, target.core, Options(families=PORTABLE_FAMILIES))
        portable = replace(portable, name=f"{prefix}_portable")
    draft = library_of(program, portable, target, {}, {})
    ports = _ports(program.graph.inputs, "input"), _ports(program.graph.outputs, "output")
    states = bool(program.graph.states)
    harness = board_harness(prefix, *ports, states=states)

    def build(board: Board, optimize: str = OPTIMIZATIONS[0]) -> Image:
        say(f"compiling the library for {board.name} with {optimize}")
        return library_image(board, render_library(draft), harness, optimize=optimize, states=states)

    images = {level: build(target, level) for level in OPTIMIZATIONS}
    builds = tuple(count_build(target, prefix, image, optimize=level) for level, image in images.items())
    stack_bound = max(
        (*(b.stack_bytes for b in builds), *_other_stacks(target, prefix, render_library(draft), harness, states))
    )
    budgets = {key: limit for key, limit in sizes.items() if limit is not None}
    _check_budgets(program, builds, stack_bound, budgets)
    library = library_of(program, portable, target, _promises(builds, stack_bound, target), budgets)
    files = render_library(library)
    manifest = Manifest(
        utvm=utvm.__version__,
        name=prefix,
        model_file=given.name,
        model_macs=macs(run_passes(given.graph)),
        model_sha256=given.sha256,
        board=target.name,
        core=target.core.name,
        compiler=compiler_version(target.core.tool_prefix),
        flags=Toolchain(
            prefix=target.core.tool_prefix,
            machine_flags=target.core.cflags,
            specs=target.core.isa.specs,
            extra_flags=library_flags(target),
        ).flags,
        inputs=ports[0],
        outputs=ports[1],
        core_form=form_of(program),
        portable_form=None if portable is None else form_of(portable),
        builds=builds,
        stack_bound=stack_bound,
        expected=_expected(target, program.graph, ports[0], build, images[OPTIMIZATIONS[0]]),
        budgets=budgets,
        state_bytes=program.memory.state_bytes,
        slower=tuple(
            SlowerEntry(
                name=call.name,
                kind=call.kind,
                family=call.family,
                reasons=call.reasons,
                share=round(call.cost, 4),
                basis=call.basis,
            )
            for call in compiled.slower
        ),
        files={file: sha256(text.encode()) for file, text in files.items()},
    )
    end()
    every = {**files, MANIFEST_FILE: manifest.to_json(), README_FILE: readme(manifest)}
    renamed = renaming(name or Path(given.name).stem)
    return Export(board=target, program=program, files=every, manifest=manifest, renamed=renamed)


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def form_of(program: Program) -> CForm:
    """Return what a manifest says of a program."""
    return CForm(
        arena_bytes=program.arena_bytes,
        arena_lower_bound=program.memory.lower_bound,
        constant_bytes=program.constant_bytes,
        operators=tuple(
            OperatorEntry(
                name=call.op.name,
                kind=call.op.kind,
                workload=workload(call.op),
                macs=macs_of(call.op),
                family=call.kernel.family,
                config=dict(call.kernel.config),
                function=call.kernel.function.stem,
                constant_bytes=call.kernel.constant_bytes,
                scratch_bytes=call.kernel.scratch_bytes,
                results=tuple(
                    ResultEntry(tensor=t.name, dtype=t.dtype, shape=t.shape, offset=program.memory.offset_of(t))
                    for t in call.op.outputs
                ),
            )
            for call in program.calls
        ),
    )


def _ports(tensors: tuple[Tensor, ...], kind: str) -> tuple[Port, ...]:
    return tuple(
        Port(
            tensor=tensor.name,
            parameter=parameter,
            dtype=tensor.dtype,
            shape=tensor.shape,
            scale=None if tensor.quant is None else tensor.scale,
            zero_point=None if tensor.quant is None else tensor.zero_point,
        )
        for tensor, parameter in zip(tensors, port_names(tensors, kind), strict=True)
    )


def library_of(
    program: Program,
    portable: Program | None,
    board: Board,
    promises: Mapping[str, tuple[int, str]],
    budgets: Mapping[str, int],
) -> CLibrary:
    """Return what the files of a library are rendered from; `promises` and `budgets` are constants of its header."""
    return CLibrary(
        name=program.name,
        title=f"{program.name}: an int8 network as plain C, made by µTVM {utvm.__version__} for {board.core.name}.",
        model=program.c_model(),
        prelude=_prelude(program),
        portable=None if portable is None else portable.c_model(),
        portable_prelude={} if portable is None else _prelude(portable),
        feature=board.core.feature,
        promises=promises,
        budgets={f"{key.upper()}_BUDGET_BYTES": limit for key, limit in budgets.items()},
        machine=board.core.machine,
        compiler=" && ".join(
            (
                f"defined(__GNUC__) && __GNUC__ == {compiler_major(board.core.tool_prefix)}",
                "defined(__OPTIMIZE__)",
                *(f"!defined({macro})" for macro in _UNKNOWN_STACK),
            )
        ),
    )


def _prelude(program: Program) -> dict[str, str]:
    used = [helper for call in program.calls for helper in call.kernel.function.helpers]
    return {name: PRELUDE[name] for name in with_dependencies(used)}


def _other_stacks(board: Board, name: str, files: Mapping[str, str], harness: str, states: bool) -> Iterator[int]:
    """Yield the stack of a run under the other options that the header takes; levels that do not fit are left out."""
    for level in _STACK_LEVELS:
        with contextlib.suppress(MemoryOverflowError):
            image = library_image(board, files, harness, optimize=level, flags=_STACK_FLAGS, states=states)
            yield image.worst_stack(f"{name}_run").bytes


def _promises(builds: tuple[LinkedSize, ...], stack_bound: int, board: Board) -> dict[str, tuple[int, str]]:
    how = f"compiled for {board.core.name} as the manifest says, under {' or '.join(b.optimize for b in builds)}"
    return {
        "FLASH_BYTES": (
            max(build.flash_bytes for build in builds),
            f"Code and constants that linking the model adds to a program, at most: {how}.",
        ),
        "STACK_BYTES": (
            stack_bound,
            "Stack of a run in the worst case, from the compiler's frames and the call graph, under -O1 to -O3, -Os "
            "and -Og, with a frame pointer or without. Where macros show other options or another compiler it is not "
            "defined; under -fsanitize=undefined or -finstrument-functions, which none shows, it does not hold.",
        ),
    }


def _check_budgets(
    program: Program, builds: tuple[LinkedSize, ...], stack_bound: int, budgets: Mapping[str, int]
) -> None:
    """Refuse what api.compile has not refused already."""
    problems = []
    flash, stack = max(b.flash_bytes for b in builds), max(builds, key=lambda b: b.stack_bytes)
    if flash > budgets.get("flash", flash):
        problems.append(
            f"flash: the model adds {flash:,} bytes and {budgets['flash']:,} are allowed, "
            f"{flash - budgets['flash']:,} too few (allow more, or leave out fast kernels with --small)"
        )
    if stack_bound > budgets.get("stack", stack_bound):
        problems.append(
            f"stack: a run needs up to {stack_bound:,} bytes and {budgets['stack']:,} are "
            f"allowed, {stack_bound - budgets['stack']:,} too few; the deepest calls are "
            f"{' → '.join(stack.stack_chain)} (allow more, or choose other kernels with --small)"
        )
    if problems:
        raise BudgetError(f"{program.name} breaks its budget:\n" + "\n".join(f"  - {problem}" for problem in problems))


def _expected(
    board: Board, graph: Graph, ports: tuple[Port, ...], build: Callable[[Board], Image], image: Image
) -> Expected:
    """Return what a run costs, of a board that is not emulated as a model: by what stands in for it, if it can."""
    not_run = Expected(
        optimize=OPTIMIZATIONS[0],
        instructions=None,
        cycles=None,
        source="not run",
        clock_hz=board.clock_hz,
        ram_bytes=max(place.data.length for place in board.placements),
        storage_bytes=max(place.constants.length for place in board.placements),
    )
    if board.emulator is not None and board.emulator.kind == "qemu":
        with api.connect(board) as session:
            return _run_in(session, image, graph, ports, not_run)
    emulated = None if board.emulator is not None else stand_in(board)
    if emulated is not None:
        # The promises of an export do not need the figure: without QEMU, or memory for the image, it stays out.
        with contextlib.suppress(EmulatorError, MemoryOverflowError), api.connect_stand_in(emulated) as session:
            return _run_in(session, build(emulated.board), graph, ports, not_run)
    return not_run


def _run_in(session: Session, image: Image, graph: Graph, ports: tuple[Port, ...], not_run: Expected) -> Expected:
    say("running the library on an emulator")
    session.load(image)
    for index, (tensor, port) in enumerate(zip(graph.inputs, ports, strict=True)):
        session.write(buffer(port), random_input(tensor, index).tobytes())
    if graph.states:
        session.call(RESET_MODEL_SYMBOL)
    measured = session.call(RUN_SYMBOL)
    return replace(
        not_run,
        instructions=measured.instructions,
        cycles=measured.cycles,
        source=measured.cycles_source or "instructions counted by the emulator; no cycle model of this core",
    )
