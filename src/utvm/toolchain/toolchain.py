"""The cross-compiler: sources → objects → image, in parallel, cached by content."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from utvm.cache import Cache, digest
from utvm.toolchain.image import Image
from utvm.toolchain.linker import linker_script
from utvm.toolchain.source import Layout, MemoryOverflowError, Source, ToolchainError

WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")
CODE_FLAGS = (
    "-O3",
    "-g1",
    "-ffreestanding",
    "-fno-common",
    "-fno-tree-loop-distribute-patterns",
    "-ffunction-sections",
    "-fdata-sections",
    "-ffp-contract=off",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
)
_PACKAGES = {
    "arm-none-eabi-": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "riscv64-unknown-elf-": "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
    "": "gcc",
}
_BUILD_SECONDS = 300
_OVERFLOW = re.compile(r"region [`'](?P<region>\w+)' overflowed by (?P<bytes>\d+) bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """GCC with a prefix and machine options. `optimize` replaces the default code flags' -O3.

    Results are kept in `cache_directory` (the user's cache if None) under the compiler's version, flags and contents.
    """

    prefix: str
    machine_flags: tuple[str, ...] = ()
    optimize: str = "-O3"
    cache_directory: Path | None = None
    extra_flags: tuple[str, ...] = field(default=())

    @property
    def flags(self) -> tuple[str, ...]:
        """All compiler options."""
        code = tuple(self.optimize if flag == "-O3" else flag for flag in CODE_FLAGS)
        specs = ("--specs=picolibc.specs",) if self.prefix.startswith("riscv") else ()
        return (*self.machine_flags, *specs, *WARNINGS, *code, *self.extra_flags)

    def build(self, sources: Sequence[Source], layout: Layout, *, entries: Sequence[str] = ()) -> Image:
        """Compile and link. Functions that `entries` do not reach are left out.

        Raises:
            MemoryOverflowError: the program does not fit.
            ToolchainError: the compiler is missing, or refused a file; its first lines are in the message.
        """
        cache = Cache(self.cache_directory)
        script = linker_script(layout)
        version = compiler_version(self.prefix)
        every = [part for source in sources for part in (source.name, source.text)]
        key = digest([version, *self.flags, script, *entries, "", *every])
        elf, link_map = cache.find(key, ".elf"), cache.find(key, ".map")
        if elf is None or link_map is None:
            with cache.scratch() as scratch:
                objects = self._compile(sources, cache, version, Path(scratch))
                made_elf, made_map = self._link(objects, script, layout, entries, Path(scratch))
                link_map = cache.store(key, ".map", made_map)
                elf = cache.store(key, ".elf", made_elf)
            cache.prune()
        text = link_map.read_text(encoding="utf-8", errors="replace")
        return Image.read(elf, tool_prefix=self.prefix, link_map=text)

    def _compile(self, sources: Sequence[Source], cache: Cache, version: str, scratch: Path) -> list[Path]:
        for source in sources:
            (scratch / source.name).write_text(source.text, encoding="utf-8")
        headers = [part for s in sources if s.is_header for part in (s.name, s.text)]

        def compile_one(source: Source) -> Path:
            key = digest([version, *self.flags, *headers, source.name, source.text])
            found = cache.find(key, ".o")
            if found is not None:
                return found
            made = scratch / f"{source.name}.o"
            _run(
                [f"{self.prefix}gcc", *self.flags, "-c", source.name, "-o", made.name],
                scratch,
                f"compile {source.name}",
            )
            return cache.store(key, ".o", made)

        units = [source for source in sources if not source.is_header]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return list(pool.map(compile_one, units))

    def _link(
        self, objects: Sequence[Path], script: str, layout: Layout, entries: Sequence[str], scratch: Path
    ) -> tuple[Path, Path]:
        (scratch / "link.ld").write_text(script, encoding="utf-8")
        command = [
            f"{self.prefix}gcc", *self.machine_flags, "-nostdlib", "-nostartfiles", "-Wl,--gc-sections",
            "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments", "-Wl,-Map=image.map", "-T", "link.ld",
            *(f"-Wl,--undefined={entry}" for entry in entries),
            *map(str, objects), "-lgcc", "-o", "image.elf",
        ]  # fmt: skip
        try:
            _run(command, scratch, "link")
        except ToolchainError as error:
            overflow = _OVERFLOW.search(str(error))
            if overflow is None:
                raise
            region = next(r for r in layout.regions if r.name == overflow["region"])
            raise MemoryOverflowError(
                region=region.name, needed=region.length + int(overflow["bytes"]), available=region.length
            ) from None
        return scratch / "image.elf", scratch / "image.map"

    def shared_library(self, sources: Sequence[Source]) -> Path:
        """Build a library that the host can load; for a native toolchain (empty prefix).

        Raises:
            ToolchainError: as for `build`.
        """
        cache = Cache(self.cache_directory)
        flags = (*WARNINGS, "-O2", "-g1", "-fPIC", "-ffp-contract=off", *self.extra_flags)
        every = [part for source in sources for part in (source.name, source.text)]
        key = digest([compiler_version(self.prefix), "shared", *flags, *every])
        found = cache.find(key, ".so")
        if found is not None:
            return found
        with cache.scratch() as scratch:
            for source in sources:
                (Path(scratch) / source.name).write_text(source.text, encoding="utf-8")
            names = [source.name for source in sources if not source.is_header]
            _run([f"{self.prefix}gcc", *flags, "-shared", *names, "-o", "library.so"], Path(scratch), "compile")
            return cache.store(key, ".so", Path(scratch) / "library.so")


@lru_cache(maxsize=16)
def compiler_version(prefix: str) -> str:
    """Return the first line that a compiler says of its version.

    Raises:
        ToolchainError: it is not installed; the message names the package.
    """
    return _run([f"{prefix}gcc", "--version"], Path.cwd(), "ask for the version").splitlines()[0]


def _run(command: Sequence[str], directory: Path, purpose: str) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
            env=_environment(),
        )
    except FileNotFoundError:
        tool = command[0]
        prefix = tool.removesuffix("gcc")
        packages = _PACKAGES.get(prefix, f"the compiler {tool}")
        raise ToolchainError(f"{tool} is not installed: `apt-get install {packages}`, then `utvm doctor`") from None
    except subprocess.TimeoutExpired:
        raise ToolchainError(f"could not {purpose}: {command[0]} took more than {_BUILD_SECONDS} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        shown = [line for line in lines if "error" in line or "overflow" in line or "undefined" in line] or lines
        raise ToolchainError(f"could not {purpose}: {command[0]} says:\n" + "\n".join(shown[:8]))
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
