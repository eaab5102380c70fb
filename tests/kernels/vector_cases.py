"""Cases of families whose vectors have many lanes: drawn layers, and layers wide enough for loops of blocks."""

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from tests.kernels.support import Case
from tests.support.draw import case_with, pool_of
from tests.support.draw_weighted import conv2d_of, depthwise_of, fully_connected_of
from tests.support.drawer import Drawer
from utvm.cores import Core
from utvm.graph import Graph, Operator
from utvm.kernels import KernelFamily


@st.composite
def cases(draw: st.DrawFn, kind: str, family: KernelFamily, core: Core, *, wide: bool = False) -> Case:
    """One operator that the family takes, in any legal config; with `wide`, of many channels and taps."""
    if wide:
        d = Drawer(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), tflite=False, largest=12)
        op = wide_operator(d, kind)
        graph, inputs = Graph(name="wide", operators=(op,), inputs=(op.x,), outputs=op.outputs), [d.bytes(op.x)]
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
        case "MaxPool2D" | "AveragePool2D":
            size = d.integer(1, 20), d.integer(1, 20)
            return pool_of(
                d, kind, (batch, *size, many(40)), d.pick(size, (d.integer(1, size[0]), d.integer(1, size[1])))
            )
        case _:
            return fully_connected_of(d, (batch, d.pick(many(100), d.integer(1, 700))), many(70))
