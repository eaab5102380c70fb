"""What our pages have in common: one file that loads nothing, no scripts, in the colours that readers prefer."""

from __future__ import annotations

import html
import re

_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #222; --faint: #6a6a6a; --rule: #ddd; --panel: #f5f5f5; --bar: #3b7dd8; --line: #1f4e9c;
  --dot: #9bb8dd; --bad: #b00020;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181c; --ink: #e3e3e3; --faint: #9a9a9a; --rule: #3a3d42; --panel: #22252a; --bar: #4f8fe6;
    --line: #8fbcff; --dot: #47658f; --bad: #ff6b81;
  }
}
body {
  font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem;
  color: var(--ink); background: var(--paper);
}
a { color: inherit; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { white-space: nowrap; padding: .15rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); }
.text { text-align: left; }
.total td { font-weight: bold; }
.bar { background: var(--bar); height: .7rem; border-radius: 2px; min-width: 1px; }
.faint { color: var(--faint); }
pre { background: var(--panel); padding: .8rem; overflow-x: auto; font-size: 12px; line-height: 1.35; }
"""


_REPLACED = re.compile(
    "[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def escape(text: str) -> str:
    """Return text as HTML and SVG hold it.

    Characters that XML 1.0 (section 2.2) does not know, and those that turn the direction of writing, become U+FFFD.
    """
    return html.escape(_REPLACED.sub("\ufffd", text))


def html_page(title: str, style: str, body: str) -> str:
    """Return a page; `title` is text, `style` CSS beside what all pages have, `body` HTML."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}{style}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""
