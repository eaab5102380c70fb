"""What a library is and how it is called: the description, the names of its ports, and its prototypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from utvm.codegen.model import CModel, CPort
from utvm.graph import Tensor
from utvm.naming import identifier


@dataclass(frozen=True, slots=True, kw_only=True)
class CLibrary:
    """What a library's files say.

    Attributes:
        name: the prefix of every public name; a lower-case C identifier.
        title: the first line of the header.
        model: the model for the core it was made for.
        prelude: the helpers that its kernels use, in order.
        portable: the same with portable kernels, None where `model` has no others.
        portable_prelude: the helpers of `portable`.
        feature: a preprocessor condition that holds where the kernels of `model` can run.
        promises: constants of the header by name, as STACK_BYTES, with what each says.
        budgets: limits by name, as RAM_BUDGET_BYTES.
        machine: a preprocessor condition that holds where the target is the core that the promises are for.
        compiler: one that holds for the compilers and options under which the stack is known.
    """

    name: str
    title: str
    model: CModel
    prelude: Mapping[str, str]
    portable: CModel | None
    portable_prelude: Mapping[str, str]
    feature: str
    promises: Mapping[str, tuple[int, str]]
    budgets: Mapping[str, int]
    machine: str
    compiler: str

    @property
    def on_core(self) -> str:
        """A condition that holds where the form for the core is compiled for it."""
        return self.machine if self.portable is None else f"{self.machine} && !defined({self.upper}_PORTABLE)"

    @property
    def upper(self) -> str:
        """The prefix of macros."""
        return self.name.upper()


def reset_signature(library: CLibrary) -> str:
    """Return the head of the function that forgets all earlier runs."""
    return f"{library.name}_status {library.name}_reset(void *arena, size_t arena_bytes)"


STACK_PROMISE = "STACK_BYTES"
"""The promise that holds for some compilers and options alone."""

STATUSES = (
    ("OK", "it ran"),
    ("NO_ARENA", "the arena is a null pointer"),
    ("ARENA_TOO_SMALL", "arena_bytes is less than ARENA_BYTES"),
    ("ARENA_MISALIGNED", "the arena's address is no multiple of ARENA_ALIGNMENT"),
)
"""Values of the status by name, in order from 0."""


_LONGEST_STEM = 48


def port_names(tensors: Sequence[Tensor], kind: str) -> tuple[str, ...]:
    """Return the parameter of each input or output: `kind` if there is one, else after its tensor's name."""
    if len(tensors) == 1:
        return (kind,)
    names: list[str] = []
    for tensor in tensors:
        stem = identifier(f"{kind}_{tensor.name}", kind)[:_LONGEST_STEM].rstrip("_")
        free = (stem, *(f"{stem}_{number}" for number in range(2, len(tensors) + 2)))
        names.append(next(name for name in free if name not in names))
    return tuple(names)


def ports(model: CModel) -> list[tuple[CPort, str]]:
    """Return each input and output with its parameter."""
    return [(port, parameter) for _, port, parameter in accessed(model)]


def accessed(model: CModel) -> list[tuple[str, CPort, str]]:
    """Return each port as (input or output, port, parameter); a tensor that is both has two."""
    found = []
    for kind, given in (("input", model.inputs), ("output", model.outputs)):
        names = port_names([port.tensor for port in given], kind)
        found += [(kind, port, parameter) for port, parameter in zip(given, names, strict=True)]
    return found


def signature(library: CLibrary) -> str:
    """Return the head of the function that runs the network."""
    name, model = library.name, library.model
    parameters = []
    for kind, port, parameter in accessed(model):
        const = "const " if kind == "input" else ""
        parameters.append(f"{const}{port.tensor.dtype.c_type} *{parameter}")
    return wrapped(f"{name}_status {name}_run(", [*parameters, "void *arena", "size_t arena_bytes"], ")")


def accessor(name: str, kind: str, port: CPort, parameter: str) -> str:
    """Return the head of the function that says where a port is in an arena."""
    c_type = port.tensor.dtype.c_type
    if kind == "input":
        return f"{c_type} *{name}_{parameter}(void *arena)"
    return f"const {c_type} *{name}_{parameter}(const void *arena)"


def wrapped(head: str, parts: Sequence[str], tail: str) -> str:
    """Return a list of C between its head and tail: on one line if that is short enough, else a line a part."""
    line = f"{head}{', '.join(parts)}{tail}"
    return line if len(line) <= 100 else f"{head}\n    " + ",\n    ".join(parts) + tail
