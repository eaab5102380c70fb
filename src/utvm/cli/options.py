"""Options that several commands share."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from utvm.api.sizes import size_in_bytes
from utvm.errors import UtvmError

if TYPE_CHECKING:
    from utvm.boards import Board
    from utvm.fleet import Tls
    from utvm.quantization import Pixels


def add_model(parser: argparse.ArgumentParser, *, dump: bool = True) -> None:
    """Add MODEL, --board, the options that `compile_options` returns and, if wanted, --dump."""
    add_model_file(parser)
    add_board(parser)
    parser.add_argument(
        "--small",
        action="store_true",
        help="leave out kernels that buy speed with several times the flash and tens of KB of RAM",
    )
    parser.add_argument(
        "--flash",
        type=nbytes,
        metavar="BYTES",
        help="flash that code and weights may take, as 256K: the fastest that fits; without it, the smallest that is "
        "nearly as fast as the fastest (within 1 %%)",
    )
    parser.add_argument("--ram", type=nbytes, metavar="BYTES", help="RAM that the arena may take, as 64K")
    parser.add_argument(
        "--records",
        metavar="WHERE",
        help="choose kernels by these tuning records alone (a file of `utvm tune` or `utvm records export`, or a URL), "
        "or by none; default: those that came with µTVM, and yours",
    )
    if not dump:
        return
    parser.add_argument(
        "--dump",
        type=Path,
        metavar="DIR",
        help="write every stage there: graphs, program, memory plan, C, link map",
    )


def add_model_file(parser: argparse.ArgumentParser) -> None:
    """Add MODEL, and what `int8_model` needs to quantise it."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="a model file: .tflite, .onnx, .pt2, or a q7 archive (.npz); float networks with --data",
    )
    parser.add_argument(
        "--data",
        dest="quantize_by",
        type=Path,
        metavar="WHERE",
        help="quantise MODEL, a float network, with these typical inputs first: see `utvm quantize`",
    )
    parser.add_argument(
        "--batch",
        type=count,
        metavar="N",
        help="the size of a batch that a .tflite file leaves open (default: 1); MODEL#batch=N says the same",
    )
    add_pixels(parser)
    add_custom(parser)


def add_custom(parser: argparse.ArgumentParser) -> None:
    """Add --custom."""
    parser.add_argument(
        "--custom",
        type=Path,
        metavar="FOLDER",
        help="a folder of C files, each named after the custom operator of the model that it computes; their C becomes "
        "part of the model, and runs here where results are compared",
    )


@contextmanager
def int8_model(arguments: argparse.Namespace) -> Iterator[None]:
    """Put an int8 file in the place of a float model while a command runs, if --data was given, and say so.

    The operators of --custom are made known first, and the model gets the batch of --batch.
    """
    if getattr(arguments, "custom", None) is not None:
        from utvm.graph.registration import custom_folder

        custom_folder(arguments.custom)
    if getattr(arguments, "batch", None) is not None:
        from utvm.frontends.reading import with_batch

        arguments.model = with_batch(arguments.model, arguments.batch)
    if getattr(arguments, "quantize_by", None) is None:
        yield
        return
    from utvm import api
    from utvm.report import quantize_line, write_bytes

    made = api.quantize(arguments.model, arguments.quantize_by, pixels=chosen_pixels(arguments))
    print(f"utvm: {quantize_line(made.report)}", file=sys.stderr)
    with TemporaryDirectory(prefix="utvm-") as folder:
        arguments.model = Path(folder) / f"{arguments.model.stem}.tflite"
        write_bytes(arguments.model, made.file)
        yield


