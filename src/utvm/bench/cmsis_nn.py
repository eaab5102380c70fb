"""CMSIS-NN 4.0.0 alone as a peer: a network's operators one after the other by the library's s8 functions.

The sources are those that the package `bakenn` (extra `utvm[bench]`) carries, read where it is installed; the calls are
of our own making (`cmsis_nn_calls`). The package lacks the functions of some operators, additions and softmax among
them: the host computes these by our reference between two calls of the board, and they cost the peer nothing.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from utvm.bench.cmsis_nn_calls import LibraryCall, library_call
from utvm.bench.figures import Figures, PeerError
from utvm.cores import Core
from utvm.cores.isa import ARM_M
from utvm.device import Measurement, Session, build_image
from utvm.graph import (
    AveragePool2D,
    AverageRounding,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Operator,
    Reshape,
    Rounding,
    Tensor,
)
from utvm.graph.reference import evaluate, evaluate_operator
from utvm.lowering import Request, plan_memory
from utvm.prerequisites import how_to_add
from utvm.toolchain import Image, Source

CMSIS_NN = "cmsis-nn 4.0.0"
_OPTIMIZE = "-Ofast"
_FLAGS = ("-w", "-fhosted")
"""CMSIS-NN reads words by memcpy, which the compiler replaces by a load only in a hosted program."""
_SCRATCH = "utvm_peer_scratch"
_RUN = "utvm_peer_run"
_MEMORY = """#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* As newlib's: copies and fills of a length known only at run time go by words. */
static inline void *peer_copy(void *to, const void *from, size_t count) {
  char *target = to;
  const char *source = from;
  for (; count >= 4; count -= 4, target += 4, source += 4) __builtin_memcpy(target, source, 4);
  while (count--) *target++ = *source++;
  return to;
}

static inline void *peer_fill(void *to, int value, size_t count) {
  char *target = to;
  const uint32_t word = 0x01010101u * (uint8_t)value;
  for (; count >= 4; count -= 4, target += 4) __builtin_memcpy(target, &word, 4);
  while (count--) *target++ = (char)value;
  return to;
}

#define memcpy(to, from, count) \\
  (__builtin_constant_p(count) ? __builtin_memcpy(to, from, count) : peer_copy(to, from, count))
#define memset(to, value, count) \\
  (__builtin_constant_p(count) ? __builtin_memset(to, value, count) : peer_fill(to, value, count))
