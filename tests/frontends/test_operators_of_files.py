"""Operators of files that become others in the graph: slices, stacks, shapes, blocks, bytes at a model's ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite

from tests.support.oracle import Oracle
from utvm.errors import UtvmWarning
from utvm.frontends import FrontendError, load_tflite
from utvm.frontends.tflite_encoded import EncodedOperator
from utvm.frontends.tflite_writer import write_encoded, write_tflite
from utvm.graph import Conv2D, DType, FullyConnected, Graph, Quantization, Quantize, Tensor
from utvm.graph.reference import evaluate
from utvm.passes import run_passes

UNITS = Quantization.per_tensor(0.05, 3)
CODES = tflite.BuiltinOperator


def activation(name: str, *shape: int, quant: Quantization | None = UNITS, dtype: DType = DType.INT8) -> Tensor:
    return Tensor(name=name, shape=shape, dtype=dtype, quant=quant)


def integers(name: str, values: Any) -> Tensor:
    data = np.array(values, np.int32)
    return Tensor(name=name, shape=data.shape, dtype=DType.INT32, data=data)


def operator(
    code: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor], options: str | None = None, **fields: Any
) -> EncodedOperator:
    return EncodedOperator(
        code=code, version=1, inputs=tuple(inputs), outputs=tuple(outputs), options=options, fields=fields
    )


def check(inputs: Sequence[Tensor], outputs: Sequence[Tensor], *operators: EncodedOperator, seed: int = 0) -> Graph:
    """The imported graph, before and after the passes, computes what tflite-micro computes from the file."""
    data = write_encoded("g", inputs, outputs, operators)
    graph = load_tflite(data)
    rng = np.random.default_rng(seed)
    for _ in range(3):
        values = [rng.integers(0, 256, t.shape).astype(np.uint8).view(t.dtype.value) for t in inputs]
        wanted = Oracle(data).run(*values)
        for computed in (graph, run_passes(graph)):
            got = evaluate(computed, values)
            for tensor, want in zip(outputs, wanted, strict=True):
                np.testing.assert_array_equal(got[tensor.name], want.reshape(tensor.shape))
    return run_passes(graph)


def refusal(inputs: Sequence[Tensor], outputs: Sequence[Tensor], *operators: EncodedOperator) -> FrontendError:
    with pytest.raises(FrontendError) as caught:
        load_tflite(write_encoded("g", inputs, outputs, operators))
    return caught.value


@pytest.mark.parametrize("seed", range(12))
def test_slice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 6, rng.integers(1, 5)))
    begin = [int(rng.integers(0, n)) for n in shape]
    sizes = [int(rng.integers(1, n - b + 1)) for n, b in zip(shape, begin, strict=True)]
    written = [-1 if b + s == n and rng.random() < 0.5 else s for n, b, s in zip(shape, begin, sizes, strict=True)]
    x, y = activation("x", *shape), activation("y", *sizes)
    check([x], [y], operator(CODES.SLICE, (x, integers("b", begin), integers("s", written)), (y,), "SliceOptions"))


@pytest.mark.parametrize("seed", range(12))
def test_strided_slice_with_ends_counted_from_begins(seed: int) -> None:
    """TFLite's `offset`, which tflite-micro does not know: it refuses the file, or reads the same elements."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 7, rng.integers(1, 5)))
    begin = [int(rng.integers(0, n)) for n in shape]
    lengths = [int(rng.integers(1, n - b + 1)) for n, b in zip(shape, begin, strict=True)]
    steps = [int(rng.integers(1, 4)) for _ in shape]
    x = activation("x", *shape)
    y = activation("y", *(-(-n // step) for n, step in zip(lengths, steps, strict=True)))
    indices = [integers(name, values) for name, values in (("b", begin), ("e", lengths), ("s", steps))]
    encoded = operator(CODES.STRIDED_SLICE, (x, *indices), (y,), "StridedSliceOptions", Offset=True)
    values = rng.integers(-128, 128, shape).astype(np.int8)
    want = values[tuple(slice(b, b + n, step) for b, n, step in zip(begin, lengths, steps, strict=True))]
    got = evaluate(run_passes(load_tflite(write_encoded("g", [x], [y], [encoded]))), [values])["y"]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("axis", [-3, -2, -1, 0, 1, 2])
def test_unpack(axis: int) -> None:
    x = activation("x", 3, 2, 4)
    shape = [n for d, n in enumerate(x.shape) if d != axis % 3]
    ys = [activation(f"y{i}", *shape) for i in range(x.shape[axis])]
    check([x], ys, operator(CODES.UNPACK, (x,), ys, "UnpackOptions", Num=len(ys), Axis=axis))


@pytest.mark.parametrize("axis", [-3, -1, 0, 1, 2])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_pack(axis: int, count: int) -> None:
    xs = [activation(f"x{i}", 3, 4) for i in range(count)]
    shape = [3, 4]
    shape.insert(axis % 3, count)
    y = activation("y", *shape)
    check(xs, [y], operator(CODES.PACK, xs, (y,), "PackOptions", ValuesCount=count, Axis=axis))


def test_shape_arithmetic_leaves_nothing_to_do() -> None:
    """As Keras's Flatten writes it, and as PyTorch's exporters do."""
    x, y = activation("x", 1, 4, 4, 2), activation("y", 1, 32)
    shape, batch, packed = (_made(name, *size) for name, size in (("a", [4]), ("b", []), ("e", [2])))
    first = integers("b0", [0]), integers("e0", [1]), integers("s0", [1])
    taken = operator(CODES.STRIDED_SLICE, (shape, *first), (batch,), "StridedSliceOptions", ShrinkAxisMask=1)
    reshape = operator(CODES.RESHAPE, (x, packed), (y,), "ReshapeOptions")
    pack = {"code": CODES.PACK, "outputs": (packed,), "options": "PackOptions", "ValuesCount": 2}
    keras = check(
        [x],
        [y],
        operator(CODES.SHAPE, (x,), (shape,), "ShapeOptions"),
        taken,
        operator(inputs=(batch, integers("rest", 32)), **pack),
        reshape,
    )
    rest, size = _made("c", 3), _made("d")
    others = (
        operator(CODES.SHAPE, (x,), (shape,), "ShapeOptions"),
        taken,
        operator(CODES.SLICE, (shape, integers("b1", [1]), integers("n1", [-1])), (rest,), "SliceOptions"),
        operator(CODES.REDUCE_PROD, (rest, integers("axes", [0])), (size,), "ReducerOptions"),
        operator(inputs=(batch, size), **pack),
        reshape,
    )
    for graph in (keras, load_tflite(write_encoded("g", [x], [y], others))):
        assert [op.kind for op in graph.operators] == ["Reshape"]


def _made(name: str, *shape: int) -> Tensor:
    return activation(name, *shape, quant=None, dtype=DType.INT32)


@pytest.mark.parametrize(
    ("code", "options", "a", "b", "want"),
    [
        (CODES.ADD, "AddOptions", [2, 3], [4], [6, 7]),
        (CODES.SUB, "SubOptions", [2, 3], [4, 1], [-2, 2]),
        (CODES.MUL, "MulOptions", [2, 3], [4], [8, 12]),
        (CODES.MAXIMUM, "MaximumMinimumOptions", [2, 3], [3], [3, 3]),
        (CODES.MINIMUM, "MaximumMinimumOptions", [2, 3], [1], [1, 1]),
        (CODES.FLOOR_DIV, "FloorDivOptions", [7, -7], [2], [3, -4]),
        (CODES.CONCATENATION, "ConcatenationOptions", [2], [3, 4], [2, 3, 4]),
        (CODES.GATHER, "GatherOptions", [5, 6, 7], [2, 0], [7, 5]),
    ],
)
def test_arithmetic_of_integers(code: int, options: str, a: list[int], b: list[int], want: list[int]) -> None:
    """What is computed is seen in the size of a resize, whose output has to agree."""
    made = activation("made", len(want), quant=None, dtype=DType.INT32)
    x, y = activation("x", 1, 2, 2, 1), activation("y", 1, 5, 5, 1)
    resize = operator(CODES.RESIZE_NEAREST_NEIGHBOR, (x, made), (y,), "ResizeNearestNeighborOptions")
    error = refusal([x], [y], operator(code, (integers("a", a), integers("b", b)), (made,), options), resize)
    (problem,) = error.problems
    if len(want) == 2:
        assert f"[1, 5, 5, 1], [1, {want[0]}, {want[1]}, 1] is expected" in problem
    else:
        assert "a size of two values" in problem


def test_arithmetic_that_goes_wrong_is_refused() -> None:
    x, made = activation("x", 1, 2, 2, 1), activation("made", 1, quant=None, dtype=DType.INT32)
    y = activation("y", 1, 2, 2, 1)
    relu = operator(CODES.RELU, (x,), (y,))
    for code, options, a, b, reason in (
        (CODES.MUL, "MulOptions", [1 << 20], [1 << 20], "does not fit int32"),
        (CODES.FLOOR_DIV, "FloorDivOptions", [1], [0], "divides by 0"),
        (CODES.GATHER, "GatherOptions", [1], [3], "outside"),
        (CODES.ADD, "AddOptions", [1, 2], [1, 2, 3], "do not go together"),
        (CODES.ADD, "AddOptions", [1, 2], [1, 2], r"int32\[2\] is computed"),
    ):
        wrong = operator(code, (integers("a", a), integers("b", b)), (made,), options)
        assert re.search(reason, refusal([x], [y], wrong, relu).problems[0])


def convolution(x: Tensor, y: Tensor, *, bias_axis: int | None = None) -> Conv2D:
    channels, depth = y.shape[3], x.shape[3]
    rng = np.random.default_rng(5)
    scales = tuple(float(np.float32(s)) for s in rng.uniform(0.001, 0.01, channels))
    quant = Quantization(scale=scales, zero_point=(0,) * channels, axis=0)
    kernel = x.shape[1] - y.shape[1] + 1, x.shape[2] - y.shape[2] + 1
    values = rng.integers(-127, 128, (channels, *kernel, depth)).astype(np.int8)
    weights = Tensor(name="w", shape=values.shape, dtype=DType.INT8, quant=quant, data=values)
    data = rng.integers(-500, 500, channels).astype(np.int32)
    bias = Tensor(name="bias", shape=(channels,), dtype=DType.INT32, quant=quant, data=data)
    return Conv2D(name="conv", x=x, weights=weights, bias=bias, y=y)


def test_bytes_at_both_ends() -> None:
    """As converters write it with inference_input_type = uint8."""
    outside, inside = Quantization.per_tensor(0.04, 128), Quantization.per_tensor(0.04, 0)
    u = activation("u", 1, 4, 4, 2, quant=outside, dtype=DType.UINT8)
    x, z = activation("x", 1, 4, 4, 2, quant=inside), activation("z", 1, 2, 2, 3)
    v = activation("v", 1, 2, 2, 3, quant=Quantization.per_tensor(0.05, 131), dtype=DType.UINT8)
    ops = (Quantize(name="q", x=u, y=x), convolution(x, z), Quantize(name="r", x=z, y=v))
    data = write_tflite(Graph(name="g", operators=ops, inputs=(u,), outputs=(v,)))
    graph = run_passes(load_tflite(data))
    values = np.random.default_rng(0).integers(0, 256, u.shape).astype(np.uint8)
    np.testing.assert_array_equal(evaluate(graph, [values])["v"], Oracle(data).run(values)[0])
    assert (graph.inputs[0].dtype, graph.outputs[0].dtype) == (DType.UINT8, DType.UINT8)


def _patched(data: bytes, change: Callable[[tflite.Model, bytearray], None]) -> bytes:
    changed = bytearray(data)
    change(tflite.Model.GetRootAs(changed, 0), changed)
    return bytes(changed)


def _slot(table: Any, number: int) -> int:
    """Where field `number` of a table lies in its buffer."""
    offset = table._tab.Offset(4 + 2 * number)
    assert offset, "the writer left the field out"
    return int(table._tab.Pos + offset)


def test_a_bias_whose_scales_name_another_dimension() -> None:
    """tflite-micro's person_detect has such: the number was copied from the weights of a depthwise convolution."""
    x, y = activation("x", 1, 4, 4, 2), activation("y", 1, 2, 2, 3)
    op = convolution(x, y)
    assert op.bias is not None
    quant = op.bias.quant
    assert quant is not None
    wrong = Tensor(
        name="bias",
        shape=op.bias.shape,
        dtype=DType.INT32,
        quant=Quantization(scale=quant.scale, zero_point=quant.zero_point, axis=3),
        data=op.bias.values,
    )
    data = write_tflite(Graph(name="g", operators=(op.with_tensors({op.bias: wrong}),), inputs=(x,), outputs=(y,)))
    graph = load_tflite(data)
    values = np.random.default_rng(0).integers(-128, 128, x.shape).astype(np.int8)
    np.testing.assert_array_equal(evaluate(graph, [values])["y"], Oracle(data).run(values)[0])


def test_options_of_another_type_are_refused() -> None:
    x, y = activation("x", 1, 4, 4, 2), activation("y", 1, 2, 2, 3)
    data = write_tflite(Graph(name="g", operators=(convolution(x, y),), inputs=(x,), outputs=(y,)))

    def change(model: tflite.Model, changed: bytearray) -> None:
        changed[_slot(model.Subgraphs(0).Operators(0), 3)] = tflite.BuiltinOptions.Pool2DOptions

    with pytest.raises(FrontendError, match=r"operator 0 CONV_2D: its options are of another type than Conv2DOptions"):
        load_tflite(_patched(data, change))


def test_scales_that_differ_are_both_named() -> None:
    low, high = np.float32(0.07), np.nextafter(np.float32(0.07), np.float32(1))
    x = activation("first", 1, 4, quant=Quantization.per_tensor(float(high), 3))
    other, y = (activation(n, 1, s, quant=Quantization.per_tensor(float(low), 3)) for n, s in (("second", 4), ("y", 8)))
    error = refusal([x, other], [y], operator(CODES.CONCATENATION, (x, other), (y,), "ConcatenationOptions", Axis=1))
    assert "'first' and 'y'" in error.problems[0]
    assert f"{high!s} and 3, {low!s} and 3" in error.problems[0]
    assert "write the same number" in error.advice[0]


def test_each_kind_of_problem_is_told_once() -> None:
    """Six operators that are not computed in float32, of two kinds: one way on."""
    tensors = [activation(f"t{i}", 1, 8, quant=None, dtype=DType.FLOAT32) for i in range(7)]
    ops = [
        operator(CODES.QUANTIZE if i % 2 else CODES.LOGICAL_NOT, tensors[i : i + 1], tensors[i + 1 : i + 2])
        for i in range(6)
    ]
    error = refusal(tensors[:1], tensors[-1:], *ops)
    assert [text.split(":")[0] for text in error.problems] == [
        "3 operators LOGICAL_NOT (0, 2, 4)",
        "3 operators QUANTIZE (1, 3, 5)",
    ]
    assert len(error.advice) == 1
    assert "representative_dataset" in error.advice[0]


def _subgraphs(count: int, code: int, signatures: Sequence[str] = ()) -> bytes:
    """A file of empty subgraphs that knows one operator code, and signatures."""
    b = flatbuffers.Builder(1024)

    def vector(offsets: Sequence[int]) -> int:
        b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            b.PrependUOffsetTRelative(offset)
        return int(b.EndVector())

    keys = [b.CreateString(key) for key in signatures]
    tables = []
    for index, key in enumerate(keys):
        tflite.SignatureDefStart(b)
        tflite.SignatureDefAddSignatureKey(b, key)
        tflite.SignatureDefAddSubgraphIndex(b, min(index, count - 1))
        tables.append(tflite.SignatureDefEnd(b))
    named = vector(tables)
    empty = []
    for _ in range(count):
        tflite.SubGraphStart(b)
        empty.append(tflite.SubGraphEnd(b))
    graphs = vector(empty)
    tflite.OperatorCodeStart(b)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, 127))
    tflite.OperatorCodeAddBuiltinCode(b, code)
    codes = vector([tflite.OperatorCodeEnd(b)])
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddSubgraphs(b, graphs)
    tflite.ModelAddOperatorCodes(b, codes)
    tflite.ModelAddSignatureDefs(b, named)
    b.Finish(tflite.ModelEnd(b), b"TFL3")
    return bytes(b.Output())


@pytest.mark.parametrize(
    ("count", "code", "signatures", "words"),
    [
        (2, CODES.RELU, ("infer", "train"), r"2 signatures \(infer, train\), each a network of its own"),
        (0, CODES.RELU, (), "no subgraph"),
    ],
)
def test_which_subgraph_is_meant(count: int, code: int, signatures: Sequence[str], words: str) -> None:
    with pytest.raises(FrontendError, match=words) as caught:
        load_tflite(_subgraphs(count, code, signatures))
    assert caught.value.advice


def test_signatures_of_one_network_are_told() -> None:
    """It is compiled once, whatever its signatures are called."""
    with (
        pytest.warns(UtvmWarning, match=r"2 signatures \(predict, serve\) name the same network"),
        pytest.raises(FrontendError, match="no outputs"),
    ):
        load_tflite(_subgraphs(1, CODES.RELU, ("predict", "serve")))


def test_a_layer_over_a_column() -> None:
    """Two fully connected layers with a tensor between whose last dimension is 1 (tflite-micro reads beyond it)."""
    rng = np.random.default_rng(0)
    x, middle, y = activation("x", 1, 8), activation("m", 4, 1), activation("y", 1, 3)

    def dense(name: str, source: Tensor, target: Tensor, units: int) -> FullyConnected:
        values = rng.integers(-127, 128, (units, source.elements)).astype(np.int8)
        quant = Quantization.per_tensor(0.004)
        weights = Tensor(name=f"{name}_w", shape=values.shape, dtype=DType.INT8, quant=quant, data=values)
        return FullyConnected(name=name, x=source, weights=weights, bias=None, y=target)

    ops = (dense("a", x, middle, 4), dense("b", middle, y, 3))
    data = write_tflite(Graph(name="g", operators=ops, inputs=(x,), outputs=(y,)))
    values = rng.integers(-128, 128, x.shape).astype(np.int8)
    graph = load_tflite(data)
    np.testing.assert_array_equal(evaluate(run_passes(graph), [values])["y"], evaluate(graph, [values])["y"])
