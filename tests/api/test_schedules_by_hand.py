"""Schedules of a user's own: the page's code, layers of a network exact on three cores, and refusals."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import utvm
from tests.support.target import run_programs
from tests.tuning.support import layer
from utvm.cores import get_core
from utvm.graph.reference import evaluate
from utvm.graph.samples import random_input
from utvm.kernels import BY_HAND, code_digest, workload
from utvm.loops import IllegalScheduleError, replay
from utvm.lowering import Measured, Options, lower

PAGE = Path(__file__).resolve().parents[2] / "docs" / "schedules.md"
BOARDS = ("qemu-cortex-m7", "qemu-cortex-m3", "qemu-riscv32")
NETWORK = layer()
(CONVOLUTION,) = NETWORK.operators


def in_blocks(board: str) -> utvm.Schedule:
    """Two pixels and two channels in registers, windows copied, products by words."""
    words = utvm.boards.load_board(board).instructions["swar2"]
    s = utvm.schedule(NETWORK, CONVOLUTION.name).fold_zero_point()
    s = s.merge(("n", "oy", "ox"), name="p").merge(name="k", axes=("ky", "kx", "ic"))
    s = s.split("p", 2).split("oc", 2).split("k", size=words.lanes, pad=True)
    s = s.reorder("p_o", "oc_o", "k_o", "p_i", "oc_i", "k_i").unroll("p_i", "oc_i")
    return s.pack("weights", "oc_o", "k_o", "oc_i", "k_i").stage("x", "p_o", "k_o", "p_i", "k_i").replace(words, "k_i")


def test_the_page_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tuned, recorded, and used by the next compilation, on three cores."""
    page = PAGE.read_text(encoding="utf-8")
    (python,) = re.findall(r"```python\n(.*?)```", page, re.S)
    monkeypatch.setenv("UTVM_RECORDS", str(tmp_path / "records.sqlite"))
    exec(compile(python, str(PAGE), "exec"), {})
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in said] == list(BOARDS)
    assert all(int(best) < int(default) and family == "by-hand" for _, default, best, family in said)


@pytest.mark.parametrize("board", BOARDS)
def test_a_layer_by_a_schedule_is_exact(board: str) -> None:
    inputs = [random_input(t, 5) for t in NETWORK.inputs]
    s = in_blocks(board)
    program = utvm.plan(NETWORK, board, schedules={CONVOLUTION.name: s})
    assert [call.kernel.family for call in program.calls] == ["by-hand"]
    assert s.text in program.calls[0].kernel.config.values()
    with utvm.connect(board) as session:
        ((got,),) = run_programs(session, [program], [inputs])
    np.testing.assert_array_equal(got, evaluate(NETWORK, inputs)[NETWORK.outputs[0].name])


def test_a_record_is_checked_again_where_it_is_used() -> None:
    """Steps that are not legal, or no steps, are not used; nothing of their text gets into code."""
    core = get_core("cortex-m3")
    default = lower(NETWORK, core).calls[0].kernel
    known = Measured(
        family=default.family, config=default.config, cost=100, code=code_digest(default),
        scratch_bytes=default.scratch_bytes, flash_bytes=500, origin="",
    )  # fmt: skip
    kernel = BY_HAND.build(CONVOLUTION, core, {"steps": in_blocks("qemu-cortex-m3").text})
    good = replace(known, family="by-hand", config=kernel.config, cost=50, code=code_digest(kernel))
    texts = ["split oc 3; merge oc_o oc_i int", "merge n oy a;b", "split oc 2 */", "replace sdot4 ic", "unroll", "!"]
    bad = [replace(good, config={"steps": text}, cost=1) for text in texts]
    program = lower(NETWORK, core, Options(measured={workload(CONVOLUTION): [known, *bad, good]}))
    assert program.calls[0].measured == good


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: utvm.schedule(NETWORK, "nothing"), "no operator is named 'nothing'"),
        (lambda s: utvm.compile(NETWORK, BOARDS[0], schedules={"nothing": s}), "no operator is named 'nothing'"),
        (lambda s: utvm.compile(NETWORK, BOARDS[0], schedules=s), "a mapping of Schedule"),
        (lambda s: utvm.compile(NETWORK, BOARDS[0], schedules={CONVOLUTION.name: "split"}), "a mapping of Schedule"),
        (lambda s: utvm.tune(NETWORK, BOARDS[0], schedules={"nothing": s}), "no operator that is tuned"),
        (lambda s: s.split("oc", 2.5), "no size"),
        (lambda s: s.merge(("n", "oy"), "int"), "can't be named 'int'"),
        (lambda s: s.merge(("n", "oy"), "x"), "can't be named 'x'"),
        (lambda s: s.merge(("n", "oy"), "a; b"), "no name of an axis"),
        (lambda s: s.split("oc", 2).merge(("n", "oy"), "oc_i"), "there is an axis 'oc_i' already"),
        (lambda s: s.merge(("n", "oy"), "ox_i").split("ox", 2), "there is an axis 'ox_i' already"),
        (lambda s: replay(s, "jump oc", {}), "no step of a schedule"),
        (lambda s: replay(s, "replace sdot4 ic", {}), "no instruction 'sdot4'"),
        (lambda s: replay(s, "unroll oc;" * 65, {}), "at most 64"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(call: Callable[[utvm.Schedule], object], message: str) -> None:
    with pytest.raises(utvm.UtvmError, match=message):
        call(utvm.schedule(NETWORK, CONVOLUTION.name))


def test_unrolled_code_is_bounded_and_sums_stand_inside() -> None:
    s = utvm.schedule(NETWORK, CONVOLUTION.name)
    for wrong in (s.unroll("oy", "ox", "oc", "ky", "kx", "ic"), s.reorder("ky", "n", "oy", "ox", "oc", "kx", "ic")):
        with pytest.raises(IllegalScheduleError, match=f"the schedule of '{CONVOLUTION.name}' is not legal"):
            utvm.plan(NETWORK, BOARDS[0], schedules={CONVOLUTION.name: wrong})
