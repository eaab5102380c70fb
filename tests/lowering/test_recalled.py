"""What earlier compilations found out: later ones choose the same for the same work, and ask no family."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from utvm.cores import Core, get_core
from utvm.graph import Conv2D, DepthwiseConv2D, DType, Graph, Operator, Quantization, Tensor
from utvm.kernels import FAMILIES, Config, KernelFamily
from utvm.lowering import Options, Program, lower
from utvm.lowering.recalled import Recalled

CORE = get_core("cortex-m7")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTVM_CACHE", str(tmp_path))


def _graph() -> Graph:
    rng = np.random.default_rng(1)

    def constant(*shape: int) -> Tensor:
        quant = Quantization.per_tensor(0.01)
        data = rng.integers(-127, 128, shape, dtype=np.int8)
        return Tensor(name=f"w{shape}", shape=shape, dtype=DType.INT8, quant=quant, data=data)

    def values(name: str, *shape: int) -> Tensor:
        return Tensor(name=name, shape=shape, dtype=DType.INT8, quant=Quantization.per_tensor(0.1, 3))

    x, y, z, out = values("x", 1, 6, 6, 4), values("y", 1, 6, 6, 8), values("z", 1, 4, 4, 8), values("out", 1, 4, 4, 6)
    operators = (
        Conv2D(name="first", x=x, weights=constant(8, 1, 1, 4), bias=None, y=y),
        DepthwiseConv2D(name="second", x=y, weights=constant(1, 3, 3, 8), bias=None, y=z),
        Conv2D(name="third", x=z, weights=constant(6, 1, 1, 8), bias=None, y=out),
    )
    return Graph(name="m", operators=operators, inputs=(x,), outputs=(out,))


def _plan(program: Program) -> list[tuple[str, Config, float]]:
    return [(call.kernel.family, call.kernel.config, call.cycles) for call in program.calls]


@pytest.mark.parametrize("flash", [None, 1700])
def test_what_is_recalled_is_chosen_alike_and_no_family_is_asked(
    flash: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, options = _graph(), Options(flash=flash)
    first = lower(graph, CORE, options)
    lower(graph, CORE, Options(ram=first.arena_bytes))

    def asked(*_: object, **__: object) -> object:
        raise AssertionError("a family is asked")

    for family in {type(family) for family in FAMILIES} | {KernelFamily}:
        for method in {"applies", "contenders", "outline"} & set(vars(family)):
            if method != "outline" or family is not KernelFamily:
                monkeypatch.setattr(family, method, asked)
    again = lower(graph, CORE, options)
    assert _plan(again) == _plan(first)
    assert again.render() == first.render()


def _known(op: Operator, core: Core = CORE, families: Sequence[KernelFamily] = FAMILIES) -> bool:
    return Recalled.of(op, core, families).contenders() is not None


def test_names_do_not_count_but_all_that_decides_does() -> None:
    op, *_ = _graph().operators
    Recalled.of(op, CORE, FAMILIES).keep()
    assert not _known(op)
    noted = Recalled.of(op, CORE, FAMILIES)
    noted.note_contenders([(0, {}, True)], None)
    noted.keep()
    assert _known(op)
    assert _known(replace(op, name="other"))
    assert not _known(op, replace(CORE, registers=CORE.registers - 1))
    assert not _known(op, CORE, FAMILIES[1:])
    weights = op.inputs[1]
    heavier = replace(weights, data=np.where(weights.values == 0, 1, 0).astype(weights.values.dtype))
    assert not _known(op.with_tensors({weights: heavier}))
    assert not _known(op.with_tensors({op.outputs[0]: replace(op.outputs[0], shape=(1, 36, 8))}))


def test_what_is_found_out_later_is_known_too() -> None:
    op, *_ = _graph().operators
    for place in range(4):
        noted = Recalled.of(op, CORE, FAMILIES)
        assert [noted.code(FAMILIES[0], {"place": before}, str) for before in range(place)] == ["code"] * place
        noted.code(FAMILIES[0], {"place": place}, lambda: "code")
        noted.keep()


class Foreign(KernelFamily):
    """A family of somebody else, whose code may change without ours."""

    name = "foreign"

    def build(self, op: Operator, core: Core, config: Config) -> None:  # type: ignore[override]
        """Build nothing."""


def test_what_other_code_decides_is_not_kept() -> None:
    op, *_ = _graph().operators
    noted = Recalled.of(op, CORE, [Foreign()])
    noted.note_contenders([(0, {}, True)], None)
    noted.keep()
    assert not _known(op, CORE, [Foreign()])
