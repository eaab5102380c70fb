"""Convolutions and fully connected layers in blocks of registers, for any core: a schedule of loops."""

from __future__ import annotations

from functools import lru_cache

from utvm.codegen import SIZES, CFunction, CParameter, CWriter
from utvm.compute.access import min_lead
from utvm.cores import Core
from utvm.cores.instructions import EVERY, instructions_of
from utvm.graph import Conv2D, FullyConnected, Operator
from utvm.graph.definitions.weighted_operators import weighted_compute
from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.blocked.cost import product_cycles
from utvm.kernels.scheduled_constants import bound_constants, marks
from utvm.kernels.workload_keys import dims, workload
from utvm.loops import IllegalScheduleError, Schedule, render, window_bytes

PLAIN = "plain"
_INSTRUCTIONS = {each.name: each for each in EVERY}
_BLOCKS = ((1, 2), (1, 4), (2, 1), (2, 2), (2, 3), (2, 4), (3, 2), (3, 3), (3, 4), (4, 2), (4, 4), (1, 1), (1, 8))
_UNROLL_MOST = 64


class BlockedProduct(KernelFamily):
    """Conv2D and FullyConnected by a block of `m` pixels and `n` channels in registers.

    Knobs: `m`, `n`, `use` (what adds products: plain C or an instruction of `cores.instructions`), `unroll` (steps of
    the sum without a branch), `read` (inputs where they are, or windows copied once a block).
    """

    name = "blocked"

    kinds = (Conv2D, FullyConnected)
    nine_bits = True

    def lacks(self, core: Core) -> str | None:
        """Return that the core has something better than words; None where it has not."""
        return "the core has products of pairs" if core.dsp else None

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs; combinations that are not exact or not worth it are refused by `legal`."""
        del op
        return {
            "m": (1, 2, 3, 4),
            "n": (1, 2, 3, 4, 8),
            "use": (PLAIN, *(each.name for each in instructions_of(core))),
            "unroll": (1, 2, 4, 8),
            "read": ("there", "copied"),
            "code": ("scheduled", "in-order"),
        }

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config of the space can be built."""
        assert isinstance(op, Conv2D | FullyConnected)
        if config["use"] not in (PLAIN, *(each.name for each in instructions_of(core))):
            return False
        m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
        if m * n > 16 or m * n * unroll > _UNROLL_MOST:
            return False
        if config["use"] == PLAIN:
            if config["read"] == "there" and not _is_flat(op):
                return False
        elif config["read"] == "there":
            return False
        try:
            product_schedule(op, config)
        except IllegalScheduleError:
            return False
        return True

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config with the fewest counted cycles."""
        assert isinstance(op, Conv2D | FullyConnected)
        every = self._worth(op, core)
        return min(every, key=lambda config: product_cycles(op, core, config))

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the default, and the best without wide weights, and without a copy."""
        assert isinstance(op, Conv2D | FullyConnected)
        every = self._worth(op, core)
        found = [min(every, key=lambda config: product_cycles(op, core, config))]
        for kept in (
            [c for c in every if c["use"] == PLAIN],
            [c for c in every if c["read"] == "there"],
            [c for c in every if c["use"] == PLAIN and c["m"] == 1],
        ):
            if kept:
                best = min(kept, key=lambda config: product_cycles(op, core, config))
                if best not in found:
                    found.append(best)
        return tuple(found)

    def _worth(self, op: Conv2D | FullyConnected, core: Core) -> list[Config]:
        found: list[Config] = []
        for use in (*(each.name for each in instructions_of(core)), PLAIN):
            for read in ("there", "copied"):
                for m, n in _BLOCKS:
                    for unroll in (1, 2, 4):
                        config: Config = {
                            "m": m,
                            "n": n,
                            "use": use,
                            "unroll": unroll,
                            "read": read,
                            "code": "in-order",
                        }
                        if self.legal(op, core, config):
                            found.append(config)
        return found

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return cycles by counted loads, multiplications, additions and registers."""
        assert isinstance(op, Conv2D | FullyConnected)
        return product_cycles(op, core, config)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        del core
        assert isinstance(op, Conv2D | FullyConnected)
        schedule = product_schedule(op, config)
        w = CWriter()
        helpers = render(w, schedule)
        parameters, constants = bound_constants(schedule)
        scratch = 0
        copied = schedule.copies.get("x")
        if copied is not None:
            parameters = (*parameters, CParameter(name="x_staged", c_type=copied.buffer.c_type, role="scratch"))
            scratch = copied.buffer.elements * SIZES[copied.buffer.c_type] + window_bytes(schedule, "x")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{_stem(op)}_blocked",
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
            ahead=_lead(op, int(config["m"])),
        )


def product_schedule(op: Conv2D | FullyConnected, config: Config) -> Schedule:
    """Return the schedule of a config.

    Raises:
        IllegalScheduleError: the config is not legal for `op`.
    """
    s = _merged(op)
    s = s.split("p", int(config["m"])).split("oc", int(config["n"]))
    instruction = None if config["use"] == PLAIN else _INSTRUCTIONS[str(config["use"])]
    steps = "k"
    lanes: tuple[str, ...] = ()
    if instruction is not None:
        s = s.split("k", instruction.lanes, pad=True)
        steps, lanes = "k_o", ("k_i",)
    s = s.split(steps, int(config["unroll"]))
    group = ("g",) if "g" in s.extents else ()
    # Groups inside of pixels: an output may lie over inputs that no later pixel reads (`_lead`).
    s = s.reorder("p_o", *group, "oc_o", f"{steps}_o", f"{steps}_i", "p_i", "oc_i", *lanes)
    s = s.unroll("p_i", "oc_i", f"{steps}_i")
    s = s.pack("weights", *group, "oc_o", steps, "oc_i", *lanes)
    if config["read"] == "copied":
        s = s.stage("x", "g" if group else "p_o", steps, "p_i", *lanes)
    return s if instruction is None else s.replace(instruction, "k_i")


def _lead(op: Conv2D | FullyConnected, pixels: int) -> int | None:
    """Return how far before its input the output must start, with blocks of pixels around all other loops."""
    compute, _ = weighted_compute(op)
    outer = ("n", "oy", "ox") if isinstance(op, Conv2D) else ("p",)
    return min_lead(compute, "x", (1, 1), outer=outer, block=pixels)


@lru_cache(maxsize=4)
def _merged(op: Conv2D | FullyConnected) -> Schedule:
    """Return what all configs start from: pixels and the sum in one loop each, the zero point folded."""
    compute, constants = weighted_compute(op)
    s = Schedule.of(compute, constants).fold_zero_point()
    if not isinstance(op, Conv2D):
        return s
    return s.merge(("n", "oy", "ox"), "p").merge(("ky", "kx", "ic"), "k")


def _is_flat(op: Conv2D | FullyConnected) -> bool:
    """Whether the sum runs over neighbours in memory, nothing outside."""
    return isinstance(op, FullyConnected) or (op.weights.shape[1:3] == (1, 1) and not op.padding.any)


def _stem(op: Conv2D | FullyConnected) -> str:
    if isinstance(op, FullyConnected):
        return f"fully_connected_{op.weights.shape[1]}_{op.weights.shape[0]}"
    return f"conv2d_{dims(op.x.shape[1:])}_{op.weights.shape[0]}_k{op.weights.shape[1]}x{op.weights.shape[2]}"
