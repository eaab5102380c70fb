"""Objects as people see them: short text in a terminal, a table in a notebook."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

_NUMBER = re.compile(r"[-+]?[\d,]+(\.\d+)?( ?%)?|-|–")


def html_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML, for `_repr_html_`.

    Columns of numbers stand on the right, also of numbers that are text, and their headings with them. Text comes from
    files and is escaped.
    """
    cells = [[f"{value:,}" if _is_number(value) else str(value) for value in row] for row in rows]
    sides = ["right" if _is_of_numbers([row[i] for row in cells]) else "left" for i in range(len(headings))]
    head = "".join(_cell("th", heading, side) for heading, side in zip(headings, sides, strict=True))
    body = "".join(
        f"<tr>{''.join(_cell('td', text, side) for text, side in zip(row, sides, strict=True))}</tr>" for row in cells
    )
    caption = f'<caption style="text-align: left; white-space: nowrap">{_escape(title)}</caption>'
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_of_numbers(texts: Sequence[str]) -> bool:
    """Whether all cells that are not empty are numbers, perhaps with separators, a percent sign or a dash for none."""
    filled = [text for text in texts if text.strip()]
    return bool(filled) and all(_NUMBER.fullmatch(text) for text in filled)


def _cell(kind: str, text: str, side: str) -> str:
    return f'<{kind} style="text-align: {side}">{_escape(text)}</{kind}>'


def _escape(text: str) -> str:
    """Return text as HTML holds it; what is not printable, or turns the direction of writing, becomes U+FFFD."""
    return html.escape("".join(character if character.isprintable() else "\ufffd" for character in text))


def shortened(text: str, most: int = 60) -> str:
    """Return text of one line and at most so many characters, with an ellipsis where some are left out."""
    line = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return line if len(line) <= most else f"{line[: most - 1]}…"
