"""MobileNetV2 1.0 224 with awkward quantisation on an emulated Cortex-M7: cycles and the family of each layer.

    python benchmarks/mobilenet_v2.py [--board BOARD] [--width 1.0] [--size 224] [--peer] [--assume NAME]
        [--tflite FILE]

The network is written by our own writer with seeded weights: each ReLU6 ends at another value than 127, no zero point
of its outputs is -128, and one channel in a hundred has an effective scale over 0.25. Cycles are modelled. Constants go
to the board's 16 MB of PSRAM (Arm DAI 0385), here without wait states. The PSRAM is the budget of flash: without a
budget, up to 1 % of the cycles are given for less flash. `--peer` measures CMSIS-NN 4.0.0 in the same run, which takes
a minute. `--assume compilers` makes and prices all for the older tables. Outputs are compared with tflite-micro's
interpreter.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.oracle import Oracle  # noqa: E402

from utvm import api  # noqa: E402
from utvm.bench import measure_cmsis_nn  # noqa: E402
from utvm.boards import Board, Memory  # noqa: E402
from utvm.frontends import load  # noqa: E402
from utvm.frontends.tflite_writer import write_tflite  # noqa: E402
from utvm.graph import (  # noqa: E402
    FULL_INT8,
    Add,
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    Mean,
    Operator,
    Padding,
    Quantization,
    Tensor,
    same_padding,
)
from utvm.graph.samples import random_input  # noqa: E402
from utvm.profiling import profile_in  # noqa: E402
from utvm.report import ProfileReport  # noqa: E402
from utvm.tuning import NO_RECORDS  # noqa: E402

PSRAM_BYTES = 16 << 20
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, repeats and stride of each row of table 2 of the paper (Sandler et al., 2018)."""


def main() -> int:
    """Print a line a layer, then the whole; 1 if the output is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--peer", action="store_true", help="measure CMSIS-NN too")
    parser.add_argument("--assume", metavar="NAME", help="another pipeline, as of `utvm profile`")
    parser.add_argument("--tflite", type=Path, metavar="FILE", help="also keep the model file")
    arguments = parser.parse_args()
    model = write_tflite(mobilenet_v2(arguments.width, arguments.size))
    if arguments.tflite is not None:
        arguments.tflite.write_bytes(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mobilenet_v2.tflite"
        path.write_bytes(model)
        graph = load(path)
    board = _with_psram(api.as_board(arguments.board))
    compiled = api.compile(graph, board, records=NO_RECORDS, steps=True, flash=PSRAM_BYTES, assume=arguments.assume)
    (x,), (y,) = graph.inputs, graph.outputs
    values = random_input(x, 0)
    with api.connect(board, assume=arguments.assume) as session:
        report, _ = profile_in(session, compiled)
        result = api.Model(session, compiled).run({x.name: values})
        peer = measure_cmsis_nn(session, graph, {x.name: values}) if arguments.peer else None
    exact = bool((result.outputs[y.name] == Oracle(model, arena_size=32 << 20).run(values)[0]).all())
    print(summary(report))
    print(
        f"equal to tflite-micro: {'yes' if exact else 'NO'}, {len(np.unique(result.outputs[y.name]))} distinct values"
    )
    if peer is not None:
        print(f"CMSIS-NN 4.0.0: {peer.cycles:,} modelled cycles, exact: {peer.exact}, without {peer.leaves_out}")
    return 0 if exact else 1


def summary(report: ProfileReport) -> str:
    """Return a line a call, and the whole with what weighted layers are in plain C."""
    lines = []
    for op in report.operators:
        each = f"{(op.cycles or 0) / op.macs:6.3f}" if op.macs else "      "
        config = " ".join(f"{knob}={value}" for knob, value in op.config.items())
        lines.append(f"{op.cycles or 0:>12,} {each} {op.kind:16} {op.name:20} {op.family} {config}")
    plain = [op.name for op in report.operators if op.macs and op.family == "portable"]
    lines.append(
        f"{report.cycles:,} modelled cycles for {report.macs:,} MACs ({report.cycles_source}); arena "
        f"{report.arena_bytes:,} B, flash {report.flash_bytes:,} B"
    )
    lines.append(f"weighted layers in plain C: {len(plain)} {plain or ''}")
    return "\n".join(lines)


def _with_psram(board: Board) -> Board:
    """Return an emulated board whose constants go to its PSRAM."""
    origin = 0x60000000 if board.core.name == "cortex-m7" else 0x21000000
    psram = Memory(name="psram", kind="ram", origin=origin, length=PSRAM_BYTES)
    places = tuple(replace(placement, constants=psram) for placement in board.placements)
    return replace(board, memories=(*board.memories, psram), placements=places)


def mobilenet_v2(width: float = 1.0, size: int = 224, seed: int = 0) -> Graph:
    """Return the network, int8, with random weights by which no layer is flat or clipped."""
    network = _Network(rng=np.random.default_rng(seed))
    x = network.activation("input", (1, size, size, 3), Quantization.per_tensor(1 / 128, -7), 74.0)
    start = x
    x = network.conv(x, _channels(32 * width), 3, 2)
    for expansion, channels, repeats, stride in BLOCKS:
        for index in range(repeats):
            x = network.block(x, expansion, _channels(channels * width), stride if index == 0 else 1)
    x = network.conv(x, max(1280, _channels(1280 * width)), 1, 1)
    x = network.mean(x)
    x = network.classes(x, 1000)
    return Graph(name="mobilenet_v2", operators=tuple(network.operators), inputs=(start,), outputs=(x,))


def _channels(wanted: float) -> int:
    """Round to eights, never below nine tenths, as the paper's authors do."""
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


