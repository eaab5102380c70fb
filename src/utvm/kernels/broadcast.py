"""Operands of several shapes as loops over runs, in each of which an operand is read on or stays where it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from utvm.codegen import CWriter
from utvm.graph import Add, Mul, Sub
from utvm.kernels.nest import loops


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The loops of an operator of two operands, whose output is written on.

    Attributes:
        outer: outer loops: their turns, and the bytes that each operand moves in a turn.
        rows: turns of the loop around runs.
        row_steps: the bytes that each operand moves from row to row.
        run: elements of a run.
        moves: whether each operand moves along a run.
    """

    outer: tuple[tuple[int, int, int], ...]
    rows: int
    row_steps: tuple[int, int]
    run: int
    moves: tuple[bool, bool]

    @property
    def words(self) -> tuple[int, ...]:
        """What functions read as the shape: rows, elements of one, and the bytes that each operand moves behind one.

        A row is read on by itself: what is left is the way back, or on.
        """
        behind = (step - self.run * on for step, on in zip(self.row_steps, self.moves, strict=True))
        return self.rows, self.run, *behind


def runs_of(op: Add | Sub | Mul) -> Runs:
    """Return the loops of an operator; neighbouring dimensions along which the same operands move are one."""
    target = op.y.shape
    moving = zip(_moving(op.a.shape, target), _moving(op.b.shape, target), strict=True)
    groups: list[tuple[int, tuple[bool, bool]]] = []
    for size, both in zip(target, moving, strict=True):
        if size == 1:
            continue
        if groups and groups[-1][1] == both:
            groups[-1] = groups[-1][0] * size, both
        else:
            groups.append((size, both))
    groups = groups or [(1, (True, True))]
    steps = []
    for place, (size, moves) in enumerate(groups):
        inner = groups[place + 1 :]
        a, b = (prod(n for n, each in inner if each[which]) if moves[which] else 0 for which in (0, 1))
        steps.append((size, a, b))
    (run, moves), rest = groups[-1], steps[:-1]
    rows, *row_steps = rest[-1] if rest else (1, 0, 0)
    return Runs(
        outer=tuple(rest[:-1]), rows=rows, row_steps=(row_steps[0], row_steps[1]), run=run, moves=moves,
    )  # fmt: skip


def write_calls(w: CWriter, runs: Runs, call: Callable[[str, str, str], str]) -> None:
    """Write the outer loops around what `call` returns for the addresses of operands and output."""
    with loops(w, [turns for turns, _, _ in runs.outer]) as names:
        steps, made = list[tuple[int, int, int]](), runs.rows * runs.run
        for turns, of_a, of_b in reversed(runs.outer):
            steps.insert(0, (of_a, of_b, made))
            made *= turns
        a, b, y = (
            "".join(
                [base, *(f" + {name} * {step[which]}" for name, step in zip(names, steps, strict=True) if step[which])]
            )
            for which, base in enumerate("aby")
        )
        w(call(a, b, y))


def _moving(shape: Sequence[int], target: Sequence[int]) -> list[bool]:
    padded = (1,) * (len(target) - len(shape)) + tuple(shape)
    return [size > 1 for size in padded]
