"""Graph → Program: a kernel for each operator, lifetimes, arena offsets."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from utvm.codegen import CArray
from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.errors import UtvmError
from utvm.graph import Graph, Operator, Tensor
from utvm.kernels import FAMILIES, Config, Kernel, KernelFamily, workload
from utvm.lowering.budget import FlashError, Point, RamError, choose, frontier
from utvm.lowering.floor import ArenaFloor
from utvm.lowering.patches import patchings
from utvm.lowering.plan import MemoryPlan, Request, plan_memory
from utvm.lowering.program import Call, Program, c_identifier
from utvm.lowering.select import Candidate, Measurements, candidates
from utvm.lowering.views import Views


class LoweringError(UtvmError):
    """A graph that cannot become a program."""


class FlashBudgetError(LoweringError):
    """No choice of kernels takes as few bytes as are left; `needed` is the least that any takes."""

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


Choice = tuple[KernelFamily, Config]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierPoint:
    """A program that has the fewest cycles with its arena and flash. Cycles as in `Candidate`."""

    cycles: float
    program: Program


def lower(
    graph: Graph,
    core: Core,
    *,
    name: str | None = None,
    families: Sequence[KernelFamily] = FAMILIES,
    choices: Mapping[str, Choice] | None = None,
    measured: Measurements | None = None,
    flash: int | None = None,
    ram: int | None = None,
    stripes: bool = True,
) -> Program:
    """Choose a kernel for each operator and place every activation in the arena.

    Args:
        graph: the graph after all passes.
        core: what the code is for.
        name: the C prefix of the model; the graph's name if None.
        families: what may be chosen: the fewest cycles that the budgets allow, measured or estimated.
        choices: family and config of operators by their names, instead.
        measured: what is known of workloads from trials on a board.
        flash: bytes that all constants and micro-kernels may take; None is no limit.
        ram: bytes that the arena may take; None is no limit.
        stripes: whether the first layers may be computed in stripes where nothing else fits `ram`.

    Raises:
        LoweringError: operators that no kernel family computes (all of them are named), or a budget that no choice
            of kernels meets.
    """
    layout = _Layout(graph, core, name)
    every = flash is not None or ram is not None
    options = layout.options(families, choices or {}, measured or {}, every=every)
    try:
        picked = choose(options, flash=flash, ram=ram, floor=layout.floor, arena_of=layout.arena_bytes)
    except RamError as short:
        found = (
            _in_stripes(
                graph,
                layout,
                options,
                ram or 0,
                partial(
                    lower,
                    core=core,
                    name=name,
                    families=families,
                    choices=choices,
                    measured=measured,
                    flash=flash,
                    ram=ram,
                    stripes=False,
                ),
            )
            if stripes
            else None
        )
        if found is None:
            raise LoweringError(layout.short_of_ram(short, ram or 0)) from None
        return found
    except FlashError as short:
        raise FlashBudgetError(layout.short_of_flash(short, options, flash or 0), short.needed) from None
    return layout.program(picked)


def lower_frontier(
    graph: Graph,
    core: Core,
    *,
    name: str | None = None,
    families: Sequence[KernelFamily] = FAMILIES,
    measured: Measurements | None = None,
    most: int | None = None,
) -> list[FrontierPoint]:
    """Return the programs that no other beats in cycles, arena and flash together, the fewest cycles first.

    Last resorts for a small flash are left out: they are several times slower.

    Args:
        graph, core, name, families, measured: as for `lower`.
        most: so many for each limit of the arena are enough, spread over the flash; None is all.

    Raises:
        LoweringError: operators that no kernel family computes.
    """
    layout = _Layout(graph, core, name)
    every = layout.options(families, {}, measured or {}, every=True)
    options = [[candidate for candidate in choices if not candidate.last_resort] for choices in every]
    points = frontier(options, floor=layout.floor, arena_of=layout.arena_bytes, most=most)
    return [
        FrontierPoint(cycles=point.cycles, program=layout.program(point.picked)) for point in _undominated(list(points))
    ]


def _undominated(points: list[Point]) -> list[Point]:
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cycles, p.arena_bytes, p.flash_bytes)):
        if not any(k.arena_bytes <= point.arena_bytes and k.flash_bytes <= point.flash_bytes for k in kept):
            kept.append(point)
    return kept


def _in_stripes(
    graph: Graph,
    layout: _Layout,
    options: Sequence[Sequence[Candidate]],
    ram: int,
    lower_whole: Callable[[Graph], Program],
) -> Program | None:
    """Return the program with its first layers in stripes, of those that fit the one with the least work; None fits."""
    floors = [
        min(layout.floor(index, c) for c in choices if not c.last_resort) for index, choices in enumerate(options)
    ]
    after = max((index for index, floor in enumerate(floors) if floor > ram), default=0)
    for patching in patchings(graph, ram, after=graph.operators.index(layout.operators[after])):
        with contextlib.suppress(LoweringError):
            return lower_whole(patching.graph)
    return None


class _Layout:
    """What all combinations of kernels for a graph have in common.

    Raises:
        LoweringError: the graph can't be lowered by any.
    """

    def __init__(self, graph: Graph, core: Core, name: str | None) -> None:
        self.graph, self.core = graph, core
        self.name = c_identifier(name or graph.name)
        self.views = Views(graph)
        self.operators = self.views.operators
        self._floor = ArenaFloor(graph, self.operators, self.views.root)

    def options(
        self,
        families: Sequence[KernelFamily],
        choices: Mapping[str, Choice],
        measured: Measurements,
        *,
        every: bool,
    ) -> list[list[Candidate]]:
        """Return the candidates of each operator; all problems are in one error."""
        options: list[list[Candidate]] = []
        problems: list[str] = []
        for op in self.operators:
            try:
                options.append(_options(op, self.core, families, choices.get(op.name), measured, every=every))
            except LoweringError as error:
                problems.append(str(error))
        problems += [
            f"the output '{t.name}' is a constant: it does not depend on the input"
            for t in self.graph.outputs
            if t.is_constant
        ]
        if problems:
            raise LoweringError("cannot lower the graph:\n" + "\n".join(f"  - {problem}" for problem in problems))
        same = Counter(map(workload, self.operators))
        return [
            [replace(candidate, shares=same[workload(op)]) for candidate in found]
            for op, found in zip(self.operators, options, strict=True)
        ]

    def floor(self, index: int, candidate: Candidate) -> int:
        """Return the bytes of the arena that an operator needs at least."""
        return self._floor(index, candidate.kernel)

    def arena_bytes(self, picked: Sequence[Candidate]) -> int:
        """Return the bytes of the arena of a combination."""
        return self._memory(picked)[0].arena_bytes

    def program(self, picked: Sequence[Candidate]) -> Program:
        """Return the program of a combination."""
        memory, scratch = self._memory(picked)
        kernels = _with_shared_constants([candidate.kernel for candidate in picked])
        return Program(
            name=self.name,
            graph=self.graph,
            core=self.core,
            calls=tuple(
                Call(
                    op=op,
                    kernel=kernel,
                    scratch=scratch.get(op),
                    measured=c.measured,
                    outdated=c.outdated,
                    code_bytes=c.code_bytes,
                )
                for op, c, kernel in zip(self.operators, picked, kernels, strict=True)
            ),
            memory=memory,
            budgeted_bytes=sum(candidate.flash_bytes for candidate in picked),
        )

    def short_of_ram(self, short: RamError, ram: int) -> str:
        """Say which operator needs more RAM than is allowed, by how much, and what would fit."""
        op = self.operators[short.index]
        reason = f"{op.kind} '{op.name}' needs {short.needed:,} bytes at once"
        if short.gaps:
            reason = f"with its gaps the plan takes {short.needed:,} bytes"
        return (
            f"the arena does not fit: {reason} and {ram:,} are allowed, {short.needed - ram:,} too few "
            f"(--ram {short.needed} would fit; or choose a smaller model)"
        )

    def short_of_flash(self, short: FlashError, options: Sequence[Sequence[Candidate]], flash: int) -> str:
        """Say by how much the flash is too small, and which operator takes most of it."""
        least = [min(c.flash_bytes for c in choices) for choices in options]
        op, most = max(zip(self.operators, least, strict=True), key=lambda pair: pair[1])
        return (
            f"the flash does not suffice: weights and micro-kernels take at least {short.needed:,} bytes and "
            f"{max(flash, 0):,} are left for them, {short.needed - flash:,} too few; most of it is {op.kind} "
            f"'{op.name}' with {most:,} bytes (allow more, or choose a smaller model)"
        )

    def _memory(self, picked: Sequence[Candidate]) -> tuple[MemoryPlan, Mapping[Operator, Request]]:
        chosen = [(op, candidate.kernel) for op, candidate in zip(self.operators, picked, strict=True)]
        requests, scratch = _requests(self.graph, self.views, chosen)
        return plan_memory([*requests, *scratch.values()]), scratch


def _with_shared_constants(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Return the kernels with equal constants held once."""
    known: dict[tuple[str, bytes], CArray] = {}

    def shared(array: CArray) -> CArray:
        return known.setdefault((array.c_type, array.values.tobytes()), array)

    return [
        replace(kernel, constants={name: shared(array) for name, array in kernel.constants.items()})
        for kernel in kernels
    ]


