"""Operators by schedules that a user wrote: a definition's computation, in the order that the steps say."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import SIZES, CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.cores.instructions import instructions_of
from utvm.graph import DType, Operator, Tensor
from utvm.graph.definitions import definition
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.portable.defined import in_place
from utvm.kernels.workload_keys import dims, workload
from utvm.loops import IllegalScheduleError, Schedule, box_elements, render, replay, window_bytes

STEPS = "steps"
"""The one knob: the steps of the schedule as text."""
_MOST_AT_ONCE = 1024
"""Terms that unrolled loops write one after another; more is minutes of the compiler and megabytes of code."""


class ByHand(KernelFamily):
    """Any operator that is one computation, by a schedule of a user's own.

    It proposes nothing: it is chosen by a name of an operator, or by a record. Knob: `steps`.
    """

    name = "by-hand"

    def outside_signature(self, op: Operator) -> str | None:
        """Return None: a definition has the types that it has."""
        del op
        return None

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that an operator is no computation, or several."""
        del core
        return _refusal(op)

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return nothing."""
        del op, core
        return ()

    def takes(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether the steps are legal for an operator."""
        try:
            self.build(op, core, config)
        except IllegalScheduleError:
            return False
        return True

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a schedule.

        Raises:
            IllegalScheduleError: the steps are not legal for `op`.
        """
        schedule = scheduled(op, core, config)
        defined = definition(op)
        assert defined is not None
        w = CWriter()
        helpers = render(w, schedule)
        values = schedule.arrays()
        y = op.outputs[0]
        parameters, constants = list[CParameter](), dict[str, CArray]()
        for name in (*defined.inputs, *defined.constants):
            if name not in values:
                tensor = defined.inputs[name]
                parameters.append(CParameter(name=name, c_type=tensor.dtype.c_type, role="input"))
                continue
            buffers = [b for b in schedule.compute.buffers if b.name == name]
            copied = schedule.copies.get(name)
            for buffer in buffers if copied is None else [copied.buffer]:
                parameters.append(CParameter(name=name, c_type=buffer.c_type, role="constant"))
                constants[name] = CArray(c_type=buffer.c_type, values=values[name])
        for name in defined.inputs:
            if all(name != buffer.name for buffer in schedule.compute.buffers):
                w(f"(void){name};")
        staged, scratch = _scratch(schedule)
        steps = str(config[STEPS]) or "none"
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(y.shape)}_by_hand",
                comment=f"{workload(op)}\nfamily {self.name}, steps: {steps}",
                parameters=(*parameters, *staged, CParameter(name="y", c_type=y.dtype.c_type, role="output")),
                body=w.text,
                helpers=helpers,
            ),
            constants=constants,
            scratch_bytes=scratch,
            in_place=in_place(op),
        )


def plain_schedule(op: Operator) -> Schedule:
    """Return the schedule of an operator in its plain order, its constants known.

    Raises:
        IllegalScheduleError: it is no computation over loops, or several one after another.
    """
    defined, reason = definition(op), _refusal(op)
    if defined is None or defined.only is None:
        raise IllegalScheduleError(f"{op.kind} '{op.name}' can't be scheduled by hand: {reason}")
    known = {name: _stored(tensor) for name, tensor in defined.inputs.items() if tensor.is_constant}
    return Schedule.of(defined.only, {**known, **defined.constants})


def scheduled(op: Operator, core: Core, config: Config) -> Schedule:
    """Return the schedule of a config.

    Raises:
        IllegalScheduleError: it is no config of this family, or its steps are not legal for `op`.
    """
    if set(config) != {STEPS}:
        raise IllegalScheduleError(f"'{STEPS}' is the one knob of schedules by hand, not {', '.join(config) or 'none'}")
    s = replay(plain_schedule(op), str(config[STEPS]), {each.name: each for each in instructions_of(core)})
    at_once = prod(s.extents[loop.axis] for loop in s.loops if loop.unroll)
    if at_once > _MOST_AT_ONCE:
        raise IllegalScheduleError(f"the unrolled loops write {at_once:,} terms: {_MOST_AT_ONCE:,} at most")
    return s


def _stored(tensor: Tensor) -> NDArray[Any]:
    """Return a constant's values as C holds them: truth is a byte."""
    values: NDArray[Any] = tensor.values
    return values.astype(np.uint8) if tensor.dtype is DType.BOOL else values


def _refusal(op: Operator) -> str | None:
    found = definition(op)
    if found is None:
        return "it is no computation over loops"
    return None if found.only is not None else f"it is {len(found.stages)} computations, one after another"


def _scratch(s: Schedule) -> tuple[list[CParameter], int]:
    """Return the parameter of what is staged, and its bytes."""
    copied = {name: each for name, each in s.copies.items() if each.at is not None}
    if len(copied) + len(s.boxes) > 1:
        raise IllegalScheduleError(f"{' and '.join((*copied, *s.boxes))} are staged: one buffer at most")
    for name, each in copied.items():
        size = each.buffer.elements * SIZES[each.buffer.c_type] + window_bytes(s, name)
        return [CParameter(name=f"{name}_staged", c_type=each.buffer.c_type, role="scratch")], size
    for name in s.boxes:
        return [CParameter(name=f"{name}_staged", c_type="int8_t", role="scratch")], box_elements(s, name)
    return [], 0
