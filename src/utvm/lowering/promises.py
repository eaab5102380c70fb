"""What a kernel says of its memory, held against what follows from its operator's definition."""

from __future__ import annotations

from utvm.compute import access
from utvm.graph import Operator
from utvm.graph.definitions import definition
from utvm.kernels import Kernel


def broken_promise(op: Operator, kernel: Kernel) -> str | None:
    """Return which input a kernel gives up too early, as a clause; None where its promises hold.

    An output may take the place of an input only where no point reads it, or each what lies where it writes. Kernels of
    sums may copy what they read before they write: they are not judged here.
    """
    defined = definition(op)
    if defined is None or defined.only is None or defined.only.reduce:
        return None
    names = [name for name, tensor in defined.inputs.items() if not tensor.is_constant]
    read = {buffer.name for buffer in defined.only.buffers}
    size = op.outputs[0].dtype.itemsize
    for number in kernel.in_place:
        tensor = defined.inputs[names[number]]
        if names[number] in read and not access.is_in_place(defined.only, names[number], (tensor.dtype.itemsize, size)):
            return (
                f"{op.kind} '{op.name}': family '{kernel.family}' would write over '{tensor.name}', of which other "
                "points are still to be read"
            )
    return None
