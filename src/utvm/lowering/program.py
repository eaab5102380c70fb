"""The program: kernel calls in order, with the arena offsets of their operands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from utvm.codegen import ArenaRef, CArray, CCall, CModel, CPort, CState, render_model, weights_assembly
from utvm.cores import Core
from utvm.graph import Graph, Operator
from utvm.kernels import PRELUDE, Kernel, with_dependencies
from utvm.lowering.plan import MemoryPlan, Request
from utvm.lowering.select import Measured
from utvm.notebook import html_table, shortened


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One kernel call.

    `scratch` is the memory for the kernel's scratch parameter, if it has one; `measured` the record that chose the
    kernel, None if an estimate did; `outdated` whether there are records, but of other code than is generated now;
    `code_bytes` the flash of its code, as measured or about that of micro-kernels; `cycles` as in `Candidate`.
    """

    op: Operator
    kernel: Kernel
    scratch: Request | None = None
    measured: Measured | None = None
    outdated: bool = False
    code_bytes: int = 0
    cycles: float = 0.0

    def __repr__(self) -> str:
        """One line, without code and constants."""
        return f"Call({shortened(self.op.name)!r}, {self.op.kind}, kernel {self.kernel.family})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """A network ready for code generation. RAM and constants are known; code size is known after compiling.

    `budgeted_bytes` is the flash that the choice of kernels counted for it, which is near `flash_bytes`.

    Example:
        program = utvm.plan("model.tflite", "qemu-cortex-m7")
        print(program.arena_bytes, [call.kernel.family for call in program.calls])
    """

    name: str
    graph: Graph
    core: Core
    calls: tuple[Call, ...]
    memory: MemoryPlan
    budgeted_bytes: int
    least_cycles: float = 0.0

    @property
    def distance(self) -> float | None:
        """By what share its cycles exceed those that no plan within the budgets goes below; None without estimates."""
        if self.least_cycles <= 0:
            return None
        return max(sum(call.cycles for call in self.calls) / self.least_cycles - 1, 0.0)

    @property
    def arena_bytes(self) -> int:
        """Peak RAM of activations and scratch in bytes."""
        return self.memory.arena_bytes

    @property
    def constant_bytes(self) -> int:
        """Bytes of all weights and tables."""
        arrays = {array for call in self.calls for array in call.kernel.constants.values()}
        return sum(array.nbytes for array in arrays) + self._initial_bytes

    @property
    def flash_bytes(self) -> int:
        """Bytes of all constants and, about, of the code of kernels; calls share a kernel, and a function's code."""
        code = {call.kernel.function: call.code_bytes for call in self.calls}
        kernels = {id(call.kernel): call.kernel for call in self.calls}
        return sum(kernel.constant_bytes for kernel in kernels.values()) + sum(code.values()) + self._initial_bytes

    @property
    def _initial_bytes(self) -> int:
        """Bytes of the constants that a reset copies."""
        return sum(state.initial.nbytes for state in self._states() if state.fill is None)

    def _states(self) -> tuple[CState, ...]:
        return tuple(
            CState(
                label=state.name,
                offset=self.memory.offset_of(state.before),
                initial=CArray.of(state.initial),
            )
            for state in self.graph.states
        )

    def c_model(self) -> CModel:
        """Return what the model file writer needs."""
        graph, memory = self.graph, self.memory
        return CModel(
            name=self.name,
            summary=(
                f"{len(self.calls)} kernel calls, arena {self.arena_bytes} bytes, "
                f"constants {self.constant_bytes} bytes; core {self.core.name}"
            ),
            arena_bytes=self.arena_bytes,
            inputs=tuple(CPort(tensor=t, offset=memory.offset_of(t)) for t in graph.inputs),
            outputs=tuple(CPort(tensor=t, offset=memory.offset_of(t)) for t in graph.outputs),
            calls=tuple(
                CCall(label=call.op.name, function=call.kernel.function, operands=self._operands(call))
                for call in self.calls
            ),
            states=self._states(),
            state_bytes=memory.state_bytes,
        )

    def render(self, *, steps: bool = False) -> Mapping[str, str]:
        """Return the model's C files: name → text; with `steps`, a function for each call too."""
        used = [helper for call in self.calls for helper in call.kernel.function.helpers]
        return render_model(self.c_model(), {name: PRELUDE[name] for name in with_dependencies(used)}, steps=steps)

    def assemble_weights(self, binary: str) -> tuple[str, bytes]:
        """Return the constants for an assembler, in place of their C file; see `weights_assembly`."""
        return weights_assembly(self.c_model(), binary)

    def _operands(self, call: Call) -> Mapping[str, ArenaRef | CArray]:
        operands: dict[str, ArenaRef | CArray] = {}
        inputs, outputs = iter(call.op.activations), iter(call.op.outputs)
        for parameter in call.kernel.function.parameters:
            match parameter.role:
                case "input":
                    operands[parameter.name] = ArenaRef(offset=self.memory.offset_of(next(inputs)))
                case "output":
                    operands[parameter.name] = ArenaRef(offset=self.memory.offset_of(next(outputs)))
                case "constant":
                    operands[parameter.name] = call.kernel.constants[parameter.name]
                case "scratch":
                    assert call.scratch is not None
                    operands[parameter.name] = ArenaRef(offset=self.memory.offsets[call.scratch])
        return operands

    def __repr__(self) -> str:
        """One line; `str` has the calls."""
        return (
            f"Program({shortened(self.name)!r}, {len(self.calls)} calls, core {self.core.name}, "
            f"arena {self.arena_bytes:,} B, constants {self.constant_bytes:,} B)"
        )

    def _repr_html_(self) -> str:
        """The calls as a table, for notebooks."""
        rows = [
            (
                index,
                call.op.name,
                call.op.kind,
                call.kernel.family,
                call.kernel.scratch_bytes,
                call.kernel.constant_bytes,
            )
            for index, call in enumerate(self.calls)
        ]
        title = f"{self.name} on {self.core.name}: arena {self.arena_bytes:,} B, constants {self.constant_bytes:,} B"
        return html_table(title, ("", "name", "operator", "kernel", "scratch B", "constants B"), rows)

    def __str__(self) -> str:
        """One line a call, for people."""
        lines = [f"program {self.name}: arena {self.arena_bytes} B (lower bound {self.memory.lower_bound} B)"]
        for index, call in enumerate(self.calls):
            operands = ", ".join(
                f"{name}={'arena+' + str(operand.offset) if isinstance(operand, ArenaRef) else f'{operand.nbytes} B'}"
                for name, operand in self._operands(call).items()
            )
            lines.append(f"  {index}: {call.op.name} [{call.kernel.family}] {call.kernel.function.stem}({operands})")
        return "\n".join(lines) + "\n"
