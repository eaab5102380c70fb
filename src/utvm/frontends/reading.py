"""The bytes of a model file, as many as a model can have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from utvm.frontends.errors import FrontendError

_BATCH = re.compile(r"(?:(.+)&)?batch=([1-9][0-9]{0,5})")
_MOST_BYTES = 2**31 - 1
"""FlatBuffers and protocol buffers end here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What a path names behind a '#', as in 'model.tflite#encode' or 'model.tflite#encode&batch=4'.

    Attributes:
        signature: one of several networks.
        batch: how large the batch is that the file leaves open.
    """

    signature: str | None = None
    batch: int | None = None


def model_file(path: Path) -> tuple[Path, Chosen]:
    """Return a model's file, and what its path chooses of it."""
    if "#" not in path.name or path.is_file():
        return path, Chosen()
    name, _, chosen = path.name.partition("#")
    found = _BATCH.fullmatch(chosen)
    if found is None:
        return path.with_name(name), Chosen(signature=chosen)
    return path.with_name(name), Chosen(signature=found[1], batch=int(found[2]))


def with_batch(path: Path, batch: int) -> Path:
    """Return a path that chooses a size of the batch too."""
    _, chosen = model_file(path)
    return path.with_name(f"{path.name}{'#' if chosen.signature is None else '&'}batch={batch}")


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
