"""The reference by itself: every operator can be drawn and evaluated, and wrong inputs are refused."""

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.draw import KINDS, Array, case_with, draw_graph
from utvm.graph import Graph, general, recurrent
from utvm.graph.foreign import Foreign
from utvm.graph.operators import Operator, Store
from utvm.graph.reference import EvaluationError, evaluate


def _concrete(base: type[Operator]) -> set[str]:
    """The names of the public classes below `base`."""
    below = {name for child in base.__subclasses__() for name in (child.__name__, *_concrete(child))}
    return {name for name in below if not name.startswith("_")}


def _of(module: ModuleType) -> set[str]:
    return {
        name
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, Operator) and kind.__module__ == module.__name__
    }


def test_every_operator_is_drawn() -> None:
    """Those of `tests/operators` are drawn there; those with states, and foreign ones, have tests of their own."""
    elsewhere = {*_of(general), *_of(recurrent), Foreign.__name__, Store.__name__}
    assert set(KINDS) == _concrete(Operator) - elsewhere


@pytest.mark.parametrize("kind", KINDS)
def test_every_operator_evaluates(kind: str) -> None:
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(case_with(kind))
    def check(case: tuple[Graph, list[Array]]) -> None:
        graph, inputs = case
        outputs = evaluate(graph, inputs)
        assert list(outputs) == [t.name for t in graph.outputs]

    check()


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.data())
def test_inputs_that_do_not_fit_are_refused(data: st.DataObject) -> None:
    graph = draw_graph(data.draw, "Logistic")
    x = np.zeros(graph.inputs[0].shape, np.int8)
    assert evaluate(graph, {"x": x}, keep=True).keys() == {"x", "y"}
    with pytest.raises(EvaluationError, match="has 1 inputs"):
        evaluate(graph, [])
    with pytest.raises(EvaluationError, match="has inputs"):
        evaluate(graph, {"z": x})
    with pytest.raises(EvaluationError, match="the array given is int16"):
        evaluate(graph, [x.astype(np.int16)])
