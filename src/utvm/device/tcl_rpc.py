"""OpenOCD's Tcl server: commands and answers that end with 0x1A (OpenOCD User's Guide, Tcl Scripting API)."""

from __future__ import annotations

import contextlib
import socket
import time

from utvm.device.link import LinkLostError, LinkTimeoutError

_END = b"\x1a"


class TclError(Exception):
    """A Tcl command failed; the text is what it said."""


class TclRpc:
    """A connection to a Tcl server. Deadlines are in seconds.

    An answer that did not come in time may still come: after `LinkTimeoutError` the connection is closed.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def run(self, command: str, timeout: float) -> str:
        """Run a Tcl script and return its result.

        Raises:
            TclError: it failed.
            LinkTimeoutError: no answer in time.
            LinkLostError: the other side is gone.
        """
        # The server does not tell errors from results; catch does. Substitution goes from left to right.
        answer = self._exchange(f'return "[catch {{{command}}} utvm_said] $utvm_said"', timeout)
        status, _, said = answer.partition(" ")
        if status == "0":
            return said
        raise TclError(said.strip())

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _exchange(self, script: str, timeout: float) -> str:
        deadline = time.monotonic() + timeout
        parts: list[bytes] = []
        try:
            self._socket.settimeout(timeout)
            self._socket.sendall(script.encode("utf-8") + _END)
            while not parts or not parts[-1].endswith(_END):
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                parts.append(self._socket.recv(1 << 18))
                if not parts[-1]:
                    raise LinkLostError("OpenOCD closed the connection")
        except TimeoutError:
            with contextlib.suppress(OSError):
                self._socket.close()
            name = script[len('return "[catch {') :][:32]
            raise LinkTimeoutError(f"OpenOCD did not answer '{name}' within {timeout:g} s") from None
        except OSError as error:
            raise LinkLostError(f"the connection to OpenOCD is gone: {error}") from error
        return b"".join(parts)[:-1].decode("utf-8", "replace")
