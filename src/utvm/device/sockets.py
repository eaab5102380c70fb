"""Connections to servers on this machine, and ports for servers that we start."""

from __future__ import annotations

import socket


def open_socket(endpoint: str, timeout: float) -> socket.socket:
    """Connect to host:port or to the path of a Unix socket.

    Raises:
        OSError: nobody listens there.
    """
    if endpoint.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(endpoint)
        except BaseException:
            connection.close()
            raise
        return connection
    host, _, port = endpoint.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