"""


def measure_cmsis_nn(session: Session, graph: Graph, inputs: Mapping[str, NDArray[np.generic]]) -> Figures:
    """Build a program of CMSIS-NN's functions for a network, run it and compare its outputs with the reference.

    Networks of Arm's q7 arithmetic are computed with TFLite's rounding, and compared with that.

    Args:
        session: the board; on cores that are not Arm's the library is compiled from its plain C.
        graph: the network as imported, before our passes.
        inputs: values by name.

    Raises:
        PeerError: the package is missing, or no operator is served.
    """
    library = _library()
    rounded = graph.rewrite(map(_with_tflite_rounding, graph.operators))
    program = _PeerProgram(rounded)
    if not program.calls:
        raise PeerError(f"the package's CMSIS-NN has no function for any operator of {graph.name}")
    image, scratch = _build(session, program, library)
    session.load(image)
    measured, outputs = program.run(session, inputs)
    expected = evaluate(rounded, inputs)
    changed = any(new is not old for new, old in zip(rounded.operators, graph.operators, strict=True))
    note = ", TFLite's rounding in place of Arm's shifts" if changed else ""
    return Figures(
        instructions=_total([each.instructions for each in measured]),
        cycles=_total([each.cycles for each in measured]),
        arena_bytes=program.arena_bytes + scratch,
        flash_bytes=image.flash_bytes,
        exact=all((outputs[name] == value).all() for name, value in expected.items()),
        source=f"same run, same compiler, {_OPTIMIZE}{note}",
        leaves_out=program.left_out,
    )


def plain_c_flags(core: Core) -> tuple[str, ...]:
    """Return the options with which the library compiles for a core: without Arm's headers where it is not Arm's.

    `__GNUC_PYTHON__` is the library's own switch for GCC on other machines (`arm_nn_math_types.h`). Its headers for Arm
    define `__RESTRICT`.
    """
    return () if core.isa is ARM_M else ("-D__GNUC_PYTHON__", "-D__RESTRICT=__restrict")


class _PeerProgram:
    """Which operators the library computes, where their tensors are, and the C of the whole."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._held = _views(graph)
        requests = _requests(graph, self._held)
        plan = plan_memory(requests)
        self._offsets = {tensor: plan.offset_of(root) for tensor, root in self._held.items()}
        self.arena_bytes = plan.arena_bytes
        self.calls: dict[Operator, LibraryCall] = {}
        for index, op in enumerate(graph.operators):
            if len(op.activations) == len(op.outputs) == 1:
                found = library_call(op, f"op{index}", self._place(op.activations[0]), self._place(op.outputs[0]))
                if found is not None:
                    self.calls[op] = found
        live = [op for op in graph.operators if not isinstance(op, Reshape)]
        self._runs = [(served, list(ops)) for served, ops in groupby(live, lambda op: op in self.calls)]

    @property
    def left_out(self) -> str:
        """Which operators the library does not compute here."""
        kinds = Counter(op.kind for served, ops in self._runs if not served for op in ops)
        return ", ".join(kind if number == 1 else f"{number} {kind}" for kind, number in kinds.items())

    @property
    def entries(self) -> list[str]:
        """The function of each run of served operators."""
        return [f"{_RUN}{index}" for index, (served, _) in enumerate(self._runs) if served]

    def source(self) -> Source:
        """Return the program's C."""
        parts = [
            '#include "arm_nnfunctions.h"',
            f"_Alignas(16) int8_t peer_arena[{self.arena_bytes}];",
            "extern int8_t peer_scratch[];\nextern const int32_t peer_scratch_bytes;",
            "int32_t peer_status, peer_scratch_needed;",
            *(call.definitions for call in self.calls.values()),
        ]
        for index, (served, ops) in enumerate(self._runs):
            if served:
                body = "\n".join(f"  peer_status |= {self.calls[op].call};" for op in ops)
                context = "  const cmsis_nn_context context = {peer_scratch, peer_scratch_bytes};"
                parts.append(f"void {_RUN}{index}(void) {{\n{context}\n{body}\n}}")
        needs = "\n".join(
            f"  if ({call.scratch} > peer_scratch_needed) peer_scratch_needed = {call.scratch};"
            for call in self.calls.values()
        )
        parts.append(f"void {_SCRATCH}(void) {{\n  peer_scratch_needed = 0;\n{needs}\n}}")
        return Source(name="peer_program.c", text="\n\n".join(parts) + "\n")

    def run(
        self, session: Session, inputs: Mapping[str, NDArray[np.generic]]
    ) -> tuple[list[Measurement], dict[str, NDArray[np.generic]]]:
        """Run the network on a session that holds its image; return what each call took, and the outputs by name."""
        for tensor in self.graph.inputs:
            self._write(session, tensor, inputs[tensor.name])
        session.write("peer_status", bytes(4))
        measured = []
        for index, (served, ops) in enumerate(self._runs):
            if served:
                measured.append(session.call(f"{_RUN}{index}"))
                continue
            for op in ops:
                operands = [t.values if t.is_constant else self._read(session, t) for t in op.inputs]
                for tensor, value in zip(op.outputs, evaluate_operator(op, operands), strict=True):
                    self._write(session, tensor, value)
        if any(session.read("peer_status", 4)):
            raise PeerError(f"a function of CMSIS-NN refused its arguments in {self.graph.name}")
        return measured, {tensor.name: self._read(session, tensor) for tensor in self.graph.outputs}

    def _place(self, tensor: Tensor) -> str:
        return f"(peer_arena + {self._offsets[tensor]})"

    def _read(self, session: Session, tensor: Tensor) -> NDArray[np.generic]:
        data = session.read("peer_arena", tensor.nbytes, offset=self._offsets[tensor])
        return np.frombuffer(data, np.dtype(tensor.dtype.value)).reshape(tensor.shape)

    def _write(self, session: Session, tensor: Tensor, value: NDArray[np.generic]) -> None:
        session.write("peer_arena", np.ascontiguousarray(value).tobytes(), offset=self._offsets[tensor])