def compile_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `api.compile` that `add_model` added."""
    return {name: getattr(arguments, name) for name in ("small", "flash", "ram", "assume", "records")}


def add_pixels(parser: argparse.ArgumentParser) -> None:
    """Add --mean and --std."""
    parser.add_argument(
        "--mean",
        type=numbers,
        metavar="A,B,...",
        help="the network expects (pixel - mean) / std of pixels 0 to 255, one value or one a channel; default: bytes "
        "of arrays as they are, pictures divided by 255",
    )
    parser.add_argument("--std", type=numbers, metavar="A,B,...", help="see --mean (default: 1)")


def chosen_pixels(arguments: argparse.Namespace) -> Pixels | None:
    """Return what --mean and --std say, None if neither was given.

    Raises:
        DatasetError: they are out of range.
    """
    from utvm.quantization import Pixels

    if arguments.mean is None and arguments.std is None:
        return None
    return Pixels(mean=arguments.mean or (0.0,), std=arguments.std or (1.0,))


def add_board(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add --board, --boards beside it if several can be used, and --assume."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--board", metavar="BOARD", help="a board's name (see `utvm boards`) or the path of its TOML")
    if several:
        which.add_argument(
            "--boards",
            type=names,
            metavar="A,B,...",
            help="several boards of one kind at once: TOMLs of different probes, or an emulated board's name repeated",
        )
    parser.add_argument(
        "--assume",
        metavar="NAME",
        help="choose kernels for, and model cycles with, the memories of stm32f746, stm32h743 (Cortex-M7) or stm32l4r5 "
        "(Cortex-M4), for pipelines as compilers and manuals have them (compilers), or model cycles as pessimistic-m7; "
        "a pipeline and a memory together between commas, as compilers,stm32f746; default: pipelines as measured on "
        "silicon by others, zero-wait memory",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add --trust-board."""
    parser.add_argument(
        "--trust-board",
        action="store_true",
        help="run the programs that a board's TOML given by path names: you have read it",
    )


def chosen_board(arguments: argparse.Namespace) -> Board:
    """Return the board of --board, trusted if --trust-board says so.

    Raises:
        BoardError: there is no such board, or its file has problems.
    """
    from utvm.boards import load_board

    return load_board(arguments.board, trust=arguments.trust_board)


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add --db."""
    parser.add_argument(
        "--db",
        metavar="URL",
        help="where records are: an SQLite file or postgresql://user@host/database (default: $UTVM_RECORDS, or "
        "utvm/records.sqlite below the user's data directory)",
    )


def add_tls(parser: argparse.ArgumentParser) -> None:
    """Add the files of TLS, named as Dask names them."""
    parser.add_argument("--tls-ca-file", type=Path, metavar="PEM", help="TLS: the authority that all of a fleet trust")
    parser.add_argument("--tls-cert", type=Path, metavar="PEM", help="TLS: the certificate of this side")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="TLS: its key")


def tls_files(arguments: argparse.Namespace) -> Tls | None:
    """Return the files of TLS that `add_tls` added, None if none was given.

    Raises:
        FleetError: only some were given, or one is not there.
    """
    from utvm.fleet import FleetError, Tls

    files = {name: getattr(arguments, f"tls_{name}") for name in ("ca_file", "cert", "key")}
    if not any(files.values()):
        return None
    if not all(files.values()):
        raise FleetError("TLS needs all of --tls-ca-file, --tls-cert and --tls-key")
    return Tls(**files)


def numbers(text: str) -> tuple[float, ...]:
    """Parse finite numbers between commas.

    Raises:
        argparse.ArgumentTypeError: one is none.
    """
    found = tuple(_number(part) for part in text.split(","))
    if not all(map(math.isfinite, found)):
        raise argparse.ArgumentTypeError(f"'{text}' are not numbers between commas")
    return found


def names(text: str) -> list[str]:
    """Parse names between commas.

    Raises:
        argparse.ArgumentTypeError: one is empty.
    """
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"'{text}' has an empty name: write them between commas")
    return found


def count(text: str) -> int:
    """Parse a whole number of at least 1.

    Raises:
        argparse.ArgumentTypeError: it is not one.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a count: write a whole number, 1 or more")
    return int(text)


def amount(text: str) -> float:
    """Parse a number above 0, of seconds or minutes.

    Raises:
        argparse.ArgumentTypeError: it is not one.
    """
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def share(text: str) -> float:
    """Parse a percentage: 0 to 100.

    Raises:
        argparse.ArgumentTypeError: it is not one.
    """
    value = _number(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"'{text}' is not a percentage: write a number from 0 to 100")
    return value


def _number(text: str) -> float:
    """Return a number, NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def nbytes(text: str) -> int:
    """Parse a size in bytes: digits, with K or M for 1024 or 1024².

    Raises:
        argparse.ArgumentTypeError: it is not one.
    """
    try:
        return size_in_bytes(text)
    except UtvmError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
