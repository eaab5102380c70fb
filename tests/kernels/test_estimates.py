"""Estimates of blocks against what the scheduler makes of them, on several pipelines."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace
from itertools import product

import pytest

from tests.support.cases import drawn
from tests.support.draw import graph_with
from utvm.cores import get_core
from utvm.cores.cortex_m4_timing import CORTEX_M4_TIMING
from utvm.cores.cortex_m7_timing import CORTEX_M7_TIMING
from utvm.cores.microkernel import ScheduleError
from utvm.cores.timing import Timing
from utvm.kernels import FAMILIES, Outline
from utvm.kernels.dsp.choosing import fastest
from utvm.kernels.dsp.finish import INT8, Finish
from utvm.kernels.dsp.multiply_estimates import ESTIMATE_ERROR, multiply_cost, multiply_estimate
from utvm.kernels.dsp.multiply_spec import MultiplySpec, RowSource, plain_offsets
from utvm.kernels.dsp.stream import WeightForm

_SIZES = ((1, 2), (1, 8), (2, 2), (2, 4), (4, 2))


_INT8 = [Finish.DOUBLE, Finish.SINGLE, Finish.POSITIVE], [WeightForm.INT16, WeightForm.PAIR8]
_WIDE = [Finish.WIDE, Finish.WIDE_CLAMPED, Finish.SUM], [WeightForm.INT16, WeightForm.BYTES]


def _drawn(seed: int, finishes: list[Finish], forms: list[WeightForm]) -> MultiplySpec:
    rng = random.Random(seed)
    pixels, channels = rng.choice(_SIZES)
    rows, pairs = rng.choice([(1, 40), (3, 12), (3, 20), (5, 9)])
    return MultiplySpec(
        rows=rows,
        offsets=plain_offsets(pixels, 4 * rng.choice([pairs, pairs + 1, 1]), range(0, 4 * pairs, 4)),
        channels=channels,
        pixel_stride=rng.choice([channels, 3 * channels, 40]),
        form=rng.choice(forms),
        finish=rng.choice(finishes),
        saturation=INT8,
        unrolled=rng.random() < 0.7,
        uniform=False,
        source=RowSource.TABLE,
    )


@pytest.mark.parametrize(
    "timing",
    [*(get_core(core).timing for core in ("cortex-m7", "cortex-m4", "cortex-m33")), CORTEX_M7_TIMING, CORTEX_M4_TIMING],
)
def test_estimates_are_within_their_error(timing: Timing) -> None:
    errors = []
    own = timing not in (CORTEX_M7_TIMING, CORTEX_M4_TIMING)
    for seed in range(18 if own else 12):
        spec = _drawn(seed, *(_INT8 if seed < 12 else _WIDE))
        with contextlib.suppress(ScheduleError):
            cost, estimate = multiply_cost(spec, timing), multiply_estimate(spec, timing)
            errors.append(abs(estimate.cycles / cost.cycles - 1))
            assert estimate.code_bytes == pytest.approx(cost.code_bytes, rel=0.01), spec
    assert len(errors) > 6
    assert sorted(errors)[len(errors) // 2] <= ESTIMATE_ERROR / 2
    assert max(errors) <= 2 * ESTIMATE_ERROR


def test_a_short_block_is_its_own_estimate() -> None:
    timing = get_core("cortex-m7").timing
    assert timing is not None
    spec = replace(_drawn(1, *_INT8), rows=1, offsets=plain_offsets(2, 40, range(0, 40, 4)), channels=2)
    assert multiply_estimate(spec, timing) == multiply_cost(spec, timing)


def test_only_what_can_still_win_is_scheduled() -> None:
    exact = {"a": 100.0, "b": 97.0, "c": 120.0, "d": 97.0}
    about = {"a": 98.0, "b": 101.0, "c": 118.0, "d": 101.0}
    tried: list[str] = []

    def cycles(choice: str) -> float:
        tried.append(choice)
        return exact[choice]

    assert fastest(exact, cycles, "none", estimate=about.__getitem__, error=0.05) == "b"
    assert tried == ["a", "b", "d"]


def test_what_can_t_be_estimated_or_scheduled_is_left_out() -> None:
    def refuse(choice: str) -> float:
        if choice in "ab":
            raise ScheduleError(choice)
        return 5.0

    assert fastest("abc", refuse, "none", estimate=refuse, error=0.1) == "c"
    for estimate, choices in product((None, refuse), ("ab", "")):
        with pytest.raises(ScheduleError, match="none of them"):
            fastest(choices, refuse, "none of them", estimate=estimate)


@pytest.mark.parametrize("core", ["cortex-m7", "cortex-m4"])
def test_outlines_say_what_kernels_turn_out_to_take(core: str) -> None:
    """Before and after scheduling: the same memory and constants, and nearly the same code and cycles."""
    compared, target = 0, get_core(core)
    graphs = [g for kind in ("Conv2D", "DepthwiseConv2D", "FullyConnected") for g in drawn(graph_with(kind), 0.4)]
    for op, family in product((graph.operators[0] for graph in graphs), FAMILIES):
        if not family.applies(op, target):
            continue
        with contextlib.suppress(ScheduleError):
            for config in family.contenders(op, target):
                about = family.outline(op, target, config)
                if about is None:
                    break
                exact = family.outline(op, target, config, scheduled=True)
                cycles = family.estimate(op, target, config)
                assert cycles is not None
                assert exact == Outline.of(family.build(op, target, config), cycles), (op, family.name, config)
                assert about == replace(exact, cycles=about.cycles, code_bytes=about.code_bytes, error=about.error)
                assert about.cycles == pytest.approx(exact.cycles, rel=2 * ESTIMATE_ERROR)
                assert about.code_bytes == pytest.approx(exact.code_bytes, rel=0.02)
                compared += 1
    assert compared > 10
