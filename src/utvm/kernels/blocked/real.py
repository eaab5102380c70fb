"""Sums of float32 products in blocks of registers, for cores with an FPU.

Every sum keeps the order of its terms, and every product is rounded before it is added: the bits are those of the
portable kernel. Taps outside of the input are left out: they would add nothing.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np

from utvm.codegen import CArray, CWriter
from utvm.cores import Core
from utvm.cores.microkernel import code_cycles
from utvm.cores.timing import Timing
from utvm.graph import DType, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.blocked.blocks import BlockWriter, Layer, Weighted
from utvm.kernels.blocked.family import BlockFamily
from utvm.kernels.weighted import offset

_SPACE: Space = {"m": (1, 2, 3, 4), "n": (1, 2, 3, 4, 6, 8), "unroll": (1, 2, 4)}
_REGISTERS = 30
"""Of 32 for float32, what a block may take: sums, pixels, weights."""
_MOST_TERMS = 64
"""Multiply-accumulates without a branch."""
_FINISH, _BLOCK, _ROW = 2.0, 10.0, 8.0
"""Cycles of a sum's start and end, of a block, and of a row of its window (modelled: Cortex-M7, Cortex-M4)."""
_MULTIPLY_ADD = "utvm_multiply_add"
_LOADED = "UTVM_LOADED"


class BlockedReal(BlockFamily):
    """Conv2D, DepthwiseConv2D and FullyConnected in float32 by a block of `m` pixels and `n` channels in registers.

    Knobs: `m`, `n`, `unroll` (terms of the sum without a branch).
    """

    name = "blocked"

    knobs = _SPACE
    dtypes = (DType.FLOAT32,)
    biases = (DType.FLOAT32,)

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no registers for floats; None where it has."""
        if not core.fpu:
            return "the core has no FPU"
        return None if core.timing is not None else f"nothing is known of the pipeline of {core.name}"

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config of the space can be built."""
        del core
        assert isinstance(op, Weighted)
        m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
        made = Layer(op)
        if m > made.width or n > made.channels or made.depth % unroll:
            return False
        if made.depthwise:
            inputs = -(-n // made.multiplier)
            held = m * n + m * inputs + n
            return unroll == 1 and held <= _REGISTERS and (n % made.multiplier == 0 or made.multiplier % n == 0)
        if made.groups > 1 and made.channels % n:
            return False
        return m * n + m + n <= _REGISTERS and m * n * unroll <= _MOST_TERMS

    def cycles(self, op: Weighted, core: Core, config: Config) -> float:
        """Return counted loads, multiply-accumulates and turns."""
        return _cycles(op, core, config)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        del core
        assert isinstance(op, Weighted)
        m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
        layer, w = Layer(op), CWriter()
        writer = _RealWriter(w, layer, m, n, unroll)
        writer.write()
        bias = np.zeros(op.weights.shape[3 if layer.depthwise else 0], np.float32)
        constants = {
            "weights": CArray(c_type="float", values=layer.packed(n)),
            "bias": CArray(c_type="float", values=bias if op.bias is None else op.bias.values),
        }
        return self.kernel(op, config, writer, constants, (_MULTIPLY_ADD, _LOADED))


def _cycles(op: Weighted, core: Core, config: Config) -> float:
    m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
    layer, total = Layer(op), 0.0
    images, rows = layer.rows
    down = layer.seen(0, 0, rows)
    for piece in layer.pieces(m):
        across = layer.seen(1, piece.start, piece.stop)
        blocks = images * rows * (piece.stop - piece.start) // piece.pixels
        for start, stop, size in layer.blocks(n):
            block = _block(layer, core, piece.pixels, size, unroll, (down, across))
            total += (stop - start) // size * blocks * block
    return total


def _block(layer: Layer, core: Core, m: int, n: int, unroll: int, taps: tuple[float, float]) -> float:
    """Return about the cycles of a block of m pixels and n channels, whose windows have so many rows and columns."""
    assert core.timing is not None
    down, across = taps
    ends = m * n * _FINISH + _BLOCK
    if layer.depthwise:
        tap = _turn(m * -(-n // layer.multiplier) + n, m * n, 1, False, core.timing)
        return down * (across * tap + _ROW) + ends
    turn = _turn(m + n, m * n, unroll, True, core.timing)
    return down * (across * layer.depth / unroll * turn + (0 if layer.flat else _ROW)) + ends


@lru_cache(maxsize=512)
def _turn(loads: int, products: int, unroll: int, branches: bool, timing: Timing) -> float:
    """Return the cycles of terms of a block: of so many loads each and then as many products."""
    lines: list[str] = []
    for _ in range(unroll):
        lines += [f"vldr s{index % 32}, [r{index % 4}, #{4 * index}]" for index in range(loads)]
        lines += [f"vmla.f32 s{index % 16}, s{16 + index % 8}, s{24 + index % 8}" for index in range(products)]
    if branches:
        lines += ["adds r0, r0, #4", "adds r1, r1, #4", "cmp r0, r2", "bne 1b"]
    return code_cycles(tuple(lines), timing, context=tuple(lines), jumped=branches)


class _RealWriter(BlockWriter):
    x_type = "float"
    weight_type = "float"

    def start(self, pixel: int, channel: int) -> str:
        return f"float acc{pixel}_{channel} = 0.0f;"

    def finish(self, pixel: int, channel: int) -> str:
        return f"acc{pixel}_{channel} + bias[oc{offset(channel)}]"

    def write_tap(self, m: int, n: int, x: int, w: int) -> None:
        many = self.layer.multiplier
        inputs = range(-(-n // many))
        for pixel, channel in product(range(m), inputs):
            self.w(f"const float x{pixel}_{channel} = px[{x + pixel * self.layer.step + channel}];")
        for channel in range(n):
            self.w(f"const float w{channel} = pw[{w + channel}];")
        self.w(f"{_LOADED};")
        for channel, pixel in product(range(n), range(m)):
            name = f"acc{pixel}_{channel}"
            self.w(f"{name} = {_MULTIPLY_ADD}({name}, x{pixel}_{channel // many}, w{channel});")

    def write_run(self, m: int, n: int, run: str) -> None:
        w = self.w
        with w.block(f"for (const float *end = px + {run}; px != end; px += {self.unroll})"):
            for term in range(self.unroll):
                with w.block(""):
                    for pixel in range(m):
                        w(f"const float x{pixel} = px[{pixel * self.layer.step + term}];")
                    for channel in range(n):
                        w(f"const float w{channel} = pw[{term * n + channel}];")
                    w(f"{_LOADED};")
                    for channel, pixel in product(range(n), range(m)):
                        name = f"acc{pixel}_{channel}"
                        w(f"{name} = {_MULTIPLY_ADD}({name}, x{pixel}, w{channel});")
            w(f"pw += {n * self.unroll};")
