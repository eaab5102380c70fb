"""Debug probes of pyOCD on the chips of `bench`. Importing this module makes stock pyOCD find them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from pyocd.core import exceptions
from pyocd.probe.aggregator import PROBE_CLASSES
from pyocd.probe.debug_probe import DebugProbe

from tests.support.chip.bench import (
    BENCHES,
    Bench,
    GarbledError,
    NoAnswerError,
    StillWaitingError,
    UnpluggedError,
)
from tests.support.chip.debug_port import ABORT, DebugPort

_DP_REGISTER, _AP_REGISTER = 0xF, 0xC


class SimulatedProbe(DebugProbe):
    """An SWD probe without capabilities beyond transfers: pyOCD selects registers itself."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self._open = False
        self._protocol: DebugProbe.Protocol | None = None
        self._in_reset = False

    @classmethod
    def get_all_connected_probes(cls, unique_id: str | None = None, is_explicit: bool = False) -> Sequence[DebugProbe]:
        """Return the probes that are plugged in."""
        return [cls(bench) for bench in BENCHES.values() if bench.plugged]

    @classmethod
    def get_probe_with_id(cls, unique_id: str, is_explicit: bool = False) -> DebugProbe | None:
        """Return the probe with a serial number."""
        bench = BENCHES.get(unique_id)
        return cls(bench) if bench is not None and bench.plugged else None

    @property
    def vendor_name(self) -> str:
        """See `DebugProbe`."""
        return "simulated"

    @property
    def product_name(self) -> str:
        """See `DebugProbe`."""
        return "probe"

    @property
    def unique_id(self) -> str:
        """See `DebugProbe`."""
        return self._bench.serial

    @property
    def supported_wire_protocols(self) -> Collection[DebugProbe.Protocol]:
        """See `DebugProbe`."""
        return [DebugProbe.Protocol.DEFAULT, DebugProbe.Protocol.SWD]

    @property
    def wire_protocol(self) -> DebugProbe.Protocol | None:
        """See `DebugProbe`."""
        return self._protocol

    @property
    def is_open(self) -> bool:
        """See `DebugProbe`."""
        return self._open

    @property
    def capabilities(self) -> set[DebugProbe.Capability]:
        """See `DebugProbe`."""
        return set()

    def open(self) -> None:
        """See `DebugProbe`."""
        if not self._bench.plugged:
            raise exceptions.ProbeDisconnected(f"{self.unique_id} is not plugged in")
        self._open = True

    def close(self) -> None:
        """See `DebugProbe`."""
        self._open = False

    def connect(self, protocol: DebugProbe.Protocol | None = None) -> None:
        """See `DebugProbe`."""
        self._protocol = DebugProbe.Protocol.SWD

    def disconnect(self) -> None:
        """See `DebugProbe`."""
        self._protocol = None

    def set_clock(self, frequency: float) -> None:
        """See `DebugProbe`."""

    def reset(self) -> None:
        """See `DebugProbe`."""
        self.assert_reset(True)
        self.assert_reset(False)

    def assert_reset(self, asserted: bool) -> None:
        """See `DebugProbe`."""
        self._in_reset = asserted
        self._bench.reset_pin(asserted)

    def is_reset_asserted(self) -> bool:
        """See `DebugProbe`."""
        return self._in_reset

    def flush(self) -> None:
        """See `DebugProbe`."""

    def read_dp(self, addr: int, now: bool = True) -> Any:
        """See `DebugProbe`."""
        return _result(self._transfer(lambda port: port.read(addr & _DP_REGISTER)), now)

    def write_dp(self, addr: int, data: int) -> None:
        """See `DebugProbe`."""
        register = addr & _DP_REGISTER

        def write(port: DebugPort) -> None:
            if register == ABORT:
                port.abort(data)
            else:
                port.write(register, data, clears=False)

        self._transfer(write)

    def read_ap(self, addr: int, now: bool = True) -> Any:
        """See `DebugProbe`."""
        return _result(self._transfer(lambda port: _checked(port, port.read_access_port(addr & _AP_REGISTER))), now)

    def write_ap(self, addr: int, data: int) -> None:
        """See `DebugProbe`."""
        self._transfer(lambda port: _checked(port, port.write_access_port(addr & _AP_REGISTER, data)))

    def read_ap_multiple(self, addr: int, count: int = 1, now: bool = True) -> Any:
        """See `DebugProbe`."""
        return _result([self.read_ap(addr) for _ in range(count)], now)

    def write_ap_multiple(self, addr: int, values: Sequence[int]) -> None:
        """See `DebugProbe`."""
        for value in values:
            self.write_ap(addr, value)

    def _transfer(self, action: Callable[[DebugPort], Any]) -> Any:
        if not self._open:
            raise exceptions.ProbeError(f"{self.unique_id} is not open")
        try:
            return self._bench.transfer(action)
        except UnpluggedError:
            raise exceptions.ProbeDisconnected(f"{self.unique_id} is not plugged in") from None
        except NoAnswerError:
            raise exceptions.TransferError("no ACK") from None
        except StillWaitingError:
            raise exceptions.TransferTimeoutError("WAIT") from None
        except GarbledError:
            raise exceptions.TransferProtocolError("parity") from None


def _checked(port: DebugPort, value: Any) -> Any:
    if port.has_error:
        raise exceptions.TransferFaultError
    return value


def _result(value: Any, now: bool) -> Any:
    return value if now else lambda: value


PROBE_CLASSES["simulated"] = SimulatedProbe
