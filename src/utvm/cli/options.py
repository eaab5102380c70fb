"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_model(parser: argparse.ArgumentParser, *, dump: bool = True) -> None:
    """Add MODEL, --board, --small and, if wanted, --dump."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model file: .tflite, or a q7 archive (.npz)")
    parser.add_argument(
        "--board",
        required=True,
        metavar="BOARD",
        help="a board's name (see `utvm boards`) or the path of its TOML",
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="leave out kernels that buy speed with several times the flash and tens of KB of RAM",
    )
    if not dump:
        return
    parser.add_argument(
        "--dump",
        type=Path,
        metavar="DIR",
        help="write every stage there: graphs, program, memory plan, C, link map",
    )
