"""What families of a block of pixels and channels in registers share: their knobs, and the frame of their kernel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from itertools import product
from typing import ClassVar

from utvm.codegen import CArray, CFunction, CParameter, CSupport
from utvm.cores import Core
from utvm.graph import Conv2D, DepthwiseConv2D, FullyConnected, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.blocked.blocks import BlockWriter, Weighted
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.workload_keys import dims, workload


class BlockFamily(KernelFamily):
    """Conv2D, DepthwiseConv2D and FullyConnected by a block of `m` pixels and `n` channels in registers.

    Knobs: `m`, `n`, `unroll` (terms of the sum without a branch).
    """

    kinds = (Conv2D, DepthwiseConv2D, FullyConnected)
    knobs: ClassVar[Space]
    """The space of every operator."""

    @abstractmethod
    def cycles(self, op: Weighted, core: Core, config: Config) -> float:
        """Return about the cycles of a config."""

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that weights or bias are no constants."""
        found = super().refusal(op, core)
        if found is None and any(not t.is_constant for t in op.inputs[1:]):
            return "its weights or its bias are not known when compiling"
        return found

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs; combinations that can't be built are refused by `legal`."""
        del op, core
        return self.knobs

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config with the fewest counted cycles."""
        return self.contenders(op, core)[0]

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the default and one of little code."""
        assert isinstance(op, Weighted)
        every = [dict(zip(self.knobs, values, strict=True)) for values in product(*self.knobs.values())]
        counted = [(self.cycles(op, core, config), config) for config in every if self.legal(op, core, config)]
        small = [each for each in counted if each[1]["m"] == 1 and each[1]["unroll"] == self.knobs["unroll"][0]]
        best, least = (min(each, key=lambda one: one[0])[1] for each in (counted, small))
        return (best,) if least == best else (best, least)

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return cycles by counted loads, products and turns."""
        assert isinstance(op, Weighted)
        return self.cycles(op, core, config)

    def kernel(
        self,
        op: Weighted,
        config: Config,
        writer: BlockWriter,
        constants: Mapping[str, CArray],
        helpers: tuple[str, ...],
        support: tuple[CSupport, ...] = (),
    ) -> Kernel:
        """Return the kernel that `writer` wrote, whose parameters are x, the constants in their order, and y."""
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.x.shape)}_{op.y.shape[-1]}_{op.x.dtype.value.removesuffix('32')}",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=(
                    CParameter(name="x", c_type=writer.x_type, role="input"),
                    *(CParameter(name=n, c_type=each.c_type, role="constant") for n, each in constants.items()),
                    CParameter(name="y", c_type=writer.x_type, role="output"),
                ),
                body=writer.w.text,
                helpers=helpers,
                support=support,
            ),
            constants=constants,
            ahead=_ahead(op, writer),
        )


def _ahead(op: Weighted, writer: BlockWriter) -> int | None:
    """Return the bytes by which the output must start before the input; see `Kernel`."""
    if isinstance(op, FullyConnected):
        return None
    if not writer.layer.flat:
        return nest_ahead(op)
    channels = op.y.shape[3]
    grows = max(0, (writer.layer.width - 1) * (channels - op.x.shape[3]))
    return op.x.dtype.itemsize * (writer.m * channels + grows)
