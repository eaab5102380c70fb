"""Generated C on a core whose `int` has 16 bits: an ATmega2560 in simavr, which talks through its serial port."""

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.batch import NAME, Batch
from tests.support.host import ALIGNMENT, FILLS, arena_image, outputs_in
from utvm.lowering import Program

TOOLS = ("avr-gcc", "simavr")
ROOM = 6 * 1024
"""Bytes of RAM for an arena and all constants of a batch; the part has 8 KiB, for the stack too."""
OPTIONS = ("-mmcu=atmega2560", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
_AT_ONCE = 12
_SECONDS = 300

SERIAL = """\
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>
#include <stdint.h>

static void put(char c) {
  while (!(UCSR0A & (1 << UDRE0))) {
  }
  UDR0 = (uint8_t)c;
}

static void put_bytes(const void *from, uint16_t count) {
  const uint8_t *bytes = from;
  for (uint16_t i = 0; i < count; i++) {
    put("0123456789abcdef"[bytes[i] >> 4]);
    put("0123456789abcdef"[bytes[i] & 15]);
  }
}

static void open_serial(void) {
  UCSR0B = 1 << TXEN0;
  put('<');
}

static void end(void) {
  put('>');
  put('\\n');
  cli();
  sleep_mode();
}
"""
"""The serial port of a program for `run_avr`: `open_serial` first, `end` last."""


def run_avr(files: Mapping[str, str], *, flags: Sequence[str] = ("-O2",)) -> bytes:
    """Build a program with `main` and return the bytes that it sends as hexadecimal digits."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        units = [name for name in files if name.endswith(".c")]
        built = subprocess.run(
            ["avr-gcc", *OPTIONS, *flags, *units, "-o", "run.elf"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert built.returncode == 0, built.stderr
        machine = ["simavr", "-m", "atmega2560", "-f", "16000000", "run.elf"]
        done = subprocess.run(
            machine, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    sent = re.search(rb"<([0-9a-f]*)>", re.sub(rb"\x1b\[[0-9;]*m|\s", b"", done.stdout + done.stderr))
    assert sent is not None, (done.stdout + done.stderr)[-300:]
    return bytes.fromhex(sent[1].decode())


def run_on_avr(programs: Sequence[Program], inputs: Sequence[Sequence[NDArray]]) -> list[list[NDArray] | None]:
    """Run programs and return the outputs of each, None for one that does not fit into `ROOM`."""
    found: list[list[NDArray] | None] = [None] * len(programs)
    batch: list[int] = []
    for number in (n for n, program in enumerate(programs) if _needed([program]) <= ROOM):
        if batch and (len(batch) == _AT_ONCE or _needed([programs[n] for n in (*batch, number)]) > ROOM):
            _run_batch(programs, inputs, batch, found)
            batch = []
        batch.append(number)
    if batch:
        _run_batch(programs, inputs, batch, found)
    return found


def _needed(programs: Sequence[Program]) -> int:
    constants = sum(program.constant_bytes + ALIGNMENT * 6 * len(program.calls) for program in programs)
    return max(program.arena_bytes for program in programs) + constants


def _run_batch(
    programs: Sequence[Program],
    inputs: Sequence[Sequence[NDArray]],
    numbers: Sequence[int],
    found: list[list[NDArray] | None],
) -> None:
    chosen = [programs[n] for n in numbers]
    batch = Batch(tuple(chosen))
    images = [arena_image(programs[n], inputs[n], FILLS[0]) for n in numbers]
    sent = run_avr({"main.c": _main(batch, images), **batch.render()})
    starts = np.cumsum([0, *(program.arena_bytes for program in chosen)])
    assert len(sent) == starts[-1]
    for number, program, start in zip(numbers, chosen, starts, strict=False):
        found[number] = outputs_in(program, np.frombuffer(sent, np.uint8)[start:])


def _main(batch: Batch, images: Sequence[NDArray[np.uint8]]) -> str:
    """Return a main that sends each arena as it is after its program."""
    lines = [
        SERIAL,
        f'#include "{NAME}.h"\n',
        f"_Alignas({ALIGNMENT}) static uint8_t arena[{NAME.upper()}_ARENA_BYTES];",
    ]
    for index, image in enumerate(images):
        values = ",".join(map(str, image.tolist())) or "0"
        lines.append(f"static const uint8_t before_{index}[] PROGMEM = {{{values}}};")
    lines += [f"void {symbol}(uint8_t *arena);" for symbols in batch.steps() for symbol in symbols]
    lines += ["", "int main(void) {", "  open_serial();"]
    for index, (image, symbols) in enumerate(zip(images, batch.steps(), strict=True)):
        lines.append(f"  memcpy_P(arena, before_{index}, {image.size});")
        lines += [f"  {symbol}(arena);" for symbol in symbols]
        lines.append(f"  put_bytes(arena, {image.size});")
    return "\n".join([*lines, "  end();", "}", ""])
