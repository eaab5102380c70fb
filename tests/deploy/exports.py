"""Models exported once for all tests of a process."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.api.test_models import MODELS, model_path
from tests.codegen.test_golden import small_network
from utvm.deploy import Export, export
from utvm.frontends.tflite_writer import write_tflite

__all__ = ["EVERYWHERE", "MODELS", "exported", "model_path", "small_model", "written"]

EVERYWHERE = bool(os.environ.get("UTVM_EVERY_BOARD"))
"""Whether to test exports for every board; without it, for a Cortex-M4."""

_FOLDERS: list[TemporaryDirectory[str]] = []


@cache
def exported(name: str, board: str = "qemu-cortex-m4") -> Export:
    return export(model_path(name), board)


@cache
def written(name: str, board: str = "qemu-cortex-m4") -> Path:
    """Return the directory of an export; it is removed when the process ends."""
    folder = TemporaryDirectory(prefix="utvm-test-export-")
    _FOLDERS.append(folder)
    exported(name, board).write(Path(folder.name))
    return Path(folder.name)


def small_model(folder: Path, name: str = "small") -> Path:
    """Write a network of five layers, whose name is that of its file."""
    path = folder / f"{name}.tflite"
    path.write_bytes(write_tflite(small_network()))
    return path
