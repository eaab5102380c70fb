"""Random networks of several operators, compiled in random ways, equal tflite-micro on emulated boards.

UTVM_NETWORKS says how many are drawn (42 without it); `benchmarks/random_networks.py` runs thousands and counts what
they use.
"""

import os

import pytest

from tests.support.networks import distinct, draw_network
from tests.support.oracle import Oracle
from tests.support.target import run_programs
from utvm import api

_SHARES = {"qemu-cortex-m7": 2, "qemu-cortex-m4": 2, "qemu-cortex-m33": 1, "qemu-cortex-m3": 1, "qemu-riscv32v": 1}
COUNT = int(os.environ.get("UTVM_NETWORKS", "42"))


@pytest.mark.parametrize(("board", "share"), _SHARES.items())
def test_networks_equal_tflite_micro(board: str, share: int) -> None:
    with api.connect(board) as session:
        networks = [draw_network(seed, session.board) for seed in range(COUNT * share // sum(_SHARES.values()))]
        found = run_programs(session, [n.program for n in networks], [n.inputs for n in networks])
    varied = 0
    for seed, (network, outputs) in enumerate(zip(networks, found, strict=True)):
        expected = Oracle(network.model).run(*network.inputs)
        assert outputs is not None, seed
        assert len(outputs) == len(expected), seed
        for output, value in zip(outputs, expected, strict=True):
            assert (output == value).all(), (seed, network.plan, network.used)
        varied += distinct(expected) > 8
    assert varied >= 0.85 * len(networks)


def test_outputs_are_mostly_not_saturated() -> None:
    board = api.as_board("qemu-cortex-m3")
    networks = [draw_network(seed, board) for seed in range(40)]
    varied = sum(distinct(Oracle(network.model).run(*network.inputs)) > 8 for network in networks)
    assert varied >= 36
