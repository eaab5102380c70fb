"""Which TVM this bridge was written for: releases of TVM break its Python API, so that one version is asked for."""

from __future__ import annotations

import shlex
import sys
from importlib import metadata

from utvm.errors import UtvmError

PINNED = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post0"}
"""With apache-tvm-ffi 0.1.15, which a plain install of TVM brings, writing a schedule's trace to a file crashes."""
NEEDED = ("psutil", "onnx")
"""Of any version: TVM's search asks for the first, operators that µTVM takes over are read by the second."""


class TvmVersionError(UtvmError):
    """TVM is not installed, or in a version that the bridge does not know."""


def check_versions() -> None:
    """Return if the pinned versions are installed.

    Raises:
        TvmVersionError: one is missing or of another version; the message has the command that mends it.
    """
    wrong = []
    for package, wanted in PINNED.items():
        found = _version(package)
        if found != wanted:
            wrong.append(f"{package} {wanted} ({'not there' if found is None else f'there is {found}'})")
    wrong += [package for package in NEEDED if _version(package) is None]
    if wrong:
        packages = [*(f"{package}=={version}" for package, version in PINNED.items()), *NEEDED]
        command = shlex.join([sys.executable, "-m", "pip", "install", *packages])
        raise TvmVersionError(f"utvm.tvm needs {', '.join(wrong)}: {command}")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
