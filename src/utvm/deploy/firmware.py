"""Programs that boot by themselves: models, start-up, clock, and a command loop on the board's UART."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from utvm.arguments import checked_arguments
from utvm.boards import Board, Console, Placement
from utvm.codegen import comment
from utvm.deploy.boot_rom import UF2_FAMILIES, boot_sources
from utvm.deploy.build import library_flags
from utvm.deploy.exporting import Export
from utvm.deploy.manifest import Manifest, Port
from utvm.deploy.runtime_files import runtime_source
from utvm.device.firmware import board_layout, first_that_fits, runtime_sources
from utvm.device.startup import operations_source
from utvm.errors import UtvmError
from utvm.report import write_bytes
from utvm.toolchain import (
    RESET_SYMBOL,
    Image,
    Segment,
    Source,
    Toolchain,
    intel_hex,
    load_segments,
    uf2,
)

MLPERF_TASKS: Mapping[str, tuple[str, str]] = {
    "kws": ("TASK_RAW", "kws01"),
    "sww": ("TASK_RAW", "sww01"),
    "ic": ("TASK_IMAGE", "ic01"),
    "vww": ("TASK_IMAGE", "vww01"),
    "ad": ("TASK_ANOMALY", "ad01"),
}
"""How inputs and results of MLPerf Tiny's tasks travel, and what the benchmark calls its models."""

BOARD_SYMBOL = "utvm_firmware_board"
"""The name of the board that a firmware is for, in the firmware."""

_DRIVERS: Mapping[str, tuple[str, int]] = {"stm32_usart": ("uart_stm32.c", 1), "stm32_lpuart": ("uart_stm32.c", 256)}
"""Kinds of consoles that share a driver, and the steps of a bit that their divider counts."""

_STACK_RESERVE = 512
"""Bytes of stack for the command loop and an interrupt, beside a run of the model."""


