"""Code for boards without unaligned access, while CCR.UNALIGN_TRP is set: no access faults, and every byte is right."""

from collections.abc import Iterator
from importlib.resources import files

import numpy as np
import pytest

import utvm
from tests.kernels.support import check
from tests.kernels.test_channels import layer
from tests.kernels.test_dsp import KINDS, cases
from tests.kernels.test_row import cases as rows
from tests.support.cases import drawn
from tests.support.shared import shared
from tests.support.target import run_programs
from utvm.boards import Board, BoardError
from utvm.boards.load import parse_board
from utvm.device import Session, TargetFaultError
from utvm.frontends import load
from utvm.graph import Graph
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.kernels import PORTABLE_FAMILIES
from utvm.kernels.dsp.channels import ChannelDepthwise
from utvm.lowering import Options, lower
from utvm.passes import run_passes

BOARDS = ["qemu-cortex-m4", "qemu-cortex-m7", "qemu-cortex-m33"]
NETWORKS = [
    "cifar10_arm/cifar10_cnn_q7.npz",
    *(
        f"mlperf_tiny/{name}_int8.tflite"
        for name in ("ad_autoencoder", "ic_resnet8", "kws_dscnn", "sww_conv1d", "vww_mobilenetv1_025_96")
    ),
]


def described(name: str, line: str) -> Board:
    """A board of the package with one more line in its file."""
    text = (files("utvm.boards") / f"{name}.toml").read_text(encoding="utf-8")
    return parse_board(name, f"{line}\n{text}")


@pytest.fixture(scope="module", params=BOARDS)
def aligned(request: pytest.FixtureRequest) -> Iterator[Session]:
    with utvm.connect(described(request.param, "unaligned = false")) as session:
        yield session


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_layers_run_while_unaligned_accesses_trap(kind: str, aligned: Session) -> None:
    check(aligned, drawn(cases(kind, aligned.board.core), times=0.5), trap=True)


def test_drawn_rows_run_while_unaligned_accesses_trap(aligned: Session) -> None:
    check(aligned, drawn(rows(), times=0.5), trap=True)


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_run_while_unaligned_accesses_trap(network: str, aligned: Session) -> None:
    graph = load(shared(f"models/{network}"))
    inputs = [random_input(tensor, index) for index, tensor in enumerate(graph.inputs)]
    program = lower(run_passes(graph), aligned.board.core)
    weighted = [call for call in program.calls if hasattr(call.op, "weights")]
    assert not any(call.kernel.family == PORTABLE_FAMILIES[0].name for call in weighted)
    (got,) = run_programs(aligned, [program], [inputs], trap=True)
    assert got is not None
    wanted = evaluate(graph, inputs)
    for tensor, value in zip(graph.outputs, got, strict=True):
        np.testing.assert_array_equal(value, wanted[tensor.name])


def six_channels() -> tuple[Graph, list[np.ndarray]]:
    """Return a layer whose pixels start at halfwords, where words pay on the Cortex-M4 and M33."""
    graph = layer((6, 6), np.random.default_rng(5).integers(-127, 128, (3, 3, 6)).astype(np.int8))
    return graph, [np.random.default_rng(6).integers(-128, 128, graph.inputs[0].shape).astype(np.int8)]


@pytest.mark.parametrize("name", BOARDS)
def test_the_trap_catches_code_for_cores_with_unaligned_access(name: str) -> None:
    graph, inputs = six_channels()
    # The Cortex-M7 reads bytes in either setting: a word that is not aligned costs it more.
    for line, faults in (("unaligned = true", name != "qemu-cortex-m7"), ("unaligned = false", False)):
        board = described(name, line)
        program = lower(graph, board.core, Options(choices={"op": (ChannelDepthwise(), {})}))
        with utvm.connect(board) as session:
            if faults:
                with pytest.raises(TargetFaultError, match="unaligned"):
                    run_programs(session, [program], [inputs], trap=True)
                continue
            (got,) = run_programs(session, [program], [inputs], trap=True)
            assert got is not None
            np.testing.assert_array_equal(got[0], evaluate(graph, inputs)["y"])


def test_both_forms_are_in_the_code_and_the_compiler_takes_one() -> None:
    graph, _ = six_channels()
    text = "".join(
        lower(graph, described("qemu-cortex-m4", "").core, Options(choices={"op": (ChannelDepthwise(), {})}))
        .render()
        .values()
    )
    assert text.count("#ifdef __ARM_FEATURE_UNALIGNED") == text.count("#else /* -mno-unaligned-access */") > 0


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("qemu-cortex-m4", 'unaligned = "no"', "not true or false"),
        ("qemu-cortex-m0", "unaligned = true", "cortex-m0 has no unaligned access"),
    ],
)
def test_what_a_board_says_of_it_is_checked(name: str, line: str, said: str) -> None:
    with pytest.raises(BoardError, match=said):
        described(name, line)
