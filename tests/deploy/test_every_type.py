"""One small network of each type through everything: plan, budget of RAM, export, check, firmware, tuning, commands."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tflite
from flatbuffers import flexbuffers

import utvm
from tests.deploy.test_firmware import ask
from tests.support.drawer import Array
from tests.support.oracle import Oracle
from utvm.cli import main
from utvm.deploy import shell_firmware
from utvm.emulators import BootedBoard
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded, write_tflite
from utvm.graph import (
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    Operator,
    Padding,
    Quantization,
    Softmax,
    Tensor,
)
from utvm.graph.reference import evaluate
from utvm.model_tuning import tune

KINDS = ("int16", "float32", "packed", "uint8", "signal")
RUNS = [*((kind, "qemu-cortex-m7") for kind in KINDS), ("int16", "qemu-cortex-m55")]
_SAME = Padding(top=1, bottom=1, left=1, right=1)


def network(kind: str) -> bytes:
    """An image of 12x12 through a convolution, a depthwise one, a pool, a fully connected layer and a softmax."""
    rng = np.random.default_rng(3)
    dtype = DType(kind) if kind in ("int16", "float32") else DType.INT8
    fine = 1 / 256 if dtype is DType.INT16 else 1.0
    clamp = (-32768, 32767) if dtype is DType.INT16 else (-128, 127)
    bias_type = {DType.INT16: "int64", DType.FLOAT32: "float32"}.get(dtype, "int32")

    def tensor(name: str, shape: tuple[int, ...], scale: float = 0.05) -> Tensor:
        quant = None if dtype is DType.FLOAT32 else Quantization.per_tensor(scale * fine, 0 if fine < 1 else 3)
        return Tensor(name=name, shape=shape, dtype=dtype, quant=quant)

    def weights(name: str, *shape: int) -> tuple[Tensor, Tensor]:
        many = shape[-1] if shape[0] == 1 else shape[0]
        few = 7 if kind == "packed" else 90
        data = rng.integers(-few, few + 1, shape).astype(np.int8)
        quant = Quantization.per_tensor(0.02 * 90 / few)
        made = Tensor(name=name, shape=shape, dtype=DType.INT8, quant=quant, data=data, packed=kind == "packed")
        if dtype is DType.FLOAT32:
            real = rng.normal(0, 0.2, shape).astype(np.float32)
            made = Tensor(name=name, shape=shape, dtype=dtype, data=real)
        limits = rng.integers(-500, 500, many).astype(bias_type)
        bias = Tensor(name=f"{name}/bias", shape=(many,), dtype=DType(bias_type), data=limits)
        if dtype is DType.FLOAT32:
            bias = dataclasses.replace(bias, data=rng.normal(0, 0.1, many).astype(np.float32))
        else:
            units = Quantization.per_tensor(0.05 * fine * quant.scale[0])
            bias = dataclasses.replace(bias, quant=units)
        return made, bias

    x, a, b, c = (tensor(n, (1, s, s, d)) for n, s, d in (("x", 12, 3), ("a", 12, 8), ("b", 12, 8), ("c", 6, 8)))
    d, y = tensor("d", (1, 4)), tensor("y", (1, 4))
    if dtype is not DType.FLOAT32:
        units = Quantization.per_tensor(1 / 32768) if fine < 1 else Quantization.per_tensor(1 / 256, -128)
        y = dataclasses.replace(y, quant=units)
    operators: list[Operator] = []
    w, bias = weights("w", 8, 3, 3, 3)
    operators.append(Conv2D(name="conv", x=x, weights=w, bias=bias, y=a, padding=_SAME, clamp=clamp))
    w, bias = weights("v", 1, 3, 3, 8)
    operators.append(DepthwiseConv2D(name="depthwise", x=a, weights=w, bias=bias, y=b, padding=_SAME, clamp=clamp))
    operators.append(AveragePool2D(name="pool", x=b, y=c, filter=(2, 2), stride=(2, 2), clamp=clamp))
    w, bias = weights("u", 4, 288)
    operators.append(FullyConnected(name="fc", x=c, weights=w, bias=bias, y=d, clamp=clamp))
    operators.append(Softmax(name="softmax", x=d, y=y))
    if kind == "uint8":
        operators = [unsigned(op) for op in operators]
        x, y = operators[0].inputs[0], operators[-1].outputs[0]
    return write_tflite(Graph(name=kind, operators=tuple(operators), inputs=(x,), outputs=(y,)))


_KNOWN: dict[Tensor, Tensor] = {}


def unsigned(op: Operator) -> Operator:
    """The same operator on uint8."""

    def changed(t: Tensor) -> Tensor:
        if t.dtype is not DType.INT8:
            return t
        assert t.quant is not None
        quant = Quantization.per_tensor(t.scale, t.zero_point + 128)
        data = None if t.data is None else (t.values.astype(np.int16) + 128).astype(np.uint8)
        return _KNOWN.setdefault(t, dataclasses.replace(t, dtype=DType.UINT8, quant=quant, data=data))

    op = op.with_tensors({t: changed(t) for t in dict.fromkeys((*op.inputs, *op.outputs))})
    return dataclasses.replace(op, clamp=(0, 255)) if hasattr(op, "clamp") else op  # type: ignore[call-arg]


def front_end() -> bytes:
    """Samples to logarithms of a filter bank, as wake words have them: nine signal operators, one with memory."""
    rng = np.random.default_rng(4)

    def plain(name: str, dtype: str, *shape: int) -> Tensor:
        return Tensor(name=name, shape=shape, dtype=DType(dtype))

    def fixed(name: str, data: Array) -> Tensor:
        return Tensor(name=name, shape=data.shape, dtype=DType(data.dtype.name), data=data)

    def op(name: str, xs: list[Tensor], ys: list[Tensor], **options: int | bool) -> EncodedOperator:
        code = tflite.BuiltinOperator.CUSTOM
        packed = bytes(flexbuffers.Dumps(options)) if options else b""
        return EncodedOperator(
            code=code, version=1, inputs=tuple(xs), outputs=tuple(ys), custom=name, custom_options=packed
        )

    points, bins, channels = 64, 33, 6
    x, shown = plain("x", "int16", 48), plain("shown", "int16", 48)
    scaled, bits = plain("scaled", "int16", 48), plain("bits", "int32")
    spectrum, energy = plain("spectrum", "int16", points + 2), plain("energy", "uint32", bins)
    banks, roots = plain("banks", "uint64", channels), plain("roots", "uint32", channels)
    left, noise, even = (plain(n, "uint32", channels) for n in ("left", "noise", "even"))
    y = plain("y", "int16", channels)
    window = fixed("window", (4096 * np.hanning(50)[1:-1]).astype(np.int16))
    widths = np.full(channels + 1, 4, np.int16)
    starts = (1 + 4 * np.arange(channels + 1)).astype(np.int16)
    shares = rng.integers(0, 4096, 4 * (channels + 1)).astype(np.int16)
    tables = [fixed("w", shares), fixed("u", (4096 - shares).astype(np.int16)), fixed("starts", starts)]
    tables += [fixed("places", (4 * np.arange(channels + 1)).astype(np.int16)), fixed("widths", widths)]
    gains = fixed("gains", rng.integers(0, 2**14, 125).astype(np.int16))
    smoothing = {"smoothing": 655, "one_minus_smoothing": 15729, "smoothing_bits": 10, "min_signal_remaining": 819}
    smoothing |= {"alternate_smoothing": 983, "alternate_one_minus_smoothing": 15401, "clamping": False}
    steps = [
        op("SignalWindow", [x, window], [shown], shift=12),
        op("SignalFftAutoScale", [shown], [scaled, bits]),
        op("SignalRfft", [scaled], [spectrum], T=int(tflite.TensorType.INT16), fft_length=points),
        op("SignalEnergy", [spectrum], [energy], start_index=0, end_index=bins),
        op("SignalFilterBank", [energy, *tables], [banks], num_channels=channels),
        op("SignalFilterBankSquareRoot", [banks, bits], [roots]),
        op(
            "SignalFilterBankSpectralSubtraction",
            [roots],
            [left, noise],
            num_channels=channels,
            spectral_subtraction_bits=14,
            **smoothing,
        ),
        op("SignalPCAN", [left, noise, gains], [even], snr_shift=6),
        op("SignalFilterBankLog", [even], [y], input_correction_bits=3, output_scale=1600),
    ]
    return write_encoded("signal", (x,), (y,), steps)


def values(tensor: Tensor, count: int) -> list[Array]:
    rng = np.random.default_rng(5)
    if tensor.dtype is DType.FLOAT32:
        return [rng.standard_normal(tensor.shape).astype(np.float32) for _ in range(count)]
    limits = np.iinfo(tensor.dtype.value)
    return [rng.integers(limits.min, limits.max, tensor.shape).astype(tensor.dtype.value) for _ in range(count)]


@pytest.mark.parametrize(("kind", "board"), RUNS)
def test_a_network_of_each_type_through_everything(
    kind: str, board: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"net_{kind}.tflite"
    path.write_bytes(front_end() if kind == "signal" else network(kind))
    graph = utvm.load(path)
    inputs = values(graph.inputs[0], 3)
    memory: dict[str, Array] = {}
    wanted = [next(iter(evaluate(graph, [x], memory=memory).values())) for x in inputs]
    if kind != "uint8":
        oracle = Oracle(path.read_bytes())
        for x, want in zip(inputs, wanted, strict=True):
            (got,) = oracle.run(x)
            np.testing.assert_allclose(want, got.reshape(want.shape), rtol=2e-6 if kind == "float32" else 0, atol=0)

    free = utvm.compile(path, board)
    tight = utvm.compile(path, board, ram=free.program.memory.lower_bound + 64)
    assert tight.program.arena_bytes <= free.program.memory.lower_bound + 64
    for compiled in (free, tight):
        with utvm.connect(board) as session:
            model = utvm.Model(session, compiled)
            for x, want in zip(inputs, wanted, strict=True):
                np.testing.assert_array_equal(next(iter(model.run(x).outputs.values())), want)

    made = utvm.export(path, board)
    made.write(tmp_path / "library")
    checked = utvm.verify(tmp_path / "library", path, inputs=2)
    assert checked.passed, checked
    with BootedBoard(made.board, shell_firmware([made]).image.path) as booted:
        booted.hear("ready\r\n")
        for x, want in zip(inputs, wanted, strict=True):
            (line,) = ask(booted, f"infer {x.tobytes().hex()}") if x.nbytes <= 500 else _in_parts(booted, x)
            said = line.split()[2:]
            if want.dtype.itemsize == 1:
                assert [int(v) for v in said] == want.reshape(-1).tolist()
            else:
                assert bytes.fromhex("".join(said)) == want.astype(want.dtype.newbyteorder(">")).tobytes()

    tuned = tune(path, board, database=tmp_path / "records.db", trials=1, workers=1)
    assert not any(layer.wrong for layer in tuned.report.layers)
    for command in ("plan", "cost"):
        assert main([command, str(path), "--board", board]) == 0, command
    capsys.readouterr()


def _in_parts(booted: BootedBoard, x: Array) -> list[str]:
    raw = x.tobytes()
    for start in range(0, len(raw), 500):
        assert ask(booted, f"input 0 {start} {raw[start : start + 500].hex()}") == []
    return ask(booted, "infer")
