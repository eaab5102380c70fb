"""What all families of scheduled micro-kernels ask of a core."""

from __future__ import annotations

from utvm.cores import Core
from utvm.kernels.base import KernelFamily
from utvm.kernels.dsp.assembly import no_scheduled_code


class ScheduledFamily(KernelFamily):
    """A family of micro-kernels for cores with the DSP extension whose pipeline is known."""

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no DSP extension, or that its pipeline is not known; None where it serves."""
        return no_scheduled_code(core)
