"""The bytes of a model file, as many as a model can have."""

from __future__ import annotations

from pathlib import Path

from utvm.frontends.errors import FrontendError

_MOST_BYTES = 2**31 - 1
"""FlatBuffers and protocol buffers end here."""


def model_file(path: Path) -> tuple[Path, str | None]:
    """Return a model's file, and the signature that its path names behind a '#', as in 'model.tflite#encode'."""
    if path.is_file() or "#" not in path.name:
        return path, None
    name, _, signature = path.name.partition("#")
    return path.with_name(name), signature


def model_bytes(path: Path) -> bytes:
    """Return what is in a model file.

    Raises:
        FrontendError: the file can't be read, or is larger than a model can be.
    """
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise FrontendError(path.name, [f"the file has {size:,} bytes, more than a model can have"])
        return path.read_bytes()
    except OSError as error:
        raise FrontendError(path.name, [f"the file can't be read: {error.strerror}"]) from error
