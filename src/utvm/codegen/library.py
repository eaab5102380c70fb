"""The library writer: a model as C for a program of somebody else's, with inputs, outputs and memory as parameters.

Where the kernels use instructions that not every machine has, the same model with portable kernels stands beside them,
and the compiler takes the one that it can: the files can all be given to any build.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from utvm.codegen.c import comment
from utvm.codegen.model import (
    ARENA_ALIGNMENT,
    CModel,
    CPort,
    array_names,
    call_line,
    definitions,
    function_names,
    safe_text,
    weights_header,
    weights_source,
)
from utvm.graph import DType, Quantization, Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class CLibrary:
    """What a library's files say.

    Attributes:
        name: the prefix of every public name; a lower-case C identifier.
        title: the first line of the header.
        model: the model for the core it was made for.
        prelude: the helpers that its kernels use, in order.
        portable: the same with portable kernels, None where `model` has no others.
        portable_prelude: the helpers of `portable`.
        feature: a preprocessor condition that holds where the kernels of `model` can run.
        promises: constants of the header by name, as STACK_BYTES, with what each says.
        budgets: limits by name, as RAM_BUDGET_BYTES.
    """

    name: str
    title: str
    model: CModel
    prelude: Mapping[str, str]
    portable: CModel | None
    portable_prelude: Mapping[str, str]
    feature: str
    promises: Mapping[str, tuple[int, str]]
    budgets: Mapping[str, int]

    @property
    def upper(self) -> str:
        """The prefix of macros."""
        return self.name.upper()


STATUSES = (
    ("OK", "it ran"),
    ("NO_ARENA", "the arena is a null pointer"),
    ("ARENA_TOO_SMALL", "arena_bytes is less than ARENA_BYTES"),
    ("ARENA_MISALIGNED", "the arena's address is no multiple of ARENA_ALIGNMENT"),
)
"""Values of the status by name, in order from 0."""

_BUDGETS = {"RAM_BUDGET_BYTES": "ARENA_BYTES", "FLASH_BUDGET_BYTES": "FLASH_BYTES", "STACK_BUDGET_BYTES": "STACK_BYTES"}
_QUANTIZED = {DType.INT8: (-128, 127), DType.INT16: (-32768, 32767)}


def port_names(tensors: Sequence[Tensor], kind: str) -> tuple[str, ...]:
    """Return the parameter of each input or output: `kind` if there is one, else after its tensor's name."""
    if len(tensors) == 1:
        return (kind,)
    names: list[str] = []
    for tensor in tensors:
        stem = re.sub(r"[^0-9a-z]+", "_", tensor.name.lower()).strip("_") or kind
        stem = f"{kind}_{stem}"
        count = names.count(stem) + sum(name.startswith(f"{stem}_") for name in names)
        names.append(stem if not count else f"{stem}_{count + 1}")
    return tuple(names)


def render_library(library: CLibrary) -> dict[str, str]:
    """Return file name → text: NAME.h, NAME.c, NAME_weights.h, NAME_weights.c, and NAME_portable… if there is one."""
    files = {f"{library.name}.h": _header(library), **_implementation(library, library.model, library.prelude)}
    if library.portable is not None:
        files |= _implementation(library, library.portable, library.portable_prelude)
    return files


