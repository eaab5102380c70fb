"""What lowering refuses, what it chooses by measurements alone, and that its advice is true."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.shared import shared
from utvm.cores import CORES, get_core
from utvm.frontends import load_tflite
from utvm.graph import (
    Add,
    Concatenation,
    Conv2D,
    DType,
    Graph,
    Logistic,
    MaxPool2D,
    Mean,
    Operator,
    Pad,
    Quantization,
    Quantize,
    ResizeNearestNeighbor,
    Softmax,
    Tensor,
)
from utvm.kernels import FAMILIES, Config, code_digest, workload
from utvm.lowering import LoweringError, Measured, Options, lower
from utvm.lowering.errors import RamBudgetError
from utvm.passes import run_passes

Q = Quantization.per_tensor(0.5)


def tensor(name: str, *shape: int, dtype: DType) -> Tensor:
    return Tensor(name=name, shape=shape, dtype=dtype, quant=Q)


def _weights() -> Tensor:
    return Tensor(name="w", shape=(4, 3, 3, 2), dtype=DType.INT8, quant=Q, data=np.ones((4, 3, 3, 2), np.int8))


MAKERS: dict[str, Callable[[Callable[..., Tensor]], Operator]] = {
    "MaxPool2D": lambda t: MaxPool2D(
        name="op", x=t("x", 1, 4, 4, 2), y=t("y", 1, 2, 2, 2), filter=(2, 2), stride=(2, 2)
    ),
    "Add": lambda t: Add(name="op", a=t("x", 1, 8), b=t("b", 1, 8), y=t("y", 1, 8)),
    "Conv2D": lambda t: Conv2D(name="op", x=t("x", 1, 4, 4, 2), weights=_weights(), bias=None, y=t("y", 1, 2, 2, 4)),
    "Resize": lambda t: ResizeNearestNeighbor(name="op", x=t("x", 1, 2, 2, 2), y=t("y", 1, 4, 4, 2)),
    "Mean": lambda t: Mean(name="op", x=t("x", 1, 4, 4, 2), y=t("y", 1, 2), axes=(1, 2)),
    "Softmax": lambda t: Softmax(name="op", x=t("x", 1, 4), y=t("y", 1, 4)),
    "Logistic": lambda t: Logistic(name="op", x=t("x", 1, 4), y=t("y", 1, 4)),
    "Pad": lambda t: Pad(name="op", x=t("x", 2), y=t("y", 4), paddings=((1, 1),), value=0),
    "Concatenation": lambda t: Concatenation(name="op", xs=(t("x", 2), t("b", 2)), y=t("y", 4), axis=0),
}


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("dtype", [DType.UINT8, DType.BOOL])
@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind not in ("Resize", "Pad", "Concatenation")])
def test_types_that_no_family_takes_are_refused(kind: str, dtype: DType, core: str) -> None:
    op = MAKERS[kind](lambda name, *shape: tensor(name, *shape, dtype=dtype))
    graph = Graph(name="g", operators=(op,), inputs=tuple(dict.fromkeys(op.activations)), outputs=op.outputs)
    with pytest.raises(LoweringError, match=rf"{op.kind} 'op': .* {dtype} \(tensor 'x'\)"):
        lower(graph, get_core(core))


def test_float32_does_not_become_uint8() -> None:
    x = Tensor(name="x", shape=(8,), dtype=DType.FLOAT32)
    op = Quantize(name="op", x=x, y=tensor("y", 8, dtype=DType.UINT8))
    graph = Graph(name="g", operators=(op,), inputs=(x,), outputs=op.outputs)
    with pytest.raises(LoweringError, match="Quantize 'op'"):
        lower(graph, get_core("cortex-m4"))


def _measured(family: str, config: Config, graph: Graph, core: str, cost: int) -> Measured:
    (op,) = graph.operators
    of_name = [f for f in FAMILIES if f.name == family and f.applies(op, get_core(core))]
    code = code_digest(of_name[0].build(op, get_core(core), config))
    return Measured(
        family=family, config=config, cost=cost, code=code, scratch_bytes=0, flash_bytes=100, origin="a test"
    )


@pytest.mark.parametrize(("first_cost", "portable", "want"), [(10**9, 1, "portable"), (5, 900, "first")])
def test_families_compete_by_what_was_measured(first_cost: int, portable: int, want: str) -> None:
    op = MAKERS["Conv2D"](lambda name, *shape: tensor(name, *shape, dtype=DType.INT8))
    graph = Graph(name="g", operators=(op,), inputs=(op.inputs[0],), outputs=op.outputs)
    core = "cv32e40p-xpulp"
    first = lower(graph, get_core(core)).calls[0].kernel
    assert first.family != "portable"
    known = [
        _measured(first.family, first.config, graph, core, first_cost),
        _measured("portable", {}, graph, core, portable),
    ]
    chosen = lower(graph, get_core(core), Options(measured={workload(op): known})).calls[0].kernel
    assert (chosen.family == "portable") == (want == "portable")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_the_arena_that_an_error_names_is_true(share: float) -> None:
    graph = run_passes(load_tflite(shared("models/mlperf_tiny/sww_conv1d_int8.tflite")))
    core = get_core("cortex-m7")
    least = lower(graph, core).memory.lower_bound
    with pytest.raises(RamBudgetError) as caught:
        lower(graph, core, Options(ram=int(least * share / 4)))
    assert f"--ram {caught.value.needed} fits" in str(caught.value)
    assert lower(graph, core, Options(ram=caught.value.needed)).arena_bytes == caught.value.needed


@pytest.mark.parametrize("shape", [(1, 256), (256,), (4, 64)])
def test_a_model_of_views_alone(shape: tuple[int, ...]) -> None:
    from utvm.graph import Reshape

    x = tensor("x", 1, 8, 8, 4, dtype=DType.INT8)
    y = dataclasses.replace(x, name="y", shape=shape)
    graph = Graph(name="g", operators=(Reshape(name="r", x=x, y=y),), inputs=(x,), outputs=(y,))
    assert lower(graph, get_core("cortex-m7"), Options(ram=256)).arena_bytes == 256
    with pytest.raises(RamBudgetError, match=r"inputs and outputs take 256 bytes at once .*--ram 256 fits"):
        lower(graph, get_core("cortex-m7"), Options(ram=100))
