"""`python -m utvm` is the `utvm` command."""

import sys

from utvm.cli import main

if __name__ == "__main__":
    sys.exit(main())
