"""What compiling costs: CPU seconds with an empty and a filled cache, memory, and how often each part ran.

    python benchmarks/compile_time.py [--models DIR] [--board BOARD] [--growth] [NAME ...]

Each network is compiled in a process of its own, whose CPU time is counted with that of the compilers that it starts.
Importing µTVM is part of it, from bytecode as an installed package has it: the first run in a new checkout writes that.
DIR has MLPerf Tiny's int8 .tflite files. With --growth: chains of 10 to 80 layers, no two alike, instead.
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
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_compiled(arguments.one, arguments.models, arguments.board)))
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


def _measured(name: str, arguments: argparse.Namespace, cache: str) -> Iterator[dict[str, Any]]:
    """Yield what compiling a network costs with an empty cache, then with what that left there."""
    command = [sys.executable, __file__, "--one", name, "--board", arguments.board]
    command += ["--models", str(arguments.models)] if arguments.models else []
    environment = {**os.environ, "UTVM_CACHE": cache, "UTVM_RECORDS": f"{cache}/records.sqlite"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    for _ in range(2):
        made = subprocess.run(command, env=environment, capture_output=True, text=True)
        if made.returncode:
            sys.exit(made.stderr)
        yield json.loads(made.stdout)


def _compiled(name: str, models: Path | None, board: str) -> dict[str, Any]:
    """Compile a network, and return what that cost this process and those that it started."""
    import networks

    from utvm import api

    counts = _counting()
    if name.startswith("chain_"):
        api.compile(networks.chain(int(name.removeprefix("chain_"))), board)
    elif NETWORKS[name] is None:
        api.compile(networks.mobilenet_v2(), board)
    else:
        api.compile((models or Path()) / str(NETWORKS[name]), board)
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "seconds": own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime,
        "megabytes": own.ru_maxrss / 1024,
        "counts": counts,
    }


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
