"""Sums of float32 products in blocks of registers, for cores with an FPU.

Every sum keeps the order of its terms, and every product is rounded before it is added: the bits are those of the
portable kernel. Taps outside of the input are left out: they would add nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Conv2D, DepthwiseConv2D, DType, FullyConnected, Operator
from utvm.kernels.base import Config, Kernel, KernelFamily, Space
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.portable.window import Taps, write_taps
from utvm.kernels.weighted import offset
from utvm.kernels.workload import dims, workload

Weighted = Conv2D | DepthwiseConv2D | FullyConnected

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


class BlockedReal(KernelFamily):
    """Conv2D, DepthwiseConv2D and FullyConnected in float32 by a block of `m` pixels and `n` channels in registers.

    Knobs: `m`, `n`, `unroll` (terms of the sum without a branch).
    """

    name = "blocked"

    kinds = (Conv2D, DepthwiseConv2D, FullyConnected)
    dtypes = (DType.FLOAT32,)
    biases = (DType.FLOAT32,)

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no registers for floats; None where it has."""
        return None if core.fpu else "the core has no FPU"

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that weights or bias are no constants, or channels are multiplied."""
        found = super().refusal(op, core)
        if found is None and any(not t.is_constant for t in op.inputs[1:]):
            return "its weights or its bias are not known when compiling"
        if found is None and isinstance(op, DepthwiseConv2D) and op.multiplier > 1:
            return "it makes several channels of each"
        return found

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs; combinations that can't be built are refused by `legal`."""
        del op, core
        return _SPACE

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config of the space can be built."""
        del core
        assert isinstance(op, Weighted)
        m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
        made = _Layer(op)
        if m > made.width or made.channels % n or made.depth % unroll:
            return False
        if made.depthwise:
            return m == 1 and unroll == 1
        return m * n + m + n <= _REGISTERS and m * n * unroll <= _MOST_TERMS

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config with the fewest counted cycles."""
        return self.contenders(op, core)[0]

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the default and one of little code."""
        every = [dict(zip(_SPACE, values, strict=True)) for values in product(*_SPACE.values())]
        every = [config for config in every if self.legal(op, core, config)]
        best = min(every, key=lambda config: _cycles(op, core, config))
        small = min((c for c in every if c["m"] == c["unroll"] == 1), key=lambda config: _cycles(op, core, config))
        return (best,) if small == best else (best, small)

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return cycles by counted loads, multiply-accumulates and turns."""
        return _cycles(op, core, config)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        del core
        assert isinstance(op, Weighted)
        m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
        layer, w = _Layer(op), CWriter()
        _write(w, layer, m, n, unroll)
        bias = np.zeros(op.weights.shape[3 if layer.depthwise else 0], np.float32)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.x.shape)}_{op.y.shape[-1]}_float",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=(
                    CParameter(name="x", c_type="float", role="input"),
                    CParameter(name="weights", c_type="float", role="constant"),
                    CParameter(name="bias", c_type="float", role="constant"),
                    CParameter(name="y", c_type="float", role="output"),
                ),
                body=w.text,
                helpers=(_MULTIPLY_ADD, _LOADED),
            ),
            constants={
                "weights": CArray(c_type="float", values=layer.packed(n)),
                "bias": CArray(c_type="float", values=bias if op.bias is None else op.bias.values),
            },
            ahead=None if isinstance(op, FullyConnected) else 4 * nest_ahead(op),
        )


class _Layer:
    """A weighted operator as one of images: a fully connected one has an image of one row, whose pixels are rows.

    Attributes:
        channels: of the output, in a group.
        depth: neighbours in memory that a tap reads.
        width: pixels of a row of the output.
        step: elements from a pixel to the next window's.
    """

    def __init__(self, op: Weighted) -> None:
        self.op = op
        self.depthwise = isinstance(op, DepthwiseConv2D)
        if isinstance(op, FullyConnected):
            self.channels, self.depth = op.weights.shape
            self.rows, self.groups, self.window = (1, 1), 1, (1, 1)
            self.width = op.x.elements // self.depth
            self.step = self.depth
            return
        self.rows = op.y.shape[0], op.y.shape[1]
        self.window = op.weights.shape[1], op.weights.shape[2]
        self.width = op.y.shape[2]
        self.step = op.stride[1] * op.x.shape[3]
        if isinstance(op, DepthwiseConv2D):
            self.channels, self.depth, self.groups = op.x.shape[3], 1, 1
        else:
            self.groups = op.groups
            self.channels, self.depth = op.weights.shape[0] // op.groups, op.weights.shape[3]

    def packed(self, n: int) -> NDArray[np.float32]:
        """Return weights [blocks of n channels, ky, kx, terms, n]; depthwise [ky, kx, channels]."""
        values: NDArray[np.float32] = self.op.weights.values
        if self.depthwise:
            return values
        blocks = values.reshape(-1, n, self.window[0] * self.window[1] * self.depth)
        return np.ascontiguousarray(blocks.transpose(0, 2, 1))

    def is_whole(self, ox: int) -> bool:
        """Whether all columns of a window lie inside the input."""
        op = self.op
        if isinstance(op, FullyConnected):
            return True
        first = ox * op.stride[1] - op.padding.left
        return first >= 0 and first + (self.window[1] - 1) * op.dilation[1] < op.x.shape[2]


def _cycles(op: Operator, core: Core, config: Config) -> float:
    assert isinstance(op, Weighted)
    m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
    layer = _Layer(op)
    terms = layer.depth * prod(layer.window)
    # Pixels are loaded through pointers of their own, weights through one.
    loads = m * n + n if layer.depthwise else 2 * m + n
    load = 0.5 if core.macs_per_cycle >= _TWO_AT_ONCE else 1.0
    block = terms * (m * n + load * loads + _WAIT + _BRANCH / unroll) + m * n * _FINISH + _BLOCK
    return op.outputs[0].elements / (m * n) * block


def _write(w: CWriter, layer: _Layer, m: int, n: int, unroll: int) -> None:
    op = layer.op
    if isinstance(op, FullyConnected):
        blocks = layer.width // m * m
        with w.loop("ox", blocks, step=m):
            _write_block(w, layer, m, n, unroll, None, None)
        if layer.width > blocks:
            with w.loop("ox", layer.width, start=blocks):
                _write_block(w, layer, 1, n, unroll, None, None)
        return
    whole = [ox for ox in range(layer.width) if layer.is_whole(ox)]
    first, last = (whole[0], whole[-1] + 1) if whole else (layer.width, layer.width)
    end = first + (last - first) // m * m
    with w.loop("n", layer.rows[0]), w.loop("oy", layer.rows[1]):
        ty = write_taps(
            w,
            "y",
            stride=op.stride[0],
            before=op.padding.top,
            window=layer.window[0],
            dilation=op.dilation[0],
            size=op.x.shape[1],
            output=op.y.shape[1],
        )
        for start, stop, pixels, inside in (
            (0, first, 1, False),
            (first, end, m, True),
            (end, last, 1, True),
            (last, layer.width, 1, False),
        ):
            if stop > start:
                with w.loop("ox", stop, start=start, step=pixels), _columns(w, layer, inside=inside) as tx:
                    _write_block(w, layer, pixels, n, unroll, ty, tx)


@contextmanager
def _columns(w: CWriter, layer: _Layer, *, inside: bool) -> Iterator[Taps]:
    """Write where a window starts, and which of its columns are inside where some are not."""
    op = layer.op
    assert not isinstance(op, FullyConnected)
    if inside:
        w(f"const int32_t start_x = ox * {op.stride[1]}{offset(-op.padding.left)};")
        width = layer.window[1]
        yield Taps(axis="x", first="0", last=str(width), window=width, dilation=op.dilation[1], may_be_none=False)
        return
    yield write_taps(
        w,
        "x",
        stride=op.stride[1],
        before=op.padding.left,
        window=layer.window[1],
        dilation=op.dilation[1],
        size=op.x.shape[2],
        output=op.y.shape[2],
    )


