"""Random networks, and random ways to compile them. Numpy draws everything from one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.support.drawer import Array, Drawer
from tests.support.network_builder import NetworkBuilder, distinct
from tests.support.network_targets import Target, random_config, targets, used_by
from utvm import api
from utvm.boards import Board
from utvm.emulators import assumptions
from utvm.frontends.tflite import load_tflite
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import Graph
from utvm.kernels import FAMILIES, SMALL_FAMILIES, Config, KernelFamily
from utvm.lowering import LoweringError, Options, Program, lower
from utvm.passes import run_passes

_MOST_TRIES = 40
_STRIPES_WEIGHT = 12
_SMALL_MOST = 4
"""Operators of a network for a board whose simulation is slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A model file, its inputs, and the program that one way of compiling made of it; `plan` says which way."""

    model: bytes
    inputs: Sequence[Array]
    program: Program
    plan: str

    @property
    def used(self) -> set[str]:
        """What is in the program: families by operator, forms of Winograd, variants of kernels, and stripes."""
        found = {label for call in self.program.calls for label in used_by(call.op, call.kernel)}
        if self.plan == "stripes":
            found.add("stripes")
        return found


def draw_network(seed: int, board: Board, *, small: bool = False, aim: Target | None = None) -> Network:
    """Return a random network compiled for a board in a random way; `small` ones take less time to simulate.

    It has layers for some of what the board's core has, or for `aim`.
    """
    d = Drawer(np.random.default_rng(seed), True, 12)
    known = targets(board)
    weighted = [target for target in known for _ in range(target.weight)]
    chain = not small and board.core.dsp and d.integer(1, len(weighted) + _STRIPES_WEIGHT) <= _STRIPES_WEIGHT
    aims = [] if chain else [d.pick(*weighted) for _ in range(1 if small else 3)]
    if aim is not None:
        chain, aims = False, [aim]
    elif small:
        aims += [target for target in known if target.family.name == "blocked" and board.core.xpulp][:1]
    kind = "chain" if chain else "tiled" if any(aim.tile for aim in aims) else d.pick("any", "any", "any", "tiled")
    builder = NetworkBuilder(d, kind)
    builder.start(small=small)
    wanted = d.integer(2, _SMALL_MOST if small or chain else 8)
    for aim in aims:
        if d.integer(0, 2) == 0:
            builder.grow()
        builder.aim(aim, board.core)
    for _ in range(_MOST_TRIES):
        if len(builder.operators) < wanted:
            builder.grow()
    graph = builder.graph()
    model = write_tflite(graph)
    optimised = run_passes(load_tflite(model, name=graph.name))
    program, plan = _compiled(d, optimised, board, aims, chain=chain)
    return Network(model=model, inputs=builder.inputs, program=program, plan=plan)


def _compiled(d: Drawer, graph: Graph, board: Board, aims: Sequence[Target], *, chain: bool) -> tuple[Program, str]:
    """Return the program of a random plan: random families and configs, or what budgets and options choose.

    Operators that a target takes get it under every plan.
    """
    core = board.core
    if chain and (program := _striped(d, graph, board)) is not None:
        return program, "stripes"
    choices = _aimed_choices(d, graph, board, aims)
    plan = d.pick(*("random configs",) * 5, "fast", "small", "assume", "ram", "flash")
    if plan == "random configs":
        return lower(graph, core, Options(choices=random_choices(d, graph, board) | choices)), plan
    families = SMALL_FAMILIES if plan == "small" or d.integer(0, 3) == 0 else FAMILIES
    known = [each.name for each in assumptions().values() if core.name in each.cores]
    if plan == "assume" and known:
        core = api.assumed_core(board, d.pick(*known))
    program = lower(graph, core, Options(families=families, choices=choices))
    share = d.pick(0.5, 0.7, 0.9)
    limits: Mapping[str, int] = {
        "ram": {"ram": round(program.arena_bytes * share)},
        "flash": {"flash": round(program.flash_bytes * share)},
    }.get(plan, {})
    if limits:
        try:
            program = lower(graph, core, Options(families=families, choices=choices, **limits))
        except LoweringError:
            plan += ", not possible"
    return program, plan


def _striped(d: Drawer, graph: Graph, board: Board) -> Program | None:
    """Return a program whose first layers are computed in stripes, None where less RAM is not to be had."""
    whole = lower(graph, board.core, Options(families=SMALL_FAMILIES))
    for share in (0.45, 0.6, 0.8):
        try:
            program = lower(graph, board.core, Options(families=SMALL_FAMILIES, ram=round(whole.arena_bytes * share)))
        except LoweringError:
            continue
        if len(program.graph.operators) > len(graph.operators):
            return program
    return None


def _aimed_choices(
    d: Drawer, graph: Graph, board: Board, aims: Sequence[Target]
) -> dict[str, tuple[KernelFamily, Config]]:
    """Return a target's family and a config of it for each operator that one of the targets takes."""
    found: dict[str, tuple[KernelFamily, Config]] = {}
    for op in graph.operators:
        fitting = [aim for aim in aims if aim.fits(op, board.core)]
        if fitting:
            aim = d.pick(*fitting)
            config = aim.config(d, op, board.core)
            if config is not None:
                found[op.name] = aim.family, config
    return found


def random_choices(d: Drawer, graph: Graph, board: Board) -> dict[str, tuple[KernelFamily, Config]]:
    """Return for each operator a family, each of those that take it alike, and a config that can be built."""
    found: dict[str, tuple[KernelFamily, Config]] = {}
    for op in graph.operators:
        families = [family for family in FAMILIES if family.applies(op, board.core)]
        d.rng.shuffle(families)  # type: ignore[arg-type]
        # Plain C last in two of three draws: it always applies.
        if d.integer(0, 2):
            families.sort(key=lambda family: family.name == "portable")
        for family in families:
            config = random_config(d, family, op, board.core)
            if config is not None:
                found[op.name] = family, config
                break
    return found


__all__ = ["Network", "distinct", "draw_network", "random_choices"]
