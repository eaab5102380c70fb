"""Cases of families whose vectors have many lanes: drawn layers, and layers wide enough for loops of blocks."""

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tests.kernels.support import Case
from tests.support.draw import case_with, pool_of
from tests.support.draw_weighted import conv2d_of, depthwise_of, fully_connected_of
from tests.support.drawer import Drawer
from utvm.cores import Core
from utvm.graph import Add, Graph, Mul, Operator, Quantization, Sub
from utvm.kernels import KernelFamily


@st.composite
def cases(draw: st.DrawFn, kind: str, family: KernelFamily, core: Core, *, wide: bool = False) -> Case:
    """One operator that the family takes, in any legal config; with `wide`, of many channels and taps."""
    if wide:
        d = Drawer(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), tflite=False, largest=12)
        op = wide_operator(d, kind)
        graph = Graph(name="wide", operators=(op,), inputs=op.activations, outputs=op.outputs)
        inputs = [d.bytes(x) for x in op.activations]
    else:
        graph, inputs = draw(case_with(kind))
    (op,) = graph.operators
    assume(family.applies(op, core))
    config = {knob: draw(st.sampled_from(choices)) for knob, choices in family.space(op, core).items()}
    assume(family.legal(op, core, config))
    return Case(graph, family, config, inputs)


def wide_operator(d: Drawer, kind: str) -> Operator:
    def many(most: int) -> int:
        return min(most, d.pick(d.integer(1, most), 16 * d.integer(1, 6), 16 * d.integer(1, 6) + 1))

    batch, height, width = d.integer(1, 2), d.size(12), d.size(12)
    match kind:
        case "Conv2D":
            groups = d.pick(1, 1, 1, 2, 3)
            depth, channels = many(100 // groups), groups * many(40)
            window = (d.integer(1, 5), d.integer(1, 5)) if d.integer(0, 3) else (1, 1)
            return conv2d_of(d, (batch, height, width, groups * depth), (channels, *window, depth))
        case "DepthwiseConv2D":
            channels, window = many(40), (d.integer(1, 16), d.integer(1, 16))
            return depthwise_of(d, (batch, height, width, channels), (1, *window, channels * d.pick(1, 1, 2)))
        case "Add" | "Sub" | "Mul":
            return wide_binary(d, kind, (batch, height, width, many(40)))
        case "MaxPool2D" | "AveragePool2D":
            size = d.integer(1, 20), d.integer(1, 20)
            return pool_of(
                d, kind, (batch, *size, many(40)), d.pick(size, (d.integer(1, size[0]), d.integer(1, size[1])))
            )
        case _:
            return fully_connected_of(d, (batch, d.pick(many(100), d.integer(1, 700))), many(70))


def wide_binary(d: Drawer, kind: str, shape: tuple[int, int, int, int]) -> Operator:
    """Return an operator on two operands of which one may be a row, an image's rows or an image for all."""
    other = d.pick(shape, shape[-1:], (1, *shape[1:]), (shape[0], 1, 1, shape[3]), (1, shape[1], 1, shape[3]))
    a, b = d.tensor("a", shape), d.tensor("b", other)
    quant = Quantization.per_tensor(
        d.log_uniform(0.25, 4.0) * a.scale * (b.scale * 64 if kind == "Mul" else 1), d.zero_point()
    )
    if d.flag():
        a, b = b, a
    make: type[Add | Sub | Mul] = {"Add": Add, "Sub": Sub, "Mul": Mul}[kind]
    return make(name="op", a=a, b=b, y=d.tensor("y", shape, quant), clamp=d.clamp(quant))
