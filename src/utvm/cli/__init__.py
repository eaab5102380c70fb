"""The `utvm` command: one file a subcommand, no logic of its own.

A command module has `add_parser(subparsers)`, which sets the default `run`: a function from the parsed
arguments to the exit status. It imports what it needs inside that function, so `utvm --help` stays quick.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from utvm import __version__
from utvm.cli import (
    bench,
    boards,
    compare,
    compile,
    cost,
    demo,
    doctor,
    export,
    flash,
    fleet,
    plan,
    profile,
    quantize,
    records,
    run,
    space,
    tune,
    verify,
)
from utvm.cli.options import int8_model
from utvm.errors import UtvmError, UtvmWarning
from utvm.interrupts import Interrupts
from utvm.progress import shown_on

_COMMANDS = (
    quantize,
    compile,
    run,
    export,
    verify,
    flash,
    profile,
    cost,
    compare,
    plan,
    tune,
    fleet,
    records,
    space,
    bench,
    boards,
    doctor,
    demo,
)

_SHOW_PROGRESS = (quantize, compile, run, export, verify, profile, cost, compare, plan, bench, demo)
"""Those that may take long before they print; the others show what they do by themselves."""

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE

_FULL = "make room there, or set UTVM_CACHE (what is built) and TMPDIR (other temporary files) to another disk"
_FORBIDDEN = "let this user write there, or choose another place"
_OF_THE_MACHINE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "allow larger files (`ulimit -f`), or choose a file system that holds them",
    errno.EROFS: _FORBIDDEN,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EIO: "see to the disk",
    errno.EMFILE: "allow more open files (`ulimit -n`)",
    errno.ENFILE: "end other programs",
    errno.ENOMEM: "end other programs",
}
"""What to do about errors of the operating system that can happen to any file; others would be our mistakes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 after an error that the user can mend, or 130 after Ctrl-C.

    Raises:
        SystemExit: the arguments can't be parsed (status 2), or only help or the version was asked for (0).
    """
    interrupts = Interrupts()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without these characters gets escapes, never a traceback.
            stream.reconfigure(errors="backslashreplace")
    try:
        with interrupts, warnings.catch_warnings():
            warnings.simplefilter("always", UtvmWarning)
            warnings.showwarning = _show_warning
            arguments = _parser().parse_args(argv)
            run: Callable[[argparse.Namespace], int] = arguments.run
            shows = run.__module__ in {command.__name__ for command in _SHOW_PROGRESS}
            with shown_on(sys.stderr) if shows else nullcontext(), int8_model(arguments):
                status = run(arguments)
            sys.stdout.flush()
            interrupts.check()
    except UtvmError as error:
        print(f"utvm: {_shown(error)}", file=sys.stderr)
        return EXIT_INTERRUPTED if interrupts.happened else EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("utvm: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`utvm ... | head`); the flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"utvm: {_shown(place)}{error.strerror}: {_OF_THE_MACHINE[error.errno]}", file=sys.stderr)
        return EXIT_USER_ERROR
    return status


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning in one line; a parameter of `warnings.showwarning` each, of which the text alone counts."""
    print(f"utvm: warning: {_shown(message)}", file=sys.stderr)


def _shown(text: object) -> str:
    """Return a message in which what comes from a file can't steer the terminal: what does not print is escaped."""
    return "".join(c if c in "\n\t" or c.isprintable() else ascii(c)[1:-1] for c in str(text))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="utvm",
        description="Compile int8 neural networks for bare-metal microcontrollers and run them there.",
    )
    parser.add_argument("--version", action="version", version=f"utvm {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(subparsers)
    return parser
