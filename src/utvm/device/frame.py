"""Calls through a frame in memory: what `runtime/call.c` takes and gives, which the host can verify."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from utvm.device.link import DeviceError

INVOKE_SYMBOL, FRAME_SYMBOL = "utvm_invoke", "utvm_frame"
ARGUMENTS = 12
DONE_OFFSET, DONE_BYTES = 8, 8


def pack_frame(*, nonce: int, function: int, arguments: Sequence[int]) -> bytes:
    """Return the frame of a call, up to its last argument.

    Raises:
        DeviceError: there are more arguments than a frame has places for.
    """
    if len(arguments) > ARGUMENTS:
        raise DeviceError(f"a call on a board takes {ARGUMENTS} arguments at most, not {len(arguments)}")
    words = (nonce, function, ~nonce, 0, *arguments)
    return struct.pack(f"<{len(words)}I", *(word & 0xFFFFFFFF for word in words))


def unpack_done(data: bytes) -> tuple[int, int]:
    """Return the nonce of the last call that ended, and its result."""
    done, result = struct.unpack("<II", data)
    return done, result
