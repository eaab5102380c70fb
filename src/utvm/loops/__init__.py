"""How a `Compute` is made (`Schedule`), and C of it; no core and no operator by name."""

from utvm.loops.rendering import render
from utvm.loops.schedule import ProductInstruction, Schedule
from utvm.loops.stage import box_elements, window_bytes
from utvm.loops.steps import IllegalScheduleError, replay

__all__ = [
    "IllegalScheduleError",
    "ProductInstruction",
    "Schedule",
    "box_elements",
    "render",
    "replay",
    "window_bytes",
]
