"""Copies of contiguous runs whose length is known, by words where their places allow."""

from __future__ import annotations

from utvm.codegen import CWriter
from utvm.kernels.weighted import offset

WORD = 4
_TURN = 4
"""Words of a turn: loads come before stores, which fills the pipeline of a Cortex-M7."""
_MEMCPY_WORTH = 16
"""Bytes from which memcpy is worth its call, where words can't be read anywhere."""
_FEW = 2
"""Bytes at the end of a run that are copied one by one, where a word would not be aligned."""
_ALIGNED = ("utvm_load4", "utvm_store4")
_ANYWHERE = ("utvm_load4_anywhere", "utvm_store4_anywhere")
RUN_HELPERS = (*_ALIGNED, *_ANYWHERE)
"""The helpers that copies of runs may call."""


def write_run(w: CWriter, target: str, source: str, nbytes: int, *, aligned: bool, anywhere: bool) -> None:
    """Write the copy of a run of bytes from one array to another.

    Args:
        w: what to write to.
        target, source: C expressions of pointers to bytes.
        nbytes: the length.
        aligned: whether both are at multiples of four.
        anywhere: whether the core reads and writes words at any address.
    """
    with w.block(""):
        w(f"int8_t *const into = (int8_t *)({target});", f"const int8_t *const out_of = (const int8_t *)({source});")
        if nbytes < WORD or not (aligned or anywhere or nbytes >= _MEMCPY_WORTH):
            _write_bytes(w, nbytes)
        elif not (aligned or anywhere):
            w(f"memcpy(into, out_of, {nbytes});")
        else:
            _write_words(w, nbytes, aligned=aligned, anywhere=anywhere)


def _write_bytes(w: CWriter, nbytes: int, start: int = 0) -> None:
    for place in range(start, nbytes):
        w(f"const int8_t b{place} = out_of[{place}];")
    for place in range(start, nbytes):
        w(f"into[{place}] = b{place};")


def _write_words(w: CWriter, nbytes: int, *, aligned: bool, anywhere: bool) -> None:
    load, store = _ALIGNED if aligned else _ANYWHERE
    words = nbytes // WORD
    turns = words // _TURN
    if turns > 1:
        with w.loop("at", turns * _TURN * WORD, step=_TURN * WORD):
            _write_turn(w, load, store, [f"at{offset(WORD * k)}" for k in range(_TURN)])
    left = [WORD * k for k in range(turns * _TURN if turns > 1 else 0, words)]
    for first in range(0, len(left), _TURN):
        with w.block(""):
            _write_turn(w, load, store, [str(place) for place in left[first : first + _TURN]])
    if nbytes % WORD > _FEW and anywhere:
        # The last word lies over the end of the one before.
        w(f"utvm_store4_anywhere(into + {nbytes - WORD}, utvm_load4_anywhere(out_of + {nbytes - WORD}));")
    elif nbytes % WORD:
        _write_bytes(w, nbytes, nbytes - nbytes % WORD)


def _write_turn(w: CWriter, load: str, store: str, places: list[str]) -> None:
    for number, place in enumerate(places):
        w(f"const uint32_t w{number} = {load}(out_of + {place});")
    for number, place in enumerate(places):
        w(f"{store}(into + {place}, w{number});")
