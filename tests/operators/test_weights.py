"""Weights as files have them: of 4 bits, with zero points, computed, uint8; and batches that a file leaves open."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tflite

import utvm
from tests.operators.test_types import Case, check
from tests.support.draw import _MAKERS
from tests.support.drawer import Array, Drawer
from tests.support.host import run_on_host, run_sanitized
from tests.support.oracle import Oracle
from tests.support.target import run_programs
from utvm.cli import main
from utvm.cores import get_core
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import Subgraph, write_subgraphs, write_tflite
from utvm.graph import (
    Conv2D,
    DepthwiseConv2D,
    DType,
    FullyConnected,
    Graph,
    Operator,
    Quantization,
    Tensor,
)
from utvm.graph.reference import evaluate
from utvm.lowering import lower
from utvm.numerics import multiply_by_quantized_multiplier, quantize_multiplier
from utvm.passes import run_passes

_SEEDS = range(12)
_KINDS = ("Conv2D", "DepthwiseConv2D", "FullyConnected")


def drawn(kind: str, seed: int) -> Conv2D | DepthwiseConv2D | FullyConnected:
    """A random operator that tflite-micro takes: a depthwise one has a bias."""
    op = _MAKERS[kind](Drawer(np.random.default_rng(seed), True, 12))
    assert isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected)
    if op.bias is None:
        channels = op.y.shape[-1] if not isinstance(op, FullyConnected) else op.weights.shape[0]
        data = np.zeros(channels, np.int32)
        op = dataclasses.replace(op, bias=Tensor(name="bias", shape=data.shape, dtype=DType.INT32, data=data))
    return op


def case(op: Operator, seed: int) -> Case:
    file = write_tflite(Graph(name="drawn", operators=(op,), inputs=op.activations, outputs=op.outputs))
    return file, load_tflite(file), inputs_of(op.activations, seed)


def inputs_of(xs: tuple[Tensor, ...], seed: int) -> list[Array]:
    d = Drawer(np.random.default_rng(seed), True, 12)
    return [d.int8(x.shape) for x in xs]


def packed(kind: str, seed: int) -> Case:
    op = drawn(kind, seed)
    few = np.clip(op.weights.values // 8, -8, 7).astype(np.int8)
    assert op.weights.quant is not None
    quant = dataclasses.replace(op.weights.quant, scale=tuple(8 * s for s in op.weights.quant.scale))
    if kind == "FullyConnected":
        # tflite-micro takes one scale here.
        quant = Quantization.per_tensor(quant.scale[0])
    weights = dataclasses.replace(op.weights, data=few, quant=quant, packed=True)
    return case(with_weights(op, weights), seed)


def with_weights(
    op: Conv2D | DepthwiseConv2D | FullyConnected, weights: Tensor
) -> Conv2D | DepthwiseConv2D | FullyConnected:
    """Give an operator other weights, and its bias the scale that tflite-micro wants beside them."""
    assert weights.quant is not None
    scale = tuple(op.x.scale * each for each in weights.quant.scale)
    axis = None if weights.quant.axis is None else 0
    quant = Quantization(scale=scale, zero_point=(0,) * len(scale), axis=axis)
    bias = None if op.bias is None else dataclasses.replace(op.bias, quant=quant)
    return dataclasses.replace(op, weights=weights, bias=bias)


def shifted(seed: int) -> Case:
    """Constant weights with a zero point."""
    op = drawn("FullyConnected", seed)
    quant = Quantization.per_tensor(op.weights.channel_scales(1)[0], int(np.random.default_rng(seed).integers(-90, 90)))
    return case(with_weights(op, dataclasses.replace(op.weights, quant=quant)), seed)


def computed(seed: int, dtype: DType) -> Case:
    """Weights that are an input of the graph."""
    op, rng = drawn("FullyConnected", seed), np.random.default_rng(seed)
    quant = Quantization.per_tensor(op.weights.channel_scales(1)[0], int(rng.integers(-90, 90)))
    op = with_weights(op, dataclasses.replace(op.weights, quant=quant))
    changes = {op.weights: dataclasses.replace(op.weights, data=None)}
    assert op.bias is not None
    given = [*inputs_of((op.x, op.weights), seed)]
    if dtype is DType.FLOAT32:
        changes = {
            t: dataclasses.replace(
                t, dtype=dtype, quant=None, data=None if t is not op.bias else t.values.astype(np.float32)
            )
            for t in (op.x, op.weights, op.bias, op.y)
        }
        given = [rng.standard_normal(t.shape).astype(np.float32) for t in (op.x, op.weights)]
        op = dataclasses.replace(op, clamp=(-128, 127))
    file, graph, _ = case(op.with_tensors(changes), seed)
    return file, graph, given


@pytest.fixture(scope="module")
def every() -> list[Case]:
    found = []
    for seed in _SEEDS:
        found += [packed(kind, seed) for kind in _KINDS]
        found += [shifted(seed), computed(seed, DType.INT8), computed(seed, DType.FLOAT32)]
    return found


def test_the_reference_is_tflite_micro(every: list[Case]) -> None:
    for file, graph, inputs in every:
        for got, want in zip(evaluate(graph, inputs).values(), Oracle(file).run(*inputs), strict=True):
            np.testing.assert_array_equal(got, want.reshape(got.shape), err_msg=str(graph))


def test_kernels_here(every: list[Case]) -> None:
    core = get_core("cortex-m3")
    programs, given = [lower(graph, core) for _, graph, _ in every], [inputs for _, _, inputs in every]
    for (_, graph, inputs), got in zip(every, run_on_host(programs, given), strict=True):
        check(graph, inputs, got)
    for (_, graph, inputs), got in zip(every[:12], run_sanitized(programs[:12], given[:12], "gcc"), strict=False):
        check(graph, inputs, got)


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m0", "qemu-riscv32"])
def test_kernels_on_a_core(every: list[Case], board: str) -> None:
    some = every[:18]
    with utvm.connect(board) as session:
        programs = [lower(run_passes(graph), session.board.core) for _, graph, _ in some]
        outputs = run_programs(session, programs, [inputs for _, _, inputs in some])
    for (_, graph, inputs), got in zip(some, outputs, strict=True):
        assert got is not None
        check(graph, inputs, got)


def test_weights_of_4_bits_stay_packed(every: list[Case]) -> None:
    for _, graph, _ in every[:3]:
        op = graph.operators[0]
        assert isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected)
        for core in ("cortex-m7", "cortex-m0", "cortex-m55", "rv32imc", "rv32imc-zve32x", "cv32e40p-xpulp"):
            (call,) = lower(run_passes(graph), get_core(core)).calls
            rows = 1 if isinstance(op, DepthwiseConv2D) else op.weights.shape[0]
            assert call.kernel.constants["packed"].nbytes <= (op.weights.elements + rows) // 2 + rows % 2


LEGACY = (*_KINDS, "AveragePool2D", "Add", "Softmax", "MaxPool2D")


def legacy(op: Operator, zero: int) -> bytes:
    """The file of an operator in uint8, its weights around a zero point."""

    def unsigned(t: Tensor) -> Tensor:
        if t.dtype is not DType.INT8:
            return t
        assert t.quant is not None
        weights = t is getattr(op, "weights", None)
        quant = Quantization.per_tensor(t.quant.scale[0], (zero if weights else t.zero_point) + 128)
        data = None if t.data is None else (t.values.astype(np.int16) + 128).astype(np.uint8)
        return dataclasses.replace(t, dtype=DType.UINT8, quant=quant, data=data)

    changed = op.with_tensors({t: unsigned(t) for t in dict.fromkeys((*op.inputs, *op.outputs))})
    if hasattr(op, "clamp"):
        low, high = op.clamp
        changed = dataclasses.replace(changed, clamp=(low + 128, high + 128))  # type: ignore[call-arg]
    graph = Graph(name="legacy", operators=(changed,), inputs=changed.activations, outputs=changed.outputs)
    return write_tflite(graph)


def in_numpy(op: Operator, x: Array, zero: int) -> Array:
    """What TFLite's kernels of uint8 make of int8 values, sum by sum."""
    weights = op.weights.values.astype(np.int64) - zero  # type: ignore[attr-defined]
    bias = op.bias.values.astype(np.int64)  # type: ignore[attr-defined]
    y = op.outputs[0]
    real = x.astype(np.int64) - op.inputs[0].zero_point
    if isinstance(op, FullyConnected):
        sums = (real.reshape(-1, weights.shape[1]) @ weights.T + bias).reshape(y.shape)
    else:
        assert isinstance(op, Conv2D | DepthwiseConv2D)
        pad, (_, rows, columns, _) = op.padding, y.shape
        padded = np.pad(real, ((0, 0), (pad.top, pad.bottom + 99), (pad.left, pad.right + 99), (0, 0)))
        sums = np.zeros(y.shape, np.int64) + bias
        for ky, kx in np.ndindex(*weights.shape[1:3]):
            down, right = ky * op.dilation[0], kx * op.dilation[1]
            seen = padded[:, down:, right:][:, :: op.stride[0], :: op.stride[1]][:, :rows, :columns]
            if isinstance(op, DepthwiseConv2D):
                sums += np.repeat(seen, op.multiplier, axis=3) * weights[0, ky, kx]
            else:
                sums += seen @ weights[:, ky, kx].T
    scale = op.inputs[0].scale * op.weights.scale / y.scale  # type: ignore[attr-defined]
    scaled = multiply_by_quantized_multiplier(sums, *quantize_multiplier(scale))
    return np.clip(scaled + y.zero_point, *op.clamp).astype(np.int8)  # type: ignore[attr-defined]