def _header(library: CLibrary) -> str:
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
        lines += [comment(text), f"#define {upper}_{key} {value}"]
    for key, value in library.budgets.items():
        lines.append(f"#define {upper}_{key} {value}")
    for port, parameter in _ports(model):
        lines += ["", *_port_constants(f"{upper}_{parameter.upper()}", parameter, port.tensor)]
    lines += ["", *_status(name), "", "#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    lines += [comment(_RUN_TEXT.format(upper=upper)), f"{_signature(library)};", ""]
    lines.append(comment("Where each input is to be and each output is left in an arena."))
    lines += [f"{_accessor(name, kind, port, parameter)};" for kind, port, parameter in _accessed(model)]
    lines += ["", "#ifdef __cplusplus", "}", "#endif"]
    for port, parameter in _ports(model):
        lines += _conversions(name, f"{upper}_{parameter.upper()}", parameter, port.tensor)
    lines += ["", f"#endif /* {upper}_H */", ""]
    return "\n".join(lines)


_RUN_TEXT = """\
Run the network once, in the given arena: {upper}_ARENA_BYTES bytes, aligned to {upper}_ARENA_ALIGNMENT.
Inputs are copied into the arena and outputs out of it. A null pointer for one of them says that it is in the arena \
already, or is to be left there: no copy is made and no second buffer is needed. The run overwrites both.
Nothing else is kept: calls with different arenas can run at the same time."""


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
    return [*lines, f"#define {upper}_ARENA_ALIGNMENT {ARENA_ALIGNMENT}"]


def _ports(model: CModel) -> list[tuple[CPort, str]]:
    named = []
    for kind, ports in (("input", model.inputs), ("output", model.outputs)):
        named += list(zip(ports, port_names([port.tensor for port in ports], kind), strict=True))
    return named


def _accessed(model: CModel) -> list[tuple[str, CPort, str]]:
    return [("input" if port in model.inputs else "output", port, parameter) for port, parameter in _ports(model)]


def _port_constants(prefix: str, parameter: str, tensor: Tensor) -> list[str]:
    lines = [
        comment(f"{parameter}: '{safe_text(tensor.name)}', {tensor.dtype}{list(tensor.shape)}"),
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


def _signature(library: CLibrary) -> str:
    name, model = library.name, library.model
    parameters = []
    for kind, port, parameter in _accessed(model):
        const = "const " if kind == "input" else ""
        parameters.append(f"{const}{port.tensor.dtype.c_type} *{parameter}")
    return _wrapped(f"{name}_status {name}_run(", [*parameters, "void *arena", "size_t arena_bytes"], ")")


def _wrapped(head: str, parts: Sequence[str], tail: str) -> str:
    line = f"{head}{', '.join(parts)}{tail}"
    return line if len(line) <= 100 else f"{head}\n    " + ",\n    ".join(parts) + tail


def _accessor(name: str, kind: str, port: CPort, parameter: str) -> str:
    c_type = port.tensor.dtype.c_type
    if kind == "input":
        return f"{c_type} *{name}_{parameter}(void *arena)"
    return f"const {c_type} *{name}_{parameter}(const void *arena)"


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


def _implementation(library: CLibrary, model: CModel, prelude: Mapping[str, str]) -> dict[str, str]:
    """Return the source, the constants and their declarations of one of the two forms of the model."""
    arrays, functions = array_names(model), function_names(model.calls)
    upper = library.upper
    condition = None
    if library.portable is not None:
        condition = f"#ifdef {upper}_PORTABLE" if model is library.portable else f"#ifndef {upper}_PORTABLE"
    source = [
        f'#include "{library.name}.h"\n',
        f'#include "{model.name}_weights.h"\n',
        *_preamble(upper),
        *definitions(functions, prelude),
        *_assertions(library, model, list(arrays.values())),
        *_accessor_definitions(library, model),
        _run(library, model, [call_line(call, functions, arrays, arena="base") for call in model.calls]),
    ]
    weights = weights_source(model, arrays)
    include = f'#include "{model.name}_weights.h"\n'
    return {
        f"{model.name}.c": _guarded(source[0], "\n".join(source[1:]), condition),
        f"{model.name}_weights.h": weights_header(model, arrays),
        f"{model.name}_weights.c": _guarded(
            f'#include "{library.name}.h"\n{include}', weights.removeprefix(include).lstrip("\n"), condition
        ),
    }


def _guarded(includes: str, body: str, condition: str | None) -> str:
    if condition is None:
        return f"{includes}\n{body}"
    return f"{includes}\n{condition}\n\n{body}\n#endif\n"


def _preamble(upper: str) -> list[str]:
    return [
        f"""\
#ifdef {upper}_WITHOUT_STRING_H
static inline void {upper.lower()}_copy(void *to, const void *from, size_t count) {{
  unsigned char *target = (unsigned char *)to;
  const unsigned char *source = (const unsigned char *)from;
  for (size_t i = 0; i < count; i++) {{
    target[i] = source[i];
  }}
}}
static inline void {upper.lower()}_fill(void *to, int value, size_t count) {{
  unsigned char *target = (unsigned char *)to;
  for (size_t i = 0; i < count; i++) {{
    target[i] = (unsigned char)value;
  }}
}}
#define memcpy {upper.lower()}_copy
#define memset {upper.lower()}_fill
#else
#include <string.h>
#endif
""",
        f"""\
#ifdef {upper}_HOOKS
#include {upper}_HOOKS
#endif
#ifndef {upper}_BEFORE
#define {upper}_BEFORE(index, arena) ((void)0)
#endif
#ifndef {upper}_AFTER
#define {upper}_AFTER(index, arena) ((void)0)
#endif
""",
    ]


def _assertions(library: CLibrary, model: CModel, arrays: Sequence[str]) -> list[str]:
    upper = library.upper
    end = max((port.offset + port.tensor.nbytes for port in (*model.inputs, *model.outputs)), default=0)
    lines = [
        '_Static_assert((-1 >> 1) == -1, "right shifts of negative numbers are arithmetic");',
        f'_Static_assert({end} <= {upper}_ARENA_BYTES, "inputs and outputs lie in the arena");',
    ]
    if arrays:
        total = sum(array.nbytes for array in array_names(model))
        sizes = _wrapped("_Static_assert(", [" +\n    ".join(f"sizeof {array}" for array in arrays)], f" == {total},")
        lines.append(f'{sizes}\n    "the constants take what was promised");')
    text = "\n".join(lines)
    for budget, promise in _BUDGETS.items():
        if promise == "ARENA_BYTES" or promise in library.promises:
            text += (
                f"\n#ifdef {upper}_{budget}\n"
                f'_Static_assert({upper}_{promise} <= {upper}_{budget}, "{promise} is over its budget");\n#endif'
            )
    return [text + "\n"]


def _accessor_definitions(library: CLibrary, model: CModel) -> Iterable[str]:
    for kind, port, parameter in _accessed(model):
        c_type = port.tensor.dtype.c_type
        const = "" if kind == "input" else "const "
        void = "" if c_type == "int8_t" else f"({const}void *)"
        place = f"({const}{c_type} *){void}(({const}uint8_t *)arena + {port.offset})"
        yield f"{_accessor(library.name, kind, port, parameter)} {{\n  return {place};\n}}\n"


def _run(library: CLibrary, model: CModel, calls: Sequence[str]) -> str:
    upper = library.upper
    lines = [
        f"{_signature(library)} {{",
        "  uint8_t *const base = (uint8_t *)arena;",
        "  if (arena == NULL) {",
        f"    return {upper}_NO_ARENA;",
        "  }",
        f"  if (arena_bytes < {upper}_ARENA_BYTES) {{",
        f"    return {upper}_ARENA_TOO_SMALL;",
        "  }",
        f"  if ((uintptr_t)arena % {upper}_ARENA_ALIGNMENT != 0) {{",
        f"    return {upper}_ARENA_MISALIGNED;",
        "  }",
    ]
    for kind, port, parameter in _accessed(model):
        if kind == "input":
            lines += [
                f"  if ({parameter} != NULL) {{",
                f"    memcpy(base + {port.offset}, {parameter}, {port.tensor.nbytes});",
                "  }",
            ]
    for index, (call, line) in enumerate(zip(model.calls, calls, strict=True)):
        lines += [
            f"  {comment(f'{index}: {safe_text(call.label)}')}",
            f"  {upper}_BEFORE({index}, base);",
            line,
            f"  {upper}_AFTER({index}, base);",
        ]
    for kind, port, parameter in _accessed(model):
        if kind == "output":
            lines += [
                f"  if ({parameter} != NULL) {{",
                f"    memcpy({parameter}, base + {port.offset}, {port.tensor.nbytes});",
                "  }",
            ]
    return "\n".join([*lines, f"  return {upper}_OK;", "}", ""])
