"""Cycles of a block by what it does: loads, multiplications, additions, and what registers can't hold."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from utvm.cores import Core
from utvm.cores.instructions import EVERY
from utvm.graph import Conv2D, DepthwiseConv2D, FullyConnected
from utvm.kernels.base import Config

_FEW_REGISTERS = 10
"""Below, instructions have two operands too: products take a move, loads do not overlap (measured: Cortex-M0)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costs:
    """Cycles of the parts of a block of products.

    Attributes:
        load, move, spill: of loading a word, of keeping an operand, of a value that no register holds.
        addresses: registers of pointers, a counter and a constant.
        saved: what an instruction for several products saves of its count, by overlapping.
        branch: of a step of the sum that is not written out.
        finish: of an accumulator's way to int8 and of starting it.
        start: of a block.
        copy: of copying an element of a window.
        share: the part of a block's cycles that falls with its size.
    """

    load: float
    move: float
    spill: float
    addresses: int
    saved: float
    branch: float
    finish: float
    start: float
    copy: float
    share: float


# Fitted to the modelled cycles of every config of three convolutions on the Cortex-M3 and of one on RV32
# (benchmarks/small_cores.py): 3.5 % off on the one, 7 % on the other.
_COSTS = _Costs(
    load=1.5, move=0.0, spill=2.6, addresses=2, saved=0.5, branch=4.6, finish=28.0, start=18.0, copy=5.4, share=0.9
)
_COSTS_OF_FEW = _Costs(
    load=2.0, move=1.0, spill=4.0, addresses=3, saved=0.5, branch=4.0, finish=22.0, start=10.0, copy=3.5, share=0.7
)
_ADDRESSES = 4
"""Registers of pointers, a counter and a constant in depthwise blocks."""
_FINISH = 22.0
"""Cycles of an accumulator's way to int8 in depthwise blocks."""


def product_cycles(op: Conv2D | FullyConnected, core: Core, config: Config) -> float:
    """Return about the cycles of a block config on a core."""
    m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
    if isinstance(op, Conv2D):
        depth = prod(op.weights.shape[1:])
        pixels, channels, groups = op.y.elements // op.y.shape[3], op.weights.shape[0] // op.groups, op.groups
    else:
        channels, depth = op.weights.shape
        pixels, groups = op.x.elements // depth, 1
    use = next((each for each in EVERY if each.name == config["use"]), None)
    words, lanes = (1, 1) if use is None else (use.words, use.lanes)
    multiplies, adds = (1, 1) if use is None else (use.multiplies, use.adds)
    costs = _COSTS_OF_FEW if core.registers < _FEW_REGISTERS else _COSTS
    live = m * n + words * (min(m, n) + 1) + costs.addresses
    spilled = max(0, live - core.registers)
    each = multiplies + adds + costs.move - costs.saved * (use is not None)
    step = (m + n) * words * costs.load + m * n * each + costs.spill * spilled
    steps = -(-depth // lanes)
    block = steps * (step + costs.branch / unroll) + m * n * costs.finish + costs.start
    total = 0.0
    for height, count in _blocks(pixels, m):
        for width, times in _blocks(channels, n):
            total += count * times * block * (1 - costs.share + costs.share * height * width / (m * n))
    copied = pixels * depth * costs.copy if config["read"] == "copied" else 0.0
    return groups * (total + copied)


def depthwise_cycles(op: DepthwiseConv2D, core: Core, config: Config) -> float:
    """Return about the cycles of a block config on a core."""
    m, n = int(config["m"]), int(config["n"])
    _, height, width, channels = op.weights.shape
    batch, rows, columns, _ = op.y.shape
    pixels = min(m * width, (m - 1) * op.stride[1] // op.dilation[1] + width)
    taps = height * width
    live = m * n + n * (width + min(pixels, width)) + _ADDRESSES
    spilled = max(0, live - core.registers)
    loads = n * height * (pixels + width) * 1.3
    kept = config["order"] == "rows" and config["unroll"] == "window" and m * n + n * taps + 5 <= core.registers
    if kept:
        loads = n * height * pixels * 1.3
    work = m * n * taps * 2.0 + loads + 2.5 * spilled * height
    work += 0.0 if config["unroll"] == "window" else 5.0 * height
    if config["read"] == "there" and op.padding.any:
        work += n * height * pixels
    block = work + m * n * _FINISH + 14
    shares = [count * (0.3 + 0.7 * size / m) for size, count in _blocks(columns, m)]
    blocks = batch * rows * sum(shares) * (channels // n)
    copied = 0.0
    if config["read"] == "copied":
        elements = batch * rows * height * (op.x.shape[2] + width) * op.x.shape[3]
        copied = elements * (1.4 if op.x.shape[3] % 4 == 0 else 5.0)
    return blocks * block + copied


def _blocks(extent: int, size: int) -> list[tuple[int, int]]:
    """Return block sizes and how many there are of each."""
    whole, rest = divmod(extent, size)
    return [(size, whole)] + ([(rest, 1)] if rest else [])