class FirmwareError(UtvmError):
    """A firmware that can't be made for this board."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Firmware:
    """A linked program that boots by itself. `segments` are the bytes to program and where."""

    name: str
    board: Board
    image: Image
    segments: tuple[Segment, ...]

    @checked_arguments
    def write(self, directory: str | Path) -> tuple[Path, ...]:
        """Write the files of `contents` into a directory and return their paths.

        Raises:
            UtvmError: one can't be written.
        """
        directory = Path(directory)
        for name, data in self.contents().items():
            write_bytes(directory / name, data)
        return tuple(directory / name for name in self.contents())

    def contents(self) -> dict[str, bytes]:
        """Return NAME.elf, NAME.hex, and NAME.bin (one a segment, named after its address if there are several).

        Where the part's boot ROM takes one, NAME.uf2 too.
        """
        binaries = {
            f"{self.name}.bin" if len(self.segments) == 1 else f"{self.name}-{segment.address:08x}.bin": segment.data
            for segment in self.segments
        }
        every = {
            f"{self.name}.elf": self.image.path.read_bytes(),
            f"{self.name}.hex": intel_hex(self.segments, self.image.entry).encode(),
            **binaries,
        }
        if self.board.boot_rom is not None:
            every[f"{self.name}.uf2"] = uf2(self.segments, UF2_FAMILIES[self.board.boot_rom])
        return every


def console_of(board: Board) -> Console:
    """Return the console of a board that programs can boot on.

    Raises:
        FirmwareError: its description lacks where firmware goes, or a console.
    """
    if board.firmware and board.console is not None:
        return board.console
    lacking = " and ".join(f"[{n}]" for n, v in (("firmware", board.firmware), ("console", board.console)) if not v)
    raise FirmwareError(
        f"the description of board '{board.name}' has no {lacking}: add it to boot programs there (docs/boards.md)"
    )


def shell_firmware(exports: Sequence[Export]) -> Firmware:
    """Return the firmware of one or more models with the command loop for people.

    Raises:
        FirmwareError: two models share a name, the board lacks a description of its firmware, or a run needs more
            stack than the board has.
        MemoryOverflowError: it does not fit.
    """
    sources = [runtime_source("shell.c"), *_models(exports)]
    return build_firmware(exports, sources, name=exports[0].manifest.name)


def mlperf_firmware(export: Export, task: str) -> Firmware:
    """Return the firmware of a model with MLPerf Tiny's device protocol.

    Args:
        export: a model of one int8 input and one int8 output.
        task: a key of `MLPERF_TASKS`.

    Raises:
        FirmwareError: the model or the task does not fit the protocol, or as for `shell_firmware`.
        MemoryOverflowError: it does not fit.
    """
    if task not in MLPERF_TASKS:
        raise FirmwareError(f"MLPerf Tiny has no task '{task}'; known: {', '.join(MLPERF_TASKS)}")
    m = export.manifest
    if len(m.inputs) != 1 or len(m.outputs) != 1 or {m.inputs[0].dtype, m.outputs[0].dtype} != {"int8"}:
        raise FirmwareError(f"{m.name}: MLPerf Tiny's protocol takes models of one int8 input and one int8 output")
    kind, version = MLPERF_TASKS[task]
    defines = {
        "UTVM_TASK": kind,
        "UTVM_MODEL_VERSION": f'"{version}"',
        "UTVM_DEVICE_NAME": f'"utvm {export.board.name}"',
        "UTVM_INPUT_ELEMENTS": f"{m.name.upper()}_INPUT_ELEMENTS",
        "UTVM_QUANTIZE": f"{m.name}_quantize_input",
    }
    head = "\n".join([f'#include "{m.name}.h"\n', *(f"#define {key} {value}" for key, value in defines.items())])
    loop = runtime_source("mlperf.c")
    sources = [Source(name=loop.name, text=f"{head}\n\n{loop.text}"), *_models([export])]
    return build_firmware([export], sources, name=f"{m.name}_mlperf")


def build_firmware(exports: Sequence[Export], sources: Sequence[Source], *, name: str) -> Firmware:
    """Link exports and a program (`main`) with the board's start-up, clock and console; see `shell_firmware`."""
    board = exports[0].board
    console = console_of(board)
    names = [export.manifest.name for export in exports]
    if len(set(names)) < len(names):
        raise FirmwareError(f"two models are named alike ({', '.join(names)}): export one under another --name")
    for export in exports:
        needed = export.manifest.stack_bytes + _STACK_RESERVE
        if needed > board.stack_bytes:
            raise FirmwareError(
                f"{export.manifest.name} needs {needed:,} bytes of stack with the command loop, the board's file gives "
                f"{board.stack_bytes:,}: raise 'stack_bytes' of '{board.name}'"
            )
    toolchain = Toolchain(
        prefix=board.core.tool_prefix,
        machine_flags=board.core.cflags,
        specs=board.core.isa.specs,
        extra_flags=(*library_flags(board), "-DUTVM_BOOTS=1"),
    )
    libraries = [
        Source(name=file, text=text)
        for export in exports
        for file, text in export.files.items()
        if file.endswith((".c", ".h"))
    ]
    image = _linked(
        toolchain, board, [*boot_sources(board, toolchain), *_console(board, console), *sources, *libraries]
    )
    return Firmware(name=name, board=board, image=image, segments=load_segments(image.path))


def _linked(toolchain: Toolchain, board: Board, sources: Sequence[Source]) -> Image:
    """Link for the first of the board's places for firmware that holds it."""
    entries = [RESET_SYMBOL, "main", BOARD_SYMBOL]

    def build(placement: Placement) -> Image:
        every = [*runtime_sources(board, placement, boots=True), *sources]
        return toolchain.build(every, board_layout(board, placement, boots=True), entries=entries)

    return first_that_fits(board.firmware, build)


def _console(board: Board, console: Console) -> list[Source]:
    """Return the console's driver, its pins and what stands on it; the header says where the registers are."""
    name, steps = _DRIVERS.get(console.kind, (f"uart_{console.kind}.c", None))
    driver = runtime_source(name) if console.file is None else _own_driver(Path(console.file))
    defines = {
        "UTVM_CONSOLE_BASE": f"0x{console.base:08X}u",
        "UTVM_CONSOLE_BAUD": f"{console.baud}u",
        "UTVM_CONSOLE_CLOCK_HZ": f"{console.clock_hz}u",
        **({} if steps is None else {"UTVM_CONSOLE_STEPS": f"{steps}u"}),
        "UTVM_TICKS_HZ": f"{board.clock_hz}u",
    }
    header = runtime_source("console.h")
    lines = "".join(f"#define {name} {value}\n" for name, value in defines.items())
    placed = header.text.replace("#include <stdint.h>\n", f"#include <stdint.h>\n\n{lines}", 1)
    title = f"Clocks and pins of the console of {board.name}, from its description."
    pins = operations_source(title, header.name, "console_setup", console.setup)
    whose = f'\n/* Whose firmware it is; `utvm flash` asks. */\nconst char {BOARD_SYMBOL}[] = "{board.name}";\n'
    declared = f"extern const char {BOARD_SYMBOL}[];\n"
    return [
        Source(name=header.name, text=placed),
        Source(name="utvm_console_pins.c", text=f"{pins}\n{declared}{whose}"),
        runtime_source("console.c"),
        driver,
        runtime_source("boot.c"),
    ]


