"""The errors a user can cause. Each says what happened and what to do next."""


class UtvmError(Exception):
    """Base of every error that a user can cause; the command line prints it and exits with status 2."""
