"""Sums of int16 activations and int8 weights by two products an instruction (SMLAD), for cores with the DSP extension.

Weights are stored as int16, in pairs. Sums stay in 32 bits where no input can make them leave these: then they are
those of 64 bits. They become int16 by one rounding high multiply (SMMULR) where the scales allow it.
"""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, DepthwiseConv2D, DType, FullyConnected, Operator
from utvm.graph.arithmetic import channel_requantization
from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.blocked.blocks import BlockWriter, Layer, Weighted
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.weighted import offset
from utvm.kernels.workload import dims, workload

_SPACE: Space = {"m": (1, 2, 3), "n": (1, 2, 4), "unroll": (2, 4, 8)}
_REGISTERS = 8
"""For sums, a word of each pixel, and one of weights: with more of them GCC keeps sums in memory."""
_LEAST_SHIFT, _MOST_SHIFT = 17, 32
"""Right shifts of the product with 16 bits of a multiplier that a multiplier of 32 bits can hold."""
_BRANCH, _FINISH, _BLOCK = 3.0, 7.0, 20.0
"""Cycles of a turn of the innermost loop, of a sum's start and end, and of a block (modelled: Cortex-M7)."""


class PairsOfInt16(KernelFamily):
    """Conv2D, DepthwiseConv2D and FullyConnected on int16 by a block of `m` pixels and `n` channels in registers.

    Knobs: `m`, `n`, `unroll` (terms of the sum without a branch).
    """

    name = "pairs"

    kinds = (Conv2D, DepthwiseConv2D, FullyConnected)
    dtypes = (DType.INT16, DType.INT8)
    biases = (DType.INT64,)

    def outside_signature(self, op: Operator) -> str | None:
        """Return that activations are not int16, or a type that this family lacks."""
        if op.outputs[0].dtype is not DType.INT16:
            return f"it does not take {op.outputs[0].dtype} (tensor '{op.outputs[0].name}')"
        return super().outside_signature(op)

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no DSP extension."""
        return None if core.dsp else f"{core.name} has no DSP extension"

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why sums could leave 32 bits, or pairs do not fit."""
        found = super().refusal(op, core)
        if found is not None or not isinstance(op, Weighted):
            return found
        if not op.weights.is_constant:
            return "its weights are not known when compiling"
        layer = Layer(op)
        if layer.depthwise and op.y.shape[3] != op.x.shape[3]:
            return "it makes several channels of each"
        if not layer.depthwise and layer.depth % 2:
            return f"{layer.depth} neighbours make no pairs"
        if _largest_sum(op) >= 2**31:
            return "a sum may leave 32 bits"
        shifts = 15 - channel_requantization(op).shift
        if shifts.min() < _LEAST_SHIFT or shifts.max() > _MOST_SHIFT:
            return "its scales do not fit one rounding multiply"
        return None

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs; combinations that can't be built are refused by `legal`."""
        del op, core
        return _SPACE

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config of the space can be built."""
        del core
        assert isinstance(op, Weighted)
        m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
        layer = Layer(op)
        if m > layer.width or layer.channels % n:
            return False
        if layer.depthwise:
            return m == 1 and unroll == 2
        return layer.depth % unroll == 0 and m * n + m + 1 <= _REGISTERS

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config with the fewest counted cycles."""
        return self.contenders(op, core)[0]

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the default and one of little code."""
        every = [dict(zip(_SPACE, values, strict=True)) for values in product(*_SPACE.values())]
        every = [config for config in every if self.legal(op, core, config)]
        best = min(every, key=lambda config: _cycles(op, config))
        small = min((c for c in every if c["m"] == 1 and c["unroll"] == 2), key=lambda config: _cycles(op, config))
        return (best,) if small == best else (best, small)

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return cycles by counted loads, products and turns."""
        del core
        return _cycles(op, config)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        del core
        assert isinstance(op, Weighted)
        m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
        layer, w = Layer(op), CWriter()
        writer = _PairWriter(w, layer, m, n, unroll)
        writer.write()
        table = channel_requantization(op)
        reduced = np.where(table.multiplier < 0x7FFF0000, (table.multiplier.astype(np.int64) + (1 << 15)) >> 16, 0x7FFF)
        factors = reduced << (32 - (15 - table.shift.astype(np.int64)))
        bias = np.zeros(factors.size, np.int32) if op.bias is None else op.bias.values.astype(np.int32)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.x.shape)}_{op.y.shape[-1]}_int16",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=(
                    CParameter(name="x", c_type="int16_t", role="input"),
                    CParameter(name="weights", c_type=writer.weight_type, role="constant"),
                    CParameter(name="bias", c_type="int32_t", role="constant"),
                    CParameter(name="factor", c_type="int32_t", role="constant"),
                    CParameter(name="y", c_type="int16_t", role="output"),
                ),
                body=w.text,
                helpers=("utvm_load_pair", "utvm_smlad", "utvm_high_mul_rounded", "utvm_clamp"),
            ),
            constants={
                "weights": CArray(c_type=writer.weight_type, values=_packed(layer, n)),
                "bias": CArray(c_type="int32_t", values=bias),
                "factor": CArray(c_type="int32_t", values=factors.astype(np.int32)),
            },
            ahead=None if isinstance(op, FullyConnected) else 2 * nest_ahead(op),
        )


