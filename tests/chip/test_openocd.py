"""Stock OpenOCD takes the simulated chips for what they are, from the pins up."""

import os
import random
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.chip.process import OPENOCD_CONFIG, PINS_VARIABLE, ChipProcess

CORES = pytest.mark.parametrize("core", ["cortex-m7", "cortex-m4", "cortex-m33"])
RAM = 0x20000000


def openocd(chip: ChipProcess, *commands: str) -> str:
    """Run OpenOCD's commands after `init`, and return all that it says."""
    quiet = ("gdb_port disabled", "telnet_port disabled", "tcl_port disabled")
    listed = [part for command in (*quiet, "init", *commands, "shutdown") for part in ("-c", command)]
    done = subprocess.run(
        ["openocd", "-f", str(OPENOCD_CONFIG), *listed],
        env={**os.environ, PINS_VARIABLE: str(chip.pins)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def program(*halfwords: int) -> list[str]:
    """Return the commands that put Thumb code at RAM."""
    return [f"mwh {RAM + 2 * position:#x} {word:#x}" for position, word in enumerate(halfwords)]


@pytest.mark.parametrize(
    ("core", "said"),
    [
        ("cortex-m7", ("Cortex-M7 r1p1 processor detected", "8 breakpoints, 4 watchpoints", "found: 0x6ba00477")),
        ("cortex-m4", ("Cortex-M4 r0p1 processor detected", "6 breakpoints, 4 watchpoints", "found: 0x4ba00477")),
        ("cortex-m33", ("Cortex-M33 r0p4 processor detected", "8 breakpoints, 4 watchpoints", "found: 0x0ba04477")),
    ],
)
def test_it_is_identified(chip: ChipProcess, said: tuple[str, ...]) -> None:
    text = openocd(chip, "halt", "echo [chip.dap info]")
    for words in said:
        assert words in text
    assert "halted due to debug-request" in text
    assert "MEM-AP" in text
    assert re.search("SCS|Processor debug architecture .ARMv8-M", text)
    assert re.search("FPB|Flash Patch", text)
    assert "Error" not in text


@CORES
def test_memory_of_every_width_and_alignment(chip: ChipProcess, tmp_path: Path) -> None:
    noise = random.Random(3).randbytes(5003)
    written, read = tmp_path / "written", tmp_path / "read"
    written.write_bytes(noise)
    text = openocd(
        chip,
        "halt",
        f"load_image {written} {RAM + 1} bin",
        f"dump_image {read} {RAM + 1} {len(noise)}",
        f"mwb {RAM + 0x4001:#x} 0xab",
        f"mwh {RAM + 0x4002:#x} 0xcdef",
        f"echo [read_memory {RAM + 0x4001:#x} 8 3]",
    )
    assert read.read_bytes() == noise
    assert "0xab 0xef 0xcd" in text
    assert "Error" not in text


@CORES
def test_a_bad_address_is_an_error_and_the_next_access_works(chip: ChipProcess) -> None:
    text = openocd(
        chip, "halt", "catch {mdw 0x60000000}", "catch {mww 0x08000000 1}", f"mww {RAM} 0x600d", f"mdw {RAM}"
    )
    assert "Failed to read memory at 0x60000000" in text
    assert "0x08000000" in text
    assert "0000600d" in text


@CORES
def test_steps_breakpoints_and_registers(chip: ChipProcess) -> None:
    """adds r0, #1 (twice); b to the first."""
    where = RAM if core_has_comparators_in_ram(chip) else 0x10000000
    text = openocd(
        chip,
        "halt",
        *[line.replace(f"{RAM:#x}"[:4], f"{where:#x}"[:4]) for line in program(0x3001, 0x3001, 0xE7FC, 0xBF00)],
        f"set_reg {{r0 5 pc {where:#x} xPSR 0x01000000}}",
        "step",
        "echo [get_reg {r0 pc}]",
        f"bp {where + 4:#x} 2 hw",
        "resume",
        "wait_halt 2000",
        "echo [get_reg {r0 pc}]",
        "resume",
        "wait_halt 2000",
        "echo [get_reg {r0 pc}]",
    )
    found = [(int(a, 16), int(b, 16)) for a, b in re.findall(r"r0 (0x\w+) pc (0x\w+)", text)]
    assert found == [(6, where + 2), (7, where + 4), (9, where + 4)]


def core_has_comparators_in_ram(chip: ChipProcess) -> bool:
    """Version 1 of the breakpoint unit, that of Cortex-M4, compares addresses below 0x20000000 only."""
    return chip.core != "cortex-m4"


@CORES
def test_reset_by_the_application_interrupt_register(chip: ChipProcess) -> None:
    text = openocd(chip, "halt", "mww 0xe000ed08 0x20000000", "set_reg {r4 77}", "reset halt",
                   "echo [get_reg {r4 pc sp}]", "mdw 0xe000ed08")  # fmt: skip
    assert "r4 0x00000000 pc 0x08000100 sp 0x20004000" in text
    assert "08000000" in text.split("r4 0x")[1]


@CORES
def test_it_runs_and_stops_on_demand(chip: ChipProcess) -> None:
    text = openocd(
        chip,
        "halt",
        *program(0x3001, 0xE7FD),  # adds r0, #1; b .-2
        f"set_reg {{r0 0 pc {RAM:#x} xPSR 0x01000000}}",
        "resume",
        "sleep 50",
        "halt",
        "echo [get_reg r0]",
    )
    assert int(re.findall(r"^r0 (0x\w+)$", text, re.M)[-1], 16) > 1000
    assert chip.control()["instructions"] > 2000


@CORES
def test_a_fault_stops_at_the_vector_catch(chip: ChipProcess) -> None:
    text = openocd(
        chip,
        "halt",
        "cortex_m vector_catch hard_err",
        *program(0x6800),  # ldr r0, [r0]
        f"set_reg {{r0 0xf0000000 sp {RAM + 0x1000:#x} pc {RAM:#x} xPSR 0x01000000}}",
        "resume",
        "wait_halt 2000",
        "echo [get_reg {xPSR sp}]",
        f"echo [read_memory {RAM + 0x1000 - 8:#x} 32 1]",
        "mdw 0xe000ed28",
        "mdw 0xe000ed38",
    )
    assert "current mode: Handler HardFault" in text
    assert f"sp {RAM + 0x1000 - 32:#010x}" in text
    assert f"{RAM:#x}" in text  # the stacked program counter
    assert "00008200" in text  # precise bus error, its address valid
    assert "0xe000ed38: f0000000" in text


def test_the_chip_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.support.chip.process import ChipProcess\n"
        "print(ChipProcess('cortex-m7').process_id, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [os.sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=100
    )
    assert not is_alive(int(done.stdout))


def is_alive(pid: int) -> bool:
    """Return whether a process still runs after a while."""
    for _ in range(200):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        subprocess.run(["sleep", "0.02"], check=True)
    return True
