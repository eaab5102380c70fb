"""Movement of elements in hardware loops: rows of neighbours by words, or of elements that lie apart."""

from __future__ import annotations

from functools import lru_cache

from utvm.codegen import CSupport
from utvm.cores import Core
from utvm.kernels.move_calls import STEPS, MoveByCalls, MoveCall, PlainCosts
from utvm.kernels.runs import WORD
from utvm.kernels.xpulp.code import (
    FILL,
    load_by,
    load_step,
    no_xpulp,
    pack_bytes,
    repeat,
    store_by,
    store_step,
    xpulp_function,
)

_CALL, _ROW = 44, 12
"""Cycles of a call with its share of loops in C, and of a row."""
_ELEMENT, _PACKED, _WORD_CYCLES, _CROSSING = 2.0, 1.75, 2.0, 2.0
"""Cycles of an element, of a byte that is stored in words, of a word of neighbours, and of one that crosses a word."""
_VALUES = ("t3", "t4", "t5", "t6")
_AT_ONCE = 4


class XpulpMove(MoveByCalls):
    """What `PortableMove` serves, where hardware loops take fewer cycles than C does."""

    name = "xpulp"
    filler = FILL
    plain = PlainCosts(single=2.7, run=0.5, words=0.5, bytes=3.6)

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no Xpulp extension; None where it has it."""
        return no_xpulp(core)

    def mover(self, call: MoveCall) -> CSupport:
        """Return the function of a call."""
        neighbours = call.reads_neighbours and call.writes_neighbours
        return _neighbours() if neighbours else _apart(call.size, call.size == 1 and call.writes_neighbours)

    def call_cost(self, call: MoveCall, core: Core) -> float:
        """Return about how many cycles a call takes."""
        del core
        if call.reads_neighbours and call.writes_neighbours:
            words, rest = divmod(call.count * call.size, WORD)
            aligned = (call.from_row * (call.rows > 1) | call.to_row * (call.rows > 1)) % WORD == 0
            return _CALL + call.rows * (_ROW + words * (_WORD_CYCLES if aligned else 2 * _CROSSING) + 6 * rest)
        each = _PACKED if call.size == 1 and call.writes_neighbours else _ELEMENT
        whole, rest = divmod(call.count, _AT_ONCE)
        return _CALL + call.rows * (_ROW + whole * _AT_ONCE * each + 6 * rest)


def _rows(whole: list[str], single: list[str], count_shift: int) -> list[str]:
    """Return the loops over rows, of what is moved several at once and what is left; t3 to t6 are free within."""
    lines = [f"lw {to}, {4 * place}(a2)" for place, to in enumerate(("a3", "a4", "a5", "a6", "a7", "t2"))]
    lines += [f"srli a2, a4, {count_shift}", f"andi a4, a4, {(1 << count_shift) - 1}"]
    lines += ["1:", "mv t0, a0", "mv t1, a1", "beqz a2, 2f", *repeat("a2", whole), "2:", "beqz a4, 4f", "mv t4, a4"]
    lines += ["3:", *single, "addi t4, t4, -1", "bnez t4, 3b", "4:"]
    return [*lines, "add a0, a0, a6", "add a1, a1, a5", "addi a3, a3, -1", "bnez a3, 1b"]


@lru_cache(maxsize=1)
def _neighbours() -> CSupport:
    """Return the function of rows of bytes that follow one another."""
    whole = [load_step("t3", "t1", WORD), load_step("t4", "t1", WORD)]
    whole += [store_step("t3", "t0", WORD), store_step("t4", "t0", WORD)]
    single = ["lbu t3, 0(t1)", "addi t1, t1, 1", "sb t3, 0(t0)", "addi t0, t0, 1"]
    name = "utvm_xpulp_move_rows"
    return xpulp_function(name, _prototype(name), _rows(whole, single, 3), f"rows of bytes; steps: {', '.join(STEPS)}")


@lru_cache(maxsize=8)
def _apart(size: int, packs: bool) -> CSupport:
    """Return the function of rows of elements that lie apart; `packs`: whether bytes are stored in words."""
    whole = [load_by(size, value, "t1", "a7") for value in _VALUES]
    if packs:
        whole += [*pack_bytes(_VALUES[0], _VALUES), store_step(_VALUES[0], "t0", WORD)]
    else:
        whole += [store_by(size, value, "t0", "t2") for value in _VALUES]
    single = [load_by(size, "t3", "t1", "a7"), "nop", store_by(size, "t3", "t0", "t2")]
    name = f"utvm_xpulp_move_{8 * size}{'_packed' if packs else ''}"
    lines = _rows(whole, single, 2)
    return xpulp_function(name, _prototype(name), lines, f"rows of elements; steps: {', '.join(STEPS)}")


def _prototype(name: str) -> str:
    return f"void {name}(void *to, const void *from, const int32_t *steps)"
