"""Constants as text of C and as bytes for an assembler: the same values, and the same image."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.codegen.test_golden import small_network
from utvm import api
from utvm.boards import load_board
from utvm.codegen import RUN_SYMBOL, CArray
from utvm.device import build_image
from utvm.lowering import lower

TYPES = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"]


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[Any]:
    dtype = draw(st.sampled_from(TYPES))
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    near = st.sampled_from([0, 1, 9, 10, 99, 100, 9999, 10_000, 99_999_999, 100_000_000, least, most, least + 1])
    value = st.one_of(near, st.integers(least, most)).map(lambda v: min(max(v, least), most))
    return np.array(draw(st.lists(value, min_size=1, max_size=60)), dtype)


@given(arrays())
def test_many_integers_are_written_as_few_are(values: NDArray[Any]) -> None:
    array = CArray(c_type=f"{values.dtype}_t", values=values)
    few, c = array.render("x"), sys.modules["utvm.codegen.c"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(c, "_MANY", 1)
        assert array.render("x") == few
    assert array.stored() == values.astype(values.dtype.newbyteorder("<")).tobytes()


def test_bytes_that_a_type_does_not_hold_are_refused() -> None:
    with pytest.raises(ValueError, match="an array of int8_t does not hold 3 to 128"):
        CArray(c_type="int8_t", values=np.array([3, 128])).stored()


@pytest.mark.parametrize("name", ["qemu-cortex-m4", "qemu-riscv32"])
def test_an_image_is_the_same_from_c_and_from_bytes(name: str) -> None:
    board = load_board(name)
    program = lower(small_network(), board.core)
    files = program.render()
    ours = api.build_program(board, program, files)
    from_c = build_image(board, api.image_sources(program.name, files), entries=[RUN_SYMBOL])
    assert ours.sections == from_c.sections
    assert ours.symbols == from_c.symbols
