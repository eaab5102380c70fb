"""Instructions that add products of small vectors, as data: what they mean, how C says them, when they are exact."""

from __future__ import annotations

from dataclasses import dataclass

from utvm.cores.core import Core


@dataclass(frozen=True, slots=True, kw_only=True)
class DotProduct:
    """A sum of products: `acc += x[0] * w[0] + x[1] * w[1] + ...`.

    Lane i of a word is its element shifted left by `shifts[i]`; lanes that borrow are sums, others are fields.

    Attributes:
        name: what configs call it.
        words: words of each operand.
        left_type, right_type: the C types of a word of activations and of weights.
        left_shifts, right_shifts: where the lanes of a word are.
        borrows: whether a negative lane borrows from the next.
        bound: what the sum of the magnitudes of its products must not exceed; None is no bound.
        load: the helper that loads a word whose lanes are bytes as they are in memory, at any address; "" for none.
        text: C with {acc}, {x0} and on, {w0} and on.
        multiplies, adds: instructions that it takes.
    """

    name: str
    words: int = 1
    left_type: str
    right_type: str
    left_shifts: tuple[int, ...]
    right_shifts: tuple[int, ...]
    borrows: bool = False
    bound: int | None = None
    load: str = ""
    text: str
    multiplies: int
    adds: int

    @property
    def lanes(self) -> int:
        """Products of one use."""
        return self.words * len(self.left_shifts)


def _swar(words: int) -> DotProduct:
    """Two products in one multiplication of words: bits 16 to 31 of (x0 + x1 * 2^16) * (w1 + w0 * 2^16).

    Adding 2^15 undoes the borrow of the low half, which is x0 * w1. Exact while sums fit 16 bits.
    """
    total = " + ".join(f"{{x{i}}} * {{w{i}}}" for i in range(words))
    return DotProduct(
        name=f"swar{2 * words}",
        words=words,
        left_type="uint32_t",
        right_type="uint32_t",
        left_shifts=(0, 16),
        right_shifts=(16, 0),
        borrows=True,
        bound=32767,
        text=f"{{acc}} += (int32_t)({total} + 0x8000u) >> 16;",
        multiplies=words,
        adds=words + 2,
    )


SWAR2 = _swar(1)
SWAR4 = _swar(2)

ANYWHERE = (SWAR2, SWAR4)
"""What every core with a multiplication of words can do."""

XPULP_DOT = DotProduct(
    name="sdot4",
    left_type="uint32_t",
    right_type="uint32_t",
    left_shifts=(0, 8, 16, 24),
    right_shifts=(0, 8, 16, 24),
    load="utvm_load4_by_lw",
    text='__asm__(".insn r 0x7b, 1, 0x54, %0, %1, %2" : "+r"({acc}) : "r"({x0}), "r"({w0}));',
    multiplies=1,
    adds=0,
)
"""cv.sdotsp.b (CV32E40P user manual, CORE-V Instruction Set Custom Extensions), which GCC 12 does not know."""

EVERY = (*ANYWHERE, XPULP_DOT)


def instructions_of(core: Core) -> tuple[DotProduct, ...]:
    """Return what a core can add products by."""
    return EVERY if core.xpulp else ANYWHERE
