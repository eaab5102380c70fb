"""The image of a board that people own, on the simulated chip with that part's core and memory map.

The chip has the caches' registers and an instruction cache that holds stale code, but no oscillators: the steps of the
clock are left out, and tested with stubs in tests/boards/test_startup.py.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.chip.process import ChipProcess, board_file
from utvm import api
from utvm.boards import Board, load_board
from utvm.device import Session, build_image, link_opener
from utvm.toolchain import Source

CNN = Path(__file__).resolve().parents[2] / "examples" / "cifar10" / "cifar10_cnn.tflite"


def without_oscillators(name: str, core: str) -> Board:
    return replace(load_board(name), clock=(), link=load_board(board_file(core), trust=True).link)


@pytest.fixture
def session(chip: ChipProcess, name: str, core: str) -> Iterator[Session]:
    board = without_oscillators(name, core)
    with Session(board, chip, link_opener(board)) as opened:
        yield opened


@pytest.mark.parametrize(("name", "core"), [("nucleo-h743zi2", "cortex-m7")])
def test_code_is_not_stale_after_a_second_load(session: Session) -> None:
    for answer in (42, 43, 44):
        text = f"#include <stdint.h>\nint32_t answer(void);\nint32_t answer(void) {{ return {answer}; }}\n"
        session.load(build_image(session.board, [Source(name="answer.c", text=text)], entries=["answer"]))
        assert [session.call("answer").value for _ in range(2)] == [answer, answer]


@pytest.mark.parametrize(("name", "core"), [("nucleo-l4r5zi", "cortex-m4"), ("nucleo-u575zi-q", "cortex-m33")])
def test_the_shipped_network_is_exact_where_the_board_s_image_puts_it(session: Session) -> None:
    picture = np.random.default_rng(0).integers(-128, 127, (1, 32, 32, 3), dtype=np.int8)
    compiled = api.compile(CNN, session.board)
    result = api.Model(session, compiled).run(picture)
    emulated = f"qemu-{session.board.core.name}"
    with api.connect(emulated) as other:
        wanted = api.Model(other, api.compile(CNN, emulated)).run(picture).outputs
    np.testing.assert_array_equal(result.outputs["logits"], wanted["logits"])
