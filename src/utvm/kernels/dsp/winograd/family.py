"""What the Winograd families share: the knob, the choice of tiles, the frame of a plan and of a kernel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.graph import Conv2D, Operator
from utvm.kernels.base import Config, Kernel, Outline, Space
from utvm.kernels.dsp.finish import Requantizer, requantizer, requantizer_refusal
from utvm.kernels.dsp.multiply_estimates import ESTIMATE_ERROR, BlockCost
from utvm.kernels.dsp.scheduled import ScheduledFamily
from utvm.kernels.dsp.winograd.exactness import FINISH_WORDS, Scale, finish_constants, is_exact
from utvm.kernels.dsp.winograd.stages import Ending
from utvm.kernels.dsp.winograd.transforms import Transform
from utvm.kernels.workload_keys import dims, workload

_MOST_SCRATCH = 48 * 1024
_PARAMETERS = (
    CParameter(name="x", c_type="int8_t", role="input"),
    CParameter(name="weights", c_type="int32_t", role="constant"),
    CParameter(name="stream", c_type="int32_t", role="constant"),
    CParameter(name="scratch", c_type="int32_t", role="scratch"),
    CParameter(name="y", c_type="int8_t", role="output"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WinogradPlan(ABC):
    """What the C, the micro-kernels and the constants of one layer agree on. Sizes and places in scratch in bytes."""

    dimensions: ClassVar[int]
    """How many dimensions are transformed."""

    op: Conv2D
    transform: Transform
    requantizer: Requantizer

    @property
    def points(self) -> int:
        """Inputs of a tile, and sums of a tile, in one dimension."""
        return self.transform.points

    @property
    def scale(self) -> Scale:
        """The factor on the sums."""
        return Scale.of(self.transform, self.dimensions)

    @property
    def words(self) -> int:
        """Lane pairs of a pixel's channels."""
        return (self.op.x.shape[3] + 1) // 2

    @property
    @abstractmethod
    def scratch_bytes(self) -> int:
        """Bytes of scratch."""

    @property
    @abstractmethod
    def reachable(self) -> bool:
        """Whether all offsets fit the instructions of the micro-kernels."""

    @property
    def usable(self) -> bool:
        """Whether the tile is proven exact for the layer's weights and has room."""
        exact = is_exact(self.op, self.requantizer, self.transform, self.point_weights(), dimensions=self.dimensions)
        return exact and self.reachable and self.scratch_bytes <= _MOST_SCRATCH

    @property
    @abstractmethod
    def weight_count(self) -> int:
        """Words of the transformed weights."""

    @abstractmethod
    def point_weights(self) -> NDArray[np.int64]:
        """Return the transformed weights, the points first."""

    @abstractmethod
    def weight_words(self) -> NDArray[np.int32]:
        """Return the transformed weights as lane pairs, in the order in which the products read them."""

    def stream(self) -> NDArray[np.int32]:
        """Return the constants of each channel's finish."""
        return finish_constants(self.op, self.requantizer, self.scale)

    def ending(self, *, point_bytes: int, sum_step: int, stream_step: int, out_step: int) -> Ending:
        """Return the last stage, for sums and outputs that lie as given; see `Ending`."""
        return Ending(
            points=self.points,
            point_bytes=point_bytes,
            sum_step=sum_step,
            stream_step=stream_step,
            out_step=out_step,
            out_pixel=self.op.y.shape[3],
            outputs=self.transform.outputs,
            odd=self.scale.odd,
            right=self.scale.right,
            finish=self.requantizer.finish,
            saturation=self.requantizer.saturation,
            shift=self.requantizer.shift,
        )

    @abstractmethod
    def symbol(self, stage: str) -> str:
        """Return the name of a stage's micro-kernel, which says everything that its code depends on."""

    @abstractmethod
    def stages(self, timing: Timing) -> tuple[CSupport, ...]:
        """Return the micro-kernels in the order in which they run."""

    @abstractmethod
    def cost(self, core: Core, *, estimated: bool = False) -> BlockCost:
        """Return what one call takes; if `estimated`, no long block is scheduled for it.

        Raises:
            ScheduleError: a block does not fit the registers.
        """