def _own_driver(path: Path) -> Source:
    try:
        return Source(name="utvm_own_console.c", text=path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise FirmwareError(f"the console's file {path} can't be read: {error}") from error


def _models(exports: Sequence[Export]) -> list[Source]:
    """Return the table of models, and the arena that they share."""
    manifests = [export.manifest for export in exports]
    sizes = [f"{m.name.upper()}_ARENA_BYTES" for m in manifests]
    parts = [
        comment("The models of this firmware."),
        "\n".join(['#include "utvm_models.h"', *(f'#include "{m.name}.h"' for m in manifests)]),
        "typedef union {\n"
        + "\n".join(f"  uint8_t {m.name}[{size}];" for m, size in zip(manifests, sizes, strict=True) if _shares(m))
        + "\n} arenas;"
        if any(map(_shares, manifests))
        else "",
        "static _Alignas(16) uint8_t utvm_arena[sizeof(arenas)];" if any(map(_shares, manifests)) else "",
        *(
            f"static _Alignas(16) uint8_t {m.name}_arena[{size}];"
            for m, size in zip(manifests, sizes, strict=True)
            if not _shares(m)
        ),
        *(_model_functions(m) for m in manifests),
        "const utvm_model utvm_models[] = {\n" + "\n".join(_model_row(m) for m in manifests) + "\n};",
        f"const int32_t utvm_model_count = {len(manifests)};",
    ]
    return [runtime_source("models.h"), Source(name="utvm_models.c", text="\n\n".join(filter(None, parts)) + "\n")]


def _shares(m: Manifest) -> bool:
    """Whether a model shares its arena with others: it keeps nothing there from run to run."""
    return m.state_bytes == 0


def _model_functions(m: Manifest) -> str:
    nulls = ", ".join(["NULL"] * (len(m.inputs) + len(m.outputs)))
    parts = [
        f"static int32_t {m.name}_run_in(void *arena) {{\n"
        f"  return (int32_t){m.name}_run({nulls}, arena, {m.name.upper()}_ARENA_BYTES);\n}}"
    ]
    if not _shares(m):
        parts.append(
            f"static int32_t {m.name}_reset_in(void *arena) {{\n"
            f"  return (int32_t){m.name}_reset(arena, {m.name.upper()}_ARENA_BYTES);\n}}"
        )
    for kind, ports in (("input", m.inputs), ("output", m.outputs)):
        for port in ports:
            cast = "" if kind == "input" else "(void *)"
            parts.append(
                f"static void *{m.name}_{port.parameter}_place(void *arena) {{\n"
                f"  return {cast}{m.name}_{port.parameter}(arena);\n}}"
            )
        rows = "\n".join(_port_row(m, port) for port in ports)
        parts.append(f"static const utvm_port {m.name}_{kind}s[] = {{\n{rows}\n}};")
    return "\n\n".join(parts)


def _port_row(m: Manifest, port: Port) -> str:
    prefix = f"{m.name.upper()}_{port.parameter.upper()}"
    quant = f"{prefix}_ZERO_POINT, {prefix}_SCALE" if port.scale is not None else "0, 0.0f"
    size = f"{prefix}_BYTES / {prefix}_ELEMENTS"
    unsigned = int(port.dtype in ("uint8", "bool"))
    place = f"{m.name}_{port.parameter}_place"
    return f'    {{"{port.parameter}", {place}, {prefix}_ELEMENTS, {size}, {quant}, {unsigned}}},'


def _model_row(m: Manifest) -> str:
    upper = m.name.upper()
    summary = f"made by utvm {m.utvm} for {m.core}, {len(m.core_form.operators)} operators"
    return (
        f'    {{"{m.name}", "{summary}", {upper}_ARENA_BYTES, {upper}_FLASH_BYTES, {upper}_STACK_BYTES, '
        f"{m.name}_inputs, {m.name}_outputs, {len(m.inputs)}, {len(m.outputs)}, {m.name}_run_in, "
        f"{'0' if _shares(m) else f'{m.name}_reset_in'}, {'utvm_arena' if _shares(m) else f'{m.name}_arena'}}},"
    )
