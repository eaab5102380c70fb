"""What may listen and connect where."""

import sys
from pathlib import Path

import pytest

from utvm.cli import main
from utvm.fleet import Fleet, FleetError, Tls, run_scheduler


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).touch()
    return Tls(ca_file=tmp_path / "ca", cert=tmp_path / "cert", key=tmp_path / "key")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:8786", "tcp://localhost:1", "tcp://[::1]:8786"])
def test_loopback_needs_no_tls(address: str, tls: Tls) -> None:
    assert Fleet(address=address).is_loopback
    with pytest.raises(FleetError, match="write tls://"):
        Fleet(address=address, tls=tls)


@pytest.mark.parametrize(
    "address",
    ["tcp://10.0.0.5:8786", "tcp://lab:8786", "tcp://0.0.0.0:8786", "tls://lab:8786", "tcp://localhost.lab:1"],
)
def test_a_network_needs_tls(address: str, tls: Tls) -> None:
    with pytest.raises(FleetError, match="--tls-ca-file"):
        Fleet(address=address)
    assert Fleet(address=address.replace("tcp:", "tls:"), tls=tls).address.startswith("tls://")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8786", "tcp://127.0.0.1", "http://127.0.0.1:1", "tcp://127.0.0.1:x", ""]
)
def test_what_is_no_address_is_named(address: str) -> None:
    with pytest.raises(FleetError, match="is no address"):
        Fleet(address=address)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.168.1.2", "::", "lab"])
def test_a_scheduler_does_not_listen_on_a_network_without_tls(host: str) -> None:
    with pytest.raises(FleetError, match="--tls-ca-file"):
        run_scheduler(host, 0, None, say=print)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(FleetError, match=r"-m pip install .*distributed"):
        run_scheduler("127.0.0.1", 0, None, say=print)


def test_the_command_line_says_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for arguments in (
        ["scheduler", "--host", "0.0.0.0"],
        ["worker", "--scheduler", "tcp://10.1.1.1:8786", "--boards", "qemu-cortex-m7"],
        ["scheduler", "--tls-key", str(tmp_path)],
    ):
        assert main(["fleet", *arguments]) == 2
        assert "--tls-cert" in capsys.readouterr().err
    assert main(["tune", "m.tflite", "--boards", "qemu-cortex-m7,qemu-cortex-m7", "--fleet", "tcp://127.0.0.1:1"]) == 2
    assert "name one" in capsys.readouterr().err
    files = [word for name in ("ca-file", "cert", "key") for word in (f"--tls-{name}", __file__)]
    assert main(["tune", "m.tflite", "--board", "qemu-cortex-m7", *files]) == 2
    assert "--fleet" in capsys.readouterr().err
    absent = str(tmp_path / "absent")
    assert main(["fleet", "scheduler", "--tls-key", absent, "--tls-cert", absent, "--tls-ca-file", absent]) == 2
    assert absent in capsys.readouterr().err
