"""A Relax module as a program of µTVM: TVM's kernels or our own, µTVM's memory plan, an image; and what ours gain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import utvm
from utvm.api import Compiled, as_board, image_sources
from utvm.api.foreign import LIBRARIES
from utvm.arguments import checked_arguments
from utvm.boards import Board, require_trust
from utvm.codegen import RUN_SYMBOL, step_symbol
from utvm.device import Session, build_image
from utvm.errors import warn
from utvm.kernels import FAMILIES, PORTABLE_FAMILIES, KernelFamily
from utvm.lowering import Options, Program, lower
from utvm.notebook import html_table
from utvm.profiling import profile_in
from utvm.tvm.candidate import FLAGS
from utvm.tvm.module import TvmKernels, tir_graph
from utvm.tvm.offload import Offloaded, offloaded
from utvm.tvm.parts import ModulePart, by_tvm, layers_of, offloadable, parts_of

_NUMBERED = re.compile(r"[^.]*\.(\d+)")
"""Operators of parts are named by the bindings that they come from."""
_SHOWN = 7
OWN_FIRST = (TvmKernels(), *FAMILIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadedPart:
    """A part of a module that µTVM's families take over, or why TVM keeps it.

    Attributes:
        operators: TVM's names of what it computes.
        tvm: the cycles of TVM's kernels, of instructions where a board counts no cycles.
        own: those of µTVM's, what turns and quantises at the edges included; None where TVM keeps the part.
        reason: why TVM keeps it; empty where it does not.
        source: who counted.
    """

    operators: tuple[str, ...]
    tvm: int
    own: int | None
    reason: str
    source: str

    def __str__(self) -> str:
        """One line, for people."""
        names = ", ".join(self.operators[:4]) + (f" and {len(self.operators) - 4} more" if self.operators[4:] else "")
        if self.own is None:
            return f"{names}: TVM's {self.tvm:,}; {self.reason}"
        more = self.own > self.tvm
        times = self.own / max(self.tvm, 1) if more else self.tvm / max(self.own, 1)
        return f"{names}: TVM's {self.tvm:,}, ours {self.own:,}, {times:.1f} times {'more' if more else 'fewer'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadGains:
    """What each part gains by µTVM's families. Cycles of emulated boards are modelled, as `source` says."""

    parts: tuple[OffloadedPart, ...]

    def __repr__(self) -> str:
        """A few lines."""
        lines = [str(part) for part in self.parts[:_SHOWN]] + (["…"] if self.parts[_SHOWN:] else [])
        source = self.parts[0].source if self.parts else "nothing"
        return f"OffloadGains(cycles, {source}\n  " + "\n  ".join(lines) + ")"

    def _repr_html_(self) -> str:
        """The parts as a table, for notebooks."""
        source = self.parts[0].source if self.parts else ""
        rows = [
            (", ".join(part.operators), part.tvm, "" if part.own is None else part.own, part.reason)
            for part in self.parts
        ]
        return html_table(f"Cycles ({source})", ("operators", "TVM's", "µTVM's", "why not"), rows)


@checked_arguments
def compile(module: Any, board: str | Path | Board, *, name: str = "main", offload: bool = False) -> Compiled:
    """Compile a Relax module for a board: TVM's kernels, µTVM's plan of the memory, an image that sessions run.

    Args:
        module: as TVM's frontends make it, parameters bound; or as `tune_module` returns it.
        board: a board's name, the path of its TOML, or the board.
        name: the prefix of the C symbols.
        offload: whether µTVM's families take over the operators that they have; `gains` says what each part gains.
            Parts between QuantizeLinear and DequantizeLinear then compute in int8, with TFLite's arithmetic.

    Raises:
        UtvmError: the module has what can't be compiled, a tool is missing, or it does not fit the board.

    Example:
        compiled = utvm.tvm.compile(from_onnx(onnx.load("model.onnx")), "qemu-cortex-m7", offload=True)
        with utvm.connect("qemu-cortex-m7") as session:
            print(utvm.Model(session, compiled).run(x))
    """
    target = as_board(board)
    require_trust(target)
    return _built(program_of(module, target, name, offload=offload), target, steps=False)


