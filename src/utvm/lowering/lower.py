"""Graph → Program: a kernel for each operator, lifetimes, arena offsets."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.errors import UtvmError
from utvm.graph import Graph, Operator, Reshape, Tensor
from utvm.kernels import FAMILIES, Config, Kernel, KernelFamily
from utvm.lowering.plan import MemoryPlan, Request, plan_memory
from utvm.lowering.program import Call, Program, c_identifier
from utvm.lowering.select import Candidate, candidates, choose, smallest


class LoweringError(UtvmError):
    """A graph that cannot become a program."""


Choice = tuple[KernelFamily, Config]


def lower(
    graph: Graph,
    core: Core,
    *,
    name: str | None = None,
    families: Sequence[KernelFamily] = FAMILIES,
    choices: Mapping[str, Choice] | None = None,
    flash: int | None = None,
    ram: int | None = None,
) -> Program:
    """Choose a kernel for each operator and place every activation in the arena.

    Args:
        graph: the graph after all passes.
        core: what the code is for.
        name: the C prefix of the model; the graph's name if None.
        families: what may be chosen: the fewest estimated cycles that the budgets allow.
        choices: family and config of operators by their names, instead.
        flash: bytes that all constants and micro-kernels may take; None is no limit.
        ram: bytes that the arena may take; None is no limit.

    Raises:
        LoweringError: operators that no kernel family computes (all of them are named), or a budget that no choice
            of kernels meets.
    """
    operators = [op for op in graph.operators if not _is_view(op)]
    options: list[list[Candidate]] = []
    problems: list[str] = []
    for op in operators:
        try:
            options.append(_options(op, core, families, (choices or {}).get(op.name)))
        except LoweringError as error:
            problems.append(str(error))
    problems += [
        f"the output '{t.name}' is a constant: it does not depend on the input" for t in graph.outputs if t.is_constant
    ]
    if problems:
        raise LoweringError("cannot lower the graph:\n" + "\n".join(f"  - {problem}" for problem in problems))
    while True:
        picked = choose(options, flash)
        if picked is None:
            raise LoweringError(
                f"the flash does not suffice: weights and micro-kernels take at least {smallest(options):,} bytes and "
                f"{max(flash or 0, 0):,} are left for them (allow more, or choose a smaller model)"
            )
        chosen = [(op, candidate.kernel) for op, candidate in zip(operators, picked, strict=True)]
        requests, scratch = _requests(graph, chosen)
        memory = plan_memory([*requests, *scratch.values()])
        if ram is None or memory.arena_bytes <= ram:
            break
        _drop_widest(operators, options, picked, memory, ram)
    return Program(
        name=c_identifier(name or graph.name),
        graph=graph,
        core=core,
        calls=tuple(Call(op=op, kernel=kernel, scratch=scratch.get(op)) for op, kernel in chosen),
        memory=memory,
    )


def _drop_widest(
    operators: Sequence[Operator],
    options: list[list[Candidate]],
    picked: Sequence[Candidate],
    memory: MemoryPlan,
    ram: int,
) -> None:
    """Leave the operator at the peak only kernels with less scratch than the chosen one.

    Where every operator alone would fit and only the gaps of the plan do not, the widest that has such kernels.

    Raises:
        LoweringError: there are none.
    """
    live = [memory.needed_at(index) for index in range(len(operators))]
    widest = sorted(range(len(operators)), key=lambda index: -live[index])
    for index in widest[:1] if live[widest[0]] > ram else widest:
        smaller = [c for c in options[index] if c.kernel.scratch_bytes < picked[index].kernel.scratch_bytes]
        if smaller:
            options[index] = smaller
            return
    op, needed = operators[widest[0]], live[widest[0]]
    reason = f"{op.kind} '{op.name}' needs {needed:,} bytes at once"
    if needed <= ram:
        needed, reason = memory.arena_bytes, f"with its gaps the plan takes {memory.arena_bytes:,} bytes"
    raise LoweringError(
        f"the arena does not fit: {reason} and {ram:,} are allowed, {needed - ram:,} too few "
        "(allow more RAM, try --small, or choose a smaller model)"
    )


def _is_view(op: Operator) -> bool:
    return isinstance(op, Reshape) and not op.x.is_constant


def _options(op: Operator, core: Core, families: Sequence[KernelFamily], choice: Choice | None) -> list[Candidate]:
    if choice is None:
        found = candidates(op, core, families)
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


def _requests(graph: Graph, chosen: list[tuple[Operator, Kernel]]) -> tuple[list[Request], Mapping[Operator, Request]]:
    """Return one request for each storage, and one for the scratch of each operator that needs some."""
    index = {op: position for position, (op, _) in enumerate(chosen)}
    views = {op.y: op.x for op in graph.operators if isinstance(op, Reshape) and _is_view(op)}

    def root(tensor: Tensor) -> Tensor:
        while tensor in views:
            tensor = views[tensor]
        return tensor

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
        host = _in_place_host(op, kernel, position, {t: storages.get(root(t)) for t in op.activations})
        for output in op.outputs:
            last = last_use[output]
            if host is not None:
                host.tensors.append(output)
                host.last = last
                storages[output] = host
            else:
                under = _under(op, kernel, position, storages.get(root(op.activations[0])) if op.activations else None)
                storages[output] = _Storage([output], position, last, over=under, ahead=kernel.ahead or 0)
    for view in views:
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
