"""The README of an export, for the engineer who receives it."""

from __future__ import annotations

import shlex

from utvm.deploy.manifest import Manifest
from utvm.naming import plain

README_FILE = "README.md"


def readme(manifest: Manifest) -> str:
    """Return the text."""
    m, upper = manifest, manifest.name.upper()
    arguments = ", ".join(port.parameter for port in (*m.inputs, *m.outputs))
    declared = "\n".join(
        f"static {port.dtype.c_type} {port.parameter}[{upper}_{port.parameter.upper()}_ELEMENTS];"
        for port in (*m.inputs, *m.outputs)
    )
    portable = ""
    if m.portable_form is not None:
        portable = f"""
The kernels of `{m.name}.c` use instructions of {m.core}. On other compilers and cores (your PC, for example)
`{m.name}_portable.c` is compiled instead; results are bit-identical, so unit tests run on the machine that
builds your program. `-D{upper}_PORTABLE` chooses it anywhere. Give the compiler all `.c` files; only one form is
compiled.{_defined(m)}
"""
    first = more = ""
    if m.state_bytes:
        first = f"""\
int begin(void) {{
  return {m.name}_reset(arena, sizeof arena) == {upper}_OK ? 0 : -1;
}}

"""
        more = f"""
The network keeps state: the first `{upper}_STATE_BYTES` of the arena are read by the next run. Call `{m.name}_reset`
for each arena before its first run, and where another sequence begins. Each arena is a sequence of its own.
"""
    builds = "\n".join(
        f"| {b.optimize} | {b.code_bytes:,} B | {b.constant_bytes:,} B | {b.flash_bytes:,} B | {b.stack_bytes:,} B |"
        for b in m.builds
    )
    ports = "\n".join(
        f"| `{p.parameter}` | {p.dtype}{list(p.shape)} | {p.nbytes:,} B | {_quantisation(p.scale, p.zero_point)} |"
        for p in (*m.inputs, *m.outputs)
    )
    model = shlex.quote(m.model_file) if plain(m.model_file) == m.model_file else "MODEL"
    cycles = "not known" if m.expected.cycles is None else f"{m.expected.cycles:,}"
    instructions = "not known" if m.expected.instructions is None else f"{m.expected.instructions:,}"
    timed = _timed(m)
    return f"""\
# {m.name}

A neural network as plain C11, made by µTVM {m.utvm} from `{plain(m.model_file)}` for {m.core}. No heap, no
operating system, no global that changes, no library but `memcpy` and `memset` (`-D{upper}_WITHOUT_STRING_H`
does without the header; compilers may still call the two by themselves).

## Use

```c
#include "{m.name}.h"

_Alignas({upper}_ARENA_ALIGNMENT) static uint8_t arena[{upper}_ARENA_BYTES];
{declared}

{first}int classify(void) {{
  return {m.name}_run({arguments}, arena, sizeof arena) == {upper}_OK ? 0 : -1;
}}
```

Add `{m.name}*.c` to your build, and this directory to its include path; C++ includes the same header.
Compile with `-ffp-contract=off` if results are to be equal to the bit where a model computes in float, and
with `-fno-lto`: assembler functions stand in the C file. Where unaligned accesses fault (CCR.UNALIGN_TRP, Device
memory), compile with `-mno-unaligned-access`: every word is then accessed at a multiple of four.
{more}{portable}
To save the second buffer, write the input to where it lies in the arena and pass a null pointer for it
(likewise for the output): `{m.name}_{m.inputs[0].parameter}(arena)` says where. Tasks that run at the same
time need an arena each, no lock.

| | type and shape | size | real value |
|---|---|---|---|
{ports}

`{m.name}_quantize_…` and `{m.name}_dequantize_…` in the header convert single elements.

## Cost

Arena {m.core_form.arena_bytes:,} B; beside it only the stack. Flash and stack are what linking the model
adds to a program, built for {m.core} by {m.compiler} under the options in `manifest.json`; the stack is a
bound for the worst case.

| | code | constants | flash | stack |
|---|--:|--:|--:|--:|
{builds}

A run under {m.expected.optimize}: {instructions} instructions, {cycles} cycles ({m.expected.how}).{timed}{_slower(m)}

`{upper}_ARENA_BYTES`, `{upper}_FLASH_BYTES` and `{upper}_STACK_BYTES` are constants of the header. Define
`{upper}_RAM_BUDGET_BYTES`, `{upper}_FLASH_BUDGET_BYTES` or `{upper}_STACK_BUDGET_BYTES` and the build fails
when one is over it. `{upper}_STACK_BYTES` holds for this GCC under `-O1` to `-O3`, `-Os` and `-Og`. Under `-O0`,
`-fPIC`, `-fno-inline`, stack protectors, sanitizers of addresses and threads, other compilers and other versions of GCC
it is not defined, and a budget of the stack fails to compile: define it as you measured. Options that no macro shows
(`-fsanitize=undefined`, `-finstrument-functions`, another `-mcpu` of the same architecture) are yours to measure too.

## Profile

`-D{upper}_HOOKS='"my_hooks.h"'` includes your header, which may define `{upper}_BEFORE(index, arena)` and
`{upper}_AFTER(index, arena)`: they stand around each operator. `manifest.json` lists the operators in that
order.

## Check

    utvm verify DIR --against {model}

builds these files for this machine, under sanitizers, and for the emulated board, runs inputs through them
and compares bit by bit with the model; it says where the first difference is, if there is one.
"""


def _timed(m: Manifest) -> str:
    """Return what a run's cycles are on the board, and its share of the board's memories."""
    expected = m.expected
    if expected.milliseconds is None:
        return ""
    ram = 100 * (m.core_form.arena_bytes + m.stack_bytes) / expected.ram_bytes
    flash = 100 * m.flash_bytes / expected.storage_bytes
    modelled = "" if expected.how == expected.source else ", modelled"
    return (
        f"\nThat is {expected.milliseconds:,.2f} ms at {expected.clock_hz / 1e6:g} MHz on {m.board}, "
        f"{1000 / expected.milliseconds:,.1f} inferences a second{modelled}; arena and stack take\n"
        f"{ram:.1f} % of its RAM, code and constants {flash:.1f} % of its flash."
    )


def _slower(m: Manifest) -> str:
    """Say which operators could be faster, and why they are not."""
    if not m.slower:
        return ""
    lines = "\n".join(f"- {entry}" for entry in m.slower)
    return f"\n\nOperators that faster kernels for {m.core} do not take as they are:\n\n{lines}"


def _defined(m: Manifest) -> str:
    """Say which macros a build has to define itself; GCC's options in the manifest have them."""
    macros = [flag.removeprefix("-D").partition("=")[0] for flag in m.flags if flag.startswith("-D")]
    if not macros:
        return ""
    named = " and ".join(f"`-D{macro}`" for macro in macros)
    return f"\n\nNo compiler says by itself that its target is {m.core}: without {named} it compiles the portable form."


def _quantisation(scale: float | None, zero_point: int | None) -> str:
    return "itself" if scale is None else f"{scale:.9g} * (q - ({zero_point}))"
