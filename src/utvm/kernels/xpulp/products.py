"""Sums of products of bytes by Xpulp's dot products, in a hardware loop.

Instructions and encodings: CV32E40P user manual, "CORE-V Instruction Set Custom Extensions". GCC 12 does not know them:
they are written by `.insn`. Words need not be aligned; one that crosses a boundary takes a cycle more.

Inputs minus their zero point are exact in three ways, none of which needs anything of taps outside the input: a zero
point of 0 takes signed products as they are; one of -128 flips the top bits, which makes x + 128 unsigned bytes; any
other adds the weights times the negated zero point, a signed byte.
"""

from __future__ import annotations

from utvm.codegen import CWriter
from utvm.kernels.weighted import Weighted
from utvm.kernels.weighted import write_products as write_single_products

_WORD = 4
_LOAD = ".insn i 0x0b, 2, %[{0}], 4(%[{1}])"  # cv.lw {0}, ({1}), 4
_DOT = ".insn r 0x7b, 1, {funct7}, %[acc{k}], %[v], %[u{k}]"
_SIGNED, _UNSIGNED = "0x54", "0x50"  # cv.sdotsp.b, cv.sdotusp.b: the first factor is signed or not
_DOT_ZERO = ".insn r 0x7b, 5, 0x54, %[acc{k}], %[u{k}], %[zero]"  # cv.sdotsp.sc.b: one byte for all four
_SETUP = ".insn i 0x2b, 4, x14, %[words], {end}"  # cv.setup 0, words, end: from the next instruction to before `end`
_LOWEST = -128


def write_products(w: CWriter, op: Weighted, *, block: int, run: int | str, apart: int) -> None:
    """Write the sums of `run` products of `px` and `pw`; output channels are `apart` elements of `pw` apart."""
    if isinstance(run, int) and run < _WORD:
        write_single_products(w, op, block=block, run=run, apart=apart)
        return
    words = run // _WORD if isinstance(run, int) else f"({run}) / {_WORD}"
    w(f"const int32_t words = {words};")
    if isinstance(run, int):
        _write_loop(w, op.x.zero_point, block, apart)
    else:
        with w.block("if (words > 0)"):
            _write_loop(w, op.x.zero_point, block, apart)
    if isinstance(run, int) and run % _WORD == 0:
        return
    w(f"px += words * {_WORD};", f"pw += words * {_WORD};")
    rest = run % _WORD if isinstance(run, int) else f"({run}) % {_WORD}"
    write_single_products(w, op, block=block, run=rest, apart=apart)


def _write_loop(w: CWriter, zero_point: int, block: int, apart: int) -> None:
    channels = range(block)
    loads = [_LOAD.format("v", "x"), *(_LOAD.format(f"u{k}", f"w{k}") for k in channels)]
    flip = ["xor %[v], %[v], %[top]"] if zero_point == _LOWEST else []
    kind = _UNSIGNED if zero_point == _LOWEST else _SIGNED
    dots = [_DOT.format(funct7=kind, k=k) for k in channels]
    shifted = zero_point not in (0, _LOWEST)
    zeros = [_DOT_ZERO.format(k=k) for k in channels] if shifted else []
    body = [*loads, *flip, *dots, *zeros]
    w("const int8_t *qx = px;", "uint32_t v;")
    for k in channels:
        w(f"const int8_t *qw{k} = pw + {k * apart};", f"uint32_t u{k};")
    lines = [".balign 4", ".option push", ".option norvc", _SETUP.format(end=len(body) + 1), *body, ".option pop"]
    changed = ['[x] "+r"(qx)', '[v] "=&r"(v)']
    for k in channels:
        changed += [f'[acc{k}] "+r"(acc{k})', f'[w{k}] "+r"(qw{k})', f'[u{k}] "=&r"(u{k})']
    used = ['[words] "r"(words)']
    used += ['[top] "r"(0x80808080u)'] if flip else []
    used += [f'[zero] "r"({-zero_point})'] if shifted else []
    w("__asm__ volatile(")
    for line in lines:
        w(f'    "{line}\\n"')
    w(f"    : {', '.join(changed)}", f"    : {', '.join(used)}", '    : "memory");')
