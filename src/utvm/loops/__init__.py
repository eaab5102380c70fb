"""What an operator computes (`Compute`), how (`Schedule`), and C of both; no core and no operator by name."""

from utvm.loops.affine import Affine, axis, number
from utvm.loops.compute import Apply, Buffer, Call, Compute, Const, Expr, Helper, Load, Reduced, Select
from utvm.loops.evaluate import evaluate
from utvm.loops.render import render
from utvm.loops.schedule import IllegalScheduleError, Instruction, Schedule
from utvm.loops.stage import box_elements, window_bytes

__all__ = [
    "Affine",
    "Apply",
    "Buffer",
    "Call",
    "Compute",
    "Const",
    "Expr",
    "Helper",
    "IllegalScheduleError",
    "Instruction",
    "Load",
    "Reduced",
    "Schedule",
    "Select",
    "axis",
    "box_elements",
    "evaluate",
    "number",
    "render",
    "window_bytes",
]
