"""The programs outside Python that µTVM needs: one list for `utvm doctor` and for the set-up of a checkout.

Only the standard library and no import of ours: the set-up loads this file by its path, before anything is
installed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

_PROBE_SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Prerequisite:
    """A program, or the headers of a C library, and how to find out that it is there.

    Attributes:
        name: what it is called.
        purpose: what µTVM does with it.
        package: the Debian package that brings it.
        probe: a command that exits with 0 when it is there.
        version: a pattern whose first group is the version, searched in what the probe prints.
        extras: the extras that need it; all of µTVM needs it if there are none.
    """

    name: str
    purpose: str
    package: str
    probe: tuple[str, ...]
    version: str = r"(\d+\.\d+(?:\.\d+)?)"
    extras: tuple[str, ...] = ()

    def found(self) -> str | None:
        """Return the version that is installed ("present" if it does not say), None if it is missing."""
        if shutil.which(self.probe[0]) is None:
            return None
        try:
            answer = subprocess.run(self.probe, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        if answer.returncode != 0:
            return None
        match = re.search(self.version, answer.stdout)
        return match.group(1) if match else "present"


def _emulator(name: str, package: str, purpose: str, *extras: str) -> Prerequisite:
    return Prerequisite(name=name, purpose=purpose, package=package, probe=(name, "--version"), extras=extras)


def _compiler(name: str, package: str, purpose: str, *extras: str) -> Prerequisite:
    return Prerequisite(name=name, purpose=purpose, package=package, probe=(name, "-dumpfullversion"), extras=extras)


def _headers(name: str, package: str, compiler: Sequence[str], version: str, *extras: str) -> Prerequisite:
    """Return the headers of a C library, found as a compiler finds them."""
    probe = (*compiler, "-dM", "-E", "-include", "string.h", "-include", "stdint.h", "-x", "c", os.devnull)
    return Prerequisite(
        name=name, purpose="its standard C headers", package=package, probe=probe, version=version, extras=extras
    )


_ARM_GCC = "arm-none-eabi-gcc"
_RISCV_GCC = "riscv64-unknown-elf-gcc"
_XTENSA_GCC = "xtensa-lx106-elf-gcc"
_PICOLIBC = r'__PICOLIBC_VERSION__ "([^"]+)"'

PREREQUISITES: tuple[Prerequisite, ...] = (
    _compiler(_ARM_GCC, "gcc-arm-none-eabi", "compiles for Cortex-M"),
    _headers("newlib", "libnewlib-arm-none-eabi", (_ARM_GCC,), r'_NEWLIB_VERSION "([^"]+)"'),
    _emulator("qemu-system-arm", "qemu-system-arm", "emulates Cortex-M boards"),
    _compiler(_RISCV_GCC, "gcc-riscv64-unknown-elf", "compiles for RISC-V"),
    _headers(
        "picolibc",
        "picolibc-riscv64-unknown-elf",
        (_RISCV_GCC, "--specs=picolibc.specs"),
        _PICOLIBC,
    ),
    _emulator("qemu-system-riscv32", "qemu-system-misc", "emulates RISC-V boards"),
    _compiler("gcc", "gcc", "compiles the instruction counter, and in tests kernels for this host"),
    _headers("C library", "libc6-dev", ("gcc",), r"no version in these headers"),
    Prerequisite(
        name="cmake",
        purpose="builds exported CMake packages and firmware that uses them",
        package="cmake",
        probe=("cmake", "--version"),
        extras=("test",),
    ),
    Prerequisite(
        name="clang",
        purpose="compiles exported models for this host, beside GCC",
        package="clang",
        probe=("clang", "--version"),
        extras=("test",),
    ),
    Prerequisite(
        name="avr-gcc",
        purpose="compiles kernels for a core whose int has 16 bits",
        package="gcc-avr",
        probe=("avr-gcc", "-dumpversion"),
        extras=("test",),
    ),
    Prerequisite(
        name="avr-libc",
        purpose="its standard C headers and start-up",
        package="avr-libc",
        probe=("avr-gcc", "-mmcu=atmega2560", "-dM", "-E", "-include", "avr/version.h", "-x", "c", os.devnull),
        version=r'__AVR_LIBC_VERSION_STRING__ "([^"]+)"',
        extras=("test",),
    ),
    Prerequisite(
        name="simavr",
        purpose="runs them",
        package="simavr",
        probe=("sh", "-c", "command -v simavr"),
        extras=("test",),
    ),
    _compiler(_XTENSA_GCC, "gcc-xtensa-lx106", "compiles for Xtensa LX106", "test"),
    _headers(
        "picolibc for Xtensa",
        "picolibc-xtensa-lx106-elf",
        (_XTENSA_GCC, "-idirafter", "/usr/lib/xtensa-lx106-elf/include"),
        _PICOLIBC,
        "test",
    ),
    _emulator("qemu-system-xtensa", "qemu-system-misc", "emulates an Xtensa board", "test"),
    Prerequisite(
        name="openocd",
        purpose="drives JTAG and SWD probes",
        package="openocd",
        probe=("sh", "-c", "openocd --version 2>&1"),
        extras=("rtl", "test"),
    ),
    _compiler("g++", "g++", "builds the simulator of the RTL boards", "rtl", "test"),
    Prerequisite(
        name="openssl",
        purpose="makes certificates for fleets over networks",
        package="openssl",
        probe=("openssl", "version"),
        extras=("test",),
    ),
    Prerequisite(
        name="postgres",
        purpose="a server that tests start, as a team has one for its tuning records",
        package="postgresql",
        probe=("sh", "-c", "set -- /usr/lib/postgresql/*/bin/postgres && exec $1 --version"),
        extras=("test",),
    ),
    Prerequisite(
        name="chromium",
        purpose="draws the page of a tuning run, in a test",
        package="chromium",
        probe=("chromium", "--version"),
        extras=("test",),
    ),
)
"""Everything, in the order in which it is reported."""


def packages_of(program: str) -> tuple[str, ...]:
    """Return the Debian packages of a program and of the headers that are found through it."""
    return tuple(dict.fromkeys(item.package for item in PREREQUISITES if item.probe[0] == program))


def needed_for(extra: str) -> list[Prerequisite]:
    """Return those that an extra needs."""
    return [item for item in PREREQUISITES if not item.extras or extra in item.extras]


def missing(prerequisites: Sequence[Prerequisite] = PREREQUISITES) -> list[Prerequisite]:
    """Return those that are not installed."""
    return [prerequisite for prerequisite in prerequisites if prerequisite.found() is None]


def install_command(absent: Sequence[Prerequisite]) -> list[str]:
    """Return the command, to be run as root on a Debian system, that installs them."""
    packages = dict.fromkeys(prerequisite.package for prerequisite in absent)
    return ["apt-get", "install", "--yes", "--no-install-recommends", *packages]


def how_to_add(extra: str) -> str:
    """Return the command that brings the packages of an extra into the Python that runs."""
    from importlib import metadata  # it imports what reads e-mail

    try:
        requirements = metadata.requires("utvm") or []
    except metadata.PackageNotFoundError:
        requirements = []
    wanted = [text.partition(";")[0].strip() for text in requirements if re.search(f"extra == ['\"]{extra}['\"]", text)]
    packages = [text for text in wanted if not text.startswith("utvm")]
    return shlex.join([sys.executable, "-m", "pip", "install", *(packages or [f"utvm[{extra}]"])])


def how_to_install(absent: Sequence[Prerequisite]) -> str:
    """Return what a person has to do on this system to install them, as text of one or more lines."""
    if shutil.which("apt-get"):
        sudo = "" if os.geteuid() == 0 else "sudo "
        return sudo + " ".join(install_command(absent))
    lines = [f"{item.name}: {item.purpose} (Debian's package is {item.package})" for item in absent]
    return "\n".join(["install with this system's package manager, so that PATH finds them:", *lines])
