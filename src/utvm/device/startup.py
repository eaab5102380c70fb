"""On-target start-up of a board, as C from its TOML: the register operations of its clock, and what the core needs.

The runtime (runtime/arm.c, runtime/riscv.c) includes `utvm_board.h` and calls `utvm_board_clock` once after each load.
It returns 0, or the number of the wait that did not end, counted from 1: no wait is endless.
"""

from __future__ import annotations

from collections.abc import Sequence

from utvm.boards import WAIT_TURNS, Board, Placement, RegisterOperation
from utvm.device.link import DeviceError
from utvm.naming import plain
from utvm.toolchain import Source


class StartupError(DeviceError):
    """A part did not do what its clock set-up waits for."""


def startup_sources(board: Board, placement: Placement, *, boots: bool = False) -> tuple[Source, ...]:
    """Return `utvm_board.h` and `utvm_board.c` of a board whose image goes to the memories of `placement`.

    `boots` is for programs that start by themselves.
    """
    title = f"Clock, flash and buses of {board.name}, from its description."
    return (
        Source(name="utvm_board.h", text=_header(board, placement, boots=boots)),
        Source(name="utvm_board.c", text=operations_source(title, "utvm_board.h", "utvm_board_clock", board.clock)),
    )


def operations_source(title: str, header: str, function: str, operations: Sequence[RegisterOperation]) -> str:
    """Return C with a function that does what a list says to registers; `header` declares it.

    It returns 0, or the number of the wait that did not end.
    """
    body: list[str] = []
    waits = 0
    for operation in operations:
        waits += operation.kind == "wait"
        body += [f"  /* {plain(operation.register)}: {plain(operation.why)} */", f"  {_statement(operation, waits)}"]
    kinds = {(operation.kind, operation.bits) for operation in operations}
    helpers = [_HELPERS[kind].format(bits=bits, turns=WAIT_TURNS) for kind, bits in sorted(kinds) if kind in _HELPERS]
    pause = _PAUSE if any(kind == "pause" for kind, _ in kinds) else ""
    text = [
        f"/* {plain(title)} */",
        f'#include "{header}"',
        *[f"\n{helper}".rstrip("\n") for helper in (*helpers, pause) if helper],
        "",
        f"uint32_t {function}(void) {{",
        *body,
        "  return 0;",
        "}",
        "",
    ]
    return "\n".join(text)


def startup_failure(board: Board, status: int) -> StartupError:
    """Return the error of a start-up that gave up at wait number `status`."""
    waits = [operation for operation in board.clock if operation.kind == "wait"]
    if not 0 < status <= len(waits):
        return StartupError(f"the start-up of board '{board.name}' ended with {status}, which means nothing")
    wait = waits[status - 1]
    return StartupError(
        f"the clock of board '{board.name}' could not be set up: {wait.register} (0x{wait.address:08x}) never showed "
        f"0x{wait.value:x} in the bits 0x{wait.mask:x} ({wait.why}): is it this part, and are its oscillators as the "
        "board's file says? `utvm boards show` prints the steps"
    )


def _header(board: Board, placement: Placement, *, boots: bool) -> str:
    defines = {
        "UTVM_VECTOR_TABLE_REGISTER": board.core.vector_table_register,
        "UTVM_INSTRUCTION_CACHE": "instruction" in board.caches,
        # A probe may read memory behind the core's data cache: the cache stays off where data are there.
        "UTVM_DATA_CACHE": "data" in board.caches and (boots or not placement.data.cached),
        "UTVM_SYSTICK": board.cycle_counter == "systick",
    }
    lines = [f"#define {name} {int(value)}" for name, value in defines.items()]
    return "\n".join(
        [
            f"/* What start-up needs to know of {board.name}. */",
            "#ifndef UTVM_BOARD_H",
            "#define UTVM_BOARD_H",
            "#include <stdint.h>",
            *lines,
            "",
            "/* Returns 0, or the number of the wait that did not end. */",
            "uint32_t utvm_board_clock(void);",
            "#endif",
            "",
        ]
    )


def _statement(operation: RegisterOperation, number: int) -> str:
    digits = operation.bits // 4
    if operation.kind == "pause":
        return f"pause({operation.value}u);"
    at = f"0x{operation.address:08X}u"
    mask, value = f"0x{operation.mask:0{digits}X}u", f"0x{operation.value:0{digits}X}u"
    if operation.kind == "write":
        return f"*(volatile uint{operation.bits}_t *){at} = {value};"
    if operation.kind == "modify":
        return f"modify{operation.bits}({at}, {mask}, {value});"
    return f"if (!shows{operation.bits}({at}, {mask}, {value})) return {number}u;"


_HELPERS = {
    "modify": """\
static void modify{bits}(uint32_t address, uint{bits}_t mask, uint{bits}_t value) {{
  volatile uint{bits}_t *at = (volatile uint{bits}_t *)address;
  *at = (uint{bits}_t)((*at & (uint{bits}_t)~mask) | value);
}}
""",
    "wait": """\
static int shows{bits}(uint32_t address, uint{bits}_t mask, uint{bits}_t value) {{
  volatile uint{bits}_t *at = (volatile uint{bits}_t *)address;
  for (uint32_t turns = {turns}u; turns; --turns) {{
    if ((*at & mask) == value) return 1;
  }}
  return 0;
}}
""",
}
_PAUSE = """\
static void pause(uint32_t turns) {
  while (turns--) __asm__ volatile("");
}
"""
