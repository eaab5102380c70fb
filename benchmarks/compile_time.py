"""What compiling costs: CPU seconds with an empty and a filled cache, memory, and how often each part ran.

    python benchmarks/compile_time.py [--models DIR] [--board BOARD] [--growth | --budgets] [NAME ...]

Each network is compiled in a process of its own, whose CPU time is counted with that of the compilers that it starts.
Importing µTVM is part of it, from bytecode as an installed package has it: the first run in a new checkout writes that.
DIR has MLPerf Tiny's int8 .tflite files. With --growth: chains of 10 to 80 layers, no two alike, instead. With
--budgets: chains, residual and branching networks of 20, 40 and 80 layers under shares of what they take without a
limit, each with an empty cache, and how far from the best their plans can be.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "cifar10" / "cifar10_cnn.tflite"
NETWORKS = {
    "cifar10": EXAMPLE,
    "kws": "kws_dscnn_int8.tflite",
    "ad": "ad_autoencoder_int8.tflite",
    "vww": "vww_mobilenetv1_025_96_int8.tflite",
    "resnet8": "ic_resnet8_int8.tflite",
    "mobilenet_v2": None,
}
GROWTH = ("chain_10", "chain_20", "chain_40", "chain_80")
BUDGETED = tuple(f"{kind}_{layers}" for layers in (20, 40, 80) for kind in ("chain", "residual", "branching"))
SHARES: tuple[tuple[float | None, float | None], ...] = (
    (0.95, None),
    (0.6, None),
    (None, 0.9),
    (None, 0.7),
    (None, 0.4),
    (0.9, 0.9),
    (0.7, 0.8),
    (0.3, 0.5),
)
"""Budgets of flash and RAM, as shares; some that nothing fits."""
PARTS = (
    ("walks", "utvm.cores.microkernel.walk", "Walker.walk"),
    ("searches", "utvm.cores.microkernel.list_scheduler", "_search"),
    ("schedules wanted", "utvm.cores.microkernel.list_scheduler", "known"),
    ("memory plans", "utvm.lowering.layout", "plan_memory"),
    ("compilers", "utvm.toolchain.toolchain", "_run"),
)
"""What is counted: a name, a module, and what in it."""


def main() -> None:
    """Print a line for each network, or be the process that compiles one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--models", type=Path, metavar="DIR")
    parser.add_argument("--board", default="qemu-cortex-m7")
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--budgets", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--flash", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ram", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_compiled(arguments)))
        return
    if arguments.budgets:
        _print_budgets(arguments)
        return
    names = arguments.names or (GROWTH if arguments.growth else tuple(NETWORKS))
    print(f"{'network':14} {'cold':>6} {'warm':>6} {'MB':>5}  how often, cold")
    for name in names:
        if not arguments.models and isinstance(NETWORKS.get(name), str):
            continue
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = _measured(name, arguments, cache)
        counts = ", ".join(f"{count} {part}" for part, count in cold["counts"].items())
        print(f"{name:14} {cold['seconds']:6.2f} {warm['seconds']:6.2f} {cold['megabytes']:5.0f}  {counts}", flush=True)


def _print_budgets(arguments: argparse.Namespace) -> None:
    """Print a line for each network and budget."""
    print(f"{'network':14} {'flash':>6} {'RAM':>5} {'s':>6}  plan")
    for name in arguments.names or BUDGETED:
        with tempfile.TemporaryDirectory() as cache:
            free = _run(name, arguments, cache)
        for shares in SHARES:
            flash, ram = (
                None if share is None else int(share * free[what])
                for share, what in zip(shares, ("flash", "arena"), strict=True)
            )
            with tempfile.TemporaryDirectory() as cache:
                made = _run(name, arguments, cache, flash=flash, ram=ram)
            limits = ("" if share is None else f"{share:.0%}" for share in shares)
            print(f"{name:14} {next(limits):>6} {next(limits):>5} {made['seconds']:6.2f}  {made['plan']}", flush=True)


def _measured(name: str, arguments: argparse.Namespace, cache: str) -> Iterator[dict[str, Any]]:
    """Yield what compiling a network costs with an empty cache, then with what that left there."""
    for _ in range(2):
        yield _run(name, arguments, cache)


def _run(
    name: str, arguments: argparse.Namespace, cache: str, *, flash: int | None = None, ram: int | None = None
) -> dict[str, Any]:
    """Compile a network in a process of its own."""
    command = [sys.executable, __file__, "--one", name, "--board", arguments.board]
    command += ["--models", str(arguments.models)] if arguments.models else []
    command += ["--flash", str(flash)] if flash is not None else []
    command += ["--ram", str(ram)] if ram is not None else []
    environment = {**os.environ, "UTVM_CACHE": cache, "UTVM_RECORDS": f"{cache}/records.sqlite"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    made = subprocess.run(command, env=environment, capture_output=True, text=True)
    if made.returncode:
        sys.exit(made.stderr)
    result: dict[str, Any] = json.loads(made.stdout)
    return result


def _compiled(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compile a network, and return what that cost this process and those that it started, and the plan."""
    import networks

    from utvm import UtvmError, api

    counts = _counting()
    kind, _, layers = arguments.one.rpartition("_")
    model: Any
    if kind in ("chain", "residual", "branching"):
        model = getattr(networks, kind)(int(layers))
    elif NETWORKS[arguments.one] is None:
        model = networks.mobilenet_v2()
    else:
        model = (arguments.models or Path()) / str(NETWORKS[arguments.one])
    result: dict[str, Any] = {"counts": counts}
    try:
        compiled = api.compile(model, arguments.board, flash=arguments.flash, ram=arguments.ram)
        program, flash = compiled.program, compiled.image.flash_bytes
        result |= {"flash": flash, "arena": program.arena_bytes}
        bound = "" if program.distance is None else f", at most {program.distance:.1%} from the best"
        result["plan"] = f"{flash:,} B of flash, {program.arena_bytes:,} B of arena{bound}"
    except UtvmError as error:
        result["plan"] = f"refused: {error}"
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    result["seconds"] = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
    result["megabytes"] = own.ru_maxrss / 1024
    return result


def _counting() -> Counter[str]:
    """Count how often each of `PARTS` is called from now on."""
    counts: Counter[str] = Counter()

    def count(part: str, module: str, path: str) -> None:
        __import__(module)
        owner: Any = sys.modules[module]
        *owners, last = path.split(".")
        for step in owners:
            owner = getattr(owner, step)
        called = getattr(owner, last, None)
        if called is None:
            sys.exit(f"compile_time: {module} has no {path}; say in PARTS what is counted now")

        @functools.wraps(called)
        def counted(*given: Any, **named: Any) -> Any:
            counts[part] += 1
            return called(*given, **named)

        setattr(owner, last, counted)

    for part in PARTS:
        count(*part)
    return counts


if __name__ == "__main__":
    main()