@dataclass(slots=True, kw_only=True)
class _Network:
    """Operators so far, and about how far each activation is from its zero point (root mean square)."""

    rng: np.random.Generator
    operators: list[Operator] = field(default_factory=list)
    _spread: dict[Tensor, float] = field(default_factory=dict)
    _odd: int = 0

    def activation(self, name: str, shape: tuple[int, ...], quant: Quantization, spread: float) -> Tensor:
        tensor = Tensor(name=name, shape=shape, dtype=DType.INT8, quant=quant)
        self._spread[tensor] = spread
        return tensor

    def block(self, x: Tensor, expansion: int, channels: int, stride: int) -> Tensor:
        """Return an inverted residual block's output."""
        y = x
        if expansion > 1:
            y = self.conv(y, x.shape[3] * expansion, 1, 1)
        y = self.depthwise(y, stride)
        y = self.conv(y, channels, 1, 1, linear=True)
        if y.shape != x.shape:
            return y
        name = self._name("add")
        quant = Quantization.per_tensor(np.hypot(x.scale, y.scale), int(self.rng.integers(-30, 30)))
        out = self.activation(f"{name}_y", x.shape, quant, 45.0)
        self.operators.append(Add(name=name, a=x, b=y, y=out))
        return out

    def conv(self, x: Tensor, channels: int, kernel: int, stride: int, *, linear: bool = False) -> Tensor:
        name = self._name("conv")
        padding, output = _same(x, kernel, stride)
        y, clamp = self._output(name, (1, *output, channels), linear=linear)
        weights, bias = self._weights(name, x, y, (channels, kernel, kernel, x.shape[3]), 0)
        self.operators.append(
            Conv2D(
                name=name, x=x, weights=weights, bias=bias, y=y, clamp=clamp, stride=(stride, stride), padding=padding
            )
        )
        return y

    def depthwise(self, x: Tensor, stride: int) -> Tensor:
        name = self._name("depthwise")
        padding, output = _same(x, 3, stride)
        y, clamp = self._output(name, (1, *output, x.shape[3]), linear=False)
        weights, bias = self._weights(name, x, y, (1, 3, 3, x.shape[3]), 3)
        self.operators.append(
            DepthwiseConv2D(
                name=name, x=x, weights=weights, bias=bias, y=y, clamp=clamp, stride=(stride, stride), padding=padding
            )
        )
        return y

    def mean(self, x: Tensor) -> Tensor:
        quant = Quantization.per_tensor(x.scale / 4, x.zero_point)
        y = self.activation("mean_y", (1, x.shape[3]), quant, 70.0)
        self.operators.append(Mean(name="mean", x=x, y=y, axes=(1, 2)))
        return y

    def classes(self, x: Tensor, count: int) -> Tensor:
        y, _ = self._output("classes", (1, count), linear=True)
        weights, bias = self._weights("classes", x, y, (count, x.shape[1]), 0, odd=False)
        self.operators.append(FullyConnected(name="classes", x=x, weights=weights, bias=bias, y=y))
        return y

    def _name(self, kind: str) -> str:
        return f"{kind}_{len(self.operators)}"

    def _output(self, name: str, shape: tuple[int, ...], *, linear: bool) -> tuple[Tensor, tuple[int, int]]:
        """Return an output and its clamp: none, or ReLU6 from a zero point over -128 to a value below 127."""
        if linear:
            zero, scale = int(self.rng.integers(-40, 40)), float(self.rng.uniform(0.03, 0.06))
            return self.activation(f"{name}_y", shape, Quantization.per_tensor(scale, zero), 45.0), FULL_INT8
        zero, span = int(self.rng.integers(-120, -70)), int(self.rng.integers(140, 190))
        y = self.activation(f"{name}_y", shape, Quantization.per_tensor(6 / span, zero), 0.45 * span)
        return y, (zero, zero + span)

    def _weights(
        self, name: str, x: Tensor, y: Tensor, shape: tuple[int, ...], axis: int, *, odd: bool = True
    ) -> tuple[Tensor, Tensor]:
        channels = shape[axis]
        taps = int(np.prod(shape)) // channels
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        factors = 60 / (np.sqrt(taps) * 74 * self._spread[x]) * self.rng.uniform(0.6, 1.4, channels)
        if odd:
            self._odd += channels
            while self._odd >= 100:
                self._odd -= 100
                channel = int(self.rng.integers(channels))
                factors[channel] = self.rng.uniform(0.26, 0.9)
                where = (channel,) if axis == 0 else (..., channel)
                few = self.rng.random(values[where].shape) < 2 / taps
                values[where] = np.where(few, self.rng.choice([-1, 1], few.shape), 0)
                values[where].flat[0] = 1
        scales = tuple(float(np.float32(factor * y.scale / x.scale)) for factor in factors)
        if axis == 0 and len(shape) == 2:
            scales = scales[:1]
        per_channel = axis if len(scales) > 1 else None
        quant = Quantization(scale=scales, zero_point=(0,) * len(scales), axis=per_channel)
        bias = (self.rng.uniform(-20, 40, channels) / np.resize(factors, channels)).astype(np.int32)
        bias_quant = Quantization(
            scale=tuple(float(np.float32(x.scale) * np.float32(scale)) for scale in scales),
            zero_point=(0,) * len(scales),
            axis=0 if len(scales) > 1 else None,
        )
        return (
            Tensor(name=f"{name}_weights", shape=shape, dtype=DType.INT8, quant=quant, data=values),
            Tensor(name=f"{name}_bias", shape=(channels,), dtype=DType.INT32, quant=bias_quant, data=bias),
        )


def _same(x: Tensor, kernel: int, stride: int) -> tuple[Padding, tuple[int, int]]:
    top, bottom, down = same_padding(x.shape[1], kernel, stride)
    left, right, across = same_padding(x.shape[2], kernel, stride)
    return Padding(top=top, bottom=bottom, left=left, right=right), (down, across)


if __name__ == "__main__":
    sys.exit(main())
