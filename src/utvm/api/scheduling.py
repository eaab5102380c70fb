"""Schedules of a user's own for layers of a network: where they come from, and how they are checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from utvm.api.quantized import QuantizedModel
from utvm.arguments import checked_arguments
from utvm.boards import Board
from utvm.cores import Core
from utvm.errors import UtvmError
from utvm.graph import Graph, Operator
from utvm.kernels import BY_HAND, plain_schedule
from utvm.kernels.by_hand import STEPS
from utvm.loops import IllegalScheduleError, Schedule
from utvm.lowering import Choice, Program
from utvm.tuning.space import FamilyConfig, Task


@checked_arguments
def schedule(model: str | Path | Graph | QuantizedModel, operator: str) -> Schedule:
    """Return the plain schedule of an operator, to be changed by verbs as `split`, `reorder`, `unroll`, `pack`.

    Each verb returns a new schedule, or says why it would change what is computed. `utvm.compile` and `utvm.tune` take
    the result. docs/schedules.md has the verbs.

    Args:
        model: a model file, a graph, or what `utvm.quantize` made.
        operator: the operator's name, as a profile or a manifest shows it.

    Raises:
        UtvmError: the model can't be read, has no operator of that name, or it is not one computation over loops.

    Example:
        s = utvm.schedule("model.tflite", "conv_2d_0")
        s = s.split("oc", 4).reorder("n", "oy", "ox", "oc_o", "ky", "kx", "ic", "oc_i").unroll("oc_i")
        compiled = utvm.compile("model.tflite", "qemu-riscv32", schedules={"conv_2d_0": s})
    """
    # Imported here: it imports what needs this module.
    from utvm.api.assembling import prepared

    return plain_schedule(_operator(prepared(model), operator))


def schedule_choices(graph: Graph, core: Core, schedules: Mapping[str, Schedule]) -> dict[str, Choice]:
    """Return the family and the config of each operator with a schedule, checked for its operator and the core.

    Raises:
        UtvmError: there is no such operator, or its schedule is not legal.
    """
    return {name: (BY_HAND, _config(_operator(graph, name), s, core)) for name, s in schedules.items()}


def tasks_with_schedules(tasks: Sequence[Task], schedules: Mapping[str, Schedule], board: Board) -> list[Task]:
    """Return the tasks with schedules as candidates that are measured first.

    Raises:
        UtvmError: no task is of such an operator, or a schedule is not legal for it.
    """
    given = dict[str, list[FamilyConfig]]()
    for name, s in schedules.items():
        task = next((task for task in tasks if name in task.names), None)
        if task is None:
            known = ", ".join(each for task in tasks for each in task.names)
            raise UtvmError(f"no operator that is tuned is named '{name}'; there are {known}")
        candidate = FamilyConfig(family=BY_HAND.name, config=_config(task.op, s, board.core))
        given.setdefault(task.workload, []).append(candidate)
    return [replace(task, given=tuple(given.get(task.workload, ()))) for task in tasks]


def check_used(program: Program, schedules: Mapping[str, Schedule]) -> None:
    """Refuse a program in which an operator with a schedule is cut, so that the schedule is not what computes it.

    Raises:
        UtvmError: there is one.
    """
    used = {call.op.name for call in program.calls if call.kernel.family == BY_HAND.name}
    lost = [name for name in schedules if name not in used]
    if lost:
        raise UtvmError(
            f"to fit the RAM, {', '.join(lost)} is computed in stripes, for which its schedule is not: allow more RAM, "
            "or leave the schedule out"
        )


def _operator(graph: Graph, name: str) -> Operator:
    for op in graph.operators:
        if op.name == name:
            return op
    raise UtvmError(f"no operator is named '{name}'; {graph.name} has {', '.join(op.name for op in graph.operators)}")


def _config(op: Operator, s: Schedule, core: Core) -> dict[str, int | str]:
    config: dict[str, int | str] = {STEPS: s.text}
    try:
        BY_HAND.build(op, core, config)
    except IllegalScheduleError as error:
        raise IllegalScheduleError(f"the schedule of '{op.name}' is not legal for {core.name}: {error}") from error
    return config
