"""Sums of float32 products in blocks of registers, for cores with an FPU.

Every sum keeps the order of its terms, and every product is rounded before it is added: the bits are those of the
portable kernel. Taps outside of the input are left out: they would add nothing.
"""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from utvm.codegen import CArray, CWriter
from utvm.cores import Core
from utvm.graph import DType, Operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.blocked.blocks import BlockWriter, Layer, Weighted
from utvm.kernels.blocked.family import BlockFamily
from utvm.kernels.weighted import offset

_SPACE: Space = {"m": (1, 2, 3, 4), "n": (1, 2, 4, 8), "unroll": (1, 2, 4)}
_REGISTERS = 30
"""Of 32 for float32, what a block may take: sums, pixels, weights."""
_MOST_TERMS = 64
"""Multiply-accumulates without a branch."""
_BRANCH, _FINISH, _BLOCK = 3.0, 4.0, 20.0
"""Cycles of a turn of the innermost loop, of a sum's start and end, and of a block (modelled: Cortex-M7)."""
_WAIT = 4.0
"""Cycles of the loads of a term behind the multiply-accumulates before them (modelled: Cortex-M7)."""
_TWO_AT_ONCE = 2.0
"""`macs_per_cycle` from which two loads go in a cycle; on other cores each costs one."""
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
        return None if core.fpu else "the core has no FPU"

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config of the space can be built."""
        del core
        assert isinstance(op, Weighted)
        m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
        made = Layer(op)
        if m > made.width or made.channels % n or made.depth % unroll:
            return False
        if made.depthwise:
            return m == 1 and unroll == 1
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
    layer = Layer(op)
    terms = layer.depth * prod(layer.window)
    # Pixels are loaded through pointers of their own, weights through one.
    loads = m * n + n if layer.depthwise else 2 * m + n
    load = 0.5 if core.macs_per_cycle >= _TWO_AT_ONCE else 1.0
    block = terms * (m * n + load * loads + _WAIT + _BRANCH / unroll) + m * n * _FINISH + _BLOCK
    return op.outputs[0].elements / (m * n) * block


class _RealWriter(BlockWriter):
    x_type = "float"
    weight_type = "float"

    def start(self, pixel: int, channel: int) -> str:
        return f"float acc{pixel}_{channel} = 0.0f;"

    def finish(self, pixel: int, channel: int) -> str:
        return f"acc{pixel}_{channel} + bias[oc{offset(channel)}]"

    def write_tap(self) -> None:
        w = self.w
        for channel in range(self.n):
            w(f"const float x{channel} = px[{channel}], w{channel} = pw[{channel}];")
        w(f"{_LOADED};")
        for channel in range(self.n):
            w(f"acc0_{channel} = {_MULTIPLY_ADD}(acc0_{channel}, x{channel}, w{channel});")

    def write_run(self, m: int, run: str) -> None:
        w, n = self.w, self.n
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
