"""Weights less their zero point, int16 beside int8: any window, scale, clamp and config, the reference's bytes."""

from __future__ import annotations

import dataclasses
from itertools import product

import numpy as np
import pytest

import utvm
from tests.kernels.support import Case, check
from tests.kernels.test_wide import graph_of
from utvm.cores import Core
from utvm.cores.microkernel import ScheduleError
from utvm.graph import DType, Graph, Operator, Quantization, Tensor
from utvm.kernels import FAMILIES, Config, KernelFamily
from utvm.kernels.dsp.finish import requantizer

RNG = np.random.default_rng(9)
_CLAMPS = ((-128, 127), (-128, 127), (0, 127), (-30, 60))


def shifted(graph: Graph) -> Graph:
    """A drawn layer with activations of int8 and weights of nine bits, the least and the largest among them."""
    (op,) = graph.operators
    weights = op.weights  # type: ignore[attr-defined]
    data = RNG.integers(-256, 256, weights.shape).astype(np.int16)
    if RNG.integers(3) == 0:
        data[...] = RNG.choice([-256, 255], data.shape)
    scale = float(np.float32(2.0 ** float(RNG.choice([-10, -6, -3, 0, 3, RNG.uniform(-20, 6)]))))

    def changed(tensor: Tensor) -> Tensor:
        if tensor is weights:
            return dataclasses.replace(tensor, dtype=DType.INT16, data=data, quant=Quantization.per_tensor(scale))
        if tensor is getattr(op, "bias", None):
            sums = RNG.integers(-(2**14), 2**14, tensor.shape).astype(np.int32)
            return dataclasses.replace(tensor, dtype=DType.INT32, data=sums, quant=None)
        quant = Quantization.per_tensor(0.05, int(RNG.integers(-128, 128)))
        return dataclasses.replace(tensor, dtype=DType.INT8, quant=quant)

    made = op.with_tensors({t: changed(t) for t in dict.fromkeys((*op.inputs, *op.outputs))})
    made = dataclasses.replace(made, clamp=_CLAMPS[int(RNG.integers(len(_CLAMPS)))])  # type: ignore[call-arg]
    return Graph(name="g", operators=(made,), inputs=made.activations, outputs=made.outputs)


@pytest.mark.parametrize("board", ["qemu-cortex-m7", "qemu-cortex-m0", "qemu-riscv32"])
def test_nine_bits(board: str) -> None:
    kinds = [
        *(("conv", *rest) for rest in product((1, 2), (1, 2), (0, 2), (1, 2))),
        *(("conv", 1, 1, 0, 1) for _ in range(4)),
        *(("depthwise", *rest, 1) for rest in product((1, 2), (1, 2), (0, 2))),
        *(("connected", 1, 1, 0, 1) for _ in range(6)),
    ]
    with utvm.connect(board) as session:
        core = session.board.core
        cases, tight = [], 0
        for kind in kinds[::2] if core.dsp else kinds[::5]:
            graph = shifted(graph_of(*kind))
            (op,) = graph.operators
            tight += requantizer(op) is None  # type: ignore[arg-type]
            x = RNG.choice(np.array([-128, 127], np.int8), graph.inputs[0].shape)
            takers = [family for family in FAMILIES if family.applies(op, core)]
            assert takers
            for family in takers:
                space = family.space(op, core)
                every = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
                legal = [config for config in every if family.legal(op, core, config)]
                chosen = {0, int(RNG.integers(len(legal)))} if legal else set()
                configs = [family.default(op, core), *(legal[index] for index in sorted(chosen) if core.dsp)]
                cases += [Case(graph, family, config, [x]) for config in configs if _fits(family, op, core, config)]
        check(session, cases)
    names = {case.family.name for case in cases}
    assert not core.dsp or {"direct", "row", "plane", "channels", "portable"} <= names
    assert tight < len(kinds) // 2


def _fits(family: KernelFamily, op: Operator, core: Core, config: Config) -> bool:
    try:
        family.build(op, core, config)
    except ScheduleError:
        return False
    return True
