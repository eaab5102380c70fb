"""Operators that somebody's C computes: the function as it was given, and a call of it with what each tensor is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utvm.codegen import CArray, CFunction, CParameter, CSupport, CWriter, float_literal
from utvm.cores import Core
from utvm.graph import DType, Operator, Tensor
from utvm.graph.foreign import Foreign, units_of
from utvm.kernels.base import Config, Kernel, KernelFamily
from utvm.kernels.workload_keys import dims, workload


class PortableForeign(KernelFamily):
    """A call of a function in C that is not ours."""

    name = "portable"
    kinds = (Foreign,)
    dtypes = tuple(DType)

    def build(self, op: Operator, core: Core, config: Config) -> Kernel:
        """Return the kernel that calls the function."""
        del core
        assert isinstance(op, Foreign)
        w = CWriter()
        _describe(w, "input", "x", op.xs)
        _describe(w, "output", "y", op.ys)
        options = f"options, {len(op.options)}" if op.options else "0, 0"
        w(f"{op.function.name}(inputs, outputs, {options});")
        constants = {f"x{i}": CArray.of(t.values) for i, t in enumerate(op.xs) if t.is_constant}
        if op.options:
            constants["options"] = CArray.of(np.frombuffer(op.options, np.uint8))
        return Kernel(
            family=self.name,
            config=config,
            function=CFunction(
                stem=f"call_{op.function.name.lower()}_{dims(op.ys[0].shape)}",
                comment=f"{workload(op)}\nfamily {self.name}",
                parameters=(
                    *(
                        CParameter(name=f"x{i}", c_type=t.dtype.c_type, role="constant" if t.is_constant else "input")
                        for i, t in enumerate(op.xs)
                    ),
                    *((CParameter(name="options", c_type="uint8_t", role="constant"),) if op.options else ()),
                    *(CParameter(name=f"y{i}", c_type=t.dtype.c_type, role="output") for i, t in enumerate(op.ys)),
                ),
                body=w.text,
                helpers=("utvm_tensors",),
                support=(CSupport(name=f"own {op.function.name}", text=f"{op.function.text.strip()}\n"),),
            ),
            constants=constants,
        )


def _describe(w: CWriter, what: str, letter: str, tensors: Sequence[Tensor]) -> None:
    rows = []
    for i, tensor in enumerate(tensors):
        shape = ", ".join(map(str, tensor.shape)) or "1"
        w(f"static const int32_t {letter}{i}_shape[] = {{{shape}}};")
        scale, zero_point = units_of(tensor)
        units = f"{float_literal(scale)}, {zero_point}"
        rows.append(f"{{{letter}{i}, {letter}{i}_shape, {len(tensor.shape)}, {tensor.elements}, {units}}}")
    w(f"const utvm_{what} {what}s[] = {{{', '.join(rows)}}};")
