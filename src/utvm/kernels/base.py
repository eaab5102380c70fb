"""What a kernel and a kernel family are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from utvm.codegen import CArray, CFunction
from utvm.cores import Core
from utvm.graph import DType, Operator, Rounding
from utvm.kernels.rough import rough_cycles

Config = Mapping[str, int | str]
"""One choice for each knob of a family."""

Space = Mapping[str, tuple[int | str, ...]]
"""The choices of each knob."""


INSTRUCTION_BYTES = 4
"""About what a line of assembler takes: instructions of 16 bits make up for labels and alignment, and more."""
STATEMENT_BYTES = 12
"""About what a statement of a kernel in C takes: 10 to 18 in blocks of products, more where little is written out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One operator as C: its function, the constants of this call, and what it needs.

    `constants` binds the function's parameters of role "constant". The parameters of role "input" stand in the order
    of `op.activations`, those of role "output" in that of `op.outputs`; `scratch_bytes` is for the parameter of role
    "scratch", if there is one. The output may take the place of activation i (same address) for each i in `in_place`;
    it may lie over activation 0 wherever it starts at least `ahead` bytes before it (after it where that is negative),
    unless `ahead` is None.
    """

    family: str
    config: Config
    function: CFunction
    constants: Mapping[str, CArray] = field(default_factory=dict)
    scratch_bytes: int = 0
    in_place: tuple[int, ...] = ()
    ahead: int | None = None

    @property
    def constant_bytes(self) -> int:
        """Bytes of all constants of this call."""
        return sum(array.nbytes for array in self.constants.values())

    @property
    def code_bytes(self) -> int:
        """About the bytes of the assembler; of a kernel without any, about those that its C becomes."""
        lines = sum(len(part.assembly) for part in self.function.support)
        return INSTRUCTION_BYTES * lines if lines else STATEMENT_BYTES * self.function.body.count(";")

    @property
    def flash_bytes(self) -> int:
        """Bytes of constants, and about those of the code."""
        return self.constant_bytes + self.code_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a kernel takes, as far as it is known before its code and constants are made.

    Attributes:
        cycles: modelled; about so many where there is an error.
        error: the share by which `cycles` can be too high; 0 where all micro-kernels are scheduled.
        constant_bytes: as of `Kernel`.
        code_bytes: as of `Kernel`; about so many where there is an error.
        scratch_bytes, in_place, ahead: as of `Kernel`.
    """

    cycles: float
    error: float = 0.0
    constant_bytes: int = 0
    code_bytes: int = 0
    scratch_bytes: int = 0
    in_place: tuple[int, ...] = ()
    ahead: int | None = None

    @staticmethod
    def of(kernel: Kernel, cycles: float) -> Outline:
        """Return the outline of a kernel that is made already."""
        return Outline(
            cycles=cycles,
            constant_bytes=kernel.constant_bytes,
            code_bytes=kernel.code_bytes,
            scratch_bytes=kernel.scratch_bytes,
            in_place=kernel.in_place,
            ahead=kernel.ahead,
        )


class KernelFamily(ABC):
    """One way of computing some operators. Families compete for an operator."""

    name: ClassVar[str]
    kinds: ClassVar[tuple[type[Operator], ...]] = ()
    """The operators that this family is made for."""
    dtypes: ClassVar[tuple[DType, ...]] = (DType.INT8,)
    """The types that inputs, weights and outputs may have."""
    biases: ClassVar[tuple[DType, ...]] = (DType.INT32,)
    """The types that a bias may have."""
    roundings: ClassVar[tuple[Rounding, ...]] = tuple(Rounding)
    """The roundings of sums of products that this family has."""
    nine_bits: ClassVar[bool] = False
    """Whether this family takes weights of nine bits, int16 beside int8: weights less their zero point."""
    packs: ClassVar[bool] = False
    """Whether this family keeps weights of 4 bits two a byte."""

    def applies(self, op: Operator, core: Core) -> bool:
        """Whether this family can compute `op` exactly on `core`."""
        return self.outside_signature(op) is None and self.refusal(op, core) is None

    def outside_signature(self, op: Operator) -> str | None:
        """Return which tensor or rounding of `op` this family's signature lacks, as a clause; None where it fits."""
        bias, weights = getattr(op, "bias", None), getattr(op, "weights", None)
        for tensor in (*op.inputs, *op.outputs):
            if tensor is weights and self.nine_bits and tensor.dtype is DType.INT16:
                continue
            if tensor.dtype not in (self.biases if tensor is bias else self.dtypes):
                return f"it does not take {tensor.dtype} (tensor '{tensor.name}')"
            if tensor.packed and not self.packs:
                return f"it would keep weights of 4 bits as bytes (tensor '{tensor.name}')"
        rounding = getattr(op, "rounding", None)
        if isinstance(rounding, Rounding) and rounding not in self.roundings:
            return f"it does not round {rounding}"
        return None

    def lacks(self, core: Core) -> str | None:
        """Return what keeps this family from a core, whatever the operator, as a clause; None where nothing does."""
        del core
        return None

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why this family does not take `op` on `core`, as a clause without a stop; None where it does.

        A family without limits takes every operator of its kinds on the cores that it does not lack anything of.
        """
        return self.lacks(core) if isinstance(op, self.kinds) else f"it is not for {op.kind}"

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs and their choices; a family without knobs has an empty space."""
        del op, core
        return {}

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config of the space can be built."""
        del op, core, config
        return True

    def takes(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config, perhaps of a record, is one of this family's for `op`."""
        space = self.space(op, core)
        inside = set(space) == set(config) and all(config[knob] in space[knob] for knob in space)
        return inside and self.legal(op, core, config)

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config to use without tuning."""
        del op, core
        return {}

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the configs that are worth comparing with other families', which trade speed, flash and scratch.

        A family with outlines that are estimates leaves near ones to the comparison.
        """
        return (self.default(op, core),)

    def outline(self, op: Operator, core: Core, config: Config, *, scheduled: bool = False) -> Outline | None:
        """Return what the kernel of `op` under `config` takes, without making it; None where only the kernel tells.

        Args:
            op, core, config: as for `build`.
            scheduled: whether all micro-kernels are scheduled for it, so that nothing is only about known.

        Raises:
            ScheduleError: the registers do not suffice.
        """
        del op, core, config, scheduled
        return None

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the modelled cycles of `op` under `config`, or None if this family competes with no other."""
        del op, core, config
        return None

    def about(self, op: Operator, core: Core) -> float | None:
        """Return about how many cycles a family without an estimate takes, for reports; None where nothing says."""
        return rough_cycles(op, core)

    @abstractmethod
    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op` under `config`."""
