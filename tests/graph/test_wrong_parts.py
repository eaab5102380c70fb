"""Graphs built by hand of things that are no operators, tensors or functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from utvm.errors import UtvmError
from utvm.graph import Add, DType, Elementwise, Graph, Reduction, Tensor
from utvm.graph.functions import function, reducer

_ANY: Any = 3


def _tensor(name: str) -> Tensor:
    return Tensor(name=name, shape=(1, 4), dtype=DType.FLOAT32)


def _graph(operator: Any, output: Any = None) -> Graph:
    return Graph(name="g", operators=(operator,), inputs=(_tensor("x"),), outputs=(output or _tensor("y"),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Elementwise(name="e", function=_ANY, xs=(), y=_tensor("y")), "'e': its function must be a Function"),
        (
            lambda: Reduction(name="r", reducer=_ANY, x=_tensor("x"), y=_tensor("y"), axes=(1,)),
            "'r': its reducer must be a Reducer",
        ),
        (lambda: _graph(_ANY), "3 stands where an Operator is expected"),
        (lambda: _graph(Add(name="a", a=_ANY, b=_tensor("b"), y=_tensor("y"))), "3 stands where a Tensor"),
        (lambda: _graph(_ANY, output="y"), "3 stands where"),
        (lambda: function("Nothing"), "there is no 'Nothing'; there are Abs, "),
        (lambda: reducer("Nothing"), "there is no 'Nothing'; there are ArgMax, "),
    ],
)
def test_what_does_not_belong_is_one_error(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UtvmError, match=message):
        make()
