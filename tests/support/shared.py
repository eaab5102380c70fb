"""Where other people's models and data are, when this checkout has them beside it."""

from pathlib import Path

import pytest

_CANDIDATE = Path(__file__).resolve().parents[2].parent / "shared"

SHARED: Path | None = _CANDIDATE if _CANDIDATE.is_dir() else None


def shared(path: str) -> Path:
    """Return a file below the shared folder; skips the calling test when there is none."""
    if SHARED is None:
        pytest.skip("the shared models and data are not beside this checkout")
    return SHARED / path
