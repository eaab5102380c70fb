"""Direct convolution and fully connected layers for cores with the DSP extension: SMLAD on int16 lanes.

Each input row is expanded to int16 once, into a ring of as many rows as the kernel is high; an assembler micro-kernel
computes M pixels by N channels in registers. Scratch is the ring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import ClassVar

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, FullyConnected, Operator
from utvm.kernels.base import INSTRUCTION_BYTES, Config, Kernel, Outline, Space
from utvm.kernels.dsp.block_loops import BlockLoops
from utvm.kernels.dsp.choosing import fastest, near_fastest
from utvm.kernels.dsp.direct_plan import (
    PAIRED,
    UNROLL_LIMIT,
    WIDE_WEIGHTS,
    BlockPlan,
    DirectPlan,
    most_pairs,
    pairs_exactly,
)
from utvm.kernels.dsp.expand import expander, expansion_cycles, write_expansion
from utvm.kernels.dsp.finish import requantizer_refusal
from utvm.kernels.dsp.geometry import ExpandedRows, Window
from utvm.kernels.dsp.multiply_estimates import ESTIMATE_ERROR
from utvm.kernels.dsp.multiply_spec import MOST_ADDRESSES
from utvm.kernels.dsp.scheduled import ScheduledFamily
from utvm.kernels.dsp.stream import WeightForm
from utvm.kernels.overlap import ring_ahead
from utvm.kernels.workload_keys import dims, workload

_BLOCKS = (
    (4, 2),
    (3, 2),
    (2, 4),
    (2, 3),
    (2, 2),
    (1, 8),
    (1, 6),
    (1, 4),
    (1, 3),
    (1, 2),
    (4, 1),
    (3, 1),
    (2, 1),
    (1, 1),
)
_SMALL_BLOCKS = ((2, 2), (1, 4), (1, 2))
_MOST_CANDIDATES, _MOST_WITH_CACHES = 7, 21
_BLOCK_COST = 0.1
_UNROLL_MOST = 4000
_PARAMETERS = (
    CParameter(name="x", c_type="int8_t", role="input"),
    CParameter(name="stream", c_type="int32_t", role="constant"),
    CParameter(name="scratch", c_type="int16_t", role="scratch"),
    CParameter(name="y", c_type="int8_t", role="output"),
)


class DirectConvolution(ScheduledFamily):
    """Conv2D and FullyConnected by a scheduled M x N block of SMLAD.

    Knobs: `m` pixels and `n` channels of the register block, `form` of the weights (`pair8` costs one byte a weight,
    `int16` two), `unroll` (0: one row of the kernel stands in the body, 1: all of them, 2: those of two blocks).
    """

    name = "direct"
    kinds = (Conv2D, FullyConnected)
    nine_bits = True
    narrow: ClassVar[WeightForm] = WeightForm.PAIR8
    """The form of one byte a weight."""

    def plan(self, op: Conv2D | FullyConnected, config: Config) -> BlockPlan:
        """Return what the C, the micro-kernels and the stream agree on, under a legal config."""
        return DirectPlan.of(op, config)

    def narrows(self, op: Conv2D | FullyConnected) -> bool:
        """Whether one byte a weight is exact."""
        return pairs_exactly(op)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact finish, or why its rows do not fit the offsets of a load, or the stack."""
        if not isinstance(op, Conv2D | FullyConnected):
            return super().refusal(op, core)
        window = Window.of(op)
        split = ExpandedRows.of(window).split(1, most_pairs(1, 1))
        if split is None:
            return "a row of its window is out of a load's reach"
        if window.kernel[0] * split[0] > MOST_ADDRESSES:
            return "the addresses of its window's rows do not fit the stack"
        return self.lacks(core) or requantizer_refusal(op)

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs; combinations that do not fit are refused by `legal`."""
        del op, core
        forms = str(self.narrow), str(WeightForm.INT16)
        return {"m": (1, 2, 3, 4), "n": (1, 2, 3, 4, 6, 8), "form": forms, "unroll": (0, 1, PAIRED)}

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config of the space can be built."""
        del core
        assert isinstance(op, Conv2D | FullyConnected)
        m, n, form = int(config["m"]), int(config["n"]), WeightForm(str(config["form"]))
        window = Window.of(op, m)
        rows = ExpandedRows.of(window)
        split = rows.split(m, most_pairs(m, n))
        if m * n > 8 or m > window.out_width or n > window.out_channels or split is None:
            return False
        if rows.two_copies and m % 2:
            return False
        if window.kernel[0] * split[0] > MOST_ADDRESSES:
            return False
        if form is self.narrow and (n % 2 or not self.narrows(op)):
            return False
        parts, taps = split
        work = window.kernel[0] * parts * len(taps) * m * n
        match int(config["unroll"]):
            case 0:
                return window.kernel[0] * parts > 1
            case 1:
                return work <= _UNROLL_MOST
            case _:
                return 2 * work <= _UNROLL_MOST and window.out_channels // n % 2 == 0

    def default(self, op: Operator, core: Core) -> Config:
        """Return the block with the fewest modelled cycles of those that a bound on instructions lets through."""
        assert isinstance(op, Conv2D | FullyConnected)
        return self._paired(op, core, self._fastest(op, core, self._candidates(op, core)))

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the blocks that may be the fastest, two of the likeliest in a body, and what needs less flash: the
        fastest with narrow weights and its rows in a loop, and small blocks.
        """
        assert isinstance(op, Conv2D | FullyConnected)
        every = self._candidates(op, core)
        near = near_fastest(
            every, lambda config: self.plan(op, config).cost(core, estimated=True).cycles, ESTIMATE_ERROR
        )
        found = [*(self._doubled(op, core, one) for one in near[:1]), *near]
        compact = [{**config, "unroll": 0} for config in every if config["form"] == self.narrow]
        found += self._smaller(op, core, compact)
        return tuple(config for index, config in enumerate(found) if config not in found[:index])

    def _doubled(self, op: Conv2D | FullyConnected, core: Core, config: Config) -> Config:
        """Return the config with two blocks in one body where that is legal and they fit the registers, or itself."""
        doubled = {**config, "unroll": PAIRED}
        return doubled if int(config["unroll"]) == 1 and self.legal(op, core, doubled) else config

    def _paired(self, op: Conv2D | FullyConnected, core: Core, config: Config) -> Config:
        """Return the config with two blocks in one body where that is faster, or itself."""
        return self._fastest(op, core, [config, self._doubled(op, core, config)])

    def _smaller(self, op: Conv2D | FullyConnected, core: Core, compact: Sequence[Config]) -> Iterator[Config]:
        """Yield the fastest of some configs by estimate, and small blocks."""
        legal = [config for config in compact if self.legal(op, core, config)]
        yield from near_fastest(legal, lambda config: self.plan(op, config).cost(core, estimated=True).cycles, 0.0)[:1]
        for m, n in _SMALL_BLOCKS:
            small: Config = {"m": m, "n": n, "form": str(self.narrow), "unroll": 0}
            for config in (small, {**small, "unroll": 1}):
                if self.legal(op, core, config):
                    yield config
                    break

    def _fastest(self, op: Conv2D | FullyConnected, core: Core, candidates: Sequence[Config]) -> Config:
        return fastest(
            candidates,
            lambda config: self.plan(op, config).cost(core).cycles,
            f"{op.kind} '{op.name}': no register block is legal",
            estimate=lambda config: self.plan(op, config).cost(core, estimated=True).cycles,
            error=ESTIMATE_ERROR,
        )

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all blocks, and of expanding each input row once."""
        return self.outline(op, core, config, scheduled=True).cycles

    def outline(self, op: Operator, core: Core, config: Config, *, scheduled: bool = False) -> Outline:
        """Return the cycles of all blocks and of expanding each input row once, and what the plan takes."""
        assert isinstance(op, Conv2D | FullyConnected)
        assert core.timing is not None
        plan = DirectPlan.of(op, config)
        cost = plan.cost(core, estimated=not scheduled)
        expansion = expander(plan.rows, core.timing)
        expansion_lines = 0 if expansion is None else len(expansion.assembly)
        return Outline(
            cycles=cost.cycles + expansion_cycles(plan.rows, core.timing) * op.x.elements,
            error=0.0 if scheduled else ESTIMATE_ERROR,
            constant_bytes=plan.stream_bytes,
            code_bytes=round(cost.code_bytes) + INSTRUCTION_BYTES * expansion_lines,
            scratch_bytes=plan.scratch_bytes,
            ahead=_ahead(op, plan.window),
        )

    def _candidates(self, op: Conv2D | FullyConnected, core: Core) -> list[Config]:
        """Return the configs worth a schedule: the fewest instructions first, wide weights only where they are few."""
        narrow = self.narrows(op) and op.y.shape[-1] > 1
        forms = [self.narrow] if narrow else [WeightForm.INT16]
        if narrow and op.weights.values.nbytes <= WIDE_WEIGHTS:
            forms.append(WeightForm.INT16)
        found: list[tuple[float, Config]] = []
        for (m, n), form in product(_BLOCKS, forms):
            window = Window.of(op, m)
            split = ExpandedRows.of(window).split(m, most_pairs(m, n))
            work = 0 if split is None else window.kernel[0] * split[0] * len(split[1]) * m * n
            for unroll in (1, 0) if work <= UNROLL_LIMIT else (0, 1):
                config: Config = {"m": m, "n": n, "form": str(form), "unroll": unroll}
                if self.legal(op, core, config):
                    found.append((_rough_cost(window, m, n), config))
                    if core.caches is None:
                        break
        found.sort(key=lambda item: item[0])
        most = _MOST_CANDIDATES if core.caches is None else _MOST_WITH_CACHES
        return [config for _, config in found[:most]]

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        assert isinstance(op, Conv2D | FullyConnected)
        assert core.timing is not None
        plan = DirectPlan.of(op, config)
        w = CWriter()
        expansion = expander(plan.rows, core.timing)
        loops = _Loops(w, plan, expansion)
        loops.write()
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{_stem(op)}_direct",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=_PARAMETERS,
                body=w.text,
                helpers=loops.helpers,
                support=(
                    *((expansion,) if expansion is not None else ()),
                    *(plan.kernel(block, core.timing) for block in plan.blocks()),
                ),
            ),
            constants={"stream": CArray(c_type="int32_t", values=plan.stream())},
            scratch_bytes=plan.scratch_bytes,
            ahead=_ahead(op, plan.window),
        )


