"""One name, one thing: classes of the package, and functions beside their modules."""

import ast
from collections import defaultdict
from pathlib import Path

import utvm

_ROOT = Path(utvm.__file__).parent
_TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(_ROOT.rglob("*.py"))}


def test_no_two_public_classes_have_the_same_name() -> None:
    places = defaultdict(list)
    for path, tree in _TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(_ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_function_has_the_name_of_its_module() -> None:
    shadowing = [
        f"{path.relative_to(_ROOT)}"
        for path, tree in _TREES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name in (path.stem, path.parent.name)
    ]
    assert shadowing == []
