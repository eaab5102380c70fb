"""Several models, and code of one's own, in turn in one session."""

from __future__ import annotations

import numpy as np
import pytest

import utvm
from tests.support.streams import windowed
from utvm.demo import EXAMPLE
from utvm.frontends import load_tflite
from utvm.tuning.measure import _unequal

_BOARD = "qemu-cortex-m7"


def test_each_model_runs_its_own_code() -> None:
    first, second = (utvm.compile(EXAMPLE, _BOARD, small=small) for small in (False, True))
    shape = first.program.graph.inputs[0].shape
    x = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    with utvm.connect(_BOARD) as session:
        a = utvm.Model(session, first)
        want = next(iter(a.run(x).outputs.values()))
        b = utvm.Model(session, second)
        for model in (a, b, b, a):
            np.testing.assert_array_equal(next(iter(model.run(x).outputs.values())), want)
        session.load(utvm.build_c(_BOARD, {"one.c": "int one(void) { return 1; }"}, entry="one"))
        np.testing.assert_array_equal(next(iter(a.run(x).outputs.values())), want)


def test_a_state_that_other_code_overwrote_is_lost_and_said() -> None:
    graph = load_tflite(windowed(np.random.default_rng(1), initial=False))
    x = np.random.default_rng(2).integers(-128, 128, graph.inputs[0].shape).astype(np.int8)
    with utvm.connect(_BOARD) as session:
        stream = utvm.Model(session, utvm.compile(graph, _BOARD))
        outputs = [next(iter(stream.run(x).outputs.values())) for _ in range(2)]
        other = utvm.Model(session, utvm.compile(EXAMPLE, _BOARD))
        with pytest.raises(utvm.UtvmError, match="state is lost"):
            stream.run(x)
        again = [next(iter(stream.run(x).outputs.values())) for _ in range(2)]
        np.testing.assert_array_equal(again, outputs)
        other.reset()
        stream.reset()
        np.testing.assert_array_equal(next(iter(stream.run(x).outputs.values())), outputs[0])


def test_real_numbers_without_a_bound_are_compared() -> None:
    wanted = np.array([1.0, np.inf, -np.inf, np.nan, 1e30], np.float32)
    assert not _unequal(wanted.copy(), wanted, 1e-4).any()
    for place, value in ((0, 1e29), (1, 5.0), (1, -np.inf), (3, 1.0), (4, np.inf), (4, np.nan)):
        found = wanted.copy()
        found[place] = value
        assert _unequal(found, wanted, 1e-4)[place], (place, value)