def _ahead(op: Conv2D | FullyConnected, window: Window) -> int:
    """Return the bytes by which the output must start before the input; see `Kernel`."""
    if not window.strips:
        assert isinstance(op, Conv2D)
        return ring_ahead(op, window.slots)
    grows = window.out_channels - window.channels
    return max(window.width * grows, (window.height * window.width + window.rest) * grows)


def _rough_cost(window: Window, m: int, n: int) -> float:
    """Return instructions for one lane pair of every output, blocks at the edges counted as whole ones."""
    across = window.out_height * -(-window.out_width // m) + -(-window.rest // m)
    blocks = -(-window.out_channels // n)
    return across * blocks * (m + 1.5 * n + m * n + _BLOCK_COST * max(1, 8 - m * n))


def _stem(op: Conv2D | FullyConnected) -> str:
    if isinstance(op, FullyConnected):
        return f"fully_connected_{op.weights.shape[1]}_{op.weights.shape[0]}"
    return f"conv2d_{dims(op.x.shape[1:])}_{op.weights.shape[0]}_k{op.weights.shape[1]}x{op.weights.shape[2]}"


class _Loops(BlockLoops):
    """Loops around micro-kernels of int8, by rows of int16 lanes."""

    element = "int8_t"

    def __init__(self, w: CWriter, plan: DirectPlan, expansion: CSupport | None) -> None:
        super().__init__(w, plan)
        self.expansion = expansion
        self.helpers: tuple[str, ...] = ()

    def write_copy(self, target: str, pixels: int) -> None:
        zero_point = self.plan.op.x.zero_point
        helpers = write_expansion(
            self.w, self.rows, pixels, self.expansion, source="from_row", target=target, zero_point=zero_point
        )
        # The last strip may be no whole words where others are.
        self.helpers = tuple(dict.fromkeys((*self.helpers, *helpers)))
