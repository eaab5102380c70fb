"""Add, Sub and Mul of operands of one shape, by vectors of words."""

from __future__ import annotations

from utvm.codegen import CFunction, CParameter, CSupport
from utvm.cores import Core
from utvm.graph import Add, Mul, Operator, Sub
from utvm.graph.arithmetic import addition_parameters, multiplication_parameters
from utvm.kernels.base import Config, Kernel
from utvm.kernels.dsp.assembly import short_digest
from utvm.kernels.element_pairs import constant_operands, operand_parameters, operands_in_place, refusal_of_shapes
from utvm.kernels.rvv.code import RvvFamily, vector_function
from utvm.kernels.rvv.finish import clamped, narrowed, rescaled
from utvm.kernels.workload_keys import dims, workload

_GROUP = 8
_NUMBERS = ("a4", "a5", "a6", "a7", "t1", "t2", "t3", "t4")


class RvvBinary(RvvFamily):
    """Add, Sub and Mul of any scales and clamps; both operands have the shape of the output."""

    name = "rvv"
    kinds = (Add, Sub, Mul)

    def refusal(self, op: Operator, core: Core) -> str | None:
        """Return that a table serves `op`, or that its operands have several shapes."""
        if not isinstance(op, Add | Sub | Mul):
            return super().refusal(op, core)
        if (found := refusal_of_shapes(op)) is not None:
            return found
        return self.lacks(core)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of an element-wise operator."""
        del core
        assert isinstance(op, Add | Sub | Mul)
        loop = _loop(op)
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"{op.kind.lower()}_{dims(op.y.shape)}_rvv",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(*operand_parameters(op), CParameter(name="y", c_type="int8_t", role="output")),
                body=f"{loop.name}(a, b, y, {op.y.elements});\n",
                support=(loop,),
            ),
            constants=constant_operands(op),
            in_place=operands_in_place(op),
        )


def _loop(op: Add | Sub | Mul) -> CSupport:
    """Return the function that makes `count` elements."""
    a, b, spare = "v8", "v16", "v24"
    zero_a, zero_b, multiplier_a, multiplier_b, multiplier_y, zero_point, low, high = _NUMBERS
    body = ["vle8.v v0, (a0)", f"vsext.vf4 {a}, v0", "vle8.v v4, (a1)", f"vsext.vf4 {b}, v4"]
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
    turn = [*(f"add {place}, {place}, t0" for place in ("a0", "a1", "a2")), "sub a3, a3, t0", "bnez a3, 1b"]
    lines = [*entry, "1:", f"vsetvli t0, a3, e32, m{_GROUP}, ta, ma", *body, *turn]
    name = f"utvm_rvv_{op.kind.lower()}_{short_digest(lines)}"
    prototype = f"void {name}(const int8_t *a, const int8_t *b, int8_t *y, int32_t count)"
    return vector_function(name, prototype, lines, f"{op.kind} of count elements")
