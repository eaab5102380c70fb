"""Graph → Program: kernels, lifetimes, arena offsets."""

from utvm.lowering.budget import undominated
from utvm.lowering.errors import FlashBudgetError, LoweringError, RamBudgetError
from utvm.lowering.explored import Explored
from utvm.lowering.graph_to_program import FrontierPoint, lower, lower_frontier
from utvm.lowering.layout import ram_advice
from utvm.lowering.options import Choice, Options
from utvm.lowering.plan import BUFFER_ALIGNMENT, MemoryPlan, Request, lower_bound, plan_memory
from utvm.lowering.program import Call, Program
from utvm.lowering.select import Measured, Measurements
from utvm.lowering.slower import SlowerCall, counted, slower_calls

__all__ = [
    "BUFFER_ALIGNMENT",
    "Call",
    "Choice",
    "Explored",
    "FlashBudgetError",
    "FrontierPoint",
    "LoweringError",
    "Measured",
    "Measurements",
    "MemoryPlan",
    "Options",
    "Program",
    "RamBudgetError",
    "Request",
    "SlowerCall",
    "counted",
    "lower",
    "lower_bound",
    "lower_frontier",
    "plan_memory",
    "ram_advice",
    "slower_calls",
    "undominated",
]
