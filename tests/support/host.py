"""Generated models on this machine: as a shared library called through ctypes, and as a program under sanitizers."""

import ctypes
import dataclasses
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.batch import NAME, Batch, batches
from utvm.graph import Tensor
from utvm.lowering import MemoryPlan, Program, Request

ALIGNMENT = 16
GAP = 36
"""Bytes between the buffers of a plan of `layouts`; a multiple of 4 only, so that no more alignment is given."""
FILLS = (0x5A, 0xA5)
_AT_ONCE = 48

STRICT = ("-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
SANITIZED = {
    "gcc": (
        "-g1",
        "-fsanitize=address,undefined,float-cast-overflow,float-divide-by-zero",
        "-fno-sanitize-recover=all",
    ),
    "clang": ("-fsanitize=undefined,float-cast-overflow,float-divide-by-zero", "-fsanitize-trap=all"),
}
"""Options by compiler; what they find ends the program."""


def run_on_host(programs: Sequence[Program], inputs: Sequence[Sequence[NDArray]]) -> list[list[NDArray]]:
    """Build the programs' C for this machine, run each and return its outputs.

    Each runs twice, with different bytes in all memory that is not an input: outputs may not depend on them, and bytes
    of the arena that belong to no buffer must be as they were.
    """
    found: list[list[NDArray]] = []
    for batch in batches(programs, _AT_ONCE):
        library = _library(batch.render())
        for program, symbols in zip(batch.programs, batch.steps(), strict=True):
            found.append(_run_twice(program, inputs[len(found)], [getattr(library, symbol) for symbol in symbols]))
    return found


def _library(files: Mapping[str, str]) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        _compile(["gcc", *STRICT, "-O2", "-fPIC", "-shared"], files, Path(folder), "library.so")
        return ctypes.CDLL(f"{folder}/library.so")


def _compile(command: Sequence[str], files: Mapping[str, str], folder: Path, target: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    units = [name for name in files if name.endswith(".c")]
    built = subprocess.run([*command, *units, "-o", target], cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr


def _run_twice(program: Program, inputs: Sequence[NDArray], calls: Sequence[Callable]) -> list[NDArray]:
    results = []
    for fill in FILLS:
        image = arena_image(program, inputs, fill)
        memory = np.full(image.size + 2 * ALIGNMENT, fill, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        arena = memory[start : start + image.size]
        arena[:] = image
        for call in calls:
            call(ctypes.c_void_p(arena.ctypes.data))
        assert (memory[:start] == fill).all()
        assert (memory[start + image.size :] == fill).all()
        assert (arena[outside(program)] == fill).all(), "written outside of every buffer"
        results.append(outputs_in(program, arena))
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second, err_msg="the outputs depend on memory that is not an input")
    return results[0]


def run_sanitized(
    programs: Sequence[Program], inputs: Sequence[Sequence[NDArray]], compiler: str
) -> list[list[NDArray]]:
    """Run programs in one process built with `SANITIZED`; return the outputs of each.

    Memory that belongs to no buffer is out of bounds where the compiler has an address sanitizer.
    """
    with tempfile.TemporaryDirectory() as folder:
        batch = Batch(tuple(programs))
        files = {"main.c": _harness(batch), **batch.render()}
        _compile([compiler, *STRICT, "-O1", *SANITIZED[compiler]], files, Path(folder), "run")
        before = b"".join(
            arena_image(p, arrays, FILLS[0]).tobytes() for p, arrays in zip(programs, inputs, strict=True)
        )
        done = subprocess.run([f"{folder}/run"], input=before, capture_output=True, check=False)
        assert done.returncode == 0, f"status {done.returncode}\n{done.stderr.decode()}"
    after = np.frombuffer(done.stdout, np.uint8)
    starts = np.cumsum([0, *(p.arena_bytes for p in programs)])
    assert after.size == starts[-1]
    return [outputs_in(p, after[start:]) for p, start in zip(programs, starts, strict=False)]


def layouts(program: Program) -> list[Program]:
    """Return a program of at most one call under other plans: buffers apart, and y over each input where it may lie."""
    if not program.calls:
        return [program]
    (call,) = program.calls
    activations = tuple(dict.fromkeys(call.op.activations))
    apart = [(tensor,) for tensor in (*activations, *call.op.outputs)]
    found = [_placed(program, apart)]
    for host in {call.op.activations[index] for index in call.kernel.in_place}:
        (y,) = call.op.outputs
        found.append(_placed(program, [(t, y) if t is host else (t,) for t in activations]))
    if call.kernel.ahead is not None:
        found += [_laid_over(program, further) for further in (0, 4)]
    return found


def arena_image(program: Program, inputs: Sequence[NDArray], fill: int) -> NDArray[np.uint8]:
    """Return the arena as it is before a run: the inputs, and `fill` elsewhere."""
    arena = np.full(program.arena_bytes, fill, np.uint8)
    for tensor, value in zip(program.graph.inputs, inputs, strict=True):
        start = program.memory.offset_of(tensor)
        arena[start : start + tensor.nbytes] = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
    return arena


def outputs_in(program: Program, arena: NDArray[np.uint8]) -> list[NDArray]:
    """Return the outputs out of an arena after a run."""
    found = []
    for tensor in program.graph.outputs:
        start = program.memory.offset_of(tensor)
        raw = arena[start : start + tensor.nbytes].tobytes()
        found.append(np.frombuffer(raw, tensor.dtype.value).reshape(tensor.shape))
    return found


def outside(program: Program) -> NDArray[np.bool_]:
    """Return which bytes of the arena belong to no buffer."""
    free = np.ones(program.arena_bytes, np.bool_)
    for request, start in program.memory.offsets.items():
        free[start : start + request.nbytes] = False
    return free


def _placed(program: Program, groups: Sequence[tuple[Tensor, ...]]) -> Program:
    (call,) = program.calls
    requests = [
        Request(label=group[0].name, nbytes=max(t.nbytes for t in group), first=0, last=0, tensors=group)
        for group in groups
    ]
    offsets, end = {}, GAP
    for request in (*requests, *([] if call.scratch is None else [call.scratch])):
        offsets[request] = end
        end += request.aligned_bytes + GAP
    return dataclasses.replace(program, memory=MemoryPlan(offsets=offsets, arena_bytes=end, lower_bound=end))


def _laid_over(program: Program, further: int) -> Program:
    """Return the program with y as late over x as its kernel allows, or `further` bytes earlier."""
    (call,) = program.calls
    (x,), (y,) = call.op.activations, call.op.outputs
    held = Request(label=x.name, nbytes=x.nbytes, first=-1, last=0, tensors=(x,))
    made = Request(label=y.name, nbytes=y.nbytes, first=0, last=0, tensors=(y,), over=held, ahead=call.kernel.ahead)
    distance = made.aligned_ahead + further
    offsets = {held: GAP + max(distance, 0), made: GAP + max(-distance, 0)}
    end = max(start + request.aligned_bytes for request, start in offsets.items()) + GAP
    if call.scratch is not None:
        offsets[call.scratch] = end
        end += call.scratch.aligned_bytes + GAP
    return dataclasses.replace(program, memory=MemoryPlan(offsets=offsets, arena_bytes=end, lower_bound=end))


def _harness(batch: Batch) -> str:
    """Return a main that reads each arena, runs its program with the memory between buffers poisoned, and writes it."""
    lines = [
        "#include <stdio.h>",
        "#include <stdlib.h>",
        "#if defined(__SANITIZE_ADDRESS__)",
        "#include <sanitizer/asan_interface.h>",
        "#else",
        "#define ASAN_POISON_MEMORY_REGION(start, count) ((void)(start), (void)(count))",
        "#define ASAN_UNPOISON_MEMORY_REGION(start, count) ((void)(start), (void)(count))",
        "#endif",
        f'#include "{NAME}.h"',
        "",
        *(f"void {symbol}(uint8_t *arena);" for symbols in batch.steps() for symbol in symbols),
        "",
        "int main(void) {",
    ]
    for program, symbols in zip(batch.programs, batch.steps(), strict=True):
        size = program.arena_bytes
        edges = np.flatnonzero(np.diff(np.concatenate([[False], outside(program), [False]]).astype(np.int8)))
        lines += [
            "  {",
            f"    uint8_t *arena = aligned_alloc({ALIGNMENT}, {-(-max(size, 1) // ALIGNMENT) * ALIGNMENT});",
            f"    if (arena == NULL || fread(arena, 1, {size}, stdin) != {size}) return 1;",
            *(
                f"    ASAN_POISON_MEMORY_REGION(arena + {start}, {stop - start});"
                for start, stop in edges.reshape(-1, 2)
            ),
            *(f"    {symbol}(arena);" for symbol in symbols),
            f"    ASAN_UNPOISON_MEMORY_REGION(arena, {size});",
            f"    if (fwrite(arena, 1, {size}, stdout) != {size}) return 3;",
            "    free(arena);",
            "  }",
        ]
    return "\n".join([*lines, "  return 0;", "}", ""])
