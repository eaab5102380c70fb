"""Generated models on this machine: a shared library, called through ctypes."""

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from utvm.lowering import Program
from utvm.toolchain import Source, Toolchain

HOST = Toolchain(prefix="", extra_flags=("-pedantic",))
ALIGNMENT = 16


def run_on_host(program: Program, inputs: Sequence[NDArray], toolchain: Toolchain = HOST) -> list[NDArray]:
    """Build the program's C for this machine, run it once and return its outputs."""
    sources = [Source(name=name, text=text) for name, text in program.render().items()]
    library = ctypes.CDLL(str(toolchain.shared_library(sources)))
    model = program.c_model()
    memory = np.full(model.arena_bytes + 2 * ALIGNMENT, 0x5A, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    arena = memory[start : start + model.arena_bytes]
    for port, value in zip(model.inputs, inputs, strict=True):
        raw = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        arena[port.offset : port.offset + port.tensor.nbytes] = raw
    run = getattr(library, f"{model.name}_run")
    assert run(ctypes.c_void_p(arena.ctypes.data)) == 0
    assert (memory[:start] == 0x5A).all()
    assert (memory[start + model.arena_bytes :] == 0x5A).all()
    return [
        np.frombuffer(arena[p.offset : p.offset + p.tensor.nbytes].tobytes(), p.tensor.dtype.value).reshape(
            p.tensor.shape
        )
        for p in model.outputs
    ]