def _largest_sum(op: Weighted) -> int:
    axes = (0, 1, 2) if isinstance(op, DepthwiseConv2D) else tuple(range(1, op.weights.values.ndim))
    sums = np.abs(op.weights.values.astype(np.int64)).sum(axis=axes) * 32768
    return int((sums + (0 if op.bias is None else np.abs(op.bias.values))).max())


def _packed(layer: Layer, n: int) -> NDArray[np.int16] | NDArray[np.uint32]:
    """Return weights as pairs [blocks of n channels, pairs of terms, n]; depthwise as int16."""
    values = layer.packed(n).astype(np.int16)
    if layer.depthwise:
        return values
    blocks, terms, _ = values.shape
    pairs = values.reshape(blocks, terms // 2, 2, n).astype(np.int64) & 0xFFFF
    words: NDArray[np.uint32] = (pairs[:, :, 0] | pairs[:, :, 1] << 16).astype(np.uint32)
    return words


def _cycles(op: Operator, config: Config) -> float:
    assert isinstance(op, Weighted)
    m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
    layer = Layer(op)
    terms = layer.depth * prod(layer.window)
    step = 2.0 * n if layer.depthwise else (m * n + 0.5 * (m + n) + _BRANCH * 2 / unroll) / 2
    return op.outputs[0].elements / (m * n) * (terms * step + m * n * _FINISH + _BLOCK)


class _PairWriter(BlockWriter):
    x_type = "int16_t"

    def __init__(self, w: CWriter, layer: Layer, m: int, n: int, unroll: int) -> None:
        super().__init__(w, layer, m, n, unroll)
        self.weight_type = "int16_t" if layer.depthwise else "uint32_t"
        self.per_word = 1 if layer.depthwise else 2

    def start(self, pixel: int, channel: int) -> str:
        return f"int32_t acc{pixel}_{channel} = bias[oc{offset(channel)}];"

    def finish(self, pixel: int, channel: int) -> str:
        low, high = self.layer.op.clamp
        scaled = f"utvm_high_mul_rounded(acc{pixel}_{channel}, factor[oc{offset(channel)}])"
        return f"(int16_t)utvm_clamp({scaled}, {low}, {high})"

    def write_tap(self) -> None:
        for channel in range(self.n):
            self.w(f"acc0_{channel} += (int32_t)px[{channel}] * pw[{channel}];")

    def write_run(self, m: int, run: str) -> None:
        w, n = self.w, self.n
        with w.block(f"for (const int16_t *end = px + {run}; px != end; px += {self.unroll})"):
            for term in range(0, self.unroll, 2):
                with w.block(""):
                    for pixel in range(m):
                        w(f"const uint32_t x{pixel} = utvm_load_pair(px + {pixel * self.layer.step + term});")
                    for channel in range(n):
                        w(f"const uint32_t w{channel} = pw[{term // 2 * n + channel}];")
                    for channel, pixel in product(range(n), range(m)):
                        w(f"acc{pixel}_{channel} = utvm_smlad(acc{pixel}_{channel}, x{pixel}, w{channel});")
            w(f"pw += {n * self.unroll // 2};")
