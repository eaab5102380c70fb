"""Constants of a schedule as parameters of a kernel, and what a config asks of the compiler."""

from __future__ import annotations

from collections.abc import Mapping

from utvm.codegen import CArray, CParameter
from utvm.kernels.base import Config
from utvm.loops import Schedule


def bound_constants(schedule: Schedule) -> tuple[tuple[CParameter, ...], Mapping[str, CArray]]:
    """Return a parameter for each constant of a schedule, and its values as they are stored."""
    values = schedule.arrays()
    parameters: list[CParameter] = []
    constants: dict[str, CArray] = {}
    for buffer in schedule.compute.buffers:
        if buffer.name not in values:
            continue
        copied = schedule.copies.get(buffer.name)
        c_type = buffer.c_type if copied is None else copied.buffer.c_type
        parameters.append(CParameter(name=buffer.name, c_type=c_type, role="constant"))
        constants[buffer.name] = CArray(c_type=c_type, values=values[buffer.name])
    return tuple(parameters), constants


def marks(config: Config) -> tuple[str, ...]:
    """Return the macros that stand before a kernel's name."""
    return ("UTVM_IN_ORDER",) if config["code"] == "in-order" else ()
