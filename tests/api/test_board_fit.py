"""By default a model gets the fastest plan that its board holds, on cores with large and with small kernels."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from tests.support.boards import EMULATED
from utvm import api
from utvm.boards import Board, Memory, Placement
from utvm.demo import EXAMPLE
from utvm.lowering import RamBudgetError
from utvm.toolchain import MemoryOverflowError

CORES = ("cortex-m0", "cortex-m3", "cortex-m4")


def sized(core: str, *, flash: int = 1 << 22, ram: int = 1 << 20) -> Board:
    """A board with the core of an emulated one, and memories of these sizes."""
    code = Memory(name="flash", kind="ram", origin=0, length=flash)
    data = Memory(name="ram", kind="ram", origin=0x20000000, length=ram)
    place = Placement(code=code, constants=code, data=data)
    return replace(EMULATED[f"qemu-{core}"], memories=(code, data), placements=(place,), firmware=())


def needs(compiled: api.Compiled) -> tuple[int, int]:
    """Return bytes of code and constants, and of data with the stack: from the start of the memory to the last byte."""
    ends = [section.address + section.size for section in compiled.image.sections]
    start = compiled.board.data.origin
    return max(end for end in ends if end < start), max(ends) - start


@cache
def fastest(core: str) -> api.Compiled:
    """What a board without want of memory gets."""
    return api.compile(EXAMPLE, sized(core))


def modelled(compiled: api.Compiled) -> float:
    return sum(call.cycles for call in compiled.program.calls)


@pytest.mark.parametrize("core", CORES)
def test_a_board_that_holds_the_fastest_gets_it(core: str) -> None:
    free = fastest(core)
    flash, ram = needs(free)
    tight = api.compile(EXAMPLE, sized(core, flash=flash, ram=ram))
    assert tight.files == free.files


@pytest.mark.parametrize("core", CORES)
def test_less_memory_gets_a_plan_that_fits_it(core: str) -> None:
    """Striped first layers need a fraction of the arena: nobody has to ask for them."""
    free = fastest(core)
    ram = needs(free)[1] * 3 // 4 // 16 * 16
    found = api.compile(EXAMPLE, sized(core, ram=ram))
    assert needs(found)[1] <= ram
    assert modelled(found) >= modelled(free)


def test_large_kernels_give_way_where_the_flash_is_short() -> None:
    """What fits only with the kernels of --small compiles without it being said, and not slower than with it."""
    fast, small = fastest("cortex-m4"), api.compile(EXAMPLE, sized("cortex-m4"), small=True)
    flash = needs(small)[0]
    assert flash < needs(fast)[0]
    found = api.compile(EXAMPLE, sized("cortex-m4", flash=flash))
    assert needs(found)[0] <= flash
    assert modelled(found) <= modelled(small)


@pytest.mark.parametrize("core", ["cortex-m0", "cortex-m4"])
def test_a_model_that_fits_nowhere_is_told_what_would_do(core: str) -> None:
    with pytest.raises(MemoryOverflowError, match=r"region flash needs [\d,]+ bytes and has 16,384") as told:
        api.compile(EXAMPLE, sized(core, flash=16384))
    assert needs(api.compile(EXAMPLE, sized(core, flash=told.value.needed)))[0] <= told.value.needed


def test_so_is_one_whose_arena_fits_nowhere() -> None:
    with pytest.raises(MemoryOverflowError, match=r"region ram needs [\d,]+ bytes and has 6,144") as told:
        api.compile(EXAMPLE, sized("cortex-m4", ram=6144))
    assert needs(api.compile(EXAMPLE, sized("cortex-m4", ram=told.value.needed)))[1] <= told.value.needed


def test_advice_about_the_arena_is_true_under_a_budget_of_flash() -> None:
    board, flash, ram = sized("cortex-m7"), 98 << 10, 9000
    with pytest.raises(RamBudgetError, match=r"--ram \d+ fits") as told:
        api.compile(EXAMPLE, board, flash=flash, ram=ram)
    found = api.compile(EXAMPLE, board, flash=flash, ram=told.value.needed)
    assert found.program.arena_bytes <= told.value.needed
    assert found.image.flash_bytes <= flash
