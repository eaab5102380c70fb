"""`utvm demo`: the network that comes with the project, on an emulated Cortex-M7, on real pictures."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo",
        help="classify photographs with the shipped CIFAR-10 network on an emulated Cortex-M7",
        description="Compile the shipped network for qemu-cortex-m7, load it into RAM, classify pictures, show costs.",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.demo import run_demo

    del arguments
    for line in run_demo():
        print(line, flush=True)
    return 0
