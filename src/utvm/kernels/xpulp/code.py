"""The instructions of Xpulp as text, and functions around them.

GCC 12 does not know the extension: instructions are written by `.insn`, with the encodings of the CV32E40P user manual,
"CORE-V Instruction Set Custom Extensions". A hardware loop needs a body of at least three instructions of 32 bits that
starts at a word; so all of a function is written without compressed instructions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from utvm.codegen import CParameter, CSupport
from utvm.cores import Core
from utvm.kernels.base import KernelFamily
from utvm.kernels.dsp.assembly import assembler_function

REGISTERS = (
    *(f"a{number}" for number in range(8)),
    *(f"t{number}" for number in range(7)),
    *(f"s{number}" for number in range(12)),
    "ra",
)
"""What a function may use; it saves those from s0 on."""
_SAVED = tuple(register for register in REGISTERS if register[0] in "sr")
LEAST_BODY = 3
"""Instructions of the body of a hardware loop."""

WEIGHTED_PARAMETERS = (
    CParameter(name="x", c_type="int8_t", role="input"),
    CParameter(name="weights", c_type="int8_t", role="constant"),
    CParameter(name="finish", c_type="int32_t", role="constant"),
    CParameter(name="shape", c_type="int32_t", role="constant"),
)
OUTPUT = CParameter(name="y", c_type="int8_t", role="output")


def no_xpulp(core: Core) -> str | None:
    """Return that a core lacks the Xpulp extension; None where it has it."""
    return None if core.xpulp else f"{core.name} has no Xpulp extension"


class XpulpFamily(KernelFamily):
    """A family for cores with the Xpulp extension."""

    def lacks(self, core: Core) -> str | None:
        """Return that the core has no Xpulp extension; None where it has it."""
        return no_xpulp(core)


def load_step(to: str, at: str, step: int) -> str:
    """cv.lw: a word, then `at` grows by `step`."""
    return f".insn i 0x0b, 2, {to}, {step}({at})"


def load_step_by(to: str, at: str, step: str) -> str:
    """cv.lw: a word, then `at` grows by a register."""
    return f".insn r 0x2b, 3, 0x02, {to}, {at}, {step}"


def load_byte_step(to: str, at: str, step: int) -> str:
    """cv.lb: a signed byte, then `at` grows by `step`."""
    return f".insn i 0x0b, 0, {to}, {step}({at})"


def load_byte_step_by(to: str, at: str, step: str) -> str:
    """cv.lb: a signed byte, then `at` grows by a register."""
    return f".insn r 0x2b, 3, 0x00, {to}, {at}, {step}"


def load_unsigned_byte_step(to: str, at: str, step: int) -> str:
    """cv.lbu: a byte, then `at` grows by `step`."""
    return f".insn i 0x0b, 4, {to}, {step}({at})"


def load_half_step(to: str, at: str, step: int) -> str:
    """cv.lh: a signed half-word, then `at` grows by `step`."""
    return f".insn i 0x0b, 1, {to}, {step}({at})"


def load_unsigned_half_step(to: str, at: str, step: int) -> str:
    """cv.lhu: a half-word, then `at` grows by `step`."""
    return f".insn i 0x0b, 5, {to}, {step}({at})"


def load_indexed_byte(to: str, at: str, index: str) -> str:
    """cv.lbu: the byte at the sum of two registers."""
    return f".insn r 0x2b, 3, 0x0c, {to}, {at}, {index}"


def load_indexed(to: str, at: str, index: str) -> str:
    """cv.lw: the word at the sum of two registers."""
    return f".insn r 0x2b, 3, 0x06, {to}, {at}, {index}"


def load_by(size: int, to: str, at: str, step: str) -> str:
    """cv.lb, cv.lh or cv.lw: an element of so many bytes, then `at` grows by a register."""
    return f".insn r 0x2b, 3, 0x0{size // 2}, {to}, {at}, {step}"


def store_by(size: int, value: str, at: str, step: str) -> str:
    """cv.sb, cv.sh or cv.sw: an element of so many bytes, then `at` grows by a register."""
    return f".insn r 0x2b, 3, 0x1{size // 2}, {step}, {at}, {value}"


def store_step(value: str, at: str, step: int) -> str:
    """cv.sw: a word, then `at` grows by `step`."""
    return f".insn s 0x2b, 2, {value}, {step}({at})"


def store_byte_step(value: str, at: str, step: int) -> str:
    """cv.sb: a byte, then `at` grows by `step`."""
    return f".insn s 0x2b, 0, {value}, {step}({at})"


def add_dot(to: str, x: str, w: str) -> str:
    """cv.sdotsp.b: adds four products of signed bytes."""
    return f".insn r 0x7b, 1, 0x54, {to}, {x}, {w}"


def pack_low(to: str, high: str, low: str) -> str:
    """cv.pack: the low halves of two words."""
    return f".insn r 0x7b, 0, 0x78, {to}, {high}, {low}"


def pack_high(to: str, high: str, low: str) -> str:
    """cv.pack.h: the high halves of two words."""
    return f".insn r 0x7b, 0, 0x79, {to}, {high}, {low}"


def pack_bytes(to: str, values: Sequence[str]) -> list[str]:
    """cv.packlo.b, cv.packhi.b: the lowest bytes of four words."""
    first, second, third, fourth = values
    return [f".insn r 0x7b, 1, 0x7c, {to}, {second}, {first}", f".insn r 0x7b, 1, 0x7d, {to}, {fourth}, {third}"]


def multiply_low_halves(to: str, a: str, b: str, shift: int) -> str:
    """cv.muluN: the product of the low halves, shifted right."""
    return f".insn r 0x5b, 5, {shift}, {to}, {a}, {b}"


def add_product_of_high_halves(to: str, a: str, b: str) -> str:
    """cv.machhuN by 0: adds the product of the high halves."""
    return f".insn r 0x5b, 7, 0x20, {to}, {a}, {b}"


def add_product(to: str, a: str, b: str) -> str:
    """cv.mac: adds a product of words."""
    return f".insn r 0x2b, 3, 0x48, {to}, {a}, {b}"


def add_and_shift(to: str, value: str, shift: str) -> str:
    """cv.addNr: adds a register, then shifts right by another."""
    return f".insn r 0x2b, 3, 0x40, {to}, {value}, {shift}"


def add_and_round(to: str, value: str, shift: str) -> str:
    """cv.addRNr: adds a register and half of the divisor, then shifts right by another register."""
    return f".insn r 0x2b, 3, 0x42, {to}, {value}, {shift}"


def add_and_round_unsigned(to: str, value: str, shift: str) -> str:
    """cv.adduRNr: adds a register and half of the divisor, then shifts right by another register, without signs."""
    return f".insn r 0x2b, 3, 0x43, {to}, {value}, {shift}"


def saturate(to: str, value: str) -> str:
    """cv.clip to 8 bits."""
    return f".insn r 0x2b, 3, 0x38, {to}, {value}, x8"


def limit(to: str, value: str, most: str) -> str:
    """cv.clipur: limits to 0 and a register."""
    return f".insn r 0x2b, 3, 0x3b, {to}, {value}, {most}"


def lower_of(to: str, a: str, b: str) -> str:
    """cv.min."""
    return f".insn r 0x2b, 3, 0x2b, {to}, {a}, {b}"


def higher_of(to: str, a: str, b: str) -> str:
    """cv.max."""
    return f".insn r 0x2b, 3, 0x2d, {to}, {a}, {b}"


def lower_bytes(to: str, a: str, b: str) -> str:
    """cv.min.b."""
    return f".insn r 0x7b, 1, 0x10, {to}, {a}, {b}"


def higher_bytes(to: str, a: str, b: str) -> str:
    """cv.max.b."""
    return f".insn r 0x7b, 1, 0x18, {to}, {a}, {b}"


def repeat(count: str, body: Sequence[str], *, outer: bool = False) -> list[str]:
    """cv.setup: a body in a hardware loop, `count` times, at least once; an outer one may have another within.

    The body has neither branches nor labels, and an outer one goes on for two instructions behind the inner one.
    """
    padded = [*body, *["nop"] * (LEAST_BODY - len(body))]
    return [f".insn i 0x2b, 4, x{15 if outer else 14}, {count}, {len(padded) + 1}", *padded]


def xpulp_function(name: str, prototype: str, lines: Sequence[str], comment: str, *, locals_bytes: int = 0) -> CSupport:
    """Return a function around `lines`, which saves what it changes.

    Args:
        name: its symbol.
        prototype: its C declaration, without the semicolon.
        lines: labels and instructions, without the return.
        comment: what it does.
        locals_bytes: bytes at sp for its own use.
    """
    text = "\n".join(lines).replace("(", " ").replace(")", " ").replace(",", " ").split()
    kept = [(register, locals_bytes + 4 * i) for i, register in enumerate(r for r in _SAVED if r in text)]
    frame = -(-(locals_bytes + 4 * len(kept)) // 16) * 16
    body = [
        ".option push",
        ".option norvc",
        *([f"addi sp, sp, -{frame}"] if frame else []),
        *(f"sw {register}, {place}(sp)" for register, place in kept),
        *lines,
        *(f"lw {register}, {place}(sp)" for register, place in kept),
        *([f"addi sp, sp, {frame}"] if frame else []),
        "ret",
        ".option pop",
    ]
    return assembler_function(name, prototype, body, comment, directives=(".balign 4",))


COPY = xpulp_function(
    "utvm_xpulp_copy",
    "void utvm_xpulp_copy(int8_t *to, const int8_t *from, int32_t count)",
    [
        "srli t0, a2, 3",
        "beqz t0, 1f",
        *repeat(
            "t0",
            [load_step("t1", "a1", 4), load_step("t2", "a1", 4), store_step("t1", "a0", 4), store_step("t2", "a0", 4)],
        ),
        "1:",
        "andi a2, a2, 7",
        "beqz a2, 3f",
        "2:",
        "lbu t1, 0(a1)",
        "addi a1, a1, 1",
        "sb t1, 0(a0)",
        "addi a0, a0, 1",
        "addi a2, a2, -1",
        "bnez a2, 2b",
        "3:",
    ],
    "count bytes",
)
FILL = xpulp_function(
    "utvm_xpulp_fill",
    "void utvm_xpulp_fill(int8_t *to, int32_t value, int32_t count)",
    [
        "srli t0, a2, 4",
        "beqz t0, 1f",
        "li t1, 0x01010101",
        "andi t2, a1, 255",
        "mul t1, t1, t2",
        *repeat("t0", [store_step("t1", "a0", 4)] * 4),
        "1:",
        "andi a2, a2, 15",
        "beqz a2, 3f",
        "2:",
        "sb a1, 0(a0)",
        "addi a0, a0, 1",
        "addi a2, a2, -1",
        "bnez a2, 2b",
        "3:",
    ],
    "count times one byte",
)


@lru_cache(maxsize=8)
def spread(times: int) -> CSupport:
    """Return `void name(to, from, count)`, which copies bytes, each so many times."""
    name = f"utvm_xpulp_spread_{times}"
    body = [load_byte_step("t0", "a1", 1), *[store_byte_step("t0", "a0", 1)] * times]
    prototype = f"void {name}(int8_t *to, const int8_t *from, int32_t count)"
    return xpulp_function(name, prototype, repeat("a2", body), f"count bytes, at least one, each {times} times")
