"""The model file writer: functions, constants and calls → NAME.h, NAME.c, NAME_weights.h, NAME_weights.c."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from utvm.codegen.c import CArray, CFunction, comment
from utvm.codegen.calls import CCall, Symbols, call_line, call_lines, function_names
from utvm.codegen.texts import Texts
from utvm.graph import Quantization, Tensor
from utvm.naming import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class CPort:
    """An input or output of the model and where it lives in the arena."""

    tensor: Tensor
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CState:
    """What the model keeps from run to run: where in the arena, and its value at first."""

    label: str
    offset: int
    initial: CArray

    @property
    def fill(self) -> int | None:
        """The value of all bytes at first, where they are equal: no constant is needed then."""
        raw = self.initial.values.tobytes()
        return raw[0] if raw.count(raw[0]) == len(raw) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CModel:
    """Everything that the model's files say. The first `state_bytes` of the arena are kept from run to run."""

    name: str
    summary: str
    arena_bytes: int
    inputs: tuple[CPort, ...]
    outputs: tuple[CPort, ...]
    calls: tuple[CCall, ...]
    states: tuple[CState, ...] = ()
    state_bytes: int = 0


ARENA_ALIGNMENT = 16


def render_model(model: CModel, prelude: Mapping[str, str], *, steps: bool = False) -> Texts:
    """Return file name → text, in a fixed order; equal models give equal bytes.

    The text of the weights, by far the longest, is written when it is asked for: builds for boards assemble bytes.

    Args:
        model: what to write; `model.name` must be a C identifier.
        prelude: definitions of the helpers that the kernels use and that those use, in the order in which they must
            stand.
        steps: whether to add a function for each call alone, `step_symbol`, so that each can be measured.
    """
    arrays = array_names(model)
    functions = function_names(model.calls)
    return Texts(
        {
            f"{model.name}.h": _header(model),
            f"{model.name}.c": _source(model, functions, arrays, prelude, steps=steps),
            f"{model.name}_weights.h": weights_header(model, arrays),
            f"{model.name}_weights.c": partial(weights_source, model, arrays),
        }
    )


def array_names(model: CModel) -> dict[CArray, str]:
    """Return the C name of each constant."""
    names: dict[CArray, str] = {}
    for index, call in enumerate(model.calls):
        for role, operand in call.operands.items():
            if isinstance(operand, CArray) and operand not in names:
                names[operand] = f"{model.name}_{index}_{role}"
    for index, state in enumerate(model.states):
        if state.fill is None:
            names.setdefault(state.initial, f"{model.name}_state_{index}")
    return names


def _header(model: CModel) -> str:
    upper = model.name.upper()
    lines = [
        comment(f"{model.name}: an int8 network as plain C.\n{model.summary}"),
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stdint.h>",
        "",
        comment("Working memory that the caller provides; inputs and outputs live in it."),
        f"#define {upper}_ARENA_BYTES {model.arena_bytes}",
        f"#define {upper}_ARENA_ALIGNMENT {ARENA_ALIGNMENT}",
        *([f"#define {upper}_STATE_BYTES {model.state_bytes}"] if model.states else []),
    ]
    for kind, ports in (("INPUT", model.inputs), ("OUTPUT", model.outputs)):
        for index, port in enumerate(ports):
            lines += ["", *_port(f"{upper}_{kind}_{index}", kind.lower(), port)]
    lines += [
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        comment(
            "Run the network once. Inputs are read from the arena, outputs are left in it; both are overwritten\n"
            "by the next run. Returns 0."
        ),
        f"int32_t {model.name}_run(uint8_t *arena);",
        *(
            [
                "",
                comment(
                    "Forget all earlier runs: to be called before the first. What is kept lies in the first\n"
                    f"{upper}_STATE_BYTES of the arena."
                ),
                f"void {model.name}_reset(uint8_t *arena);",
            ]
            if model.states
            else []
        ),
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        f"#endif /* {upper}_H */",
        "",
    ]
    return "\n".join(lines)


