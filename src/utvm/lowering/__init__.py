"""Graph → Program: kernels, lifetimes, arena offsets."""

from utvm.lowering.lower import LoweringError, lower
from utvm.lowering.plan import BUFFER_ALIGNMENT, MemoryPlan, Request, lower_bound, plan_memory
from utvm.lowering.program import Call, Program, c_identifier

__all__ = [
    "BUFFER_ALIGNMENT",
    "Call",
    "LoweringError",
    "MemoryPlan",
    "Program",
    "Request",
    "c_identifier",
    "lower",
    "lower_bound",
    "plan_memory",
]
