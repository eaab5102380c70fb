"""The counting plugin: built once with the host's compiler, kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path

_FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden")


def plugin_library(cache_directory: Path) -> Path | None:
    """Return the built plugin, or None where the host has no C compiler (instructions are not counted then)."""
    source = (files("utvm.emulators") / "profile.c").read_bytes()
    key = hashlib.sha256(source + " ".join(_FLAGS).encode()).hexdigest()[:32]
    built = cache_directory / f"qemu-profile-{key}.so"
    if built.exists():
        return built
    cache_directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_directory) as scratch:
        (Path(scratch) / "profile.c").write_bytes(source)
        made = Path(scratch) / "profile.so"
        try:
            subprocess.run(
                [os.environ.get("CC", "gcc"), *_FLAGS, "profile.c", "-o", made.name],
                cwd=scratch,
                check=True,
                capture_output=True,
                timeout=60,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        made.replace(built)
    return built