def _options(
    op: Operator,
    core: Core,
    families: Sequence[KernelFamily],
    choice: Choice | None,
    measured: Measurements,
    *,
    every: bool,
) -> list[Candidate]:
    if choice is None:
        found = candidates(op, core, families, measured.get(workload(op), ()), every=every)
    else:
        found = []
        with contextlib.suppress(ScheduleError):
            if choice[0].applies(op, core):
                found = [Candidate(kernel=choice[0].build(op, core, choice[1]))]
    if not found:
        chosen = "" if choice is None else f" by family '{choice[0].name}' with {dict(choice[1])}"
        raise LoweringError(f"{op.kind} '{op.name}': no kernel computes it on {core.name}{chosen}")
    for candidate in found:
        wanted = sum(p.role == "input" for p in candidate.kernel.function.parameters)
        if wanted != len(op.activations):
            raise LoweringError(f"{op.kind} '{op.name}': constant operands of this kind are not supported")
    return found


@dataclass(slots=True)
class _Storage:
    """Tensors that share memory, from the call that first writes it to the last that reads it."""

    tensors: list[Tensor]
    first: int
    last: int
    over: _Storage | None = None
    ahead: int = 0


def _requests(
    graph: Graph, views: Views, chosen: list[tuple[Operator, Kernel]]
) -> tuple[list[Request], Mapping[Operator, Request]]:
    """Return one request for each storage, and one for the scratch of each operator that needs some."""
    index = {op: position for position, (op, _) in enumerate(chosen)}
    root = views.root
    end = len(chosen)
    last_use: dict[Tensor, int] = {}
    for op, position in index.items():
        for tensor in (*op.activations, *op.outputs):
            last_use[root(tensor)] = position
    for tensor in graph.outputs:
        last_use[root(tensor)] = end

    storages: dict[Tensor, _Storage] = {}
    for tensor in graph.inputs:
        storages[tensor] = _Storage([tensor], -1, last_use.get(tensor, -1))
    for op, kernel in chosen:
        position = index[op]
        held = {t: storages.get(root(t)) if views.is_whole(t) else None for t in op.activations}
        host = _in_place_host(op, kernel, position, held)
        for output in op.outputs:
            last = last_use[root(output)]
            if root(output) is not output:  # a part of what several operators write together
                storages.setdefault(root(output), _Storage([root(output)], position, last))
            elif host is not None:
                host.tensors.append(output)
                host.last = last
                storages[output] = host
            else:
                under = _under(op, kernel, position, held[op.activations[0]] if op.activations else None)
                storages[output] = _Storage([output], position, last, over=under, ahead=kernel.ahead or 0)
    for view in views.tensors:
        storages[root(view)].tensors.append(view)

    requests: dict[int, Request] = {}
    for storage in storages.values():
        if id(storage) not in requests:
            requests[id(storage)] = Request(
                label=storage.tensors[0].name,
                nbytes=max(t.nbytes for t in storage.tensors),
                first=storage.first,
                last=storage.last,
                tensors=tuple(storage.tensors),
                places={t: start for t in storage.tensors if (start := views.offset(t))},
                over=None if storage.over is None else requests[id(storage.over)],
                ahead=storage.ahead,
            )
    scratch = {
        op: Request(label=f"{op.name} scratch", nbytes=kernel.scratch_bytes, first=position, last=position)
        for position, (op, kernel) in enumerate(chosen)
        if kernel.scratch_bytes
    }
    return list(requests.values()), scratch


def _under(op: Operator, kernel: Kernel, position: int, storage: _Storage | None) -> _Storage | None:
    """Return the storage of the first input if it dies here and the output may lie over it."""
    if kernel.ahead is None or len(op.outputs) != 1 or storage is None or storage.last != position:
        return None
    return storage


def _in_place_host(
    op: Operator, kernel: Kernel, position: int, storages: Mapping[Tensor, _Storage | None]
) -> _Storage | None:
    """Return the storage of an input that dies here and whose place the output may take."""
    if len(op.outputs) != 1:
        return None
    for candidate in kernel.in_place:
        tensor = op.activations[candidate]
        storage = storages[tensor]
        if storage is not None and storage.last == position and tensor.nbytes >= op.outputs[0].nbytes:
            return storage
    return None
