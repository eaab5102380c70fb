"""Add, Sub and Mul, in seven cycles an element of a sum of operands of one shape, and twelve of a product.

An output depends on 65,536 pairs of inputs, so a shorter computation than the definition is looked for and compared on
all of them: `clip((a * P + b * Q + offset) >> shift)`, and `clip((floor((product - lowest) * M / 2^16) + offset) >>
shift)` for products.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from utvm.codegen import CArray, CFunction, CParameter, CWriter
from utvm.cores import Core
from utvm.graph import Add, Mul, Operator, Sub
from utvm.graph.arithmetic import multiplication_parameters
from utvm.graph.reference import evaluate_operator
from utvm.kernels.base import Config, Kernel, Space
from utvm.kernels.broadcast import runs_of, write_calls
from utvm.kernels.element_pairs import constant_operands, operand_parameters, operands_in_place, refusal_of_number
from utvm.kernels.workload_keys import dims, workload
from utvm.kernels.xpulp.code import XpulpFamily
from utvm.kernels.xpulp.rows_code import rows_function
from utvm.kernels.xpulp.sum_code import WORD, SumSpec, sum_cycles, sum_function
from utvm.numerics import multiply_by_quantized_multiplier

_SPACE: Space = {
    "n": (1, 2, 4, 8),
    "order": ("stages", "elements"),
    "store": ("words", "bytes"),
    "loop": ("hardware", "branches"),
}
_CALL_CYCLES = 60.0
_NEIGHBOURS = 3
"""How far around their nominal values P and Q are searched."""
_SHIFTS = 3
_NEAR = 6
"""The same for M of a product."""
_FAR = 1 << 60
_BYTES = np.arange(-128, 128, dtype=np.int8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """An addition as one shifted sum of products."""

    left: int
    right: int
    offset: int
    shift: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stair:
    """A product as one shifted product more: of what is above `lowest`.

    `parts` are the scaled product below 0 and what is added to those above it, where one offset does not serve both:
    halves go away from zero.
    """

    lowest: int
    factor: int
    offset: int
    shift: int
    parts: tuple[int, int] | None = None


class XpulpBinary(XpulpFamily):
    """Add, Sub and Mul of any shapes, scales and clamps.

    Knobs where a sum's operands have one shape: `n` elements of a turn, `order` (all elements stage by stage, or one
    after another), `store` (of words or bytes), `loop` (what repeats turns). Others have none.
    """

    name = "xpulp"
    kinds = (Add, Sub, Mul)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that a table serves `op`, or that no shifted sum or product is exact."""
        if not isinstance(op, Add | Sub | Mul):
            return super().refusal(op, core)
        found = refusal_of_number(op) or self.lacks(core)
        if found is not None:
            return found
        exact = stair_of(op) if isinstance(op, Mul) else plane_of(op)
        return "no shifted sum of products is exact" if exact is None else None

    def space(self, op: Operator, core: Core) -> Space:
        """Return the knobs."""
        del core
        return _SPACE if _is_plain(op) else {}

    def legal(self, op: Operator, core: Core, config: Config) -> bool:
        """Whether as many elements of a turn make up words, where words are stored."""
        del op, core
        return not config or config["store"] == "bytes" or int(config["n"]) % WORD == 0

    def default(self, op: Operator, core: Core) -> Config:
        """Return the config of the fewest cycles."""
        if not _is_plain(op):
            return {}
        every = [dict(zip(_SPACE, values, strict=True)) for values in product(*_SPACE.values())]
        return min(
            (config for config in every if self.legal(op, core, config)),
            key=lambda config: self.estimate(op, core, config) or 0.0,
        )

    def estimate(self, op: Operator, core: Core, config: Config) -> float | None:
        """Return the cycles of all turns of a sum; None where rows are added or multiplied."""
        del core
        assert isinstance(op, Add | Sub | Mul)
        if not _is_plain(op):
            return None
        return _CALL_CYCLES + sum_cycles(_spec(op, config), op.y.elements)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an element-wise operator."""
        config = config or self.default(op, core)
        assert isinstance(op, Add | Sub | Mul)
        saturates = op.clamp == (-128, 127)
        runs = runs_of(op)
        w = CWriter()
        plain = _is_plain(op)
        if plain:
            function = sum_function(_spec(op, config))
            w(f"{function.name}(a, b, plane, y, {op.y.elements});")
        else:
            parts = isinstance(op, Mul) and (stair := stair_of(op)) is not None and stair.parts is not None
            function = rows_function(product=isinstance(op, Mul), moves=runs.moves, saturates=saturates, parts=parts)
            write_calls(w, runs, lambda a, b, y: f"{function.name}({a}, {b}, plane, shape, {y});")
        shape = CArray(c_type="int32_t", values=np.array(runs.words, np.int32))
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.y.shape)}_xpulp",
                comment="".join(
                    [f"{workload(op)}\nfamily {self.name}", *(f", {name} {value}" for name, value in config.items())]
                ),
                parameters=(
                    *operand_parameters(op),
                    CParameter(name="plane", c_type="int32_t", role="constant"),
                    *(() if plain else (CParameter(name="shape", c_type="int32_t", role="constant"),)),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                support=(function,),
            ),
            constants={
                **constant_operands(op),
                "plane": CArray(c_type="int32_t", values=(_words(op) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)),
                **({} if plain else {"shape": shape}),
            },
            in_place=operands_in_place(op),
        )


def _is_plain(op: Operator) -> bool:
    """Return whether `op` is a sum of operands of one shape."""
    return isinstance(op, Add | Sub) and op.a.shape == op.b.shape == op.y.shape


def _spec(op: Add | Sub | Mul, config: Config) -> SumSpec:
    return SumSpec(
        at_once=int(config["n"]),
        by_stages=config["order"] == "stages",
        words=config["store"] == "words",
        hardware=config["loop"] == "hardware",
        saturates=op.clamp == (-128, 127),
    )


def _words(op: Add | Sub | Mul) -> NDArray[np.int64]:
    """Return the numbers that a function reads."""
    if not isinstance(op, Mul):
        plane = plane_of(op)
        assert plane is not None
        return np.array([plane.left, plane.right, plane.offset, plane.shift, *op.clamp], np.int64)
    stair = stair_of(op)
    assert stair is not None
    high, low = stair.factor >> 16, stair.factor & 0xFFFF
    zeros = -op.a.zero_point, -op.b.zero_point
    words = [*zeros, -stair.lowest, high, low << 16 | low, stair.offset, stair.shift, *op.clamp]
    return np.array([*words, *(stair.parts or ())], np.int64)


@lru_cache(maxsize=8)
def stair_of(op: Mul) -> Stair | None:
    """Return the shifted product that is exact for all products of two inputs; None where there is none."""
    ends = [(a - op.a.zero_point) * (b - op.b.zero_point) for a, b in product((-128, 127), repeat=2)]
    lowest, highest = min(*ends, 0), max(*ends, 0)
    products = np.arange(lowest, highest + 1, dtype=np.int64)
    rescale, (low, high) = multiplication_parameters(op), op.clamp
    y = multiply_by_quantized_multiplier(products, rescale.multiplier, rescale.shift) + op.y.zero_point
    y = np.clip(y, low, high)
    real = op.a.scale * op.b.scale / op.y.scale
    most = (highest - lowest) * real + abs(lowest * real) + 256
    sides = [products < 0, products >= 0]
    apart: Stair | None = None
    for shift in range(min(31, int(np.floor(31 - np.log2(most)))), 0, -1)[:_SHIFTS]:
        nominal = round(real * 2 ** (shift + 16))
        for factor in sorted(range(nominal - _NEAR, nominal + _NEAR + 1), key=lambda each: abs(each - nominal)):
            if not 0 <= factor < 1 << 32:
                continue
            value = (products - lowest) * factor >> 16
            least, most_of = (y << shift) - value, (y + 1 << shift) - 1 - value
            ends_of = [_ends(least[side & (y > low)], most_of[side & (y < high)]) for side in sides]
            both = max(ends_of[0][0], ends_of[1][0]), min(ends_of[0][1], ends_of[1][1])
            below, above = _middle(*ends_of[0]), _middle(*ends_of[1])
            last = int(value[-1])
            if both[0] <= both[1]:
                offset = _middle(*both)
                if offset >= -(1 << 31) and last + max(offset, 0) < 1 << 31:
                    return Stair(lowest=lowest, factor=factor, offset=offset, shift=shift)
                continue
            suits = all(first <= end for first, end in ends_of) and value[-lowest - 1] < value[-lowest]
            fits = min(below, above) >= -(1 << 31) and last + max(below, above, 0) < 1 << 31
            if apart is None and suits and fits:
                parts = int(value[-lowest - 1]), above - below
                apart = Stair(lowest=lowest, factor=factor, offset=below, shift=shift, parts=parts)
    return apart


def _ends(least: NDArray[np.int64], greatest: NDArray[np.int64]) -> tuple[int, int]:
    """Return the least and the greatest offset that suits all."""
    return int(least.max(initial=-_FAR)), int(greatest.min(initial=_FAR))


def _middle(least: int, greatest: int) -> int:
    """Return an offset between two, either of which may be nowhere."""
    offset = greatest if least == -_FAR else least if greatest == _FAR else (least + greatest) >> 1
    return 0 if offset == _FAR else offset


@lru_cache(maxsize=8)
def plane_of(op: Add | Sub) -> Plane | None:
    """Return the shifted sum of products that is exact for all pairs of inputs; None where there is none."""
    a, b = (each.reshape(-1) for each in np.meshgrid(_BYTES, _BYTES))
    every = replace(
        op,
        a=replace(op.a, shape=a.shape, data=None),
        b=replace(op.b, shape=a.shape, data=None),
        y=replace(op.y, shape=a.shape),
    )
    (y,) = (made.astype(np.int64) for made in evaluate_operator(every, (a, b)))
    a, b = a.astype(np.int64), b.astype(np.int64)
    low, high = op.clamp
    left, right = op.a.scale / op.y.scale, op.b.scale / op.y.scale * (1 if isinstance(op, Add) else -1)
    most = 128 * (abs(left) + abs(right)) + abs(op.a.zero_point * left + op.b.zero_point * right) + 130
    nearest = sorted(
        product(range(-_NEIGHBOURS, _NEIGHBOURS + 1), repeat=2), key=lambda pair: abs(pair[0]) + abs(pair[1])
    )
    highest = min(31, int(np.floor(31 - np.log2(most))))
    for shift in range(highest, max(highest - _SHIFTS, 0), -1):
        for more_left, more_right in nearest:
            p, q = round(left * 2**shift) + more_left, round(right * 2**shift) + more_right
            total = a * p + b * q
            least = int(((y << shift) - total)[y > low].max(initial=-_FAR))
            greatest = int((((y + 1) << shift) - 1 - total)[y < high].min(initial=_FAR))
            if least > greatest:
                continue
            offset = _middle(least, greatest)
            ends = total.min() + offset, total.max() + offset
            if ends[0] >= -(1 << 31) and ends[1] < 1 << 31:
                return Plane(left=p, right=q, offset=offset, shift=shift)
    return None
