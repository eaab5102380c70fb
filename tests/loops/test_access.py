"""What follows from a computation is what rules written by hand said, and it follows where a computation changes."""

from dataclasses import replace

import pytest

from tests.support.cases import drawn
from tests.support.draw import case_with
from utvm.compute import Compute, Expr, Load, access, loads, mapped
from utvm.cores import Core, get_core
from utvm.graph import Conv2D, DepthwiseConv2D, DType, Elementwise, Graph, Operator, Quantization, Tensor
from utvm.graph.definitions.weighted_operators import weighted_compute
from utvm.graph.functions import function
from utvm.kernels import Config, Kernel
from utvm.kernels.overlap import nest_ahead
from utvm.kernels.portable import PortableDefined
from utvm.lowering import LoweringError, Options, lower

WINDOWED = ["Conv2D", "DepthwiseConv2D"]


@pytest.mark.parametrize("kind", WINDOWED)
def test_facts_of_windows_are_those_of_their_formulas(kind: str) -> None:
    for graph, _ in drawn(case_with(kind)):
        (op,) = graph.operators
        assert isinstance(op, Conv2D | DepthwiseConv2D)
        compute, _ = weighted_compute(op)
        assert access.min_lead(compute, "x", (1, 1), outer=("n", "oy")) == nest_ahead(op)
        window = (op.weights.shape[1] - 1) * op.dilation[0] + 1
        last = op.y.shape[1] - 1
        rows = -op.padding.top, last * op.stride[0] - op.padding.top + window - 1
        assert access.rows_read(compute, "x", (0, last), dimension=1) == rows
        depth = 1 if isinstance(op, DepthwiseConv2D) else op.weights.shape[3]
        assert access.macs(compute) == op.y.elements * op.weights.shape[1] * op.weights.shape[2] * depth
        assert not access.is_in_place(compute, "x", (1, 1))


def test_a_computation_that_reads_a_row_further_up_moves_its_lead() -> None:
    """The facts of a window that reaches one row further back are others: nobody has to remember them."""
    graph, _ = next(g for g in drawn(case_with("Conv2D")) if g[0].operators[0].y.shape[1] > 3)
    compute, _ = weighted_compute(graph.operators[0])
    x = next(load for load in _loads(compute) if load.buffer.name == "x")
    moved = replace(x, index=(x.index[0], x.index[1] + -1, *x.index[2:]))
    changed = replace(compute, term=_with(compute.term, x, moved))
    before = access.min_lead(compute, "x", (1, 1), outer=("n", "oy"))
    after = access.min_lead(changed, "x", (1, 1), outer=("n", "oy"))
    assert before is not None
    assert after is not None
    assert after >= before
    first, last = access.rows_read(compute, "x", (2, 2), dimension=1) or pytest.fail("rows are known")
    assert access.rows_read(changed, "x", (2, 2), dimension=1) == (first - 1, last - 1)


def test_blocks_of_pixels_need_more_lead_than_single_ones() -> None:
    """Four pixels of a column that is one pixel wide are read before any of them is written."""
    graph, _ = next(g for g in drawn(case_with("Conv2D")))
    compute, _ = weighted_compute(graph.operators[0])
    single, block = (access.min_lead(compute, "x", (1, 1), outer=("n", "oy", "ox"), block=b) for b in (1, 4))
    assert single is not None
    assert block is not None
    assert single <= block


def _loads(compute: Compute) -> list[Load]:

    return list(loads(compute.term))


def _with(expr: Expr, old: Load, new: Load) -> Expr:

    return mapped(expr, lambda load: new if load == old else load)


def test_a_kernel_that_gives_an_input_up_too_early_is_refused() -> None:
    """A kernel says that its output may lie on its input; the operator reads each element for a whole row."""
    quant = Quantization.per_tensor(0.1)
    x, scale, y = (
        Tensor(name=name, shape=shape, dtype=DType.INT8, quant=quant)
        for name, shape in (("x", (4, 4)), ("scale", (4, 1)), ("y", (4, 4)))
    )
    op = Elementwise(name="op", function=function("Maximum"), xs=(x, scale), y=y)
    graph = Graph(name="g", operators=(op,), inputs=(x, scale), outputs=(y,))
    family = Careless()
    core = get_core("cortex-m3")
    assert family.build(op, core, {}).in_place == (0, 1)
    with pytest.raises(LoweringError, match="would write over 'scale'"):
        lower(graph, core, Options(choices={"op": (family, {})}))
    assert lower(graph, core).calls[0].kernel.in_place == (0,)


class Careless(PortableDefined):
    """Says that the output may take the place of any input."""

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        return replace(super().build(op, core, config), in_place=(0, 1))