def _port(prefix: str, kind: str, port: CPort) -> list[str]:
    tensor = port.tensor
    lines = [
        comment(f"{kind} '{plain(tensor.name)}': {tensor.dtype}{list(tensor.shape)}"),
        f"#define {prefix}_OFFSET {port.offset}",
        f"#define {prefix}_ELEMENTS {tensor.elements}",
        f"#define {prefix}_BYTES {tensor.nbytes}",
    ]
    if isinstance(tensor.quant, Quantization) and tensor.quant.axis is None:
        lines += [
            f"#define {prefix}_SCALE {tensor.scale!r}f",
            f"#define {prefix}_ZERO_POINT ({tensor.zero_point})",
        ]
    return lines


def _source(
    model: CModel,
    functions: Mapping[CFunction, str],
    arrays: Mapping[CArray, str],
    prelude: Mapping[str, str],
    *,
    steps: bool,
) -> str:
    symbols = Symbols(functions=functions, arrays=arrays)
    parts = [
        f'#include "{model.name}.h"\n',
        f'#include <string.h>\n\n#include "{model.name}_weights.h"\n',
        *definitions(functions, prelude),
        _run_function(model, symbols),
        *([_reset_function(model, arrays)] if model.states else []),
        *(_step_functions(model, symbols) if steps else ()),
    ]
    return "\n".join(parts)


def definitions(functions: Mapping[CFunction, str], prelude: Mapping[str, str]) -> list[str]:
    """Return the helpers, the micro-kernels and the kernels."""
    support = {part.name: part.text for function in functions for part in function.support}
    return [
        *prelude.values(),
        *support.values(),
        *(function.render(symbol) for function, symbol in functions.items()),
    ]


def _run_function(model: CModel, symbols: Symbols) -> str:
    lines = [f"int32_t {model.name}_run(uint8_t *arena) {{"]
    if not model.calls:
        lines.append("  (void)arena;")
    return "\n".join([*lines, *call_lines(model.calls, symbols), "  return 0;", "}", ""])


def _reset_function(model: CModel, arrays: Mapping[CArray, str]) -> str:
    lines = [f"void {model.name}_reset(uint8_t *arena) {{", *reset_lines(model, arrays), "}", ""]
    return "\n".join(lines)


def reset_lines(model: CModel, arrays: Mapping[CArray, str], *, arena: str = "arena") -> list[str]:
    """Return the statements that give all states their first values; `arena` is a pointer to bytes."""
    lines = []
    for state in model.states:
        place = f"{arena} + {state.offset}"
        value = (
            f"memset({place}, {state.fill}" if state.fill is not None else f"memcpy({place}, {arrays[state.initial]}"
        )
        lines += [f"  {comment(plain(state.label))}", f"  {value}, {state.initial.nbytes});"]
    return lines


def step_symbol(name: str, index: int) -> str:
    """Return the C name of the function that makes call `index` of model `name` alone."""
    return f"{name}_step_{index}"


def _step_functions(model: CModel, symbols: Symbols) -> list[str]:
    written = []
    for index, call in enumerate(model.calls):
        head = f"void {step_symbol(model.name, index)}(uint8_t *arena)"
        written.append(f"{head};\n\n{head} {{\n{call_line(call, symbols)}\n}}\n")
    return written


def weights_header(model: CModel, arrays: Mapping[CArray, str]) -> str:
    """Return the file that declares the constants."""
    guard = f"{model.name.upper()}_WEIGHTS_H"
    declarations = [f"extern {array.declare(symbol)};" for array, symbol in arrays.items()]
    return "\n".join(
        [
            comment(f"Constants of {model.name}; internal to {model.name}.c."),
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            "#include <stdint.h>",
            "",
            *declarations,
            "",
            f"#endif /* {guard} */",
            "",
        ]
    )


def weights_source(model: CModel, arrays: Mapping[CArray, str]) -> str:
    """Return the file that defines the constants."""
    parts = [f'#include "{model.name}_weights.h"\n']
    parts += [f"_Alignas(16) {array.render(symbol)}" for array, symbol in arrays.items()]
    return "\n".join(parts)
