"""What words cost that start at any address, and whether bytes are faster."""

from __future__ import annotations

from functools import lru_cache

from utvm.cores import Core
from utvm.cores.timing import Timing
from utvm.kernels.runs import WORD

_BY_WORDS = ("ldr r4, [r0]", "sxtab16 r1, r1, r4", "sxtab16 r2, r2, r4, ror #8")
_BY_BYTES = (
    *("ldrsb r4, [r0]", "ldrsb r5, [r0, #1]", "ldrsb r6, [r0, #2]", "ldrsb r7, [r0, #3]"),
    *("add r1, r1, r4", "add r2, r2, r5", "add r3, r3, r6", "add r8, r8, r7"),
)
"""Four bytes that are added to four sums."""


def misaligned_cycles(timing: Timing, pitch: int) -> float:
    """Return what a load of a word costs more on average where runs start at multiples of `pitch` bytes."""
    if pitch % WORD == 0:
        return 0
    cycles = timing.unaligned_cycles
    anywhere = cycles.get("crosses_word", 0) + cycles.get("unaligned_load", 0)
    odd, half = (anywhere + cycles.get(kind, 0) for kind in ("word_at_odd", "word_at_2"))
    return (2 * odd + half) / 4 if pitch % 2 else half / 2


@lru_cache(maxsize=256)
def sums_by_bytes(core: Core, pitch: int) -> bool:
    """Return whether a core sums neighbours faster one by one than by words, where these start at any address.

    Args:
        core: where. It answers for cores with the DSP extension; others are not asked what their words cost.
        pitch: bytes of which starts of runs are multiples.
    """
    timing = core.timing
    if timing is None or not core.dsp or not core.unaligned or pitch % WORD == 0:
        return False
    by_words = _cycles(timing, _BY_WORDS) + misaligned_cycles(timing, pitch)
    return _cycles(timing, _BY_BYTES) < by_words


def _cycles(timing: Timing, turn: tuple[str, ...]) -> float:
    """Return the cycles of a turn behind another one."""
    code = [timing.parse(line) for line in turn]
    return timing.cost(code, code)