def whole(op: Operator) -> Operator:
    """The operator with weights that are quantised as a whole, in one group: the uint8 kernels know no other."""
    if not isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected):
        return op
    quant = Quantization.per_tensor(op.weights.channel_scales(1)[0])
    return dataclasses.replace(op, weights=dataclasses.replace(op.weights, quant=quant))


@pytest.mark.parametrize("zero", [0, 11, -70])
def test_models_of_uint8_throughout(zero: int) -> None:
    """Exact in int8: halves of averages are the one difference, upward in uint8."""
    checked: list[tuple[Graph, list[Array]]] = []
    for kind in LEGACY:
        for seed in _SEEDS[:6]:
            weighted = kind in _KINDS
            op = whole(drawn(kind, seed) if weighted else _MAKERS[kind](Drawer(np.random.default_rng(seed), True, 12)))
            if isinstance(op, Conv2D) and op.groups > 1:
                continue
            graph = load_tflite(legacy(op, zero))
            given = inputs_of(op.activations, seed)
            bytes_of = [(value.astype(np.int16) + 128).astype(np.uint8) for value in given]
            (got,) = evaluate(graph, bytes_of).values()
            assert got.dtype == np.uint8
            if weighted:
                want = in_numpy(op, given[0], zero)
            else:
                (want,) = Oracle(case(op, seed)[0]).run(*given)
                if kind == "AveragePool2D":
                    assert np.abs(got.astype(int) - 128 - want.reshape(got.shape)).max() <= 1
                    want = got.astype(np.int16) - 128
            np.testing.assert_array_equal(got.astype(np.int16) - 128, want.reshape(got.shape), err_msg=str(graph))
            checked.append((run_passes(graph), bytes_of))
    programs = [lower(graph, get_core("cortex-m3")) for graph, _ in checked]
    for (graph, given), got in zip(checked, run_on_host(programs, [given for _, given in checked]), strict=True):
        check(graph, given, got)
    some = checked[:: len(checked) // 7]
    with utvm.connect("qemu-cortex-m7") as session:
        programs = [lower(graph, session.board.core) for graph, _ in some]
        outputs = run_programs(session, programs, [given for _, given in some])
    for (graph, given), got in zip(some, outputs, strict=True):
        assert got is not None
        check(graph, given, got)


def open_batch() -> bytes:
    """A network of a file that leaves its batch open, with a flattening by the shape of a tensor."""
    rng = np.random.default_rng(0)

    def constant(name: str, data: Array, quant: Quantization | None = None) -> Tensor:
        return Tensor(name=name, shape=data.shape, dtype=DType(data.dtype.name), quant=quant, data=data)

    def tensor(name: str, shape: tuple[int, ...], dtype: DType = DType.INT8) -> Tensor:
        quant = Quantization.per_tensor(0.1, 3) if dtype is DType.INT8 else None
        return Tensor(name=name, shape=shape, dtype=dtype, quant=quant)

    x, held = tensor("x", (1, 4, 6)), tensor("held", (1, 24))
    y, shape = tensor("y", (1, 5)), tensor("shape", (3,), DType.INT32)
    first, wanted = tensor("first", (), DType.INT32), tensor("wanted", (2,), DType.INT32)
    weights = constant("w", rng.integers(-99, 99, (5, 24)).astype(np.int8), Quantization.per_tensor(0.01))
    numbers = [constant(f"n{i}", np.array([i], np.int32)) for i in range(2)]
    flat = constant("flat", np.array(24, np.int32))
    codes = tflite.BuiltinOperator
    steps = [
        EncodedOperator(code=codes.SHAPE, version=1, inputs=(x,), outputs=(shape,), options="ShapeOptions"),
        EncodedOperator(
            code=codes.STRIDED_SLICE,
            version=1,
            inputs=(shape, numbers[0], numbers[1], numbers[1]),
            outputs=(first,),
            options="StridedSliceOptions",
            fields={"ShrinkAxisMask": 1},
        ),
        EncodedOperator(
            code=codes.PACK,
            version=1,
            inputs=(first, flat),
            outputs=(wanted,),
            options="PackOptions",
            fields={"ValuesCount": 2},
        ),
        EncodedOperator(code=codes.RESHAPE, version=1, inputs=(x, wanted), outputs=(held,), options="ReshapeOptions"),
        EncodedOperator(
            code=codes.FULLY_CONNECTED,
            version=4,
            inputs=(held, weights, None),
            outputs=(y,),
            options="FullyConnectedOptions",
        ),
    ]
    return write_subgraphs([Subgraph(name="open", inputs=(x,), outputs=(y,), operators=steps, opened=(x, held, y))])


def test_a_batch_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "open.tflite"
    path.write_bytes(open_batch())
    one, three = utvm.load(path), utvm.load(f"{path}#batch=3")
    assert (one.inputs[0].shape, three.inputs[0].shape, three.outputs[0].shape) == ((1, 4, 6), (3, 4, 6), (3, 5))
    x = np.random.default_rng(1).integers(-128, 128, (3, 4, 6)).astype(np.int8)
    (together,) = evaluate(three, [x]).values()
    for row, each in zip(together, x, strict=True):
        np.testing.assert_array_equal(row[None], Oracle(open_batch()).run(each[None])[0])
    assert main(["plan", str(path), "--board", "qemu-cortex-m7", "--batch", "3"]) == 0
    assert " 15 " in capsys.readouterr().out
    folder = tmp_path / "out"
    made = ["export", str(path), "--board", "qemu-cortex-m7", "--batch", "2", "-o", str(folder)]
    assert main(made) == 0
    assert main(["verify", str(folder), "--against", f"{path}#batch=2"]) == 0


def test_a_batch_that_is_not_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "closed.tflite"
    file, *_ = shifted(1)
    path.write_bytes(file)
    with pytest.raises(FrontendError, match="leaves open"):
        utvm.load(f"{path}#batch=3")
    assert main(["plan", str(path), "--board", "qemu-cortex-m7", "--batch", "3"]) == 2
