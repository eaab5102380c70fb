"""`utvm export`: a model becomes C for a program of your own, with its cost promised."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import add_model, add_trust, chosen_board, compile_options, nbytes

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "export",
        help="make a C library of a model: files, manifest, README, with RAM, flash and stack promised",
        description=(
            "Compile MODEL for BOARD's core into C11 that a program of yours links: no heap, no operating system, no "
            "runtime. RAM, flash and worst-case stack are counted, written into the files and, as budgets, enforced."
        ),
    )
    add_model(parser, dump=False)
    add_trust(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where the files go")
    parser.add_argument("--name", help="prefix of the C symbols and files (default: the model's name)")
    parser.add_argument(
        "--portable",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="OPERATORS",
        help="operators, comma-separated and named as in the manifest, that get kernels in plain C, or all",
    )
    parser.add_argument("--stack", type=nbytes, metavar="BYTES", help="stack that a run may need, as 2K")
    parser.add_argument(
        "--format",
        choices=("c", "cmake", "make", "arduino", "zephyr", "firmware", "mlperf"),
        default="c",
        help="c: files for a program of yours; cmake, make, arduino (PlatformIO too), zephyr: with that build's files; "
        "firmware: also an ELF, HEX and BIN (UF2 for Picos) that boot by themselves and answer on the board's UART; "
        "mlperf: the same with MLPerf Tiny's device protocol (default: c)",
    )
    parser.add_argument(
        "--with",
        dest="others",
        type=Path,
        action="append",
        default=[],
        metavar="MODEL",
        help="a further model in the same firmware; may be repeated",
    )
    parser.add_argument("--task", choices=("kws", "sww", "ic", "vww", "ad"), help="MLPerf Tiny's task, for mlperf")
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into DIR though it has files that are no export of this model, or that were edited",
    )
    parser.add_argument("--json", action="store_true", help="print the manifest instead of text; a list of several")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.deploy import (
        PROJECTS,
        console_of,
        export,
        export_text,
        mlperf_firmware,
        shell_firmware,
        write_directory,
    )
    from utvm.errors import UtvmError

    board = chosen_board(arguments)
    if arguments.others and arguments.format != "firmware":
        raise UtvmError("--with puts a further model into a firmware: say --format firmware")
    if (arguments.task is None) == (arguments.format == "mlperf"):
        raise UtvmError("--task says what an MLPerf firmware does: give it with --format mlperf, and only then")
    if arguments.format in ("firmware", "mlperf"):
        console_of(board)  # before anything is written
    options = {"stack": arguments.stack, "portable": arguments.portable, **compile_options(arguments)}
    exports = [export(arguments.model, board, name=arguments.name, **options)]
    exports += [export(model, board, **{**options, "portable": ()}) for model in arguments.others]
    if arguments.format in PROJECTS:
        exports = [exported.as_project(arguments.format) for exported in exports]
    contents: dict[str, bytes] = {}
    for exported in exports:
        folder = "" if len(exports) == 1 else f"{exported.manifest.name}/"
        contents |= {f"{folder}{name}": data for name, data in exported.contents().items()}
    owner = " and ".join(exported.manifest.name for exported in exports)
    if arguments.format in ("firmware", "mlperf"):
        made = mlperf_firmware(exports[0], arguments.task) if arguments.task else shell_firmware(exports)
        contents |= made.contents()
    paths = write_directory(arguments.output, contents, owner=owner, force=arguments.force)
    if arguments.json:
        manifests = [exported.manifest.to_json() for exported in exports]
        print(manifests[0] if len(manifests) == 1 else f"[{','.join(manifests)}]")
        return 0
    for exported in exports:
        print(export_text(exported.manifest))
        if exported.renamed is not None:
            print(f"  name   {exported.renamed}")
    print(f"  files  {', '.join(map(str, paths))}")
    return 0