@checked_arguments
def gains(module: Any, board: str | Path | Board) -> OffloadGains:
    """Run a Relax module on a board twice, by TVM's kernels and with `offload`, and return what each part took.

    Args:
        module: as TVM's frontends make it, parameters bound.
        board: a board's name, the path of its TOML, or the board.

    Raises:
        UtvmError: as in `compile`, or the board can't be reached.

    Example:
        print(utvm.tvm.gains(from_onnx(onnx.load("model.onnx")), "qemu-cortex-m7"))
    """
    target = as_board(board)
    require_trust(target)
    module = offloadable(module)
    parts = parts_of(module, target.core)
    layers = by_tvm(module, parts)
    with utvm.connect(target) as session:
        alone = [each for part in layers for each in part]
        before, source = _counted(session, offloaded(module, alone, "main"), target)
        after, _ = _counted(session, offloaded(module, parts, "main"), target)
    found: list[OffloadedPart] = []
    for number, (part, kept) in enumerate(zip(parts, layers, strict=True)):
        own = [None] * len(kept) if part.own is None else _by_layers(part, after[number])
        for each, cycles in zip(kept, own, strict=True):
            spent = sum(before[len(found)].values())
            found.append(OffloadedPart(operators=each.kinds, tvm=spent, own=cycles, reason=part.reason, source=source))
    return OffloadGains(parts=tuple(found))


def program_of(
    module: Any, board: Board, name: str, *, offload: bool, families: tuple[KernelFamily, ...] = OWN_FIRST
) -> Program:
    """Return a Relax module as a program.

    Raises:
        UtvmError: as in `compile`.
    """
    if not offload:
        return lower(tir_graph(module, name), board.core, Options(name=name, families=(TvmKernels(),)))
    module = offloadable(module)
    parts = parts_of(module, board.core)
    if all(part.own is None for part in parts):
        reasons = "; ".join(dict.fromkeys(part.reason for part in parts))
        warn(f"nothing is offloaded: {reasons}")
    return lower(offloaded(module, parts, name).graph, board.core, Options(name=name, families=families))


def portable_of(program: Program) -> Program | None:
    """Return a program whose own kernels are plain C, for compilers without the core's features; None if it is so."""
    if not program.core.feature or all(call.kernel.family in ("tvm", "portable") for call in program.calls):
        return None
    families = (TvmKernels(), *PORTABLE_FAMILIES)
    return lower(program.graph, program.core, Options(name=f"{program.name}_portable", families=families))


def _counted(session: Session, module: Offloaded, board: Board) -> tuple[list[dict[str, int]], str]:
    """Return the cycles of each part's operators in a run, and who counted."""
    program = lower(module.graph, board.core, Options(name="main", families=OWN_FIRST))
    report, _ = profile_in(session, _built(program, board, steps=True))
    found: list[dict[str, int]] = [{} for _ in module.parts]
    for row in report.operators:
        count = row.instructions if row.cycles is None else row.cycles
        found[module.part_of[row.name]][row.name] = count or 0
    return found, report.cycles_source or "instructions"


def _by_layers(part: ModulePart, cycles: Mapping[str, int]) -> list[int]:
    """Return the cycles of a part's operators by TVM's layers; what quantises and turns is of the layer before it."""
    layers = layers_of(part)
    layer_of = {number: layer for layer, numbers in enumerate(layers) for number in numbers}
    found, layer = [0] * len(layers), 0
    for name, count in cycles.items():
        made = _NUMBERED.match(name)
        layer = layer if made is None else layer_of.get(int(made[1]), layer)
        found[layer] += count
    return found


def _built(program: Program, board: Board, *, steps: bool) -> Compiled:
    files = program.render(steps=steps)
    entries = [step_symbol(program.name, index) for index in range(len(program.calls))] if steps else []
    image = build_image(
        board,
        image_sources(program.name, files),
        entries=[RUN_SYMBOL, *entries],
        extra_flags=FLAGS,
        libraries=LIBRARIES,
    )
    return Compiled(board=board, program=program, files=files, image=image, seconds={}, families=OWN_FIRST)
