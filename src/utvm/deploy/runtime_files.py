"""The C that comes along for programs that boot by themselves: the files of `runtime`."""

from __future__ import annotations

from importlib.resources import files

from utvm.toolchain import Source


def runtime_source(name: str) -> Source:
    """Return a file of `runtime` as a source, whose name begins with `utvm_`."""
    folder = files("utvm.deploy") / "runtime"
    return Source(name=f"utvm_{name}", text=(folder / name).read_text(encoding="utf-8"))
