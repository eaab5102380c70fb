"""The cross-compiler: sources → objects → image, in parallel, cached by content."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

from utvm.cache import Cache, digest
from utvm.prerequisites import packages_of
from utvm.toolchain.image import Image
from utvm.toolchain.linker import linker_script
from utvm.toolchain.source import LinkLayout, MemoryOverflowError, Source, ToolchainError
from utvm.toolchain.stack import CallGraph

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
    "-fcallgraph-info=su",
)
"""Portable kernels under -O3 against -O2, GCC 12, on Cortex-M3 and RV32IMC: 4 to 32 % fewer instructions (MLPerf
Tiny's image classification and visual wake words), 25 to 39 % more code."""

LINK_FLAGS = (
    "-nostdlib",
    "-nostartfiles",
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
    "-Wl,--no-warn-rwx-segments",
    "-Wl,-Map=image.map",
    "-T",
    "link.ld",
)
_BUILD_SECONDS = 300
_INCLUDE = re.compile(r'^[ \t]*(?:#[ \t]*include|\.incbin)[ \t]*[<"]([^">]+)[">]', re.MULTILINE)
_OVERFLOW = re.compile(r"region [`'](?P<region>\w+)' overflowed by (?P<bytes>\d+) bytes?\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """GCC with a prefix, machine options, and the options that find its C library.

    `optimize` replaces the default code flags' -O3; `libraries` are linked behind libgcc's users, such as "-lm".

    Results are kept in `cache_directory` (the user's cache if None) under the compiler's version, flags and contents.
    """

    prefix: str
    machine_flags: tuple[str, ...] = ()
    specs: tuple[str, ...] = ()
    optimize: str = "-O3"
    cache_directory: Path | None = None
    extra_flags: tuple[str, ...] = field(default=())
    libraries: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """All compiler options."""
        code = tuple(self.optimize if flag == "-O3" else flag for flag in CODE_FLAGS)
        return (*self.machine_flags, *self.specs, *WARNINGS, *code, *self.extra_flags)

    def build(self, sources: Sequence[Source], layout: LinkLayout, *, entries: Sequence[str] = ()) -> Image:
        """Compile and link. Functions that `entries` do not reach are left out.

        Raises:
            MemoryOverflowError: the program does not fit.
            ToolchainError: the compiler is missing, or refused a file; its first lines are in the message.
        """
        _check_names(sources)
        cache = Cache(self.cache_directory)
        script = linker_script(layout)
        version = compiler_version(self.prefix)
        every = [part for source in sources for part in (source.name, source.content)]
        key = digest([version, *self.flags, *LINK_FLAGS, *self.libraries, script, *entries, "", *every])
        with cache.scratch() as scratch:
            folder = Path(scratch)
            parts = {suffix: folder / f"image{suffix}" for suffix in (".calls", ".map", ".elf")}
            elf = cache.find(key, ".elf")
            known = elf is not None and all(cache.take(key, suffix, path) for suffix, path in parts.items())
            if elf is None or not known:
                graph = self._compile(sources, cache, version, folder)
                units = [f"{source.name}.o" for source in sources if not source.is_header]
                self._link(units, script, layout, entries, folder)
                parts[".calls"].unlink(missing_ok=True)
                parts[".calls"].write_text(graph.dumps(), encoding="utf-8")
                for suffix, path in parts.items():
                    elf = cache.share(key, suffix, path)
                cache.tidy()
            assert elf is not None
            read = Image.read(
                parts[".elf"],
                tool_prefix=self.prefix,
                link_map=parts[".map"].read_text(encoding="utf-8", errors="replace"),
                call_graph=CallGraph.loads(parts[".calls"].read_text(encoding="utf-8")),
            )
        return replace(read, path=elf)

    def _compile(self, sources: Sequence[Source], cache: Cache, version: str, scratch: Path) -> CallGraph:
        """Put the object of each source into `scratch` and return who calls whom."""
        for source in sources:
            (scratch / source.name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / source.name).write_bytes(source.content)

        def compile_one(source: Source) -> str:
            headers = [part for header in _included(source, sources) for part in (header.name, header.content)]
            key = digest([version, *self.flags, *headers, source.name, source.content])
            made, calls = scratch / f"{source.name}.o", scratch / f"{source.name}.ci"
            if not (cache.take(key, ".o", made) and cache.take(key, ".ci", calls)):
                made.unlink(missing_ok=True)
                relative = f"-fdebug-prefix-map={scratch}=."
                command = [f"{self.prefix}gcc", *self.flags, relative, "-c", source.name, "-o", made.name]
                _run(command, scratch, f"compile {source.name}")
                calls.touch()
                cache.share(key, ".o", made)
                cache.share(key, ".ci", calls)
            return calls.read_text(encoding="utf-8", errors="replace")

        units = [source for source in sources if not source.is_header]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            largest_first = sorted(units, key=lambda source: -len(source.text))
            return CallGraph.parse(list(pool.map(compile_one, largest_first)))

    def _link(
        self, units: Sequence[str], script: str, layout: LinkLayout, entries: Sequence[str], scratch: Path
    ) -> None:
        """Link the objects in `scratch` to `image.elf` and `image.map` there."""
        (scratch / "link.ld").write_text(script, encoding="utf-8")
        wanted = [f"-Wl,--undefined={entry}" for entry in entries]
        libraries = (*self.specs, *self.libraries) if self.libraries else ()
        last = ("-lgcc", "-o", "image.elf")
        command = [f"{self.prefix}gcc", *self.machine_flags, *LINK_FLAGS, *wanted, *units, *libraries, *last]
        try:
            _run(command, scratch, "link")
        except ToolchainError as error:
            overflows = {match["region"]: int(match["bytes"]) for match in _OVERFLOW.finditer(str(error))}
            if not overflows:
                raise
            name = max(overflows, key=lambda region: overflows[region])
            region = next(r for r in layout.regions if r.name == name)
            raise MemoryOverflowError(
                region=name, needed=region.length + overflows[name], available=region.length
            ) from None


@lru_cache(maxsize=16)
def compiler_major(prefix: str) -> int:
    """Return the first number of GCC's version, its macro `__GNUC__`."""
    return int(_run([f"{prefix}gcc", "-dumpversion"], Path.cwd(), "ask for the version").split(".")[0])


@lru_cache(maxsize=16)
def compiler_version(prefix: str) -> str:
    """Return the first line that a compiler says of its version.

    Raises:
        ToolchainError: it is not installed; the message names the package.
    """
    return _run([f"{prefix}gcc", "--version"], Path.cwd(), "ask for the version").splitlines()[0]


def _check_names(sources: Sequence[Source]) -> None:
    names = [source.name for source in sources]
    for source in sources:
        path = PurePosixPath(source.name)
        plain = path.name == source.name or (source.is_header and ".." not in path.parts and not path.is_absolute())
        if not plain or path.suffix not in (".c", ".S", ".h", ".bin"):
            raise ToolchainError(f"'{source.name}' can't be built: give the plain name of a .c, .S, .h or .bin file")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ToolchainError(f"two sources have the same name: {', '.join(twice)}")


def _included(source: Source, sources: Sequence[Source]) -> list[Source]:
    """Return the headers that a source may include, directly or not, in the order of `sources`.

    Headers of one file name in several folders are all taken: which of them the compiler finds is left to it.
    """
    headers: dict[str, list[Source]] = {}
    for each in sources:
        if each.is_header:
            headers.setdefault(PurePosixPath(each.name).name, []).append(each)
    seen: set[str] = set()
    waiting = [source]
    while waiting:
        for name in _INCLUDE.findall(waiting.pop().text):
            found = [header for header in headers.get(PurePosixPath(name).name, ()) if header.name not in seen]
            seen.update(header.name for header in found)
            waiting.extend(found)
    return [each for each in sources if each.name in seen]


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
        raise ToolchainError(f"{tool} is not installed: {_remedy(prefix)}") from None
    except subprocess.TimeoutExpired:
        raise ToolchainError(f"could not {purpose}: {command[0]} took more than {_BUILD_SECONDS} s") from None
    if done.returncode:
        if "string.h: No such file" in done.stderr or "picolibc.specs" in done.stderr:
            prefix = command[0].removesuffix("gcc")
            raise ToolchainError(f"could not {purpose}: the C library's headers are missing: {_remedy(prefix)}")
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        shown = [line for line in lines if "error" in line or "overflow" in line or "undefined" in line] or lines
        raise ToolchainError(f"could not {purpose}: {command[0]} says:\n" + "\n".join(shown[:8]))
    return done.stdout


def _remedy(prefix: str) -> str:
    packages = packages_of(f"{prefix}gcc")
    if packages:
        return f"`apt-get install {' '.join(packages)}`, then `utvm doctor`"
    return f"install GCC for '{prefix.rstrip('-')}' and put it on the PATH"


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
