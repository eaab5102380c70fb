"""Where results are not those that the reference has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def differing(got: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where two arrays of one shape and type differ, by their bits: also where both are zero.

    What is no number is one value: IEEE 754 leaves its sign and its payload open, and processors differ in them.
    """
    bits = f"u{wanted.itemsize}"
    found: NDArray[np.bool_] = np.ascontiguousarray(got).view(bits) != np.ascontiguousarray(wanted).view(bits)
    if wanted.dtype.kind == "f":
        found &= ~(np.isnan(got) & np.isnan(wanted))
    return found
