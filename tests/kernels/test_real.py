"""Blocks of float32: any window, stride, padding, dilation, grouping, multiplier and config, the reference's bits."""

from __future__ import annotations

import dataclasses
from itertools import product

import numpy as np

import utvm
from tests.kernels.support import Case, check
from tests.kernels.test_wide import graph_of
from utvm.graph import FULL_INT8, DType, Graph, Operator, Tensor
from utvm.kernels.blocked import BlockedReal

RNG = np.random.default_rng(8)
FAMILY = BlockedReal()


def real(op: Operator) -> Graph:
    """An operator of int16 in float32."""

    def changed(tensor: Tensor) -> Tensor:
        data = None if tensor.data is None else RNG.standard_normal(tensor.shape).astype(np.float32)
        return dataclasses.replace(tensor, dtype=DType.FLOAT32, quant=None, data=data)

    made = op.with_tensors({tensor: changed(tensor) for tensor in dict.fromkeys((*op.inputs, *op.outputs))})
    made = dataclasses.replace(made, clamp=FULL_INT8)  # type: ignore[call-arg]
    return Graph(name="g", operators=(made,), inputs=made.activations, outputs=made.outputs)


def test_real() -> None:
    kinds = [
        *(("conv", *rest) for rest in product((1, 2), (1, 2), (0, 2), (1, 2))),
        *(("conv", 1, 1, 0, 1) for _ in range(6)),
        *(("depthwise", *rest, 1) for rest in product((1, 2), (1, 2), (0, 2))),
        *(("connected", 1, 1, 0, 1) for _ in range(6)),
    ]
    cases = []
    with utvm.connect("qemu-cortex-m7") as session:
        core = session.board.core
        for kind in kinds:
            graph = real(graph_of(*kind).operators[0])
            (op,) = graph.operators
            assert FAMILY.applies(op, core), FAMILY.refusal(op, core)
            space = FAMILY.space(op, core)
            every = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
            legal = [config for config in every if FAMILY.legal(op, core, config)]
            x = RNG.standard_normal(graph.inputs[0].shape).astype(np.float32)
            cases.append(Case(graph, FAMILY, legal[int(RNG.integers(len(legal)))], [x]))
        check(session, cases, everywhere=True)
