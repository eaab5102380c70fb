"""A library's header: what it promises, its prototypes, and conversions to and from real values."""

from __future__ import annotations

from utvm.codegen.c import comment
from utvm.codegen.library.interface import (
    STACK_PROMISE,
    STATUSES,
    CLibrary,
    accessed,
    accessor,
    ports,
    reset_signature,
    signature,
)
from utvm.codegen.model import ARENA_ALIGNMENT
from utvm.graph import DType, Quantization, Tensor
from utvm.naming import plain

_QUANTIZED = {DType.INT8: (-128, 127), DType.UINT8: (0, 255), DType.INT16: (-32768, 32767)}
_RUN_TEXT = """\
Run the network once, in the given arena: {upper}_ARENA_BYTES bytes, aligned to {upper}_ARENA_ALIGNMENT.
Inputs are copied into the arena and outputs out of it. A null pointer for one of them says that it is in the arena \
already, or is to be left there: no copy is made and no second buffer is needed. The run overwrites both.
{kept} with different arenas can run at the same time."""
_RESET_TEXT = """\
Forget all earlier runs: to be called for an arena before its first run, and where another sequence begins. \
Each arena is a sequence of its own. A copy of the state, made between two runs, goes on where it was made."""


def header(library: CLibrary) -> str:
    """Return the text of NAME.h."""
    name, upper, model = library.name, library.upper, library.model
    lines = [
        comment(f"{library.title}\n{model.summary}"),
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        *_choice(library),
        *_arena_constants(library),
        comment("Kernel calls of one run: the indices that the hooks of the README see."),
        f"#define {upper}_OPERATORS {len(model.calls)}",
        "",
    ]
    for key, (value, text) in library.promises.items():
        define = f"#define {upper}_{key} {value}"
        known = f"#if {library.on_core} && \\\n    {library.compiler} && !defined({upper}_{key})"
        lines += [comment(text), *([known, define, "#endif"] if key == STACK_PROMISE else [define])]
    for key, value in library.budgets.items():
        lines.append(f"#define {upper}_{key} {value}")
    for port, parameter in ports(model):
        lines += ["", *_port_constants(f"{upper}_{parameter.upper()}", parameter, port.tensor)]
    lines += ["", *_status(name), "", "#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    kept = "Nothing else is kept: calls"
    if model.states:
        kept = f"The first {upper}_STATE_BYTES of the arena are kept for the next run. Calls"
    lines += [comment(_RUN_TEXT.format(upper=upper, kept=kept)), f"{signature(library)};", ""]
    if model.states:
        lines += [comment(_RESET_TEXT), f"{reset_signature(library)};", ""]
    lines.append(comment("Where each input is to be and each output is left in an arena."))
    lines += [f"{accessor(name, kind, port, parameter)};" for kind, port, parameter in accessed(model)]
    lines += ["", "#ifdef __cplusplus", "}", "#endif"]
    for port, parameter in ports(model):
        lines += _conversions(name, f"{upper}_{parameter.upper()}", parameter, port.tensor)
    lines += ["", f"#endif /* {upper}_H */", ""]
    return "\n".join(lines)


def _choice(library: CLibrary) -> list[str]:
    if library.portable is None:
        return []
    upper = library.upper
    return [
        comment(
            f"The kernels of {library.name}.c need {library.feature}. Elsewhere, or where {upper}_PORTABLE is "
            f"defined, those of {library.name}_portable.c give the same results."
        ),
        f"#if !({library.feature}) && !defined({upper}_PORTABLE)",
        f"#define {upper}_PORTABLE 1",
        "#endif",
        "",
    ]


def _arena_constants(library: CLibrary) -> list[str]:
    upper = library.upper
    lines = [comment("Working memory that the caller gives; nothing else of RAM is used but the stack.")]
    if library.portable is not None:
        lines += [
            f"#ifdef {upper}_PORTABLE",
            f"#define {upper}_ARENA_BYTES {library.portable.arena_bytes}",
            "#else",
            f"#define {upper}_ARENA_BYTES {library.model.arena_bytes}",
            "#endif",
        ]
    else:
        lines.append(f"#define {upper}_ARENA_BYTES {library.model.arena_bytes}")
    lines.append(f"#define {upper}_ARENA_ALIGNMENT {ARENA_ALIGNMENT}")
    if library.model.states:
        lines.append(f"#define {upper}_STATE_BYTES {library.model.state_bytes}")
    return lines


def _port_constants(prefix: str, parameter: str, tensor: Tensor) -> list[str]:
    lines = [
        comment(f"{parameter}: '{plain(tensor.name)}', {tensor.dtype}{list(tensor.shape)}"),
        f"#define {prefix}_ELEMENTS {tensor.elements}",
        f"#define {prefix}_BYTES {tensor.nbytes}",
    ]
    if isinstance(tensor.quant, Quantization) and tensor.quant.axis is None:
        lines += [f"#define {prefix}_SCALE {tensor.scale!r}f", f"#define {prefix}_ZERO_POINT ({tensor.zero_point})"]
    return lines


def _status(name: str) -> list[str]:
    upper = name.upper()
    width = max(len(status) for status, _ in STATUSES)
    rows = [
        f"  {upper}_{status} = {value},{' ' * (width - len(status))} /* {text} */"
        for value, (status, text) in enumerate(STATUSES)
    ]
    return ["typedef enum {", *rows, f"}} {name}_status;"]


def _conversions(name: str, prefix: str, parameter: str, tensor: Tensor) -> list[str]:
    quant = tensor.quant
    if quant is None or quant.axis is not None or tensor.dtype not in _QUANTIZED:
        return []
    low, high = _QUANTIZED[tensor.dtype]
    c_type = tensor.dtype.c_type
    return [
        "",
        comment(f"A real value as an element of {parameter}: to the nearest, halves away from zero, saturated."),
        f"static inline {c_type} {name}_quantize_{parameter}(float real) {{",
        f"  const float scaled = real / {prefix}_SCALE;",
        f"  const float limit = {2 * (high + 1)}.0f;",
        "  const float bounded = scaled > -limit ? (scaled < limit ? scaled : limit) : -limit;",
        "  const int32_t whole = (int32_t)bounded;",
        "  const float rest = bounded - (float)whole;",
        f"  const int32_t level = whole + (rest >= 0.5f) - (rest <= -0.5f) + {prefix}_ZERO_POINT;",
        f"  return ({c_type})(level < {low} ? {low} : (level > {high} ? {high} : level));",
        "}",
        "",
        comment(f"The real value of an element of {parameter}."),
        f"static inline float {name}_dequantize_{parameter}({c_type} level) {{",
        f"  return {prefix}_SCALE * (float)((int32_t)level - {prefix}_ZERO_POINT);",
        "}",
    ]
