"""The errors a user can cause. Each says what happened and what to do next."""


class UtvmWarning(UserWarning):
    """What went well, but perhaps not as the user thinks; the command line prints it on standard error."""


class UtvmError(Exception):
    """Base of every error that a user can cause; the command line prints it and exits with status 2."""
