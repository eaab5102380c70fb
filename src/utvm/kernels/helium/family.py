"""What all families of scheduled vector code ask of a core, and what those with weights take."""

from __future__ import annotations

from utvm.codegen import CParameter
from utvm.cores import Core
from utvm.kernels.base import KernelFamily
from utvm.kernels.dsp.assembly import no_scheduled_code

WEIGHTED_PARAMETERS = (
    CParameter(name="x", c_type="int8_t", role="input"),
    CParameter(name="stream", c_type="int32_t", role="constant"),
    CParameter(name="scratch", c_type="int8_t", role="scratch"),
    CParameter(name="y", c_type="int8_t", role="output"),
)

WIDE_PARAMETERS = (
    CParameter(name="from_x", c_type="int16_t", role="input"),
    CParameter(name="stream", c_type="int32_t", role="constant"),
    CParameter(name="scratch", c_type="int8_t", role="scratch"),
    CParameter(name="to_y", c_type="int16_t", role="output"),
)
WIDE_START = """\
const int8_t *const x = (const int8_t *)(const void *)from_x;
int8_t *const y = (int8_t *)(void *)to_y;"""
"""The operands of int16 as bytes, in which loops count."""


def no_vectors(core: Core) -> str | None:
    """Return that a core has no vector extension; None where it has it."""
    return None if core.mve else f"{core.name} has no vector extension"


class ScheduledVectors(KernelFamily):
    """A family of micro-kernels for cores with the vector extension whose pipeline is known."""

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no vector extension, or that its pipeline is not known; None where it serves."""
        return no_vectors(core) or no_scheduled_code(core)
