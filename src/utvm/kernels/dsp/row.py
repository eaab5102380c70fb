"""Fully connected layers whose input row the micro-kernel extends to int16 itself.

Either once, into its own stack frame: reached from sp, the row needs no address register, and on a core that takes
loads one after the other and pays for each batch of them, eight channels with all their weights in flight need fewer
batches. Or in registers, anew for each block of channels, which is less work where there are few blocks.

Rows that do not fill words get weights of zero at their end. The bytes of the last word are read one by one, and all
bytes where rows start at any address.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.cores.microkernel import Block, schedule
from utvm.cores.timing import Timing
from utvm.graph import FullyConnected, Operator
from utvm.kernels.base import INSTRUCTION_BYTES, Config, Kernel, Outline, Space
from utvm.kernels.dsp.assembly import LOOP_REGISTERS, assembler_loop, short_digest
from utvm.kernels.dsp.choosing import fastest, near_fastest
from utvm.kernels.dsp.direct_plan import WIDE_WEIGHTS, DirectPlan, pairs_exactly
from utvm.kernels.dsp.expand import expansion_turn
from utvm.kernels.dsp.finish import requantizer_refusal
from utvm.kernels.dsp.geometry import ExpandedRows, Window
from utvm.kernels.dsp.multiply import multiply_body
from utvm.kernels.dsp.multiply_estimates import ESTIMATE_ERROR, BlockCost, multiply_cost, multiply_estimate
from utvm.kernels.dsp.multiply_spec import ROW_IN_FRAME, MultiplySpec, RowSource
from utvm.kernels.dsp.scheduled import ScheduledFamily
from utvm.kernels.dsp.stream import WeightForm
from utvm.kernels.workload_keys import workload

_MOST_FRAME = 1536
"""Bytes of stack that a row may take; a board has at least twice that unless it says otherwise."""
_CALL_CYCLES = 60
_LINES_AROUND = 8
"""Lines of the micro-kernel around its turn and the expansion."""
_BRANCH_CYCLES, _TAIL_CYCLES = 3, 4
_LANES = (0, 2, 1, 3)
"""The lane of each byte of a word, as `geometry.extension_order` says."""
_PARAMETERS = (
    CParameter(name="x", c_type="int8_t", role="input"),
    CParameter(name="stream", c_type="int32_t", role="constant"),
    CParameter(name="y", c_type="int8_t", role="output"),
)


class RowFullyConnected(ScheduledFamily):
    """FullyConnected with short rows. Knobs: `n` channels at once, `form` of the weights (`pair8` or `int16`), `row`
    (extended into the stack `frame`, or read as `bytes`).
    """

    name = "row"
    kinds = (FullyConnected,)
    nine_bits = True

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return why `op` has no exact finish, or why its rows do not fit the stack."""
        if not isinstance(op, FullyConnected):
            return super().refusal(op, core)
        inputs = op.weights.shape[1]
        if 2 * inputs > _MOST_FRAME:
            return f"it has more than {_MOST_FRAME // 2} inputs"
        filled = _filled(op)
        if 2 * len(ExpandedRows.of(Window.of(filled)).taps()) != filled.weights.shape[1]:
            return "its inputs do not divide into parts"
        return self.lacks(core) or requantizer_refusal(op)

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs; combinations that do not fit are refused by `legal`."""
        del op, core
        return {"n": (1, 2, 4, 6, 8), "form": ("pair8", "int16"), "row": ("frame", "bytes")}

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether the channels divide into blocks, and can share lanes if they are to; bytes are read as words."""
        del core
        assert isinstance(op, FullyConnected)
        n = int(config["n"])
        if op.weights.shape[0] % n or (config["row"] == RowSource.BYTES and not _at_words(op)):
            return False
        return config["form"] == WeightForm.INT16 or (n % 2 == 0 and pairs_exactly(op))

    def default(self, op: Operator, core: Core) -> Config:
        """Return the block with the fewest modelled cycles.

        Raises:
            ScheduleError: no block fits the registers.
        """
        assert isinstance(op, FullyConnected)
        return fastest(
            self.contenders(op, core),
            lambda config: _RowPlan.of(op, config).cost(core).cycles,
            f"{op.kind} '{op.name}': no register block is legal",
        )

    def contenders(self, op: Operator, core: Core) -> tuple[Config, ...]:
        """Return the blocks that may be the fastest, wide weights only where they are few."""
        assert isinstance(op, FullyConnected)
        narrow = op.weights.shape[0] % 2 == 0 and pairs_exactly(op)
        forms = [WeightForm.PAIR8] if narrow else []
        if not narrow or op.weights.values.nbytes <= WIDE_WEIGHTS:
            forms.append(WeightForm.INT16)
        configs: list[Config] = [
            {"n": n, "form": str(form), "row": row}
            for n, form, row in product((8, 6, 4, 2, 1), forms, ("frame", "bytes"))
        ]
        legal = [config for config in configs if self.legal(op, core, config)]
        return tuple(
            near_fastest(
                legal, lambda config: _RowPlan.of(op, config).cost(core, estimated=True).cycles, ESTIMATE_ERROR
            )
        )

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all rows."""
        return self.outline(op, core, config, scheduled=True).cycles

    def outline(self, op: Operator, core: Core, config: Config, *, scheduled: bool = False) -> Outline:
        """Return the cycles of all rows, and what the plan takes."""
        assert isinstance(op, FullyConnected)
        plan = _RowPlan.of(op, config)
        cost = plan.cost(core, estimated=not scheduled)
        return Outline(
            cycles=cost.cycles,
            error=0.0 if scheduled else ESTIMATE_ERROR,
            constant_bytes=plan.direct.stream_bytes,
            code_bytes=round(cost.code_bytes),
            ahead=plan.ahead,
        )

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a fully connected layer."""
        assert isinstance(op, FullyConnected)
        assert core.timing is not None
        plan = _RowPlan.of(op, config)
        units, inputs = op.weights.shape
        w = CWriter()
        with w.loop("row", plan.batch):
            w(f"{plan.symbol}(x + row * {inputs}, stream, y + row * {units}, y + (row + 1) * {units});")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"fully_connected_{inputs}_{units}_row",
                comment=f"{workload(op)}\nfamily {self.name}, {', '.join(f'{k} {v}' for k, v in config.items())}",
                parameters=_PARAMETERS,
                body=w.text,
                support=(
                    _row_kernel(
                        plan.symbol, plan.spec, core.timing, plan.direct.shift, inputs=inputs, at_words=_at_words(op)
                    ),
                ),
            ),
            constants={"stream": CArray(c_type="int32_t", values=plan.direct.stream())},
            ahead=plan.ahead,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _RowPlan:
    """What the C, the micro-kernel and the stream of one layer agree on.

    Attributes:
        op: the layer.
        direct: the plan, of one pixel at a time, of the layer whose rows fill words.
        source: where the micro-kernel finds its rows.
    """

    op: FullyConnected
    direct: DirectPlan
    source: RowSource

    @staticmethod
    def of(op: FullyConnected, config: Config) -> _RowPlan:
        direct = DirectPlan.of(_filled(op), {"m": 1, "unroll": 1, **config})
        return _RowPlan(op=op, direct=direct, source=RowSource(str(config["row"])))

    @property
    def batch(self) -> int:
        return self.direct.window.out_width

    @property
    def ahead(self) -> int:
        """Bytes by which the output must start before the input; see `Kernel`.

        A row in the frame is read whole before its outputs are written; bytes are read again for each block.
        """
        units, inputs = self.op.weights.shape
        grows = units - inputs
        if self.source is RowSource.FRAME:
            return max(grows, self.batch * grows)
        return units - self.direct.n + max(0, (self.batch - 1) * grows)

    @property
    def spec(self) -> MultiplySpec:
        direct = self.direct
        return MultiplySpec(
            rows=1,
            offsets=(direct.rows.taps(),),
            channels=direct.n,
            pixel_stride=direct.window.out_channels,
            form=direct.form,
            finish=direct.requantizer.finish,
            saturation=direct.requantizer.saturation,
            unrolled=True,
            uniform=direct.uniform is not None,
            source=self.source,
            tail=self.op.weights.shape[1] % 4,
        )

    @property
    def symbol(self) -> str:
        inputs, digest = self.op.weights.shape[1], short_digest(self.spec, self.direct.shift)
        return f"utvm_row_n{self.direct.n}_{inputs}{'' if _at_words(self.op) else '_anywhere'}_{digest}"

    def cost(self, core: Core, *, estimated: bool = False) -> BlockCost:
        timing = core.timing
        assert timing is not None
        blocks = self.direct.window.out_channels // self.direct.n
        row: float = _CALL_CYCLES
        lines = _LINES_AROUND
        if self.source is RowSource.FRAME:
            inputs, at_words = self.op.weights.shape[1], _at_words(self.op)
            row += _expansion_cycles(inputs, timing, at_words=at_words)
            lines += len(_expansion_code(inputs, timing, at_words=at_words))
        cost = (multiply_estimate if estimated else multiply_cost)(self.spec, timing, shift=self.direct.shift)
        row += blocks * cost.cycles
        if core.caches is not None:
            row += core.caches.streaming(cost.code_bytes, 0, blocks)
            row += core.caches.streaming(0, 4 * blocks * self.spec.stream_words, 1)
        return BlockCost(cycles=self.batch * row, code_bytes=cost.code_bytes + INSTRUCTION_BYTES * lines)


