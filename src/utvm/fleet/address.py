"""Where a fleet's scheduler is, and what may listen or connect without TLS: loopback alone."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from utvm.errors import UtvmError

if TYPE_CHECKING:
    from distributed import Security

DEFAULT_PORT = 8786
_HOW = "--tls-ca-file, --tls-cert and --tls-key"


class FleetError(UtvmError):
    """A fleet that can't be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM: the authority that all of a fleet trust, and this side's certificate and key.

    Raises:
        FleetError: one is not there.
    """

    ca_file: Path
    cert: Path
    key: Path

    def __post_init__(self) -> None:
        for file in (self.ca_file, self.cert, self.key):
            if not file.is_file():
                raise FleetError(f"there is no file {file}: {_HOW} are files in PEM")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A fleet by its scheduler's address, such as `tcp://127.0.0.1:8786`, or `tls://lab:8786` with `tls`.

    Raises:
        FleetError: it is no address, or one of a network without TLS. Who can connect can run code there.

    Example:
        fleet = utvm.Fleet(address="tcp://127.0.0.1:8786")  # utvm.tune(model, board, fleet=fleet)
    """

    address: str
    tls: Tls | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.address, str):
            raise FleetError(f"a {type(self.address).__name__} is no address: write tcp://127.0.0.1:{DEFAULT_PORT}")
        parts = urlsplit(self.address)
        try:
            whole = parts.scheme in ("tcp", "tls") and parts.hostname and parts.port
        except ValueError:
            whole = None
        if not whole:
            raise FleetError(f"'{self.address}' is no address of a scheduler: write tcp://127.0.0.1:{DEFAULT_PORT}")
        if parts.scheme == "tls" and self.tls is None:
            raise FleetError(f"'{self.address}' needs {_HOW}")
        if parts.scheme == "tcp" and self.tls is not None:
            raise FleetError(f"'{self.address}' is not encrypted: with {_HOW} write tls://")
        if parts.scheme == "tcp" and not self.is_loopback:
            raise FleetError(
                f"'{self.address}' is not on this host: over a network fleets need TLS (tls://, with {_HOW})"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether the scheduler is on this host."""
        return is_loopback(urlsplit(self.address).hostname or "")


def check_listener(host: str, tls: Tls | None) -> None:
    """Refuse to listen on a network without TLS.

    Raises:
        FleetError: it would.
    """
    if tls is None and not is_loopback(host):
        raise FleetError(f"a scheduler on '{host}' would take programs from everybody: it needs {_HOW}, or 127.0.0.1")


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this host's loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def security(tls: Tls | None) -> Security:
    """Return what Dask takes; both sides must show a certificate of the same authority."""
    from distributed import Security

    if tls is None:
        return Security(require_encryption=False)
    roles = ("scheduler", "worker", "client")
    files = {f"tls_{role}_{what}": str(getattr(tls, what)) for role in roles for what in ("cert", "key")}
    return Security(tls_ca_file=str(tls.ca_file), require_encryption=True, **files)
