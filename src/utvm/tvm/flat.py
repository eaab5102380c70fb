"""Relax modules with nothing but calls: no other names for a value, no tuple that only carries values on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import tvm
from tvm import relax, tirx

from utvm.graph.names import Names
from utvm.tvm.printer import TvmCodeError, identifier


def check_relax(module: Any) -> None:
    """Refuse what is no Relax module.

    Raises:
        TvmCodeError: it has no function `main`.
    """
    main = None
    if isinstance(module, tvm.IRModule):
        main = next((f for v, f in module.functions_items() if v.name_hint == "main"), None)
    if not isinstance(main, relax.Function):
        raise TvmCodeError("give an IRModule of Relax with a function 'main', as TVM's frontends make it")


def flat_module(module: Any, values: Mapping[Any, Any] = MappingProxyType({})) -> Any:
    """Return a Relax module whose `main` is calls alone; a call of several results is followed by all that are taken.

    Results in nested tuples become one tuple of tensors, in their order.

    Args:
        module: as TVM's frontends make it.
        values: what to put for variables: a call in the place of their own, what is none wherever they are read.

    Raises:
        TvmCodeError: it has no function `main`, or a value in it is none of a call, a variable, a constant, a tuple.
    """
    check_relax(module)
    main = module["main"]
    every = [binding for block in main.body.blocks for binding in block.bindings]
    known = _resolved(every, values)
    results = list(_flattened(main.body.body, known))
    taken: dict[Any, list[Any]] = {}
    for binding in every:
        if isinstance(binding.value, relax.TupleGetItem) and binding.var not in known:
            taken.setdefault(_resolve(binding.value.tuple_value, known), []).append(binding)
    builder, fresh, names = relax.BlockBuilder(), dict[Any, Any](), Names()
    for parameter in main.params:
        fresh[parameter] = relax.Var(names.fresh(identifier(parameter.name)), parameter.ty)
    with builder.function("main", [fresh[parameter] for parameter in main.params]):
        if any(binding.var not in known for binding in every):
            with builder.dataflow():
                for binding in every:
                    if binding.var in known or isinstance(binding.value, relax.TupleGetItem):
                        continue
                    for each in (binding, *taken.get(binding.var, ())):
                        emit = builder.emit_output if each.var in results else builder.emit
                        fresh[each.var] = emit(replaced(values.get(each.var, each.value), known | fresh))
        outputs = [fresh.get(result, result) for result in results]
        builder.emit_func_output(outputs[0] if len(outputs) == 1 else relax.Tuple(outputs))
    return with_main(module, builder)


def with_main(module: Any, builder: Any) -> Any:
    """Return a module with the `main` that a builder has made in the place of its own."""
    others = {v: f for v, f in module.functions_items() if v.name_hint != "main"}
    return tvm.IRModule({**others, module.get_global_var("main"): builder.get()["main"]})


def bindings_of(module: Any) -> list[Any]:
    """Return what a Relax module computes, in order."""
    return [binding for block in module["main"].body.blocks for binding in block.bindings]


def results_of(module: Any) -> list[Any]:
    """Return what a flat module gives back."""
    result = module["main"].body.body
    return list(result.fields) if isinstance(result, relax.Tuple) else [result]


def fixed_shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of a tensor, None where it is open or the value is none."""
    kind = getattr(value, "ty", None) or getattr(value, "struct_info", None)
    shape = getattr(kind, "shape", None)
    sizes = getattr(shape, "values", shape)
    if sizes is None or not all(isinstance(size, tirx.IntImm) for size in sizes):
        return None
    return tuple(int(size) for size in sizes)


def is_constant(value: Any) -> bool:
    """Whether an expression is an array of numbers."""
    return hasattr(getattr(value, "value", None), "numpy")


def replaced(value: Any, known: Mapping[Any, Any]) -> Any:
    """Return an expression with other variables."""
    if isinstance(value, relax.Var):
        found = known.get(value, value)
        return found if found is value else replaced(found, known)
    if isinstance(value, relax.Tuple):
        return relax.Tuple([replaced(each, known) for each in value.fields])
    if isinstance(value, relax.TupleGetItem):
        return relax.TupleGetItem(replaced(value.tuple_value, known), value.index)
    if isinstance(value, relax.Call):
        return relax.Call(value.op, [replaced(each, known) for each in value.args], value.attrs, value.ty_args)
    return value


def _resolved(bindings: list[Any], values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return what stands for each variable that is another name, a tuple, or an item of a tuple that is known."""
    known = {variable: value for variable, value in values.items() if not isinstance(value, relax.Call)}
    for binding in bindings:
        if binding.var in known:
            continue
        value = _resolve(binding.value, known)
        if isinstance(value, relax.Call):
            continue
        if isinstance(value, relax.TupleGetItem) and isinstance(value.tuple_value, relax.Var):
            continue
        if not isinstance(value, relax.Var | relax.Tuple | relax.ShapeExpr) and not is_constant(value):
            what = type(value).__name__
            raise TvmCodeError(f"'{binding.var.name}' is {what}, which no board's program has: {str(value)[:200]}")
        known[binding.var] = value
    return known


def _resolve(value: Any, known: Mapping[Any, Any]) -> Any:
    """Return the call, constant, tuple or variable of no other that an expression stands for."""
    while value in known:
        value = known[value]
    if isinstance(value, relax.TupleGetItem):
        inner = _resolve(value.tuple_value, known)
        return _resolve(inner.fields[value.index], known) if isinstance(inner, relax.Tuple) else value
    return value


def _flattened(value: Any, known: Mapping[Any, Any]) -> Iterator[Any]:
    resolved = _resolve(value, known)
    if isinstance(resolved, relax.Tuple):
        for each in resolved.fields:
            yield from _flattened(each, known)
    else:
        yield resolved
