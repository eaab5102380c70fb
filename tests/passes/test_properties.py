"""Random networks: no pass changes a bit, each finds work, the pipeline ends and is the same every time."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.passes.build import assert_same, fired
from tests.passes.random_steps import random_net
from utvm.graph import Graph
from utvm.graph.cost import macs
from utvm.passes import PASSES, run_passes

seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("apply", PASSES, ids=lambda apply: apply.__name__)
@given(seed=seeds)
@settings(max_examples=60, deadline=None)
def test_a_pass_changes_no_output_bit(apply, seed: int) -> None:
    before = random_net(seed)
    assert_same(before, apply(before), seed, runs=1)


@given(seed=seeds)
@settings(max_examples=250, deadline=None)
def test_the_pipeline_changes_no_output_bit_and_ends(seed: int) -> None:
    before = random_net(seed)
    after = run_passes(before)
    assert_same(before, after, seed, runs=2)
    assert not fired(after)
    assert macs(after) <= macs(before)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_the_pipeline_is_deterministic(seed: int) -> None:
    stages: list[list[tuple[str, str]]] = []
    for _ in range(2):
        seen: list[tuple[str, str]] = []
        run_passes(random_net(seed), observe=lambda stage, graph, seen=seen: seen.append((stage, str(graph))))
        stages.append(seen)
    assert stages[0] == stages[1]


def test_every_pass_finds_work_in_random_networks() -> None:
    count: Counter[str] = Counter()

    def note(stage: str, _: Graph) -> None:
        count[stage.split(".")[-1]] += 1

    smaller = 0
    for seed in range(180):
        before = random_net(seed)
        smaller += macs(run_passes(before, observe=note)) < macs(before)
    assert all(count[apply.__name__] >= 8 for apply in PASSES), count
    assert smaller > 40
