"""The errors a user can cause. Each says what happened and what to do next."""

import sys
import warnings


class UtvmWarning(UserWarning):
    """What went well, but perhaps not as the user thinks; the command line prints it on standard error.

    Example:
        with warnings.catch_warnings(record=True) as told:
            utvm.compile("model.tflite", "qemu-cortex-m7")
        print([str(each.message) for each in told])
    """


class UtvmError(Exception):
    """Base of every error that a user can cause; the command line prints it and exits with status 2.

    Example:
        try:
            utvm.load("missing.tflite")
        except utvm.UtvmError as error:
            print(error)
    """


def warn(text: str) -> None:
    """Issue a `UtvmWarning` that names the line of the user's code that called µTVM."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "utvm":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UtvmWarning, stacklevel=level)
