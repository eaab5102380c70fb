"""Objects as people see them: short text in a terminal, a table in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def html_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML, for `_repr_html_`. Numbers stand on the right; text comes from files and is escaped."""
    head = "".join(f"<th>{_escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><caption>{_escape(title)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    if isinstance(value, int | float):
        return f'<td style="text-align: right">{value:,}</td>'
    return f'<td style="text-align: left">{_escape(str(value))}</td>'


def _escape(text: str) -> str:
    """Return text as HTML holds it; what is not printable, or turns the direction of writing, becomes U+FFFD."""
    return html.escape("".join(character if character.isprintable() else "\ufffd" for character in text))


def shortened(text: str, most: int = 60) -> str:
    """Return text of one line and at most so many characters, with an ellipsis where some are left out."""
    line = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return line if len(line) <= most else f"{line[: most - 1]}…"