PlanT = TypeVar("PlanT", bound=WinogradPlan)


class WinogradFamily(ScheduledFamily, Generic[PlanT]):
    """Conv2D by exact transforms. Knob: `tile`, the outputs m of F(m, r), along each transformed dimension."""

    kinds = (Conv2D,)
    mark: ClassVar[str]
    """What the names of the C functions end with, before the tile."""

    @abstractmethod
    def plan(self, op: Conv2D, tile: int, core: Core, *, estimated: bool = False) -> PlanT:
        """Return the plan for a tile of `tiles`, its block chosen by estimates alone if `estimated`."""

    @abstractmethod
    def candidates(self, op: Conv2D) -> Iterator[WinogradPlan]:
        """Yield a plan, whatever its blocks, for each tile that suits the shape and the attributes of `op`."""

    @abstractmethod
    def write(self, w: CWriter, plan: PlanT) -> tuple[str, ...]:
        """Write the body of a kernel; returns the helpers that it calls."""

    @abstractmethod
    def summary(self, plan: PlanT) -> str:
        """Return what the comment over a kernel says of its plan."""

    @abstractmethod
    def ahead(self, plan: PlanT) -> int:
        """Return the bytes by which the output must start before the input, as `Kernel.ahead`."""

    def tiles(self, op: Conv2D) -> tuple[int, ...]:
        """Return the tiles that suit a convolution: its shape, the room, and a proof of exactness for its weights."""
        return tuple(plan.transform.outputs for plan in self.candidates(op) if plan.usable)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why no tile suits `op`: its shape, its finish, or that none is proven exact for its weights."""
        if not isinstance(op, Conv2D):
            return super().refusal(op, core)
        reason = self.lacks(core) or requantizer_refusal(op)
        if reason is not None or self.tiles(op):
            return reason
        found = requantizer(op)
        assert found is not None
        enlarged = int((found.left > 0).sum())
        if enlarged:
            return f"{enlarged} of its {found.left.size} channels have an effective scale of 1 or more"
        suits = any(True for _ in self.candidates(op))
        return "no tile is exact for its weights" if suits else "no tile divides its shape"

    def space(self, op: Operator, core: Core) -> Space:
        """Return the tiles that are exact."""
        del core
        assert isinstance(op, Conv2D)
        return {"tile": self.tiles(op)}

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return every tile: larger ones need more flash and scratch."""
        return tuple({"tile": tile} for tile in self.space(op, core)["tile"])

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the modelled cycles of all stages."""
        return self.outline(op, core, config, scheduled=True).cycles

    def outline(self, op: Operator, core: Core, config: Config, *, scheduled: bool = False) -> Outline:
        """Return the cycles of all stages, and what the plan takes."""
        assert isinstance(op, Conv2D)
        plan = self.plan(op, int(config["tile"]), core, estimated=not scheduled)
        cost = plan.cost(core, estimated=not scheduled)
        return Outline(
            cycles=cost.cycles,
            error=0.0 if scheduled else ESTIMATE_ERROR,
            constant_bytes=4 * (plan.weight_count + FINISH_WORDS * op.y.shape[3]),
            code_bytes=round(cost.code_bytes),
            scratch_bytes=plan.scratch_bytes,
            ahead=self.ahead(plan),
        )

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a convolution."""
        assert isinstance(op, Conv2D)
        assert core.timing is not None
        plan = self.plan(op, int(config["tile"]), core)
        w = CWriter()
        helpers = self.write(w, plan)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"conv2d_{dims(op.x.shape[1:])}_{op.y.shape[3]}_{self.mark}{plan.transform.outputs}",
                comment=f"{workload(op)}\nfamily {self.name}, {self.summary(plan)}",
                parameters=_PARAMETERS,
                body=w.text,
                helpers=helpers,
                support=plan.stages(core.timing),
            ),
            constants={
                "weights": CArray(c_type="int32_t", values=plan.weight_words()),
                "stream": CArray(c_type="int32_t", values=plan.stream()),
            },
            scratch_bytes=plan.scratch_bytes,
            ahead=self.ahead(plan),
        )
