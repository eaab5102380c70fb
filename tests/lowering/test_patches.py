"""First layers in stripes: the rewritten graph means the same, its arena fits, and its C computes it bit by bit."""

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.host import run_on_host
from utvm.cores import get_core
from utvm.graph import (
    Add,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    DType,
    Graph,
    MaxPool2D,
    Mean,
    Mul,
    Operator,
    Padding,
    Quantization,
    Quantize,
    Relu,
    StridedSlice,
    Tensor,
)
from utvm.graph.cost import macs
from utvm.graph.reference import evaluate
from utvm.kernels import PORTABLE_FAMILIES
from utvm.lowering import LoweringError, Options, Program, RamBudgetError, layout, lower
from utvm.lowering.explored import Explored
from utvm.lowering.patches import Stripes
from utvm.lowering.views import Views

PLAIN = get_core("cortex-m3")
QUANT = Quantization.per_tensor(0.05, 3)
SETTINGS = settings(
    max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def activation(name: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=QUANT)


def weights(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Tensor:
    data = rng.integers(-127, 128, shape).astype(np.int8)
    return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=Quantization.per_tensor(0.004), data=data)


@st.composite
def chains(draw: st.DrawFn) -> Graph:
    """Convolutions, depthwise ones, pools and residual additions on a picture, then its mean."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    height, width, channels = draw(st.integers(9, 20)), draw(st.integers(3, 6)), draw(st.sampled_from((1, 3, 4)))
    x = activation("x", (1, height, width, channels))
    operators, current = [], x
    for number in range(draw(st.integers(2, 5))):
        kind = draw(st.sampled_from(("conv", "depthwise", "pool", "residual", "relu", "twice")))
        _, h, w, c = current.shape
        k, s = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        if kind in ("conv", "depthwise", "pool") and h >= 4:
            out = (-(-h // s), -(-w // s))
            total = [max((o - 1) * s + k - size, 0) for o, size in zip(out, (h, w), strict=True)]
            padding = Padding(
                top=total[0] // 2, bottom=total[0] - total[0] // 2, left=total[1] // 2, right=total[1] - total[1] // 2
            )
            outputs = draw(st.sampled_from((2, 4))) if kind == "conv" else c
            y = activation(f"t{number}", (1, *out, outputs))
            common = {"name": f"op{number}", "x": current, "y": y, "stride": (s, s), "padding": padding}
            if kind == "pool":
                operators.append(MaxPool2D(**common, filter=(k, k)))
            elif kind == "conv":
                kernel = weights(rng, f"w{number}", (outputs, k, k, c))
                operators.append(Conv2D(**common, weights=kernel, bias=None))
            else:
                kernel = weights(rng, f"w{number}", (1, k, k, c))
                operators.append(DepthwiseConv2D(**common, weights=kernel, bias=None))
            current = y
        elif kind == "residual":
            inner, y = activation(f"i{number}", current.shape), activation(f"t{number}", current.shape)
            kernel = weights(rng, f"w{number}", (c, 3, 3, c))
            around = Padding(top=1, bottom=1, left=1, right=1)
            operators.append(Conv2D(name=f"c{number}", x=current, weights=kernel, bias=None, y=inner, padding=around))
            operators.append(Add(name=f"op{number}", a=current, b=inner, y=y))
            current = y
        elif kind == "twice":
            y = activation(f"t{number}", current.shape)
            operators.append(Mul(name=f"op{number}", a=current, b=current, y=y))
            current = y
        else:
            y = activation(f"t{number}", current.shape)
            operators.append(Relu(name=f"op{number}", x=current, y=y))
            current = y
    result = activation("y", (1, current.shape[3]))
    operators.append(Mean(name="mean", x=current, y=result, axes=(1, 2)))
    return Graph(name="chain", operators=tuple(operators), inputs=(x,), outputs=(result,))


@SETTINGS
@given(chains(), st.integers(0, 4))
def test_stripes_mean_what_the_whole_means(graph: Graph, after: int) -> None:
    x = np.random.default_rng(0).integers(-128, 128, graph.inputs[0].shape).astype(np.int8)
    (wanted,) = evaluate(graph, [x]).values()
    for patching in list(Stripes(graph).patchings(1 << 20, after=after))[::5]:
        (got,) = evaluate(patching.graph, [x]).values()
        np.testing.assert_array_equal(got, wanted)
        assert macs(patching.graph) == patching.macs
        program = lower(patching.graph, PLAIN, Options(families=PORTABLE_FAMILIES))
        ((held,),) = run_on_host([program], [[x]])
        np.testing.assert_array_equal(held.reshape(wanted.shape), wanted)
        arrays = {id(a): a for call in program.calls for a in call.kernel.constants.values()}.values()
        assert len({(a.c_type, a.values.tobytes()) for a in arrays}) == len(arrays), "constants are there twice"


def test_a_tensor_that_is_read_twice_has_its_rows_once() -> None:
    rng = np.random.default_rng(3)
    x, square, y = (activation(name, (1, 12, 4, 4)) for name in ("x", "square", "y"))
    around = Padding(top=1, bottom=1, left=1, right=1)
    kernel = weights(rng, "w", (4, 3, 3, 4))
    operators = (
        Mul(name="mul", a=x, b=x, y=square),
        Conv2D(name="conv", x=square, weights=kernel, bias=None, y=y, padding=around),
    )
    graph = Graph(name="square", operators=operators, inputs=(x,), outputs=(y,))
    values = rng.integers(-128, 128, x.shape).astype(np.int8)
    (wanted,) = evaluate(graph, [values]).values()
    found = list(Stripes(graph).patchings(1 << 20, after=0))
    assert found
    for patching in found:
        (got,) = evaluate(patching.graph, [values]).values()
        np.testing.assert_array_equal(got, wanted)


def residual(rng: np.random.Generator) -> Graph:
    x, stem, inner, total, y = (
        activation("x", (1, 24, 8, 4)),
        *(activation(name, (1, 24, 8, 16)) for name in ("stem", "inner", "total")),
        activation("y", (1, 16)),
    )
    around = Padding(top=1, bottom=1, left=1, right=1)
    return Graph(
        name="residual",
        operators=(
            Conv2D(name="stem", x=x, weights=weights(rng, "a", (16, 3, 3, 4)), bias=None, y=stem, padding=around),
            Conv2D(name="inner", x=stem, weights=weights(rng, "b", (16, 3, 3, 16)), bias=None, y=inner, padding=around),
            Add(name="add", a=stem, b=inner, y=total),
            Mean(name="mean", x=total, y=y, axes=(1, 2)),
        ),
        inputs=(x,),
        outputs=(y,),
    )


def test_a_budget_that_nothing_else_keeps_is_kept_by_stripes_with_the_least_work() -> None:
    graph = residual(np.random.default_rng(1))
    # Families with scratch to give up would keep the budget by themselves.

    def plain(graph: Graph, **limits: Any) -> Program:
        return lower(graph, PLAIN, Options(families=PORTABLE_FAMILIES, **limits))

    whole = plain(graph)
    assert whole.arena_bytes >= 2 * 24 * 8 * 16
    with pytest.raises(LoweringError, match="the arena does not fit"):
        plain(graph, ram=whole.arena_bytes - 1, stripes=False)
    striped = plain(graph, ram=5200)
    assert striped.arena_bytes <= 5200
    tighter = plain(graph, ram=4700)
    assert tighter.arena_bytes <= 4700
    assert macs(graph) < macs(striped.graph) < macs(tighter.graph)
    assert striped.constant_bytes == whole.constant_bytes
    with pytest.raises(LoweringError, match="the arena does not fit"):
        plain(graph, ram=3000)


def test_an_impossible_budget_of_80_layers_is_answered_after_so_many_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    tensors = [activation(f"t{number}", (1, 16, 4, 4)) for number in range(81)]
    around = Padding(top=1, bottom=1, left=1, right=1)
    operators = [
        Conv2D(name=f"c{n}", x=x, weights=weights(rng, f"w{n}", (4, 3, 3, 4)), bias=None, y=y, padding=around)
        for n, (x, y) in enumerate(pairwise(tensors))
    ]
    graph = Graph(name="deep", operators=tuple(operators), inputs=(tensors[0],), outputs=(tensors[-1],))
    worked_out: list[str] = []
    options = layout._options
    monkeypatch.setattr(layout, "_options", lambda op, *rest: worked_out.append(op.name) or options(op, *rest))
    explored = Explored()
    with pytest.raises(RamBudgetError) as caught:
        lower(graph, PLAIN, Options(families=PORTABLE_FAMILIES, ram=300), explored=explored)
    assert f"--ram {caught.value.needed} fits" in str(caught.value)
    assert explored.lowerings <= 100
    heights = {op.y.shape for op in operators} | {(1, rows, 4, 4) for rows in range(1, 17)}
    assert len(worked_out) <= 80 * 3 * len(heights), "each layer once for each kind of stripe, however many budgets"
    found = lower(graph, PLAIN, Options(families=PORTABLE_FAMILIES, ram=caught.value.needed), explored=explored)
    assert found.arena_bytes == caught.value.needed


def test_rows_and_their_concatenation_cost_no_call() -> None:
    x, top, bottom = activation("x", (1, 4, 2, 2)), activation("top", (1, 2, 2, 2)), activation("bottom", (1, 2, 2, 2))
    up, down, y = activation("up", (1, 2, 2, 2)), activation("down", (1, 2, 2, 2)), activation("y", (1, 4, 2, 2))
    rows = {"strides": (1, 1, 1, 1), "shrink": ()}
    graph = Graph(
        name="halves",
        operators=(
            StridedSlice(name="first", x=x, y=top, begin=(0, 0, 0, 0), **rows),
            StridedSlice(name="second", x=x, y=bottom, begin=(0, 2, 0, 0), **rows),
            Relu(name="up", x=top, y=up),
            Relu(name="down", x=bottom, y=down),
            Concatenation(name="both", xs=(up, down), y=y, axis=1),
        ),
        inputs=(x,),
        outputs=(y,),
    )
    views = Views(graph)
    assert [op.name for op in views.operators] == ["up", "down"]
    assert (views.root(bottom), views.offset(bottom), views.root(down), views.offset(down)) == (x, 8, y, 8)
    program = lower(graph, PLAIN)
    value = np.arange(-8, 8, dtype=np.int8).reshape(1, 4, 2, 2)
    ((held,),) = run_on_host([program], [[value]])
    np.testing.assert_array_equal(held, evaluate(graph, [value])["y"])
    odd = dataclasses.replace(graph.operators[1], begin=(0, 1, 0, 0))
    shifted = dataclasses.replace(graph, operators=(graph.operators[0], odd, *graph.operators[2:]))
    assert Views(shifted).offset(bottom) == 4


@pytest.mark.parametrize("dtype", [DType.INT16, DType.FLOAT32, DType.UINT8])
def test_other_types_in_stripes(dtype: DType) -> None:
    """A picture that grows and shrinks again, in half of its RAM; its C computes the reference's bits.

    A network of uint8 is one of int8 between its ends, with weights of nine bits.
    """
    rng = np.random.default_rng(6)
    same = Padding(top=1, bottom=1, left=1, right=1)
    inside = DType.INT8 if dtype is DType.UINT8 else dtype

    def typed(name: str, size: int, channels: int) -> Tensor:
        quant = {DType.INT16: Quantization.per_tensor(0.0002), DType.INT8: Quantization.per_tensor(0.05, 3)}.get(inside)
        return Tensor(name=name, shape=(1, size, size, channels), dtype=inside, quant=quant)

    def kernel(name: str, shape: tuple[int, ...]) -> Tensor:
        if dtype is DType.INT16:
            return weights(rng, name, shape)
        if dtype is DType.UINT8:
            nine = rng.integers(-255, 256, shape).astype(np.int16)
            quant = Quantization.per_tensor(0.004)
            return Tensor(name=name, shape=shape, dtype=DType.INT16, quant=quant, data=nine)
        data = rng.standard_normal(shape).astype(np.float32)
        return Tensor(name=name, shape=shape, dtype=dtype, data=data)

    x, a, b, y = typed("x", 24, 2), typed("a", 24, 16), typed("b", 12, 16), typed("y", 12, 4)
    first, between = kernel("v", (16, 3, 3, 2)), kernel("w", (1, 2, 2, 16))
    operators: tuple[Operator, ...] = (
        Conv2D(name="first", x=x, weights=first, bias=None, y=a, padding=same),
        DepthwiseConv2D(name="between", x=a, weights=between, bias=None, y=b, stride=(2, 2)),
        Conv2D(name="last", x=b, weights=kernel("u", (4, 1, 1, 16)), bias=None, y=y),
    )
    if dtype is DType.UINT8:
        ends = [
            dataclasses.replace(t, name=f"{t.name}/end", dtype=dtype, quant=Quantization.per_tensor(t.scale, 131))
            for t in (x, y)
        ]
        operators = (Quantize(name="in", x=ends[0], y=x), *operators, Quantize(name="out", x=y, y=ends[1]))
        x, y = ends
    graph = Graph(name="g", operators=operators, inputs=(x,), outputs=(y,))
    whole = lower(graph, PLAIN)
    striped = lower(graph, PLAIN, Options(ram=whole.arena_bytes // 2))
    assert len(striped.calls) > len(whole.calls)
    least, most = {DType.INT16: (-30000, 30000), DType.UINT8: (0, 255)}.get(dtype, (-3, 3))
    value = rng.uniform(least, most, x.shape).astype(dtype.value)
    (got,) = run_on_host([striped], [[value]])
    (want,) = evaluate(graph, [value]).values()
    np.testing.assert_array_equal(got[0], want)
    assert got[0].std() > 0
