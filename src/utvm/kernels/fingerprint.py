"""What a kernel's code is, as one short text: equal kernels are measured once, and changed ones are noticed."""

from __future__ import annotations

from utvm.cache import digest
from utvm.kernels.base import Kernel
from utvm.kernels.prelude import PRELUDE, with_dependencies

_LENGTH = 16


def code_digest(kernel: Kernel) -> str:
    """Return a digest of a kernel's function and of all that it calls; comments over it and constants are left out.

    Two configs with the same digest are the same program; a record whose digest is not today's is outdated.
    """
    function = kernel.function
    parts = [
        *(parameter.declaration for parameter in function.parameters),
        function.body,
        *(PRELUDE[name] for name in with_dependencies(list(function.helpers))),
        *(part.text for part in function.support),
        str(kernel.scratch_bytes),
    ]
    return digest(parts)[:_LENGTH]


def content_digest(kernel: Kernel) -> str:
    """Return a digest of a kernel's code together with its constants."""
    constants = [part for name, array in kernel.constants.items() for part in (name, array.values.tobytes())]
    return digest([code_digest(kernel), *constants])[:_LENGTH]