def _with_tflite_rounding(op: Operator) -> Operator:
    match op:
        case Conv2D() | DepthwiseConv2D() | FullyConnected() if op.rounding is Rounding.HALF_UP_SHIFT:
            return dataclasses.replace(op, rounding=Rounding.DOUBLE)
        case AveragePool2D() if op.rounding is AverageRounding.TOWARD_ZERO:
            return dataclasses.replace(op, rounding=AverageRounding.HALF_AWAY)
    return op


def _views(graph: Graph) -> dict[Tensor, Tensor]:
    """Return each activation with the tensor whose memory it shares: itself, or what it is a view of."""
    held = {tensor: tensor for tensor in graph.inputs}
    for op in graph.operators:
        for tensor in op.outputs:
            held[tensor] = held[op.x] if isinstance(op, Reshape) and not op.x.is_constant else tensor
    return held


def _requests(graph: Graph, held: Mapping[Tensor, Tensor]) -> list[Request]:
    first = dict.fromkeys(graph.inputs, -1)
    last: dict[Tensor, int] = {}
    for index, op in enumerate(graph.operators):
        for tensor in op.outputs:
            first.setdefault(held[tensor], index)
        for tensor in (*op.activations, *op.outputs):
            last[held[tensor]] = index
    last |= {held[tensor]: len(graph.operators) for tensor in graph.outputs}
    return [
        Request(
            label=root.name, nbytes=root.nbytes, first=start, last=max(start, last.get(root, start)), tensors=(root,)
        )
        for root, start in first.items()
    ]


def _build(session: Session, program: _PeerProgram, library: Sequence[Source]) -> tuple[Image, int]:
    """Return the image and its scratch in bytes, which the library's own functions say in a first build."""

    def build(scratch: int) -> Image:
        text = f"#include <stdint.h>\n\n_Alignas(16) int8_t peer_scratch[{max(scratch, 4)}];\n"
        text += f"const int32_t peer_scratch_bytes = {scratch};\n"
        return build_image(
            session.board,
            [*library, program.source(), Source(name="peer_scratch.c", text=text)],
            entries=[*program.entries, _SCRATCH],
            optimize=_OPTIMIZE,
            extra_flags=(*_flags(program.graph), *plain_c_flags(session.board.core)),
        )

    session.load(build(0))
    session.call(_SCRATCH)
    scratch = int.from_bytes(session.read("peer_scratch_needed", 4), "little")
    return build(scratch), scratch


def _flags(graph: Graph) -> tuple[str, ...]:
    single = any(getattr(op, "rounding", None) is Rounding.SINGLE for op in graph.operators)
    return (*_FLAGS, "-DCMSIS_NN_USE_SINGLE_ROUNDING") if single else _FLAGS


def _library() -> list[Source]:
    """Return the library's files; those of the package's own making are left out."""
    try:
        import bakenn
    except ImportError as error:
        raise PeerError(f"CMSIS-NN comes with the package bakenn: `{how_to_add('bench')}`") from error
    vendor = files(bakenn) / "backend" / "cmsis_nn" / "vendor"
    sources = [Source(name="peer_memory.h", text=_MEMORY)]
    for file in (*_files(vendor / "cmsis_nn"), *_files(vendor / "cmsis_core")):
        if file.name.endswith((".c", ".h")) and not file.name.startswith("bakenn"):
            text = file.read_text(encoding="utf-8")
            head = '#include "peer_memory.h"\n' if file.name.endswith(".c") else ""
            sources.append(Source(name=file.name, text=head + text))
    return sources


def _files(folder: Traversable) -> Iterator[Traversable]:
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.is_dir():
            yield from _files(entry)
        else:
            yield entry


def _total(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
