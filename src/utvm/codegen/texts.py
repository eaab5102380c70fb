"""Files by their names, of which some are written when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping


class Texts(Mapping[str, str]):
    """File name → text. A function in the place of a text is called once, when the text is asked for."""

    def __init__(self, texts: Mapping[str, str | Callable[[], str]]) -> None:
        self._texts = dict(texts)

    def __getitem__(self, name: str) -> str:
        """Return a file's text."""
        text = self._texts[name]
        if not isinstance(text, str):
            text = self._texts[name] = text()
        return text

    def __iter__(self) -> Iterator[str]:
        """Go through the names, in their order."""
        return iter(self._texts)

    def __len__(self) -> int:
        """How many files there are."""
        return len(self._texts)
