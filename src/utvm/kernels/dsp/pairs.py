"""Sums of int16 activations and int8 weights by two products an instruction (SMLAD), for cores with the DSP extension.

Weights are stored as int16, in pairs. Sums stay in 32 bits where no input can make them leave these: then they are
those of 64 bits. They become int16 by one rounding high multiply (SMMULR) where the scales allow it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.graph import Conv2D, DepthwiseConv2D, DType, Operator
from utvm.graph.arithmetic import channel_requantization
from utvm.graph.formulas import limits
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.blocked.blocks import BlockWriter, Layer, Weighted
from utvm.kernels.blocked.family import BlockFamily
from utvm.kernels.dsp.assembly import MAX_OFFSET, assembler_function, loop_cycles, no_scheduled_code, short_digest
from utvm.kernels.weighted import offset
from utvm.numerics.wide import upper_half

_SPACE: Space = {"m": (1, 2), "n": (1, 2, 4, 8), "unroll": (2, 4, 8)}
_MOST_SUMS = 8
"""Sums of a block in registers; three are left for words of pixels and weights."""
_LEAST_SHIFT, _MOST_SHIFT = 17, 32
"""Right shifts of the product with 16 bits of a multiplier that a multiplier of 32 bits can hold."""
_FINISH, _BLOCK, _ROW = 14.0, 45.0, 14.0
"""Cycles of a sum's start and end, of a block, and of a row of its window (modelled: Cortex-M7)."""
_COPY = 3.0
"""Cycles of an element that is copied (modelled: Cortex-M7)."""
_TAP = 2.0
"""Cycles of a depthwise product in C."""


class PairsOfInt16(BlockFamily):
    """Conv2D, DepthwiseConv2D and FullyConnected on int16 by a block of `m` pixels and `n` channels in registers.

    Knobs: `m`, `n`, `unroll` (terms of the sum without a branch).
    """

    name = "pairs"

    knobs = _SPACE
    dtypes = (DType.INT16, DType.INT8)
    biases = (DType.INT64,)

    def outside_signature(self, op: Operator) -> str | None:
        """Return that activations are not int16, or a type that this family lacks."""
        if op.outputs[0].dtype is not DType.INT16:
            return f"it does not take {op.outputs[0].dtype} (tensor '{op.outputs[0].name}')"
        return super().outside_signature(op)

    def lacks(self, core: Core) -> str | None:
        """Return why micro-kernels can't be scheduled for a core."""
        return no_scheduled_code(core)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why sums could leave 32 bits, or pairs do not fit."""
        found = super().refusal(op, core)
        if found is not None or not isinstance(op, Weighted):
            return found
        layer = Layer(_with_pairs(op))
        if not layer.depthwise and layer.depth % 2:
            return f"{layer.depth} neighbours of a group make no pairs"
        if _largest_sum(op) >= 2**31:
            return "a sum may leave 32 bits"
        shifts = 15 - channel_requantization(op).shift
        if shifts.min() < _LEAST_SHIFT or shifts.max() > _MOST_SHIFT:
            return "its scales do not fit one rounding multiply"
        return None

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether a config of the space can be built."""
        del core
        assert isinstance(op, Weighted)
        m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
        layer = Layer(_with_pairs(op))
        if m > layer.width or layer.channels % n:
            return False
        if layer.depthwise:
            return m == 1 and unroll == 2
        return layer.depth % unroll == 0 and m * n <= _MOST_SUMS and _furthest(layer, m, unroll) <= MAX_OFFSET

    def cycles(self, op: Weighted, core: Core, config: Config) -> float:
        """Return counted loads, products and turns."""
        paired = _with_pairs(op)
        copied = 0.0 if paired is op else paired.x.elements * _COPY
        return _cycles(paired, core, config) + copied

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of `op`."""
        assert isinstance(op, Weighted)
        assert core.timing is not None
        m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
        paired = _with_pairs(op)
        layer, w = Layer(paired), CWriter()
        writer = _PairWriter(w, layer, m, n, unroll, core.timing)
        writer.write()
        table = channel_requantization(op)
        factors = upper_half(table.multiplier) << (32 - (15 - table.shift.astype(np.int64)))
        bias = np.zeros(factors.size, np.int32) if op.bias is None else op.bias.values.astype(np.int32)
        constants = {
            "weights": CArray(c_type=writer.weight_type, values=_packed(layer, n)),
            "bias": CArray(c_type="int32_t", values=bias),
            "factor": CArray(c_type="int32_t", values=factors.astype(np.int32)),
        }
        helpers = ("utvm_high_mul_rounded", "utvm_clamp")
        kernel = self.kernel(op, config, writer, constants, helpers, tuple(writer.functions.values()))
        return kernel if paired is op else _copying(kernel, op, paired)


@lru_cache(maxsize=16)
def _with_pairs(op: Weighted) -> Weighted:
    """Return an operator of an odd depth with one more, of zeros, that its kernel copies to; others as they are."""
    depth = op.weights.shape[-1]
    if depth % 2 == 0 or isinstance(op, DepthwiseConv2D) or (isinstance(op, Conv2D) and op.groups > 1):
        return op
    values = np.pad(op.weights.values, [(0, 0)] * (op.weights.values.ndim - 1) + [(0, 1)])
    shape = (*op.x.shape[:-1], depth + 1) if isinstance(op, Conv2D) else (op.x.elements // depth, depth + 1)
    x = replace(op.x, shape=shape, data=None)
    return replace(op, x=x, weights=replace(op.weights, shape=values.shape, data=values))


def _copying(kernel: Kernel, op: Weighted, paired: Weighted) -> Kernel:
    """Return a kernel that copies its input to where each pixel has a zero behind it."""
    depth = op.weights.shape[-1]
    w = CWriter()
    with w.loop("i", op.x.elements // depth):
        with w.loop("c", depth):
            w(f"wide[i * {depth + 1} + c] = narrow[i * {depth} + c];")
        w(f"wide[i * {depth + 1} + {depth}] = 0;")
    w("const int16_t *const x = wide;")
    first, *middle, last = kernel.function.parameters
    scratch = CParameter(name="wide", c_type="int16_t", role="scratch")
    function = replace(
        kernel.function,
        parameters=(replace(first, name="narrow"), *middle, scratch, last),
        body=w.text + kernel.function.body,
    )
    return replace(kernel, function=function, scratch_bytes=paired.x.nbytes, ahead=None)


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


def _cycles(op: Weighted, core: Core, config: Config) -> float:
    assert core.timing is not None
    m, n, unroll = int(config["m"]), int(config["n"]), int(config["unroll"])
    layer = Layer(op)
    terms = layer.depth * prod(layer.window)
    if layer.depthwise:
        block = terms * n * _TAP
    else:
        turn = loop_cycles(_run_function(layer.step, m, n, unroll, core.timing), core.timing)
        block = terms / unroll * turn + layer.window[0] * (_ROW if layer.is_run else _ROW + _BLOCK)
    return op.outputs[0].elements / (m * n) * (block + m * n * _FINISH + _BLOCK)


def _furthest(layer: Layer, m: int, unroll: int) -> int:
    return ((m - 1) * layer.step + unroll) * 2


@lru_cache(maxsize=1024)
def _run_function(step: int, m: int, n: int, unroll: int, timing: Timing) -> CSupport:
    """Return the function that adds rows of products to sums: shape is rows, turns, and bytes from row to row.

    Args:
        step: elements from a pixel to the next.
        m: pixels.
        n: channels.
        unroll: terms of a turn.
        timing: the core's pipeline.
    """
    block = Block()
    sums = [[f"%acc{pixel}_{channel}" for channel in range(n)] for pixel in range(m)]
    for pair in range(unroll // 2):
        for pixel in range(m):
            block(f"ldr %x{pair}_{pixel}, [%px, #{2 * pixel * step + 4 * pair}]")
        for channel in range(n):
            block(f"ldr %w{pair}_{channel}, [%pw, #{4 * (pair * n + channel)}]")
            for pixel in range(m):
                total = sums[pixel][channel]
                block(f"smlad {total}, %x{pair}_{pixel}, %w{pair}_{channel}, {total}")
    block(f"add %px, %px, #{2 * unroll}", f"add %pw, %pw, #{2 * unroll * n}", "subs %left, %left, #1")
    flat = [name for pixel in sums for name in pixel]
    places = {name: f"r{4 + index}" for index, name in enumerate(flat)}
    spare = (*(f"r{4 + index}" for index in range(len(flat), 8)), "r3", "r12", "lr")
    turn = schedule(block, timing, pool=spare, fixed={"%px": "r0", "%pw": "r1", "%left": "r2", **places})
    name = f"utvm_pairs_{m}x{n}_{short_digest(step, unroll, turn.lines)}"
    registers = [places[each] for each in flat]
    return assembler_function(
        name,
        f"void {name}(const int16_t *x, const uint32_t *weights, int32_t *sums, const int32_t *shape)",
        [
            "push {r4-r11, lr}",
            "sub sp, sp, #12",
            "str r2, [sp]",
            "str r3, [sp, #4]",
            "ldr r12, [r3]",
            "str r12, [sp, #8]",
            *(f"ldr {register}, [r2, #{4 * index}]" for index, register in enumerate(registers)),
            "2:",
            "ldr r3, [sp, #4]",
            "ldr r2, [r3, #4]",
            ".balign 8",
            "1:",
            *turn.lines,
            "bne.w 1b",
            "ldr r3, [sp, #4]",
            "ldr r12, [r3, #8]",
            "add r0, r0, r12",
            "ldr r12, [r3, #12]",
            "add r1, r1, r12",
            "ldr r12, [sp, #8]",
            "subs r12, r12, #1",
            "str r12, [sp, #8]",
            "bne.w 2b",
            "ldr r2, [sp]",
            *(f"str {register}, [r2, #{4 * index}]" for index, register in enumerate(registers)),
            "add sp, sp, #12",
            "pop {r4-r11, pc}",
        ],
        f"Sums of {m} pixels x {n} channels, {unroll} terms a turn",
    )


class _PairWriter(BlockWriter):
    x_type = "int16_t"
    by_rows = True

    def __init__(self, w: CWriter, layer: Layer, m: int, n: int, unroll: int, timing: Timing) -> None:
        super().__init__(w, layer, m, n, unroll)
        self.weight_type = "int16_t" if layer.depthwise else "uint32_t"
        self.per_word = 1 if layer.depthwise else 2
        self.timing = timing
        self.functions: dict[int, CSupport] = {}

    def start(self, pixel: int, channel: int) -> str:
        return f"sums[{pixel * self.n + channel}] = bias[oc{offset(channel)}];"

    def finish(self, pixel: int, channel: int) -> str:
        low, high = limits(self.layer.op)
        scaled = f"utvm_high_mul_rounded(sums[{pixel * self.n + channel}], factor[oc{offset(channel)}])"
        return f"(int16_t)utvm_clamp({scaled}, {low}, {high})"

    def begin(self, m: int) -> None:
        self.w(f"int32_t sums[{m * self.n}];")

    def write_tap(self) -> None:
        for channel in range(self.n):
            self.w(f"sums[{channel}] += (int32_t)px[{channel}] * pw[{channel}];")

    def write_rows(self, m: int, rows: str, run: str, gap: str) -> None:
        function = _run_function(self.layer.step, m, self.n, self.unroll, self.timing)
        self.functions[m] = function
        whole = self.layer.window[1] * self.layer.depth
        weights = f"({whole} - {run}) * {2 * self.n}"
        self.w(f"const int32_t shape[4] = {{{rows}, {run} / {self.unroll}, ({gap} - {run}) * 2, {weights}}};")
        self.w(f"{function.name}(px, pw, sums, shape);")

    def write_run(self, m: int, run: str) -> None:
        self.write_rows(m, "1", run, run)
