"""A model compiled for a board: from its file to a linked image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from utvm.api.assembling import as_board, assemble, imported
from utvm.api.board_fit import within_board
from utvm.api.flash_budget import BuiltProgram, within_both
from utvm.api.quantized import QuantizedModel
from utvm.api.scheduling import check_used
from utvm.api.sizes import Size
from utvm.api.stopwatch import Stopwatch
from utvm.arguments import checked_arguments
from utvm.boards import Board
from utvm.codegen import RESET_MODEL_SYMBOL, RUN_SYMBOL, entry_source, step_symbol
from utvm.device import build_image
from utvm.dump import Dump
from utvm.errors import warn
from utvm.graph import Graph
from utvm.graph.accuracy_cautions import cautions
from utvm.graph.cost import macs
from utvm.kernels import FAMILIES, KernelFamily
from utvm.loops import Schedule
from utvm.lowering import Program, SlowerCall, slower_calls
from utvm.progress import end, say
from utvm.report import CompileReport, records_used, write_text
from utvm.toolchain import Image, Source


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compiled:
    """A model compiled for a board: its program, its C files, the linked image, seconds spent per stage.

    `families` is what its kernels were chosen from.

    Example:
        compiled = utvm.compile("model.tflite", "qemu-cortex-m7")
        print(compiled.program.arena_bytes, compiled.image.flash_bytes)
        compiled.write("out")
    """

    board: Board
    program: Program
    files: Mapping[str, str]
    image: Image
    seconds: Mapping[str, float]
    families: Sequence[KernelFamily] = FAMILIES

    def __repr__(self) -> str:
        """A few lines, without code and weights."""
        return (
            f"Compiled({self.program!r},\n"
            f"  board {self.board.name}, flash {self.image.flash_bytes:,} B, files {', '.join(self.files)})"
        )

    def _repr_html_(self) -> str:
        """The program's calls as a table, for notebooks."""
        return self.program._repr_html_()

    @property
    def slower(self) -> tuple[SlowerCall, ...]:
        """What got a slower family than the core has for it, with the share of the network that is lost."""
        return slower_calls(self.program, self.families)

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
            slower=self.slower,
            distance=self.program.distance,
        )

    @checked_arguments
    def write(self, directory: str | Path) -> tuple[Path, ...]:
        """Write the model's C files into `directory` (made if missing) and return their paths.

        Raises:
            UtvmError: one can't be written.
        """
        directory = Path(directory)
        paths = tuple(directory / name for name in self.files)
        for path, text in zip(paths, self.files.values(), strict=True):
            write_text(path, text)
        return paths


@checked_arguments
def compile(
    model: str | Path | Graph | QuantizedModel | Any,
    board: str | Path | Board,
    *,
    data: Any = None,
    example_inputs: tuple[Any, ...] | None = None,
    name: str | None = None,
    small: bool = False,
    flash: Size | None = None,
    ram: Size | None = None,
    assume: str | None = None,
    records: str | Path | None = None,
    portable: str | Sequence[str] = (),
    schedules: Mapping[str, Schedule] | None = None,
    steps: bool = False,
    dump: str | Path | None = None,
) -> Compiled:
    """Compile a model for a board.

    Args:
        model: a model file, a graph, or with `data` also a float one, a PyTorch module or an exported program.
        data: typical inputs to quantise a float model by first; see `utvm.quantize`.
        example_inputs: what a PyTorch module is called with, of one sample.
        board: a board's name, the path of its TOML, or the board.
        name: the prefix of the C symbols; the model's name if None.
        small: whether to leave out kernels that buy speed with several times the flash and tens of KB of RAM.
        flash: bytes, or text as "256K", that code, weights and tables may take: kernels are chosen to fit; None is what
            the board has.
        ram: the same of the arena; None likewise. The default plan is the fastest that fits the board.
        assume: a part whose caches and flash the choice of kernels should suit: a name of
            `utvm.emulators.assumptions()`; None is what the board's file says, zero-wait memory if nothing.
        records: tuning records to choose kernels by: a file or URL, "none", or None for those that came with µTVM and
            those in the user's database (`utvm records list`).
        portable: operators, by the names that a manifest or a profile shows, that get kernels in plain C; "all" is all.
        schedules: schedules of your own for operators, by the same names, made by `utvm.schedule`.
        steps: whether the image has a function for each kernel call too, for profiling.
        dump: a directory for every stage: graph before and after each pass, program, plan, C, link map.

    Raises:
        UtvmError: the model can't be read or lowered, a tool is missing, or it does not fit the board.

    Example:
        compiled = utvm.compile("model.tflite", "qemu-cortex-m7", ram="64K")
        print(compiled.program.arena_bytes, compiled.image.flash_bytes)
    """
    watch, stages = Stopwatch(), Dump(None if dump is None else Path(dump))
    target = as_board(board)
    say("reading the model")
    with watch.stage("import"):
        graph = imported(model, data, example_inputs)
        stages.graph("imported", graph)
    assembly = assemble(
        graph,
        target,
        name=name,
        small=small,
        flash=flash,
        ram=ram,
        assume=assume,
        records=records,
        portable=portable,
        schedules=schedules,
        watch=watch,
        stages=stages,
    )
    for caution in cautions(assembly.graph):
        warn(caution)

    @cache
    def lowered(flash: int | None, ram: int | None) -> Program:
        with watch.stage("lowering"):
            return assembly.within(flash, ram)

    def linked(program: Program) -> BuiltProgram:
        with watch.stage("codegen"):
            files = program.render(steps=steps)
        say(f"compiling C for {target.core.name}")
        with watch.stage("build"):
            return BuiltProgram(program=program, files=files, image=build_program(target, program, files, steps=steps))

    def build(flash: int | None, *, ram: int | None) -> BuiltProgram:
        return within_board(target, lowered, linked, flash=flash, ram=ram)

    budgets = assembly.options
    built = build(None, ram=budgets.ram) if budgets.flash is None else within_both(build, budgets.flash, budgets.ram)
    end()
    check_used(built.program, schedules or {})
    stages.program(built.program)
    stages.files(built.files)
    stages.image(built.image)
    return Compiled(
        board=target,
        program=built.program,
        files=built.files,
        image=built.image,
        seconds=watch.seconds,
        families=budgets.families,
    )


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
    if program.graph.states:
        entries.append(RESET_MODEL_SYMBOL)
    binary = f"{program.name}_weights.bin"
    assembly, weights = program.assemble_weights(binary)
    # Bytes for the assembler stand in the place of C, which is then never written.
    faster = {f"{program.name}_weights.S": assembly}
    slower = f"{program.name}_weights.c"
    sources = image_sources(program.name, {name: files[name] for name in files if name != slower} | faster)
    return build_image(board, [*sources, Source(name=binary, data=weights)], entries=[RUN_SYMBOL, *entries])


def image_sources(name: str, files: Mapping[str, str]) -> tuple[Source, ...]:
    """Return the sources of an image that runs model `name`: its files and the entry that owns the arena."""
    every = {**files, f"{name}_entry.c": entry_source(name)}
    return tuple(Source(name=file, text=text) for file, text in every.items())