def _write_block(w: CWriter, layer: _Layer, m: int, n: int, unroll: int, ty: Taps | None, tx: Taps | None) -> None:
    """Write the sums of m pixels and all channels, n at once."""
    total = layer.channels * layer.groups
    with w.loop("oc", total, step=n):
        for pixel, channel in product(range(m), range(n)):
            w(f"float acc{pixel}_{channel} = 0.0f;")
        if ty is None or tx is None:
            w(f"const float *px = x + ox * {layer.depth};", f"const float *pw = weights + oc * {layer.depth};")
            _write_run(w, layer, m, n, unroll, str(layer.depth))
        else:
            with ty.loop(w) as ky:
                _write_row(w, layer, m, n, unroll, ky, ty, tx)
        rows = f"(n * {layer.rows[1]} + oy) * {layer.width} + " if ty is not None else ""
        for pixel, channel in product(range(m), range(n)):
            place = f"({rows}ox{offset(pixel)}) * {total} + oc{offset(channel)}"
            w(f"y[{place}] = acc{pixel}_{channel} + bias[oc{offset(channel)}];")


def _write_row(w: CWriter, layer: _Layer, m: int, n: int, unroll: int, ky: str, ty: Taps, tx: Taps) -> None:
    """Write the terms of one row of the window."""
    op = layer.op
    assert not isinstance(op, FullyConnected)
    _, height, width, channels = op.x.shape
    row = f"(n * {height} + {ty.position(ky)}) * {width}"
    taps, depth = layer.window, layer.depth
    if layer.depthwise:
        with tx.loop(w) as kx:
            w(f"const float *px = x + ({row} + {tx.position(kx)}) * {channels} + oc;")
            w(f"const float *pw = weights + ({ky} * {taps[1]} + {kx}) * {channels} + oc;")
            for channel in range(n):
                w(f"const float x{channel} = px[{channel}], w{channel} = pw[{channel}];")
            w(f"{_LOADED};")
            for channel in range(n):
                w(f"acc0_{channel} = {_MULTIPLY_ADD}(acc0_{channel}, x{channel}, w{channel});")
        return
    group = "" if layer.groups == 1 else f" + oc / {layer.channels} * {depth}"
    if layer.groups == 1 and (tx.dilation == 1 or taps[1] == 1):
        with tx.if_any(w):
            w(f"const float *px = x + ({row} + {tx.position(tx.first)}) * {channels};")
            w(f"const float *pw = weights + ((oc / {n} * {taps[0]} + {ky}) * {taps[1]} + {tx.first}) * {depth * n};")
            _write_run(w, layer, m, n, unroll, f"{tx.count} * {depth}" if not tx.all_inside else str(taps[1] * depth))
        return
    with tx.loop(w) as kx:
        w(f"const float *px = x + ({row} + {tx.position(kx)}) * {channels}{group};")
        w(f"const float *pw = weights + ((oc / {n} * {taps[0]} + {ky}) * {taps[1]} + {kx}) * {depth * n};")
        _write_run(w, layer, m, n, unroll, str(depth))


def _write_run(w: CWriter, layer: _Layer, m: int, n: int, unroll: int, run: str) -> None:
    """Write the terms of `run` neighbours, a multiple of `unroll`."""
    with w.block(f"for (const float *end = px + {run}; px != end; px += {unroll})"):
        for term in range(unroll):
            with w.block(""):
                for pixel in range(m):
                    w(f"const float x{pixel} = px[{pixel * layer.step + term}];")
                for channel in range(n):
                    w(f"const float w{channel} = pw[{term * n + channel}];")
                w(f"{_LOADED};")
                for channel, pixel in product(range(n), range(m)):
                    name = f"acc{pixel}_{channel}"
                    w(f"{name} = {_MULTIPLY_ADD}({name}, x{pixel}, w{channel});")
        w(f"pw += {n * unroll};")
