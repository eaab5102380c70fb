"""A Relax module as a graph of calls of TIR functions, whose kernels are TVM's; and these functions tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tvm
from tvm import relax

from utvm.arguments import checked_arguments
from utvm.cache import digest
from utvm.codegen import CArray
from utvm.codegen.c import Role
from utvm.cores import Core
from utvm.errors import UtvmError
from utvm.graph import DType, Graph, Operator, Tensor
from utvm.graph.names import Names
from utvm.kernels import Config, Kernel, KernelFamily
from utvm.tvm.code import TirCode, operands_of, tir_code
from utvm.tvm.flat import bindings_of, flat_module, is_constant, results_of
from utvm.tvm.measuring import Boards
from utvm.tvm.printer import TvmCodeError, identifier
from utvm.tvm.searching import TunedFunction, tune


class TirFunction:
    """A TIR function as a value of an operator: its text is a digest, by which equal ones are told."""

    def __init__(self, name: str, function: Any) -> None:
        self.name = identifier(name)
        self.function = function
        self._digest = digest([tvm.ir.save_json(function)])

    def __str__(self) -> str:
        return self._digest

    def code(self, roles: tuple[Role, ...]) -> TirCode:
        """Return its C, for operands that are inputs, constants and outputs."""
        return tir_code(self.function, stem=f"tvm_{self.name}", comment=f"TVM: {self.name}", roles=roles)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TirCall(Operator):
    """A call of a TIR function: what it computes is for TVM to say.

    Attributes:
        xs: its operands that are read, in order.
        ys: those that it writes.
        function: the function.
    """

    xs: tuple[Tensor, ...]
    ys: tuple[Tensor, ...]
    function: TirFunction

    input_fields: ClassVar[tuple[str, ...]] = ("xs",)
    output_fields: ClassVar[tuple[str, ...]] = ("ys",)


class TvmKernels(KernelFamily):
    """TVM's code for its own functions."""

    name = "tvm"
    kinds = (TirCall,)
    dtypes = tuple(DType)
    biases = tuple(DType)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel of a call."""
        del core
        assert isinstance(op, TirCall)
        xs, roles = iter(op.xs), list[Role]()
        constants: dict[str, CArray] = {}
        for operand in operands_of(op.function.function):
            if operand.is_output:
                roles.append("output")
                continue
            tensor = next(xs)
            roles.append("constant" if tensor.is_constant else "input")
            if tensor.is_constant:
                constants[operand.name] = CArray.of(tensor.values)
        code = op.function.code(tuple(roles))
        return Kernel(
            family=self.name,
            config=config,
            function=code.function,
            constants=constants,
            scratch_bytes=code.scratch_bytes,
        )


def is_lowered(module: Any) -> bool:
    """Whether all that a flat module does are calls of TIR functions."""
    values = [binding.value for binding in bindings_of(module)]
    callees = [_callee(value) for value in values if not isinstance(value, relax.TupleGetItem)]
    return bool(callees) and None not in callees


def tir_module(module: Any) -> Any:
    """Return a flat module of calls of TIR functions, fused as TVM fuses; one that is so already stays.

    Raises:
        TvmCodeError: as in `flat_module`, or TVM can't legalise it.
    """
    module = flat_module(module)
    if is_lowered(module):
        return module
    t = relax.transform
    steps = [t.LegalizeOps(), t.AnnotateTIROpPattern(), t.FoldConstant(), t.FuseOps(fuse_opt_level=2), t.FuseTIR()]
    try:
        return flat_module(tvm.ir.transform.Sequential([*steps, t.DeadCodeElimination()])(module))
    except tvm.error.InternalError as error:
        raise TvmCodeError(f"TVM can't legalise the module: {str(error).strip().splitlines()[-1][:300]}") from error


@checked_arguments
def tune_module(
    module: Any, boards: Boards, *, trials: int, space: Any = None, seed: int = 1
) -> tuple[Any, Mapping[str, TunedFunction]]:
    """Tune each TIR function of a Relax module on boards.

    Args:
        module: a Relax module.
        boards, space, seed: as in `tune`.
        trials: for each function.

    Returns:
        The module with the best schedules, for `compile`, and what each function gained, by its name.

    Raises:
        UtvmError: as in `tune`.
    """
    lowered = tir_module(module)
    found: dict[str, TunedFunction] = {}
    for variable, function in lowered.functions_items():
        if isinstance(function, tvm.tirx.PrimFunc):
            tuned = tune(function, boards, trials=trials, space=space, seed=seed)
            found[variable.name_hint] = tuned
            kept = tuned.function.with_attr("global_symbol", variable.name_hint)
            lowered.update_func(variable, kept)
    return lowered, found


def tir_graph(module: Any, name: str = "main") -> Graph:
    """Return a Relax module as a graph of `TirCall`s.

    Raises:
        TvmCodeError: its parameters are not bound, its shapes not fixed, or it does more than calls of functions.
    """
    lowered = tir_module(module)
    functions = {v.name_hint: TirFunction(v.name_hint, f) for v, f in lowered.functions_items() if _is_tir(f)}
    names, known, operators = Names(), dict[Any, Tensor](), list[Operator]()
    main = lowered["main"]
    for parameter in main.params:
        known[parameter] = tensor_of(names.fresh(identifier(parameter.name)), parameter.ty)
    inputs = tuple(known[parameter] for parameter in main.params)
    made_by: dict[Any, tuple[Tensor, ...]] = {}
    for binding in bindings_of(lowered):
        value = binding.value
        if isinstance(value, relax.TupleGetItem):
            known[binding.var] = made_by[value.tuple_value][value.index]
            continue
        callee = _callee(value)
        if callee is None:
            raise TvmCodeError(f"TVM has no code of '{binding.var.name}' for boards: {str(value)[:200]}")
        xs = tuple(known[a] if a in known else constant_tensor(names, a) for a in value.args[1].fields)
        (made,) = value.ty_args
        kinds = list(made.fields) if isinstance(made, relax.TupleType) else [made]
        ys = tuple(tensor_of(names.fresh(identifier(binding.var.name)), kind) for kind in kinds)
        made_by[binding.var] = ys
        if not isinstance(made, relax.TupleType):
            known[binding.var] = ys[0]
        operators.append(TirCall(name=f"{callee}_{len(operators)}", xs=xs, ys=ys, function=functions[callee]))
    outputs = tuple(known[each] if each in known else constant_tensor(names, each) for each in results_of(lowered))
    return Graph(name=name, operators=tuple(operators), inputs=inputs, outputs=outputs)


def _is_tir(function: Any) -> bool:
    return isinstance(function, tvm.tirx.PrimFunc)


def _callee(value: Any) -> str | None:
    """Return the name of the function that is called, None where it is no call of one."""
    if not isinstance(value, relax.Call) or getattr(value.op, "name", "") != "relax.call_tir":
        return None
    return str(value.args[0].name_hint)


def tensor_of(name: str, kind: Any) -> Tensor:
    """Return a tensor of Relax's type `kind`.

    Raises:
        TvmCodeError: its shape is open, or µTVM does not have its type.
    """
    shape = getattr(kind, "shape", None)
    if shape is None or not all(isinstance(size, tvm.tirx.IntImm) for size in shape):
        raise TvmCodeError(f"'{name}' has no fixed shape: give TVM's frontend the shapes of the inputs")
    dtype = str(kind.dtype)
    if dtype not in set(DType):
        raise TvmCodeError(f"'{name}' is {dtype}; µTVM takes {', '.join(DType)}")
    return Tensor(name=name, shape=tuple(int(size) for size in shape), dtype=DType(dtype))


def constant_tensor(names: Names, value: Any) -> Tensor:
    """Return a constant of a module.

    Raises:
        TvmCodeError: the value is none.
        UtvmError: it has a type that µTVM has not.
    """
    if not is_constant(value):
        raise TvmCodeError(
            f"an operand is neither made before nor a constant: {str(value)[:200]}; bind parameters first"
        )
    data = np.array(value.value.numpy())
    if str(data.dtype) not in set(DType):
        raise UtvmError(f"a constant of the module is {data.dtype}; µTVM takes {', '.join(DType)}")
    return Tensor(name=names.fresh("constant"), shape=data.shape, dtype=DType(str(data.dtype)), data=data)
