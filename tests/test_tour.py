"""A tour: the whole way through, one stage a test, on a network small enough to follow by hand."""

import numpy as np
import pytest

import utvm
from utvm import api
from utvm.boards import load_board
from utvm.cores import get_core
from utvm.device import build_image
from utvm.graph import Conv2D, DType, Graph, MaxPool2D, Padding, Quantization, Relu, Tensor
from utvm.graph.reference import evaluate
from utvm.lowering import Program, lower
from utvm.passes import run_passes

X = np.arange(16, dtype=np.int8).reshape(1, 4, 4, 1) - np.int8(8)


def tensor(name: str, shape: tuple[int, ...], scale: float = 0.5) -> Tensor:
    return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=Quantization.per_tensor(scale))


@pytest.fixture(scope="module")
def graph() -> Graph:
    """x → 3x3 convolution that sums its window → ReLU → 2x2 maximum."""
    x, conv, relu, y = (
        tensor("x", (1, 4, 4, 1)),
        tensor("conv", (1, 4, 4, 1), 4.0),
        tensor("relu", (1, 4, 4, 1), 4.0),
        tensor("y", (1, 2, 2, 1), 4.0),
    )
    ones = Tensor(
        name="ones",
        shape=(1, 3, 3, 1),
        dtype=DType.INT8,
        quant=Quantization.per_tensor(1.0),
        data=np.ones((1, 3, 3, 1), np.int8),
    )
    around = Padding(top=1, bottom=1, left=1, right=1)
    return Graph(
        name="tour",
        operators=(
            Conv2D(name="sum", x=x, weights=ones, bias=None, y=conv, padding=around),
            Relu(name="positive", x=conv, y=relu),
            MaxPool2D(name="largest", x=relu, y=y, filter=(2, 2), stride=(2, 2)),
        ),
        inputs=(x,),
        outputs=(y,),
    )


@pytest.fixture(scope="module")
def program(graph: Graph) -> Program:
    return lower(run_passes(graph), get_core("cortex-m3"))


def test_a_graph_prints(graph: Graph) -> None:
    assert "conv: int8[1, 4, 4, 1] = Conv2D sum(x: int8[1, 4, 4, 1], const ones: int8[1, 3, 3, 1])" in str(graph)


def test_the_reference_says_what_it_computes(graph: Graph) -> None:
    # The largest sum in the last quarter is 1 + 2 + 3 + 5 + 6 + 7 = 24; 24 * 0.5 * 1.0 / 4.0 = 3.
    assert evaluate(graph, [X])["y"].reshape(-1).tolist() == [0, 0, 2, 3]


def test_passes_fuse_the_activation(graph: Graph) -> None:
    fused = run_passes(graph)
    assert [op.kind for op in fused.operators] == ["Conv2D", "MaxPool2D"]
    assert fused.operators[0].clamp == (0, 127)


def test_lowering_plans_the_arena(program: Program) -> None:
    assert [call.op.name for call in program.calls] == ["sum", "largest"]
    scratch = program.calls[0].kernel.scratch_bytes
    assert program.arena_bytes == program.memory.lower_bound == 24 + -(-scratch // 4) * 4


def test_code_generation_is_plain_c_and_stable(program: Program) -> None:
    files = program.render()
    assert list(files) == ["tour.h", "tour.c", "tour_weights.h", "tour_weights.c"]
    assert "int32_t tour_run(uint8_t *arena)" in files["tour.c"]
    assert files == program.render()


def test_the_toolchain_makes_an_image(program: Program) -> None:
    board = load_board("qemu-cortex-m3")
    image = build_image(board, api.image_sources(program.name, program.render()), entries=["utvm_run_model"])
    assert image.symbol("utvm_arena").size == program.arena_bytes
    assert 0 < image.flash_bytes < 4096


def test_a_session_runs_it_on_a_board(graph: Graph) -> None:
    compiled = utvm.compile(graph, board="qemu-cortex-m3")
    with utvm.connect("qemu-cortex-m3") as session:
        result = utvm.Model(session, compiled).run(X)
    assert result.outputs["y"].reshape(-1).tolist() == [0, 0, 2, 3]
    assert result.measurement.instructions > 0
    assert result.measurement.cycles_source == "model: measured cortex-m3"
