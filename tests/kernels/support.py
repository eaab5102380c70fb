"""Cases of one operator for one kernel family, and their check on a board."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.support.host import layouts
from tests.support.target import run_programs
from utvm.device import Session
from utvm.graph import DType, Graph, Quantization, Rounding, Softmax, Tensor
from utvm.graph.reference import evaluate
from utvm.kernels import Config, KernelFamily
from utvm.lowering import Options, lower

WAYS = [
    (Rounding.DOUBLE, (-128, 127)),
    (Rounding.DOUBLE, (0, 127)),
    (Rounding.HALF_UP_SHIFT, (-128, 127)),
    (Rounding.HALF_UP_SHIFT, (0, 127)),
]
"""The roundings and clamps that micro-kernels finish with."""


@dataclass(frozen=True, slots=True)
class Case:
    """A graph of one operator, what computes it, and its inputs."""

    graph: Graph
    family: KernelFamily
    config: Config
    inputs: Sequence[np.ndarray]


def check(session: Session, cases: Sequence[Case], *, trap: bool = False, everywhere: bool = False) -> None:
    """Run all cases on a board; every output is that of the reference.

    With `trap`, unaligned accesses fault. With `everywhere`, outputs also lie over inputs as far as kernels allow.
    """
    core = session.board.core
    programs = [
        lower(case.graph, core, Options(choices={op.name: (case.family, case.config) for op in case.graph.operators}))
        for case in cases
    ]
    if everywhere:
        plans = [layouts(program) for program in programs]
        cases = [case for case, each in zip(cases, plans, strict=True) for _ in each]
        programs = [program for each in plans for program in each]
    for case, got in zip(
        cases, run_programs(session, programs, [case.inputs for case in cases], trap=trap), strict=True
    ):
        assert got is not None, f"{case.graph} has no room on {session.board.name}"
        wanted = evaluate(case.graph, case.inputs)
        for tensor, value in zip(case.graph.outputs, got, strict=True):
            message = f"{case.family.name} {case.config}\n{case.graph}"
            np.testing.assert_array_equal(value, wanted[tensor.name], err_msg=message)


def values(generator: np.random.Generator, shape: tuple[int, ...], *, ends: bool) -> np.ndarray:
    """Activations of a shape: anything, or only the ends of int8."""
    drawn = generator.choice([-128, 127], shape) if ends else generator.integers(-128, 128, shape)
    return drawn.astype(np.int8)


def long_softmax(size: int) -> tuple[Graph, list[np.ndarray]]:
    """A Softmax whose rows have one largest value, equal ones, or the larger ones in their first half."""
    x = Tensor(name="x", shape=(3, size), dtype=DType.INT8, quant=Quantization.per_tensor(0.02))
    y = Tensor(name="y", shape=x.shape, dtype=DType.INT8, quant=Quantization.per_tensor(1 / 256, -128))
    rows = np.full(x.shape, -100, np.int8)
    rows[0, size // 3], rows[2, : size // 2] = 127, 100
    graph = Graph(name="long", operators=(Softmax(name="op", x=x, y=y),), inputs=(x,), outputs=(y,))
    return graph, [rows]


LONG_ROWS = (511, 512, 700, 8192, 8200)
"""Elements of rows of `long_softmax`: sums that need 28 bits, 29 bits, and that wrap to 0 or beyond."""
