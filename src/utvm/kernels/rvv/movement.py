"""Movement of elements by vectors: rows of neighbours, or of elements that lie apart, whatever their type."""

from __future__ import annotations

from functools import lru_cache

from utvm.codegen import CSupport
from utvm.cores import Core
from utvm.kernels.move_calls import STEPS, MoveByCalls, MoveCall, PlainCosts
from utvm.kernels.rvv.code import FILL, no_vectors, vector_function

_CALL, _ROW, _STRIP = 30, 7, 9
"""Instructions of a call with its share of loops in C, of a row, and of a strip of one."""


class RvvMove(MoveByCalls):
    """What `PortableMove` serves, where vectors take fewer instructions than C does."""

    name = "rvv"
    filler = FILL
    plain = PlainCosts(single=2.4, run=1.5, words=0.45, bytes=2.6)

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no vector extension; None where it has it."""
        return no_vectors(core)

    def mover(self, call: MoveCall) -> CSupport:
        """Return the function of a call."""
        return _move_function(call.size, call.reads_neighbours, call.writes_neighbours)

    def call_cost(self, call: MoveCall, core: Core) -> float:
        """Return about how many instructions a call takes."""
        return _CALL + call.rows * (_ROW + _STRIP * -(-call.count * call.size // core.zve32x))


@lru_cache(maxsize=16)
def _move_function(size: int, reads_neighbours: bool, writes_neighbours: bool) -> CSupport:
    """Return `void name(void *to, const void *from, const int32_t *steps)`; see `STEPS`."""
    bits = 8 * size
    lines = ["lw a3, 0(a2)", "lw a4, 4(a2)", "lw a5, 8(a2)", "lw a6, 12(a2)"]
    lines += [] if reads_neighbours else ["lw t1, 16(a2)"]
    lines += [] if writes_neighbours else ["lw t2, 20(a2)"]
    lines += ["1:", "mv t3, a0", "mv t4, a1", "mv t5, a4", "2:", f"vsetvli t0, t5, e{bits}, m8, ta, ma"]
    lines += [f"vle{bits}.v v0, (t4)" if reads_neighbours else f"vlse{bits}.v v0, (t4), t1", "sub t5, t5, t0"]
    lines += [f"vse{bits}.v v0, (t3)" if writes_neighbours else f"vsse{bits}.v v0, (t3), t2"]
    for at, step, neighbours in (("t4", "t1", reads_neighbours), ("t3", "t2", writes_neighbours)):
        if not neighbours:
            lines.append(f"mul t6, t0, {step}")
        elif size > 1:
            lines.append(f"slli t6, t0, {size // 2}")
        lines.append(f"add {at}, {at}, {'t0' if neighbours and size == 1 else 't6'}")
    lines += ["bnez t5, 2b", "add a0, a0, a6", "add a1, a1, a5", "addi a3, a3, -1", "bnez a3, 1b"]
    ends = ("" if reads_neighbours else "_gather") + ("" if writes_neighbours else "_scatter")
    name = f"utvm_rvv_move_{bits}{ends}"
    comment = f"rows of elements; steps: {', '.join(STEPS)}"
    return vector_function(name, f"void {name}(void *to, const void *from, const int32_t *steps)", lines, comment)
