"""What all combinations of kernels for a graph have in common, and the program that one of them makes."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate

from utvm.codegen import CArray
from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.graph import Graph, Operator
from utvm.kernels import Kernel, KernelFamily, Outline, workload
from utvm.lowering.budget import FlashError, RamError
from utvm.lowering.draft import Draft
from utvm.lowering.errors import LoweringError
from utvm.lowering.explored import Explored, contents
from utvm.lowering.floor import ArenaFloor
from utvm.lowering.options import Options
from utvm.lowering.plan import MemoryPlan, Request, plan_memory
from utvm.lowering.program import Call, Program
from utvm.lowering.promises import broken_promise
from utvm.lowering.select import Candidate, candidates
from utvm.lowering.storage import requests_of
from utvm.lowering.turns import RepeatedTurns
from utvm.lowering.views import Views
from utvm.naming import library_name
from utvm.progress import say

_LONGEST_RUN = 5


class Layout:
    """What all combinations of kernels for a graph have in common.

    Raises:
        LoweringError: the graph can't be lowered by any.
    """

    def __init__(self, graph: Graph, core: Core, name: str | None) -> None:
        self.graph, self.core = graph, core
        self.name = library_name(name or graph.name)
        self.views = Views(graph)
        self.operators = self.views.operators
        self.plans = 0
        self._floor = ArenaFloor(graph, self.operators, self.views.root)
        self._turns = RepeatedTurns(self.operators)

    def options(self, asked: Options, explored: Explored | None = None) -> list[list[Candidate]]:
        """Return the candidates of each operator; all problems are in one error."""
        explored = explored or Explored()
        options: list[list[Candidate]] = []
        problems: list[str] = []
        for index, op in enumerate(self.operators, 1):
            say(f"choosing kernels: {index} of {len(self.operators)}, {op.kind} {op.name}")
            try:
                choice = asked.choices.get(op.name)
                work_out = partial(_options, op, self.core, asked, explored)
                options.append(explored.candidates(op, work_out) if choice is None else work_out())
            except LoweringError as error:
                problems.append(str(error))
        problems += [
            f"the output '{t.name}' is a constant: it does not depend on the input"
            for t in self.graph.outputs
            if t.is_constant
        ]
        if problems:
            raise _cannot_lower(problems)
        same, equal = Counter(map(workload, self.operators)), Counter(map(contents, self.operators))
        return [
            [replace(c, shares=same[workload(op)], copies=equal[contents(op)]) for c in found]
            for op, found in zip(self.operators, options, strict=True)
        ]

    def floor(self, index: int, candidate: Candidate) -> int:
        """Return the bytes of the arena that an operator needs at least."""
        return self._floor(index, candidate.draft.outline)

    def crowded(self, picked: Sequence[Candidate], ram: int) -> Sequence[int]:
        """Return operators whose candidates alone ask for more than `ram` bytes, those of the shortest run of calls.

        Where it takes a longer run than few calls, the answer is empty.
        """
        requests, calls = self._requests(picked), len(self.operators)
        begun, ended = [0] * (calls + 2), [0] * (calls + 2)
        for request in requests:
            begun[request.first + 1] += request.aligned_bytes
            ended[request.last + 1] += request.aligned_bytes
        # Bytes that have begun before a call, and of these what has ended before it: their difference is live.
        begun, ended = list(accumulate(begun)), list(accumulate(ended))
        for length in range(1, _LONGEST_RUN + 1):
            for start in range(calls - length + 1):
                if begun[start + length] - ended[start] <= ram:
                    continue
                live = [r for r in requests if r.first < start + length and start <= r.last]
                if plan_memory(live, enough=ram).arena_bytes > ram:
                    # Who computed in place outside of the run decides how large a storage in it is.
                    shared = {t for request in live if len(request.tensors) > 1 for t in request.tensors}
                    makers = {i for i, op in enumerate(self.operators) if shared.intersection(op.outputs)}
                    return sorted({*range(start, start + length), *makers})
        return ()

    def arena_bytes(self, picked: Sequence[Candidate]) -> int:
        """Return the bytes of the arena of a combination, and count that."""
        self.plans += 1
        requests = self._requests(picked)
        return plan_memory(requests, alike=self._turns.alike(requests)).arena_bytes

    def program(self, picked: Sequence[Candidate], least_cycles: float = 0.0) -> Program:
        """Return the program of a combination; no plan within its budgets has fewer than `least_cycles`."""
        memory, scratch = self._memory(picked)
        kernels = _with_shared_constants([candidate.draft.kernel for candidate in picked])
        # Operators with one kernel are equal but for their names: the promises to the first are those to all.
        firsts: dict[int, tuple[Operator, Kernel]] = {}
        for op, kernel in zip(self.operators, kernels, strict=True):
            firsts.setdefault(id(kernel), (op, kernel))
        broken = [_constant_operands(op, kernel) or broken_promise(op, kernel) for op, kernel in firsts.values()]
        if any(broken):
            raise _cannot_lower([text for text in broken if text])
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
                    cycles=c.cycles,
                )
                for op, c, kernel in zip(self.operators, picked, kernels, strict=True)
            ),
            memory=memory,
            budgeted_bytes=sum(candidate.flash_bytes for candidate in picked),
            least_cycles=least_cycles,
        )

    def short_of_ram(self, short: RamError, ram: int) -> str:
        """Say which operator needs more RAM than is allowed, by how much, and what would fit."""
        reason = "inputs and outputs take"
        if self.operators:
            op = self.operators[short.index]
            reason = f"{op.kind} '{op.name}' needs"
        reason = f"{reason} {short.needed:,} bytes at once"
        if short.gaps and self.operators:
            reason = f"with its gaps the plan takes {short.needed:,} bytes"
        if short.bounded:
            reason = f"of the plans that were tried the smallest takes {short.needed:,} bytes"
        return f"the arena does not fit: {reason} and {ram:,} are allowed, {short.needed - ram:,} too few"

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
        requests, scratch = requests_of(self.graph, self.views, self._chosen(picked))
        every = [*requests, *scratch.values()]
        return plan_memory(every, alike=self._turns.alike(every)), scratch

    def _requests(self, picked: Sequence[Candidate]) -> list[Request]:
        requests, scratch = requests_of(self.graph, self.views, self._chosen(picked))
        return [*requests, *scratch.values()]

    def _chosen(self, picked: Sequence[Candidate]) -> list[tuple[Operator, Outline]]:
        return [(op, candidate.draft.outline) for op, candidate in zip(self.operators, picked, strict=True)]


def ram_advice(fits: int | None) -> str:
    """Return what to do where the RAM does not suffice; `fits` is the smallest arena that was found, bytes."""
    if fits is None:
        return " (allow more flash, or choose a smaller model)"
    return f" (--ram {fits} fits, no smaller arena was found; or choose a smaller model)"


def _with_shared_constants(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Return the kernels with equal constants held once."""
    known: dict[tuple[str, bytes], CArray] = {}

    def shared(array: CArray) -> CArray:
        return known.setdefault((array.c_type, array.values.tobytes()), array)

    made: dict[int, Kernel] = {}
    for kernel in kernels:
        if id(kernel) not in made:
            constants = {name: shared(array) for name, array in kernel.constants.items()}
            made[id(kernel)] = replace(kernel, constants=constants)
    return [made[id(kernel)] for kernel in kernels]