@lru_cache(maxsize=8)
def _filled(op: FullyConnected) -> FullyConnected:
    """Return a layer whose rows fill words: the same one, or one with zeros at the end of each channel's weights."""
    inputs = op.weights.shape[1]
    if inputs % 4 == 0:
        return op
    weights = np.pad(op.weights.values, ((0, 0), (0, -inputs % 4)))
    x = replace(op.x, shape=(op.x.elements // inputs, weights.shape[1]), data=None)
    return replace(op, x=x, weights=replace(op.weights, shape=weights.shape, data=weights))


def _at_words(op: FullyConnected) -> bool:
    """Whether every row starts at a multiple of a word."""
    inputs = op.weights.shape[1]
    return inputs % 4 == 0 or op.x.elements == inputs


@lru_cache(maxsize=1024)
def _row_kernel(name: str, spec: MultiplySpec, timing: Timing, shift: int, *, inputs: int, at_words: bool) -> CSupport:
    """Return `void name(const int8_t *x, const int32_t *stream, int8_t *out, const int8_t *end)`."""
    body, _ = multiply_body(spec, timing, shift)
    expansion: tuple[str, ...] = ()
    frame = ROW_IN_FRAME + 4
    if spec.source is RowSource.FRAME:
        frame += (4 * spec.pairs + 7) // 8 * 8
        expansion = _expansion_code(inputs, timing, at_words=at_words)
    return assembler_loop(
        name,
        "const int8_t *x, const int32_t *stream, int8_t *out, const int8_t *end",
        body,
        f"a row of {inputs} inputs, {spec.channels} channels at once, {spec.form} weights",
        entry=["strd r2, r3, [sp]", *expansion],
        frame=frame,
    )


def _expansion_code(inputs: int, timing: Timing, *, at_words: bool) -> tuple[str, ...]:
    """Return the code that extends a row from r0 into the frame, with the lanes of a word in the order 0, 2, 1, 3."""
    words, tail = divmod(inputs, 4)
    lines = [f"add r2, sp, #{ROW_IN_FRAME}"]
    if words:
        at_once, turn, _ = _turn(words, timing, at_words=at_words)
        lines += [f"mov r3, #{words // at_once}", ".balign 8", "2:", *turn, "bne.w 2b"]
    for byte in range(tail):
        lines += [f"ldrsb r4, [r0, #{byte}]", f"strh r4, [r2, #{2 * _LANES[byte]}]"]
    return tuple(lines)


def _expansion_cycles(inputs: int, timing: Timing, *, at_words: bool) -> float:
    words, tail = divmod(inputs, 4)
    at_once, _, cycles = _turn(words, timing, at_words=at_words) if words else (1, (), 0.0)
    return words // at_once * cycles + _TAIL_CYCLES * tail


def _turn(words: int, timing: Timing, *, at_words: bool) -> tuple[int, tuple[str, ...], float]:
    """Return the words of a turn that extends them, its code and its cycles."""
    if at_words:
        return expansion_turn(words, timing, x="r0", row="r2", turns="r3")
    return _turn_by_bytes(2 if words % 2 == 0 else 1, timing)


@lru_cache(maxsize=16)
def _turn_by_bytes(at_once: int, timing: Timing) -> tuple[int, tuple[str, ...], float]:
    block = Block()
    for byte in range(0, 4 * at_once, 4):
        for lane in range(2):
            low, high = (byte + _LANES[2 * lane + half] for half in range(2))
            block(f"ldrsb %b{low}, [%x, #{low}]", f"ldrsb %b{high}, [%x, #{high}]")
            block(f"pkhbt %b{low}, %b{low}, %b{high}, lsl #16", f"str %b{low}, [%row, #{2 * byte + 4 * lane}]")
    block(f"add %x, %x, #{4 * at_once}", f"add %row, %row, #{8 * at_once}", "subs %turns, %turns, #1")
    body = schedule(block, timing, pool=LOOP_REGISTERS, fixed={"%x": "r0", "%row": "r2", "%turns": "r3"})
    return at_once, body.lines, body.cycles + _BRANCH_CYCLES
