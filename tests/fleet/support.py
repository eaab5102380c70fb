"""Schedulers and workers as users run them: processes of `utvm fleet`."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from utvm.fleet import Fleet, Tls

M7 = "qemu-cortex-m7"


class FleetProcesses:
    """A scheduler on a free port, and workers; all end with it.

    Args:
        tls: certificates for all of them.
    """

    def __init__(self, tls: Tls | None = None) -> None:
        files = [] if tls is None else ["--tls-ca-file", tls.ca_file, "--tls-cert", tls.cert, "--tls-key", tls.key]
        self._tls = [str(file) for file in files]
        self.processes: list[subprocess.Popen[str]] = []
        self.scheduler, said = self._start("scheduler", "--port", "0")
        self.fleet = Fleet(address=said.split()[-1], tls=tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()

    def worker(self, boards: Sequence[str | Path]) -> subprocess.Popen[str]:
        """Start a worker and wait until each of its boards is offered."""
        names = ",".join(str(board) for board in boards)
        process, said = self._start("worker", "--scheduler", self.fleet.address, "--boards", names)
        assert process.stderr is not None
        assert said.startswith("without TLS: whoever reaches this port") == (self.fleet.tls is None), said
        if self.fleet.tls is None:
            said = process.stderr.readline()
        for line in (said, *(process.stderr.readline() for _ in boards[1:])):
            assert "offered" in line, line
        return process

    def start_scheduler_again(self) -> None:
        """Kill the scheduler and start one in its place."""
        self.scheduler.kill()
        self.scheduler.wait()
        port = self.fleet.address.rpartition(":")[2]
        self.scheduler, said = self._start("scheduler", "--port", port)
        assert said.split()[-1] == self.fleet.address

    def _start(self, *arguments: str) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "utvm", "fleet", *arguments, *self._tls]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        assert process.stderr is not None
        return process, process.stderr.readline()


def make_tls(directory: Path, name: str) -> Tls:
    """Certificates as a laboratory makes them: an authority, and a certificate that it signed."""
    ca, key, cert, request = (directory / f"{name}{end}" for end in (".ca", ".key", ".crt", ".csr"))
    _openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{ca}.key", "-out", ca
    )
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=board-host", "-keyout", key, "-out", request)
    _openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", f"{ca}.key", "-CAcreateserial", "-out", cert)
    return Tls(ca_file=ca, cert=cert, key=key)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