def _outside_signatures(op: Operator, core: Core, families: Sequence[KernelFamily]) -> str | None:
    """Return why no family's signature takes `op`, None where one of them does or none is made for its kind."""
    reasons = [f.outside_signature(op) for f in families if isinstance(op, f.kinds)]
    if not reasons or None in reasons:
        return None
    *_, portable = reasons
    return f"no kernel computes it on {core.name}: {portable}; quantise the model to int8"


def _options(op: Operator, core: Core, asked: Options, explored: Explored) -> list[Candidate]:
    choice = asked.choices.get(op.name)
    if choice is None:
        recalled = explored.recalled(op, core, asked.families)
        found = candidates(op, core, asked.families, asked.measured.get(workload(op), ()), recalled)
    else:
        found = []
        with contextlib.suppress(ScheduleError):
            if choice[0].applies(op, core):
                draft = Draft(op, core, *choice)
                # Whether it can be built is told here, where the operator's name is known.
                found = [Candidate(draft=draft, known_cycles=0.0)] if draft.settle() and draft.kernel else []
    if not found:
        outside = _outside_signatures(op, core, asked.families if choice is None else (choice[0],))
        if outside is not None:
            raise LoweringError(f"{op.kind} '{op.name}': {outside}")
        chosen = "" if choice is None else f" by family '{choice[0].name}' with {dict(choice[1])}"
        raise LoweringError(f"{op.kind} '{op.name}': no kernel computes it on {core.name}{chosen}")
    return found


def _constant_operands(op: Operator, kernel: Kernel) -> str | None:
    """Return that a kernel takes an operand that is a constant here, None where it does not."""
    wanted = sum(p.role == "input" for p in kernel.function.parameters)
    if wanted == len(op.activations):
        return None
    return f"{op.kind} '{op.name}': constant operands of this kind are not supported"


def _cannot_lower(problems: Sequence[str]) -> LoweringError:
    return LoweringError("cannot lower the graph:\n" + "\n".join(f"  - {problem}" for problem in problems))
