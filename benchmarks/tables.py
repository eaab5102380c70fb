"""Tables of documents, each between `<!-- NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def has_table(document: Path, name: str) -> bool:
    """Whether a document has a table of this name."""
    return f"<!-- {name} -->\n" in document.read_text(encoding="utf-8")


def write_table(document: Path, name: str, lines: Iterable[str]) -> None:
    """Replace a table in a document."""
    text = "\n".join(lines)
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    held, found = marked.subn(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", document.read_text(encoding="utf-8"))
    assert found == 1, f"{document} has no table {name}"
    document.write_text(held, encoding="utf-8")
