"""Add, Sub and Mul by vectors of words. An operand that stays along a run is loaded with a distance of nothing."""

from __future__ import annotations

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter
from utvm.cores import Core
from utvm.graph import Add, Mul, Operator, Sub
from utvm.graph.arithmetic import addition_parameters, multiplication_parameters
from utvm.kernels.base import Config, Kernel
from utvm.kernels.broadcast import runs_of, write_calls
from utvm.kernels.dsp.assembly import short_digest
from utvm.kernels.element_pairs import constant_operands, operand_parameters, operands_in_place, refusal_of_number
from utvm.kernels.rvv.code import RvvFamily, vector_function
from utvm.kernels.rvv.finish import clamped, narrowed, rescaled
from utvm.kernels.workload_keys import dims, workload

_GROUP = 8
_NUMBERS = ("a5", "a6", "a7", "s0", "s1", "s2", "s3", "s4")


class RvvBinary(RvvFamily):
    """Add, Sub and Mul of any shapes, scales and clamps."""

    name = "rvv"
    kinds = (Add, Sub, Mul)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that a table serves `op`."""
        if not isinstance(op, Add | Sub | Mul):
            return super().refusal(op, core)
        return refusal_of_number(op) or self.lacks(core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an element-wise operator."""
        del core
        assert isinstance(op, Add | Sub | Mul)
        runs = runs_of(op)
        loop = _loop(op, runs.moves)
        w = CWriter()
        write_calls(w, runs, lambda a, b, y: f"{loop.name}({a}, {b}, {y}, shape);")
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.y.shape)}_rvv",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    *operand_parameters(op),
                    CParameter(name="shape", c_type="int32_t", role="constant"),
                    CParameter(name="y", c_type="int8_t", role="output"),
                ),
                body=w.text,
                support=(loop,),
            ),
            constants={
                **constant_operands(op),
                "shape": CArray(c_type="int32_t", values=np.array(runs.words, np.int32)),
            },
            in_place=operands_in_place(op),
        )


def _loop(op: Add | Sub | Mul, moves: tuple[bool, bool]) -> CSupport:
    """Return the function that makes rows of elements; `moves`: whether each operand moves along a row."""
    a, b, spare = "v8", "v16", "v24"
    zero_a, zero_b, multiplier_a, multiplier_b, multiplier_y, zero_point, low, high = _NUMBERS
    loads = [
        f"vle8.v {to}, ({place})" if on else f"vlse8.v {to}, ({place}), x0"
        for to, place, on in zip(("v0", "v4"), ("a0", "a1"), moves, strict=True)
    ]
    body = [loads[0], f"vsext.vf4 {a}, v0", loads[1], f"vsext.vf4 {b}, v4"]
    body += [f"vsub.vx {a}, {a}, {zero_a}", f"vsub.vx {b}, {b}, {zero_b}"]
    if isinstance(op, Mul):
        total = multiplication_parameters(op)
        numbers = (op.a.zero_point, op.b.zero_point, 0, 0, total.multiplier)
        body.append(f"vmul.vv {a}, {a}, {b}")
    else:
        parameters = addition_parameters(op)
        total = parameters.y
        numbers = (
            *(op.a.zero_point, op.b.zero_point),
            *(parameters.a.multiplier, parameters.b.multiplier, total.multiplier),
        )
        body += [f"vsll.vi {value}, {value}, {parameters.left_shift}" for value in (a, b)]
        body += rescaled(a, parameters.a, multiplier=multiplier_a, spare=spare)
        body += rescaled(b, parameters.b, multiplier=multiplier_b, spare=spare)
        body.append(f"{'vsub' if isinstance(op, Sub) else 'vadd'}.vv {a}, {a}, {b}")
    body += rescaled(a, total, multiplier=multiplier_y, spare=spare)
    body += [*clamped(a, zero_point=zero_point, low=low, high=high), *narrowed([a], _GROUP), f"vse8.v {a}, (a2)"]
    entry = [
        f"li {register}, {value}"
        for register, value in zip(_NUMBERS, (*numbers, op.y.zero_point, *op.clamp), strict=True)
    ]
    on = [*(place for place, each in zip(("a0", "a1"), moves, strict=True) if each), "a2"]
    turn = [*(f"add {place}, {place}, t0" for place in on), "sub t1, t1, t0", "bnez t1, 1b"]
    row = ["add a0, a0, t3", "add a1, a1, t4", "addi a4, a4, -1", "bnez a4, 2b"]
    lines = ["lw a4, 0(a3)", "lw t2, 4(a3)", "lw t3, 8(a3)", "lw t4, 12(a3)", *entry]
    lines += ["2:", "mv t1, t2", "1:", f"vsetvli t0, t1, e32, m{_GROUP}, ta, ma", *body, *turn, *row]
    name = f"utvm_rvv_{op.kind.lower()}_{short_digest(lines)}"
    prototype = f"void {name}(const int8_t *a, const int8_t *b, int8_t *y, const int32_t *shape)"
    comment = f"{op.kind} of rows; shape: how many, elements of one, what a and b move behind one"
    return vector_function(name, prototype, lines, comment, saved=5)
