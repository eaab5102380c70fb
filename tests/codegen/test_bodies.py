"""The C of kernels as a reader sees it: every line of a body is indented, and none is empty at its end."""

import numpy as np
import pytest

from tests.support.draw import _MAKERS
from tests.support.drawer import Drawer
from tests.support.typed import typed
from utvm.cores import get_core
from utvm.graph import DType
from utvm.kernels import FAMILIES

_KINDS = ("Logistic", "Tanh", "Relu", "Relu6", "Quantize", "Dequantize", "Softmax", "Pad", "Transpose", "Add")


@pytest.mark.parametrize("core", ["cortex-m55", "rv32imc-zve32x", "cv32e40p-xpulp"])
def test_bodies_are_indented(core: str) -> None:
    drawer, known = Drawer(np.random.default_rng(3), tflite=True, largest=12), get_core(core)
    operators = [_MAKERS[kind](drawer) for kind in _KINDS for _ in range(2)]
    operators += [typed(kind, DType.INT16, seed)[0].operators[0] for kind in ("Relu", "Tanh", "Add") for seed in (1, 2)]
    families = set()
    for op in operators:
        for family in FAMILIES:
            if family.applies(op, known):
                body = family.build(op, known, family.default(op, known)).function.body
                families.add(family.name)
                assert body == body.rstrip(), f"{family.name} {op.kind}"
                for line in body.split("\n"):
                    assert not line or line.startswith(("  ", "#")), f"{family.name} {op.kind}: {line}"
    assert len(families) > 1
