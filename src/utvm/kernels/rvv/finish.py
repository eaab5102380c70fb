"""How vectors of sums become int8, to the bit.

VSMUL is TFLite's rounding doubling high multiplication, VSSRA shifts to the right and rounds halves up. TFLite's second
rounding takes halves away from zero: negative values are lowered by one first, unless their channel is not shifted.
Single rounding is VMULH and VSSRA, as on Helium.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from utvm.graph.arithmetic import Requantization
from utvm.kernels.helium.finish import VectorFinish, Weighted
from utvm.kernels.helium.finish import constants as helium_constants

_PRODUCTS = {"vqrdmulh": "vsmul", "vmulh": "vmulh"}
"""Products of Helium → those of this extension."""
_LETTERS = {"vqrdmulh": "m", "vmulh": "h", "": ""}
"""What functions are called after."""


def constants(op: Weighted) -> list[NDArray[np.int64]]:
    """Return the vectors [OC] that `requantized` reads: shifts to the left, if any; multipliers, if any; shifts."""
    *others, right = helium_constants(op)
    return [*others, -right]


def way(finish: VectorFinish) -> str:
    """Return what the lines of `requantized` depend on, as the end of a function's name."""
    letters = f"{_LETTERS[finish.product]}{'l' * finish.left}{finish.lowers[:1]}"
    return f"_{letters}" if letters else ""


def finish_instructions(finish: VectorFinish) -> int:
    """Return the instructions of one vector from sums to bytes: requantised, clamped, narrowed and stored."""
    lowering = 3 * bool(finish.lowers) + (finish.lowers == "some")
    return 10 + 3 * finish.multiplies + 3 * finish.left + lowering


def requantized(value: str, finish: VectorFinish, *, at: str, step: str, first: str, second: str) -> list[str]:
    """Return the lines that bring a vector of sums to the output's scale, without its zero point.

    Args:
        value: the register group, of 32 bits an element.
        finish: the steps.
        at: the register with the address of the first vector of `constants`; it is changed.
        step: the register with the bytes from one to the next.
        first, second: register groups to work with.
    """
    lines = []
    if finish.left:
        lines += [f"vle32.v {first}, ({at})", f"add {at}, {at}, {step}", f"vsll.vv {value}, {value}, {first}"]
    if finish.multiplies:
        lines += [
            f"vle32.v {first}, ({at})",
            f"add {at}, {at}, {step}",
            f"{_PRODUCTS[finish.product]}.vv {value}, {value}, {first}",
        ]
    lines.append(f"vle32.v {second}, ({at})")
    if finish.lowers:
        lines.append(f"vsrl.vi {first}, {value}, 31")
        if finish.lowers == "some":
            lines.append(f"vmin.vv {first}, {first}, {second}")
        lines.append(f"vsub.vv {value}, {value}, {first}")
    return [*lines, f"vssra.vv {value}, {value}, {second}"]


def requantized_by_numbers(
    value: str, finish: VectorFinish, *, at: str, first: int, number: str, flag: str, spare: str
) -> list[str]:
    """Return the lines of `requantized` for a vector of one channel.

    Args:
        value: the register group, of 32 bits an element.
        finish: the steps.
        at, first: the register with an address, and the bytes from there to the channel's numbers of `constants`.
        number, flag: registers to work with.
        spare: a register group to work with.
    """
    lines: list[str] = []
    steps = [*(["vsll"] if finish.left else []), *([_PRODUCTS[finish.product]] if finish.multiplies else [])]
    for place, step in enumerate(steps):
        lines += [f"lw {number}, {first + 4 * place}({at})", f"{step}.vx {value}, {value}, {number}"]
    lines.append(f"lw {number}, {first + 4 * len(steps)}({at})")
    if finish.lowers:
        lines.append(f"vsrl.vi {spare}, {value}, 31")
        if finish.lowers == "some":
            lines += [f"snez {flag}, {number}", f"vand.vx {spare}, {spare}, {flag}"]
        lines.append(f"vsub.vv {value}, {value}, {spare}")
    return [*lines, f"vssra.vx {value}, {value}, {number}"]


def rescaled(value: str, factor: Requantization, *, multiplier: str, spare: str) -> list[str]:
    """Return the lines that multiply a vector by one factor.

    Args:
        value: the register group.
        factor: the factor.
        multiplier: the register with its multiplier.
        spare: a register group to work with.
    """
    left = [f"vsll.vi {value}, {value}, {factor.shift}"] if factor.shift > 0 else []
    lines = [*left, f"vsmul.vx {value}, {value}, {multiplier}"]
    if factor.shift < 0:
        lines += [f"vsrl.vi {spare}, {value}, 31", f"vsub.vv {value}, {value}, {spare}"]
        lines.append(f"vssra.vi {value}, {value}, {-factor.shift}")
    return lines


def clamped(value: str, *, zero_point: str, low: str, high: str) -> list[str]:
    """Return the lines that add the zero point and clamp, all of them in registers."""
    return [
        f"vadd.vx {value}, {value}, {zero_point}",
        f"vmax.vx {value}, {value}, {low}",
        f"vmin.vx {value}, {value}, {high}",
    ]


def narrowed(values: list[str], lanes: int) -> list[str]:
    """Return the lines that make bytes of vectors of words; elements of 8 bits are set after them.

    Args:
        values: the register groups.
        lanes: registers of each.
    """
    half = [f"vnsrl.wi {value}, {value}, 0" for value in values]
    return [
        f"vsetvli x0, x0, e16, {multiple(lanes, 2)}, ta, ma",
        *half,
        f"vsetvli x0, x0, e8, {multiple(lanes, 4)}, ta, ma",
        *half,
    ]


def multiple(registers: int, parts: int) -> str:
    """Return the name of a group of `registers` / `parts` registers."""
    return f"m{registers // parts}" if registers >= parts else f"mf{parts // registers}"
