"""From a model and a board to what is lowered: the one way of everybody who makes a program of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from utvm.api.quantized import QuantizedModel
from utvm.api.scheduling import schedule_choices
from utvm.api.sizes import Size, size_in_bytes
from utvm.api.stopwatch import Stopwatch
from utvm.boards import Board, BoardError, load_board
from utvm.cores import Core
from utvm.dump import Dump
from utvm.emulators import get_assumption
from utvm.errors import UtvmError
from utvm.frontends import load
from utvm.graph import Graph
from utvm.kernels import FAMILIES, PORTABLE_FAMILIES, SMALL_FAMILIES
from utvm.loops import Schedule
from utvm.lowering import Choice, Explored, FrontierPoint, Options, Program, lower, lower_frontier
from utvm.passes import run_passes
from utvm.tuning.known import measurements


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assembly:
    """A network on its way to a program.

    Attributes:
        board: what it is for.
        core: the board's, with what is assumed of it.
        graph: the network after all passes.
        options: what lowering is asked for.
        explored: what lowerings under other budgets share.
    """

    board: Board
    core: Core
    graph: Graph
    options: Options
    explored: Explored

    def program(self) -> Program:
        """Return the program within the budgets of the options.

        Raises:
            LoweringError: there is none.
        """
        return lower(self.graph, self.core, self.options, explored=self.explored)

    def within(self, flash: int | None, ram: int | None) -> Program:
        """Return the program within other budgets, in bytes; None is no limit.

        Raises:
            LoweringError: there is none.
        """
        return replace(self, options=replace(self.options, flash=flash, ram=ram)).program()

    def frontier(self, most: int) -> list[FrontierPoint]:
        """Return the programs that no other beats; see `lower_frontier`."""
        return lower_frontier(self.graph, self.core, self.options, most=most)


def assemble(
    graph: Graph,
    board: Board,
    *,
    name: str | None = None,
    small: bool = False,
    flash: Size | None = None,
    ram: Size | None = None,
    assume: str | None = None,
    records: str | Path | None = None,
    portable: str | Sequence[str] = (),
    schedules: Mapping[str, Schedule] | None = None,
    watch: Stopwatch | None = None,
    stages: Dump | None = None,
) -> Assembly:
    """Run the passes and gather what lowering is asked for; arguments are those of `compile`.

    Raises:
        UtvmError: nothing of that name can be assumed, records can't be read, no operator has a name in `portable` or
            `schedules`, or a schedule is not legal for its operator.
    """
    watch, stages = watch or Stopwatch(), stages or Dump(None)
    budgets = size_in_bytes(flash), size_in_bytes(ram)
    core = assumed_core(board, assume)
    with watch.stage("passes"):
        optimised = run_passes(graph, observe=stages.graph)
    with watch.stage("records"):
        measured = measurements(board, assume=assume or "", records=records)
    options = Options(
        name=name,
        families=SMALL_FAMILIES if small else FAMILIES,
        choices={
            **_portable_choices(optimised, core, [portable] if isinstance(portable, str) else portable),
            **schedule_choices(optimised, core, schedules or {}),
        },
        measured=measured,
        flash=budgets[0],
        ram=budgets[1],
    )
    return Assembly(board=board, core=core, graph=optimised, options=options, explored=Explored())


def imported(
    model: str | Path | Graph | QuantizedModel | Any, data: Any = None, example_inputs: tuple[Any, ...] | None = None
) -> Graph:
    """Return the graph of a model before all passes; arguments are those of `compile`.

    Raises:
        UtvmError: the model can't be read, or needs typical inputs.
    """
    if data is not None:
        # Imported here: most compilations need none of the quantiser.
        from utvm.api.quantizing import quantize

        return quantize(model, data, example_inputs=example_inputs).graph
    if not isinstance(model, str | Path | Graph | QuantizedModel):
        raise UtvmError(f"a {type(model).__name__} {_instead(model)}")
    return graph_of(model)


def _instead(model: Any) -> str:
    """Return what to do with what is no model, told by the packages of its classes, which need not be installed."""
    packages = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    if "torch" in packages:
        return "is compiled with typical inputs: give data=..., as to utvm.quantize"
    if "tvm" in packages:
        return "is TVM's: give a module of Relax to utvm.tvm.compile"
    return "is no model: give a file, a graph, or what utvm.quantize made; with data=..., a PyTorch module too"


def prepared(model: str | Path | Graph | QuantizedModel) -> Graph:
    """Return the graph of a model after all passes.

    Raises:
        UtvmError: the model can't be read.
    """
    return run_passes(graph_of(model))


def graph_of(model: str | Path | Graph | QuantizedModel) -> Graph:
    """Return the graph of a model before all passes.

    Raises:
        UtvmError: the model can't be read.
    """
    if isinstance(model, QuantizedModel):
        return model.graph
    return model if isinstance(model, Graph) else load(model)


def as_board(board: str | Path | Board, *, trust: bool = False) -> Board:
    """Return a board by name, by the path of its TOML (`trust` as in `load_board`), or as it is.

    Raises:
        BoardError: there is no such board, or its file has problems.
    """
    if not isinstance(board, str | Path | Board):
        raise BoardError(f"a {type(board).__name__} is no board: give a name, the path of a TOML file, or a Board")
    return board if isinstance(board, Board) else load_board(board, trust=trust)


def assumed_core(board: Board, assume: str | None) -> Core:
    """Return a board's core with an assumed pipeline or caches; None is as the board's file says.

    Raises:
        UtvmError: nothing of that name can be assumed for it.
    """
    if assume is None:
        return board.core
    assumption, core = get_assumption(assume, board.core.name), board.core
    if assumption.schedules:
        core = replace(core, timing=assumption.timings[core.name])
    return core if assumption.memory is None else replace(core, caches=assumption.memory.caches("flash"))


def timing_name(board: Board, assume: str | None) -> str | None:
    """Return the name of the table that models a board's cycles under an assumption; None if none does.

    Raises:
        UtvmError: nothing of that name can be assumed for the board.
    """
    assumed = None if assume is None else get_assumption(assume, board.core.name).timings.get(board.core.name)
    timing = assumed or board.core.timing
    return None if timing is None else timing.name


def _portable_choices(graph: Graph, core: Core, names: Sequence[str]) -> dict[str, Choice]:
    """Return the portable family of each named operator.

    Raises:
        UtvmError: the graph has no operator of that name.
    """
    found: dict[str, Choice] = {}
    for op in graph.operators if names else ():
        family = next((family for family in PORTABLE_FAMILIES if family.applies(op, core)), None)
        if family is not None:
            found[op.name] = family, family.default(op, core)
    if "all" in names:
        return found
    unknown = [name for name in names if name not in found]
    if unknown:
        lacking = ", ".join(f"'{name}'" for name in unknown)
        raise UtvmError(f"no operator is named {lacking}; there are: {', '.join(found)}")
    return {name: found[name] for name in names}
