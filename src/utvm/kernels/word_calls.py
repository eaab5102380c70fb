"""Kernels whose C calls one function of x, of constant words and of y."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CSupport
from utvm.graph import Operator
from utvm.kernels.base import Config, Kernel
from utvm.kernels.workload_keys import workload


def kernel_of_words(
    op: Operator, config: Config, *, family: str, stem: str, body: str, function: CSupport, name: str,
    words: Sequence[int], ahead: int | None = None,
) -> Kernel:  # fmt: skip
    """Return the kernel.

    Args:
        op: the operator.
        config: the kernel's; the comment names its knobs.
        family: the family's name.
        stem: what the C function is named after, beside the family.
        body: its C.
        function: what it calls.
        name: the parameter that holds the words.
        words: 32 bits each.
        ahead: see `Kernel`.
    """
    knobs = "".join(f", {knob} {value}" for knob, value in config.items())
    return Kernel(
        family=family,
        config=config,
        function=CFunction(
            stem=f"{stem}_{family}",
            comment=f"{workload(op)}\nfamily {family}{knobs}",
            parameters=(
                CParameter(name="x", c_type="int8_t", role="input"),
                CParameter(name=name, c_type="int32_t", role="constant"),
                CParameter(name="y", c_type="int8_t", role="output"),
            ),
            body=body,
            support=(function,),
        ),
        constants={name: CArray(c_type="int32_t", values=np.array(words, np.int32))},
        ahead=ahead,
    )
