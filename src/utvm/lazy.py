"""Packages whose public names are imported when they are first used, so that a command loads only what it needs.

A package lists its names once, as imports for type checkers:

    if TYPE_CHECKING:
        from utvm.device.session import Session
    else:
        __getattr__ = exports(__name__, __file__)
"""

from __future__ import annotations

import ast
import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def exports(package: str, file: str, going: Mapping[str, tuple[str, str]] | None = None) -> Callable[[str], Any]:
    """Return a package's `__getattr__`, which imports what the file's `if TYPE_CHECKING` imports.

    What is imported from the package itself is a module of it. No other public name may be that of a module of the
    package: the module would hide it.

    Args:
        package: the package's `__name__`.
        file: the package's `__file__`.
        going: names that are to go → what takes their place, and the release without them; who uses one is warned.
    """
    places: dict[str, str] = {}

    def imported(name: str) -> Any:
        if not places:
            places.update(_places(Path(file)))
        if going is not None and name in going:
            instead, release = going[name]
            text = f"{package}.{name} goes with release {release}: use {package}.{instead}"
            warnings.warn(text, DeprecationWarning, stacklevel=2)
            return getattr(sys.modules[package], instead)
        if name not in places:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        of_package = places[name] == package
        value = importlib.import_module(f"{package}.{name}" if of_package else places[name])
        if not of_package:
            value = getattr(value, name)
        setattr(sys.modules[package], name, value)
        return value

    return imported


def _places(file: Path) -> dict[str, str]:
    """Return the modules of the names that a file imports for type checkers."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    checked = next(node for node in body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {
        alias.name: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }
