"""`utvm boards add`: a file for a board of your own, and its check against the board that is connected."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from utvm.cli.options import chosen_board, nbytes

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from utvm.boards import Board, BoardDraft, MemoryRange


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "add",
        help="write a file for a board of your own, from options or questions",
        description="Write a TOML for the board NAME into your directory of boards ($UTVM_BOARDS, or utvm/boards below "
        "your configuration directory), so that --board NAME finds it. On a terminal, what no option says is asked.",
    )
    parser.add_argument("name", metavar="NAME", help="the board's name")
    parser.add_argument("--description", metavar="TEXT", help="what it is, for people")
    parser.add_argument("--part", help="build on a part that is described (see `utvm boards show`), as stm32f746")
    parser.add_argument("--core", help="the core, as cortex-m4")
    parser.add_argument("--clock", type=hertz, metavar="HZ", help="the core's clock after a reset, as 16M")
    parser.add_argument(
        "--ram", type=_range, action="append", default=[], metavar="ADDRESS+SIZE", help="RAM, as 0x20000000+64K"
    )
    parser.add_argument(
        "--flash",
        type=_range,
        action="append",
        default=[],
        metavar="ADDRESS+SIZE",
        help="flash that µTVM may erase for the constants of models that RAM does not hold",
    )
    parser.add_argument("--openocd", action="append", default=[], metavar="FILE", help="a file for OpenOCD's -f")
    parser.add_argument("--pyocd", metavar="TARGET", help="pyOCD's name for the part")
    parser.add_argument("--gdb", metavar="HOST:PORT", help="a GDB server that is there, as J-Link's")
    parser.add_argument("--check", action="store_true", help="compare the file with the connected board, only reading")
    parser.set_defaults(run=_run, link=None)


def add_link(parser: argparse.ArgumentParser) -> None:
    """Add --link."""
    parser.add_argument("--link", help="which of the board's debug links to use: gdb, openocd or pyocd")


def hertz(text: str) -> int:
    """Parse a frequency: digits, with k or M for 1000 or 1000000.

    Raises:
        argparse.ArgumentTypeError: it is not one.
    """
    number = text.lower().removesuffix("hz").removesuffix("k").removesuffix("m")
    factor = {"": 1, "k": 10**3, "m": 10**6}.get(text.lower().removesuffix("hz")[len(number) :])
    if factor is None or not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"'{text}' is not a frequency: write Hz, or a number with k or M")
    return int(number) * factor


def check(arguments: argparse.Namespace) -> int:
    """Compare a board's file with the connected board and print what was found."""
    board = chosen_board(arguments)
    linked = board if arguments.link is None else board.linked_by(arguments.link)
    return _check_pipeline(linked) if arguments.pipeline else _check(linked)


def _check_pipeline(board: Board) -> int:
    from utvm.pipeline import check_pipeline
    from utvm.report import pipeline_text

    report = check_pipeline(board)
    print(pipeline_text(report))
    return 0 if report.holds else 2


def _run(arguments: argparse.Namespace) -> int:
    from utvm.boards import BoardDraft, save_draft

    draft = BoardDraft(
        name=arguments.name,
        description=arguments.description or "",
        part=arguments.part,
        core=arguments.core,
        clock_hz=arguments.clock,
        ram=tuple(arguments.ram),
        flash=tuple(arguments.flash),
        openocd=tuple(arguments.openocd),
        pyocd=arguments.pyocd,
        gdb=arguments.gdb,
    )
    if sys.stdin.isatty() and draft.missing():
        draft = _asked(draft)
    board, path = save_draft(replace(draft, description=draft.description or draft.name))
    print(f"{path}: board '{board.name}', {board.core.name}, reached by {board.reached_by}")
    return _check(board) if arguments.check else 0


def _check(board: Board) -> int:
    from utvm.device import check_connected

    checks = check_connected(board)
    for found in checks:
        print(f"  {'ok' if found.holds else 'DIFFERS':8}{found.what}: {found.found}")
    return 0 if all(found.holds for found in checks) else 2


def _asked(draft: BoardDraft) -> BoardDraft:
    """Ask for what is missing; an answer that is left out is left out."""
    from utvm.boards import list_parts
    from utvm.cores import CORES

    for name, question, convert in _questions(draft, ", ".join(list_parts()), ", ".join(CORES)):
        answer = _ask(question, convert)
        if answer is not None:
            draft = replace(draft, **{name: answer})
        if draft.part is not None and not draft.missing():
            break
    return draft


def _questions(draft: BoardDraft, parts: str, cores: str) -> Iterator[tuple[str, str, Callable[[str], Any]]]:
    if not draft.description:
        yield "description", "What is it, in a few words?", str
    if draft.part is None and draft.core is None:
        yield "part", f"Its microcontroller, if it is one of {parts}", str
    if draft.part is None:
        for name, question, convert in (
            ("core", f"Its core (of {cores}); nothing if you named the microcontroller", str),
            ("clock_hz", "The core's clock after a reset, as 16M", hertz),
            ("ram", "RAM, as 0x20000000+64K, more separated by spaces", _ranges),
            ("flash", "Flash that may be erased, likewise, or nothing", _ranges),
        ):
            if not getattr(draft, name):
                yield name, question, convert
    if not (draft.openocd or draft.pyocd or draft.gdb):
        yield "openocd", "OpenOCD's files in order, separated by spaces, or nothing", lambda text: tuple(text.split())
        yield "pyocd", "pyOCD's name for the microcontroller, or nothing", str


def _ask(question: str, convert: Callable[[str], Any]) -> Any:
    while True:
        try:
            answer = input(f"{question}: ").strip()
        except EOFError:
            return None
        if not answer:
            return None
        try:
            return convert(answer)
        except argparse.ArgumentTypeError as error:
            print(error)


def _ranges(text: str) -> tuple[MemoryRange, ...]:
    return tuple(map(_range, text.split()))


def _range(text: str) -> MemoryRange:
    from utvm.boards import MemoryRange

    origin, plus, length = text.partition("+")
    try:
        start = int(origin, 0)
    except ValueError:
        plus = ""
        start = 0
    if not plus:
        raise argparse.ArgumentTypeError(f"'{text}' is no range: write ADDRESS+SIZE, as 0x20000000+64K")
    return MemoryRange(origin=start, length=nbytes(length))
