"""Depthwise convolutions in blocks of registers, for any core: a schedule of loops."""

from __future__ import annotations

from functools import cache
from itertools import product

from utvm.codegen import CFunction, CParameter, CWriter
from utvm.compute.access import min_lead
from utvm.cores import Core
from utvm.graph import DepthwiseConv2D, Operator
from utvm.graph.definitions.weighted_operators import weighted_compute
from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.blocked.cost import depthwise_cycles
from utvm.kernels.scheduled_constants import bound_constants, marks
from utvm.kernels.workload_keys import dims, workload
from utvm.loops import Schedule, box_elements, render

_UNROLL_MOST = 128
_SPACE: Space = {
    "m": (1, 2, 3, 4, 5, 6, 8),
    "n": (1, 2, 3, 4),
    "order": ("channels", "rows"),
    "unroll": ("columns", "window"),
    "read": ("there", "copied"),
    "code": ("scheduled", "in-order"),
}


class BlockedDepthwise(KernelFamily):
    """DepthwiseConv2D by a block of `m` pixels of a row and `n` channels in registers.

    Knobs: `m`, `n`, `order` (channels or pixels of a row innermost), `unroll` (taps of a row of the window without a
    branch, or of all rows), `read` (inputs where they are, edges apart, or rows copied with their padding).
    """

    name = "blocked"

    kinds = (DepthwiseConv2D,)
    nine_bits = True

    def lacks(self, core: Core) -> str | None:
        """Return that the core has something better than words; None where it has not."""
        return "the core has products of pairs" if core.dsp else None

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs; combinations that are not worth it are refused by `legal`."""
        del op, core
        return _SPACE

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config of the space can be built."""
        del core
        assert isinstance(op, DepthwiseConv2D)
        m, n = int(config["m"]), int(config["n"])
        _, height, width, _ = op.weights.shape
        taps = width if config["unroll"] == "columns" else height * width
        if m > op.y.shape[2] or op.x.shape[3] % n or m * n > 8 or m * n * taps > max(_UNROLL_MOST, taps):
            return False
        return not (config["unroll"] == "window" and height == 1)

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config with the fewest counted cycles."""
        return self.contenders(op, core)[0]

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the default, the best without scratch, and one of little code."""
        assert isinstance(op, DepthwiseConv2D)
        every = [dict(zip(_SPACE, values, strict=True)) for values in product(*_SPACE.values())]
        every = [config for config in every if self.legal(op, core, config)]
        there = [config for config in every if config["read"] == "there"]
        small = [config for config in there if config["m"] == config["n"] == 1 and config["unroll"] == "columns"]
        cycles = cache(lambda place: depthwise_cycles(op, core, every[place]))
        found: list[Config] = []
        for kept in (every, there, small):
            best = min(kept, key=lambda config: cycles(every.index(config)))
            if best not in found:
                found.append(best)
        return tuple(found)

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return cycles by counted loads, multiplications, additions and registers."""
        assert isinstance(op, DepthwiseConv2D)
        return depthwise_cycles(op, core, config)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        del core
        assert isinstance(op, DepthwiseConv2D)
        schedule = depthwise_schedule(op, config)
        w = CWriter()
        helpers = render(w, schedule)
        parameters, constants = bound_constants(schedule)
        scratch = 0
        if "x" in schedule.boxes:
            parameters = (*parameters, CParameter(name="x_staged", c_type="int8_t", role="scratch"))
            scratch = box_elements(schedule, "x")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"depthwise_{dims(op.x.shape[1:])}_{op.y.shape[3]}_k{dims(op.weights.shape[1:3])}_blocked",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=(
                    CParameter(name="x", c_type="int8_t", role="input"),
                    *parameters,
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                helpers=(*helpers, *marks(config)),
                attribute=" ".join(marks(config)),
            ),
            constants=constants,
            scratch_bytes=scratch,
            ahead=min_lead(weighted_compute(op)[0], "x", (1, 1), outer=("n", "oy")),
        )


def depthwise_schedule(op: DepthwiseConv2D, config: Config) -> Schedule:
    """Return the schedule of a config.

    Raises:
        IllegalScheduleError: the config is not legal for `op`.
    """
    compute, constants = weighted_compute(op)
    s = Schedule.of(compute, constants)
    copied = config["read"] == "copied"
    if copied or not op.padding.any:
        s = s.fold_zero_point()
    s = s.split("ox", int(config["m"])).split("c", int(config["n"]))
    several = ("e",) if "e" in s.extents else ()
    outer = ("ox_o", "c_o") if config["order"] == "channels" else ("c_o", "ox_o")
    s = s.reorder("n", "oy", *outer, *several, "ky", "kx", "ox_i", "c_i").unroll("ox_i", "c_i", "kx")
    if config["unroll"] == "window":
        s = s.unroll("ky")
    s = s.pack("weights", "c_o", *several, "ky", "kx", "c_i")
    return s.stage_box("x", "oy") if copied else s.peel("oy").peel("ox_o")
