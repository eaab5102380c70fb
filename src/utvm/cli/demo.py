"""`utvm demo`: the network that comes with the project, on an emulated Cortex-M7, on real pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo",
        help="classify photographs with the shipped CIFAR-10 network on an emulated Cortex-M7",
        description="Compile examples/cifar10 for qemu-cortex-m7, load it into RAM, classify pictures, show the cost.",
    )
    parser.add_argument(
        "--checkout", type=Path, default=Path(), metavar="DIR", help="the project's checkout (default: here)"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.demo import run_demo

    for line in run_demo(arguments.checkout):
        print(line, flush=True)
    return 0
