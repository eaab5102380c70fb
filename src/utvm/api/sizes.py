"""Sizes in bytes as people write them."""

from __future__ import annotations

from numbers import Integral
from typing import overload

from utvm.errors import UtvmError

Size = int | str
"""Bytes: a number, or text as on the command line: "65536", "64K" (of 1024 bytes), "1M"."""

_MOST_DIGITS = 18
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20}


@overload
def size_in_bytes(size: Size) -> int: ...


@overload
def size_in_bytes(size: Size | None) -> int | None: ...


def size_in_bytes(size: Size | None) -> int | None:
    """Return a size in bytes; None stays None.

    Raises:
        UtvmError: it is none.
    """
    if size is None:
        return None
    if isinstance(size, str):
        number = size.upper().removesuffix("K").removesuffix("M")
        factor = _FACTORS.get(size.upper()[len(number) :])
        if factor is not None and number.isdecimal() and len(number) <= _MOST_DIGITS:
            return int(number) * factor
    elif isinstance(size, Integral) and not isinstance(size, bool) and size >= 0:
        return int(size)
    raise UtvmError(f"'{str(size)[:_MOST_DIGITS]}' is not a size: write bytes, or a number with K or M")
