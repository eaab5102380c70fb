"""BakeNN's generated C, with its own portable kernels or with CMSIS-NN 4.0.0's, as a peer on our boards.

Both come from the package `bakenn` (extra `utvm[bench]`), are compiled by our toolchain and counted like our own code.
BakeNN has no softmax: a trailing one is left out of its program, and its figures are without it.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utvm.bench.cmsis_nn import plain_c_flags
from utvm.bench.figures import Figures, PeerError
from utvm.device import Session, build_image
from utvm.errors import UtvmError
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import FullyConnected, Graph, Operator, Reshape, Softmax, Tensor
from utvm.graph.reference import evaluate
from utvm.prerequisites import how_to_add
from utvm.toolchain import Source

WITH_CMSIS_NN, PORTABLE = "bakenn with cmsis-nn 4.0.0", "bakenn"
_PREFIX = "peer"
_ENTRY = "utvm_run_peer"
_OPTIMIZE = "-Ofast"
_FLAGS = ("-w", "-fhosted")
"""CMSIS-NN reads words by memcpy, which the compiler replaces by a load only in a hosted program."""


def measure_bakenn(
    session: Session,
    graph: Graph,
    peer: str,
    inputs: Mapping[str, NDArray[np.generic]],
    *,
    optimize: str = _OPTIMIZE,
) -> Figures:
    """Build a peer's program for a network of one int8 input, run it and compare its output with the reference.

    Args:
        session: the board.
        graph: the network as imported, before our passes.
        peer: `WITH_CMSIS_NN` or `PORTABLE`.
        inputs: values by name.
        optimize: how the compiler is to optimise.

    Raises:
        PeerError: the package is missing, or it can't compile this network.
    """
    trimmed, without = _supported(graph)
    sources, arena = _generate(trimmed, peer)
    image = build_image(
        session.board,
        sources,
        entries=[_ENTRY],
        optimize=optimize,
        extra_flags=(*_FLAGS, *plain_c_flags(session.board.core)),
    )
    session.load(image)
    value = next(iter(inputs.values()))
    session.write("peer_input", np.ascontiguousarray(value).tobytes())
    measured = session.call(_ENTRY)
    output = trimmed.outputs[0]
    held = np.frombuffer(session.read("peer_output", output.nbytes), np.int8).reshape(output.shape)
    expected = evaluate(trimmed, inputs)[output.name]
    return Figures(
        instructions=measured.instructions,
        cycles=measured.cycles,
        arena_bytes=arena,
        flash_bytes=image.flash_bytes,
        code_bytes=image.code_bytes,
        stack_bytes=image.worst_stack(f"bknn_{_PREFIX}_infer").bytes,
        exact=bool((held == expected).all()),
        source=f"same run, same compiler, {optimize}",
        leaves_out=without,
    )


def _supported(graph: Graph) -> tuple[Graph, str]:
    """Return the network in the form that BakeNN takes: no softmax at the end, two axes into fully connected layers."""
    operators: list[Operator] = []
    outputs = graph.outputs
    without = ""
    for op in graph.operators:
        if isinstance(op, Softmax) and op.y in graph.outputs:
            outputs = tuple(op.x if tensor is op.y else tensor for tensor in outputs)
            without = "Softmax"
            continue
        if isinstance(op, FullyConnected) and len(op.x.shape) != 2:
            flat = Tensor(
                name=f"{op.x.name}_flat",
                shape=(op.x.elements // op.weights.shape[1], op.weights.shape[1]),
                dtype=op.x.dtype,
                quant=op.x.quant,
            )
            operators += [Reshape(name=f"{op.name}_flat", x=op.x, y=flat), dataclasses.replace(op, x=flat)]
            continue
        operators.append(op)
    return Graph(name=graph.name, inputs=graph.inputs, outputs=outputs, operators=tuple(operators)), without


def _generate(graph: Graph, peer: str) -> tuple[list[Source], int]:
    """Return the generated sources and the bytes of the arena, inputs and outputs included."""
    try:
        import bakenn
    except ImportError as error:
        raise PeerError(f"the peers come with the package bakenn: `{how_to_add('bench')}`") from error
    options = bakenn.CBackendOptions()
    if peer == WITH_CMSIS_NN:
        options = bakenn.CBackendOptions(
            kernel_policy=bakenn.KernelPolicy.STATIC_PRIORITY, enable_cmsis_nn=True, target=bakenn.CORTEX_M4
        )
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.tflite"
        made = Path(folder) / "generated"
        try:
            model.write_bytes(write_tflite(graph))
            bakenn.compile_tflite(str(model), str(made), name=_PREFIX, backend_options=options)
        except (bakenn.BakeNNError, UtvmError) as error:
            raise PeerError(f"bakenn can't compile {graph.name}: {str(error).splitlines()[0]}") from error
        sources = [
            Source(name=path.name, text=path.read_text(encoding="utf-8"))
            for path in sorted(made.rglob("*"))
            if path.suffix in (".c", ".h")
        ]
    header = next(source.text for source in sources if source.name == f"bknn_{_PREFIX}.h")
    found = re.search(r"BKNN_PEER_ARENA_SIZE (\d+)u", header)
    arena = int(found.group(1)) if found else 0
    total = arena + graph.inputs[0].nbytes + graph.outputs[0].nbytes
    return [*sources, Source(name="peer_entry.c", text=_entry(graph, arena))], total


def _entry(graph: Graph, arena: int) -> str:
    argument = "peer_arena" if arena else "0"
    return (
        f'#include "bknn_{_PREFIX}.h"\n\n'
        f"_Alignas(16) int8_t peer_input[{graph.inputs[0].nbytes}];\n"
        f"_Alignas(16) int8_t peer_output[{graph.outputs[0].nbytes}];\n"
        f"_Alignas(16) uint8_t peer_arena[{max(arena, 16)}];\n\n"
        f"void {_ENTRY}(void);\n\n"
        f"void {_ENTRY}(void) {{\n  bknn_{_PREFIX}_infer({argument}, peer_input, peer_output);\n}}\n"
    )
