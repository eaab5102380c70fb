"""Cycles of a block by what it does: loads, multiplications, additions, and what registers can't hold."""

from __future__ import annotations

from math import prod

from utvm.cores import Core
from utvm.cores.instructions import EVERY
from utvm.graph import Conv2D, DepthwiseConv2D, FullyConnected
from utvm.kernels.base import Config

_ADDRESSES = 4
"""Registers of pointers, a counter and a constant."""
_FEW_REGISTERS = 10
"""Below, instructions have two operands too: products take a move, loads do not overlap (measured: Cortex-M0)."""
_BRANCH = 4.0
_FINISH = 22.0
"""Cycles of an accumulator's way to int8 and of starting it."""
_COPY = 3.5
"""Cycles of copying an element of a window."""


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
    few = core.registers < _FEW_REGISTERS
    live = m * n + words * (min(m, n) + 1) + (_ADDRESSES - 1 if few else _ADDRESSES)
    spilled = max(0, live - core.registers)
    load, move, spill = (2.0, 1.0, 4.0) if few else (1.2, 0.0, 2.5)
    step = (m + n) * words * load + m * n * (multiplies + adds + move - 0.5 * (use is not None)) + spill * spilled
    steps = -(-depth // lanes)
    block = steps * (step + _BRANCH / unroll) + m * n * _FINISH + 10
    total = 0.0
    for height, count in _blocks(pixels, m):
        for width, times in _blocks(channels, n):
            total += count * times * block * (0.3 + 0.7 * height * width / (m * n))
    copied = pixels * depth * _COPY if config["read"] == "copied" else 0.0
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
