"""A program of torch.export as plain values, from the object or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utvm.frontends.builder import MAX_ELEMENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A value of the program, by name."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchCall:
    """A call of an operator.

    Attributes:
        kind: namespace, name and overload: `aten.conv2d.default`.
        args, kwargs: plain values, `Ref`s, and lists of them.
        outputs: names of the results. An object has one name for a tuple, a file one for each of its parts.
    """

    name: str
    kind: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outputs: tuple[str, ...]

    def references(self) -> tuple[str, ...]:
        """Return the names of the values that the call reads."""
        return tuple(found.name for value in (*self.args, *self.kwargs.values()) for found in _refs(value))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TorchProgram:
    """What a network computes.

    Attributes:
        inputs: name → shape and the name of the type; an open dimension is text.
        constants: parameters and buffers.
        outputs: names, None for one that is no tensor.
    """

    inputs: Mapping[str, tuple[tuple[int | str, ...], str]]
    constants: Mapping[str, NDArray[Any]]
    calls: tuple[TorchCall, ...]
    outputs: tuple[str | None, ...]


def program_of(exported: Any) -> TorchProgram:
    """Return a `torch.export.ExportedProgram` as plain values."""
    signature = exported.graph_signature
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = signature.inputs_to_lifted_tensor_constants
    state, stored = exported.state_dict, exported.constants
    inputs: dict[str, tuple[tuple[int | str, ...], str]] = {}
    constants: dict[str, NDArray[Any]] = {}
    tensors: dict[str, Any] = {}
    """What is known without inputs."""
    calls: list[TorchCall] = []
    outputs: tuple[str | None, ...] = ()
    for node in exported.graph.nodes:
        if node.op == "placeholder" and (node.name in named or node.name in lifted):
            key = named.get(node.name) or lifted[node.name]
            tensors[node.name] = state[key] if key in state else stored[key]
            constants[node.name] = _numbers(tensors[node.name])
        elif node.op == "placeholder":
            value = node.meta["val"]
            shape = tuple(size if isinstance(size, int) else str(size) for size in getattr(value, "shape", ()))
            inputs[node.name] = shape, str(getattr(value, "dtype", type(value).__name__)).removeprefix("torch.")
        elif node.op == "call_function":
            args, kwargs = _plain(node.args), {name: _plain(value) for name, value in node.kwargs.items()}
            known = _known(node, tensors)
            if known is not None:
                tensors[node.name], constants[node.name] = known, _numbers(known)
                continue
            kind = "getitem" if getattr(node.target, "__name__", "") == "getitem" else str(node.target)
            calls.append(TorchCall(name=node.name, kind=kind, args=args, kwargs=kwargs, outputs=(node.name,)))
        elif node.op == "output":
            outputs = tuple(getattr(arg, "name", None) for arg in node.args[0])
    return TorchProgram(inputs=inputs, constants=constants, calls=tuple(calls), outputs=outputs)


def _known(node: Any, tensors: Mapping[str, Any]) -> Any:
    """Return the tensor that a call makes of constants alone; None where it reads inputs, draws, or is a pair's."""
    target = str(node.target)
    if not target.startswith("aten.") or any(read.name not in tensors for read in node.all_input_nodes):
        return None
    import torch

    drawn = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    changed = target.partition(".")[2].partition(".")[0].endswith("_")
    if drawn or changed or getattr(node.meta.get("val"), "numel", lambda: MAX_ELEMENTS + 1)() > MAX_ELEMENTS:
        return None
    with torch.no_grad():
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda read: tensors[read.name])
        made = node.target(*args, **kwargs)
    return made if isinstance(made, torch.Tensor) else None


def _numbers(tensor: Any) -> NDArray[Any]:
    plain = tensor.detach().cpu()
    return np.asarray(plain.float().numpy() if str(plain.dtype) == "torch.bfloat16" else plain.numpy())


def _plain(value: Any) -> Any:
    """Return an argument with references for nodes and names for types."""
    if hasattr(value, "all_input_nodes"):
        return Ref(name=value.name)
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, list):
        return list(map(_plain, value))
    return str(value) if type(value).__module__.startswith("torch") else value


def _refs(value: Any) -> tuple[Ref, ...]:
    if isinstance(value, Ref):
        return (value,)
    return tuple(ref for each in value for ref in _refs(each)) if isinstance(value, list | tuple) else ()
