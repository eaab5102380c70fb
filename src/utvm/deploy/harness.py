"""C that runs an exported model for us: on a board through a session, on this machine through pipes.

Both fill the inputs, run, and give the outputs; or, where one is wanted, what an operator in between wrote.
"""

from __future__ import annotations

from collections.abc import Sequence

from utvm.codegen import ARENA_SYMBOL, RESET_MODEL_SYMBOL, RUN_SYMBOL
from utvm.deploy.manifest import CForm, Port, ResultEntry

WANTED_SYMBOL = "utvm_wanted"
COPY_SYMBOL = "utvm_copy"
HOOKS_HEADER = "utvm_hooks.h"


def results_of(form: CForm) -> list[tuple[int, ResultEntry]]:
    """Return (operator, tensor) for all that operators write, in the order in which they do."""
    return [(index, result) for index, entry in enumerate(form.operators) for result in entry.results]


def buffer(port: Port) -> str:
    """Return the C name of the buffer of an input or output."""
    return f"utvm_{port.parameter}"


def hooks_header(name: str) -> str:
    """Return the header for the macro NAME_HOOKS: a function of ours after each operator."""
    return (
        f"#include <stdint.h>\n\nvoid utvm_after(int32_t index, const uint8_t *arena);\n\n"
        f"#define {name.upper()}_AFTER(index, arena) utvm_after(index, arena)\n"
    )


def board_harness(
    name: str, inputs: Sequence[Port], outputs: Sequence[Port], form: CForm | None = None, *, states: bool = False
) -> str:
    """Return the C file that gives a session one function to call, and with `form` the copies of layers.

    A model with `states` has a second one, to reset it. The file does not compile where the library takes its portable
    form: a board shows what the core's kernels do.
    """
    upper = name.upper()
    parts = [
        _buffers(name, inputs, outputs),
        f'#ifdef {upper}_PORTABLE\n#error "the portable form is compiled, not that of the core"\n#endif\n',
        f"int32_t {RUN_SYMBOL}(void);\n",
        f"int32_t {RUN_SYMBOL}(void) {{\n  return (int32_t){_call(name, inputs, outputs)};\n}}\n",
    ]
    if states:
        parts.append(
            f"int32_t {RESET_MODEL_SYMBOL}(void);\n\nint32_t {RESET_MODEL_SYMBOL}(void) {{\n"
            f"  return (int32_t){name}_reset({ARENA_SYMBOL}, sizeof {ARENA_SYMBOL});\n}}\n"
        )
    return "\n".join([*parts, *([] if form is None else [_after(form)])])


def host_harness(name: str, inputs: Sequence[Port], outputs: Sequence[Port], form: CForm) -> str:
    """Return a program: inputs from standard input, one set after the other; outputs, or layer argv[1], go to
    standard output. The arena is of the promised size, so that a sanitizer sees any access beyond it."""
    first, *others = inputs
    more = "".join(
        f"    if (fread({buffer(p)}, 1, {p.nbytes}, stdin) != {p.nbytes}) {{\n      return 3;\n    }}\n" for p in others
    )
    writes = "".join(f"      fwrite({buffer(p)}, 1, {p.nbytes}, stdout);\n" for p in outputs)
    main = f"""\
int main(int argc, char **argv) {{
  {WANTED_SYMBOL} = argc > 1 ? atoi(argv[1]) : -1;
#ifdef {name.upper()}_STATE_BYTES
  if ({name}_reset({ARENA_SYMBOL}, sizeof {ARENA_SYMBOL}) != 0) {{
    return 5;
  }}
#endif
  while (fread({buffer(first)}, 1, {first.nbytes}, stdin) == {first.nbytes}) {{
{more}    if ({_call(name, inputs, outputs)} != 0) {{
      return 4;
    }}
    if ({WANTED_SYMBOL} >= 0) {{
      fwrite({COPY_SYMBOL}, 1, utvm_results[{WANTED_SYMBOL}].bytes, stdout);
    }} else {{
{writes}    }}
  }}
  return 0;
}}
"""
    return "\n".join(["#include <stdio.h>\n#include <stdlib.h>\n", _buffers(name, inputs, outputs), _after(form), main])


def _buffers(name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> str:
    lines = [f'#include "{name}.h"\n']
    lines.append(f"_Alignas({name.upper()}_ARENA_ALIGNMENT) uint8_t {ARENA_SYMBOL}[{name.upper()}_ARENA_BYTES];")
    for port in (*inputs, *outputs):
        c_type = port.dtype.c_type
        lines.append(f"{c_type} {buffer(port)}[{port.nbytes} / sizeof({c_type})];")
    return "\n".join(lines) + "\n"


def _call(name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> str:
    arguments = ", ".join([*(buffer(port) for port in (*inputs, *outputs)), ARENA_SYMBOL, f"sizeof {ARENA_SYMBOL}"])
    return f"{name}_run({arguments})"


def _after(form: CForm) -> str:
    results = results_of(form)
    # C has no empty arrays: a network without operators has one row, of none.
    places = [(index, result.offset, result.nbytes) for index, result in results] or [(-1, 0, 1)]
    rows = "\n".join(f"    {{{index}, {offset}, {nbytes}}}," for index, offset, nbytes in places)
    largest = max((result.nbytes for _, result in results), default=1)
    return f"""\
#include <string.h>

#include "{HOOKS_HEADER}"

static const struct {{
  int32_t index;
  uint32_t offset;
  uint32_t bytes;
}} utvm_results[] = {{
{rows}
}};

int32_t {WANTED_SYMBOL} = -1;
uint8_t {COPY_SYMBOL}[{largest}];

void utvm_after(int32_t index, const uint8_t *arena) {{
  if ({WANTED_SYMBOL} >= 0 && utvm_results[{WANTED_SYMBOL}].index == index) {{
    memcpy({COPY_SYMBOL}, arena + utvm_results[{WANTED_SYMBOL}].offset, utvm_results[{WANTED_SYMBOL}].bytes);
  }}
}}
"""
