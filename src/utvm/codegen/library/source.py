"""A library's sources: kernels, the run with its checks, and the constants; each in the form for one kind of core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from utvm.codegen.calls import Symbols, call_lines, function_names
from utvm.codegen.library.interface import (
    STACK_PROMISE,
    CLibrary,
    accessed,
    accessor,
    reset_signature,
    signature,
    wrapped,
)
from utvm.codegen.model import (
    CModel,
    array_names,
    definitions,
    reset_lines,
    weights_header,
    weights_source,
)

_BUDGETS = {"RAM_BUDGET_BYTES": "ARENA_BYTES", "FLASH_BUDGET_BYTES": "FLASH_BYTES", "STACK_BUDGET_BYTES": "STACK_BYTES"}
"""The promise that each budget limits."""


def implementation(library: CLibrary, model: CModel, prelude: Mapping[str, str]) -> dict[str, str]:
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
        _run(library, model, Symbols(functions=functions, arrays=arrays, arena="base")),
        *([_reset(library, reset_lines(model, arrays, arena="base"))] if model.states else []),
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
        sizes = wrapped("_Static_assert(", [" +\n    ".join(f"sizeof {array}" for array in arrays)], f" == {total},")
        lines.append(f'{sizes}\n    "the constants take what was promised");')
    text = "\n".join(lines)
    for budget, promise in _BUDGETS.items():
        kept = f'_Static_assert({upper}_{promise} <= {upper}_{budget}, "{promise} is over its budget");'
        if promise == STACK_PROMISE and promise in library.promises:
            kept = (
                f"#ifdef {upper}_{promise}\n{kept}\n#elif {library.on_core}\n"
                f'#error "{upper}_{promise} is not known for this compiler or its options: define what you measured"'
                "\n#endif"
            )
        if promise == "ARENA_BYTES" or promise in library.promises:
            text += f"\n#ifdef {upper}_{budget}\n{kept}\n#endif"
    return [text + "\n"]


def _accessor_definitions(library: CLibrary, model: CModel) -> Iterable[str]:
    for kind, port, parameter in accessed(model):
        c_type = port.tensor.dtype.c_type
        const = "" if kind == "input" else "const "
        void = "" if c_type == "int8_t" else f"({const}void *)"
        place = f"({const}{c_type} *){void}(({const}uint8_t *)arena + {port.offset})"
        yield f"{accessor(library.name, kind, port, parameter)} {{\n  return {place};\n}}\n"


def _checks(upper: str) -> list[str]:
    return [
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


def _reset(library: CLibrary, statements: Sequence[str]) -> str:
    upper = library.upper
    head = f"{reset_signature(library)} {{"
    return "\n".join([head, *_checks(upper), *statements, f"  return {upper}_OK;", "}", ""])


def _run(library: CLibrary, model: CModel, symbols: Symbols) -> str:
    upper = library.upper
    lines = [f"{signature(library)} {{", *_checks(upper)]
    for kind, port, parameter in accessed(model):
        if kind == "input":
            lines += [
                f"  if ({parameter} != NULL) {{",
                f"    memcpy(base + {port.offset}, {parameter}, {port.tensor.nbytes});",
                "  }",
            ]
    lines += call_lines(
        model.calls, symbols, lambda place: (f"{upper}_BEFORE({place}, base);", f"{upper}_AFTER({place}, base);")
    )
    for kind, port, parameter in accessed(model):
        if kind == "output":
            lines += [
                f"  if ({parameter} != NULL) {{",
                f"    memcpy({parameter}, base + {port.offset}, {port.tensor.nbytes});",
                "  }",
            ]
    return "\n".join([*lines, f"  return {upper}_OK;", "}", ""])
