"""`utvm doctor`: what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="list the tools and Python packages needed, the versions found, and how to mend what is missing",
        description="List what µTVM needs. Exits with 0 when everything required is there, else with 2.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.doctor import diagnose

    diagnosis = diagnose()
    print(json.dumps(diagnosis.to_json(), indent=2) if arguments.json else diagnosis)
    return 0 if diagnosis.healthy else 2
