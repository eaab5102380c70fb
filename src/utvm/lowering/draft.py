"""A kernel on its way: estimated, then scheduled, then built, each step only where somebody asks for it."""

from __future__ import annotations

from functools import cached_property

from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.graph import Operator
from utvm.kernels import Config, Kernel, KernelFamily, Outline, code_digest
from utvm.lowering.recalled import Recalled


class Draft:
    """One config of a family for one operator. What was worked out stays, for all candidates that share the draft.

    Args:
        op, core, family, config: what is computed, where and how.
        code: the digest that its code must have, as `Measured.code`; None is any.
        recalled: what earlier compilations found out about the operator's kernels.

    Raises:
        ScheduleError: the registers do not suffice.
    """

    def __init__(
        self,
        op: Operator,
        core: Core,
        family: KernelFamily,
        config: Config,
        code: str | None = None,
        recalled: Recalled | None = None,
    ) -> None:
        self._op, self._core, self._code, self._recalled = op, core, code, recalled or Recalled()
        self.family, self.config = family, config
        self._outline = self._recalled.built(family, config) or self._recalled.outline(family, op, core, config)
        self._holds = None if code is not None or self.error else True

    @property
    def competes(self) -> bool:
        """Whether its cycles are modelled."""
        return self._outline is not None or self._estimate is not None

    @property
    def cycles(self) -> float:
        """Modelled cycles, 0 where nothing models them."""
        return (self._estimate or 0.0) if self._outline is None else self._outline.cycles

    @property
    def error(self) -> float:
        """The share by which `cycles` can be too high."""
        return 0.0 if self._outline is None else self._outline.error

    @property
    def outline(self) -> Outline:
        """What it takes, as far as it was worked out."""
        if self._outline is None:
            self._outline = Outline.of(self.kernel, self.cycles)
            self._recalled.note_built(self.family, self.config, self._outline)
        return self._outline

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel, built when it is first asked for."""
        return self.family.build(self._op, self._core, self.config)

    @cached_property
    def code(self) -> str:
        """The digest of the kernel's code; see `code_digest`."""
        return self._recalled.code(self.family, self.config, lambda: code_digest(self.kernel))

    @cached_property
    def _estimate(self) -> float | None:
        return self.family.estimate(self._op, self._core, self.config)

    @property
    def is_settled(self) -> bool:
        """Whether nothing of it is only estimated."""
        return self._holds is not None

    def settle(self) -> bool:
        """Schedule what is only estimated; tell whether the registers suffice and the code is what it must be."""
        if self._holds is None:
            try:
                if self.error:
                    self._outline = self._recalled.outline(
                        self.family, self._op, self._core, self.config, scheduled=True
                    )
                self._holds = self._code is None or self.code == self._code
            except ScheduleError:
                self._holds = False
        return self._holds
