"""`utvm doctor`: what it finds, what it says about what is missing, and its status."""

import json
from importlib import metadata

import pytest

from utvm import cli, doctor
from utvm.prerequisites import PREREQUISITES, Prerequisite, how_to_install, install_command

ABSENT = Prerequisite(name="abacus", purpose="counts", package="libabacus", probe=("no-such-program-here",))


def findings(out: str) -> dict[str, dict[str, object]]:
    return {finding["name"]: finding for finding in json.loads(out)["findings"]}


def test_a_missing_program_has_the_command_that_mends_it_and_status_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "PREREQUISITES", (ABSENT,))
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    assert cli.main(["doctor", "--json"]) == 2
    found = findings(capsys.readouterr().out)["abacus"]
    assert found["version"] is None
    assert found["state"] == "missing"
    assert str(found["mend"]).endswith("apt-get install --yes --no-install-recommends libabacus")


def test_all_is_well_when_all_is_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "PREREQUISITES", ())
    assert cli.main(["doctor"]) == 0
    assert "Everything required is installed." in capsys.readouterr().out


def test_python_packages_old_missing_and_optional(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = {"numpy": "1.25.9", "tflite": "2.18.0", "hypothesis": "7.0rc1"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    requirements = [
        "numpy>=1.26",
        "tflite>=2.18",
        "rich",
        'hypothesis>=6.100; extra == "test"',
        'mypy>=1.11; extra == "lint"',
        'pillow[jpeg]>=10,<99; extra == "demo"',
        'pillow>=10; extra == "test"',
    ]
    monkeypatch.setattr(doctor, "PREREQUISITES", ())
    monkeypatch.setattr(metadata, "requires", lambda _: requirements)
    monkeypatch.setattr(metadata, "version", version)
    assert cli.main(["doctor", "--json"]) == 2
    found = findings(capsys.readouterr().out)
    assert {name: finding["state"] for name, finding in found.items()} == {
        "numpy": "too old",
        "tflite": "ok",
        "rich": "missing",
        "hypothesis": "ok",
        "mypy": "optional",
        "pillow": "optional",
    }
    assert str(found["numpy"]["mend"]).endswith("-m pip install 'numpy>=1.26'")
    assert "'demo'" in str(found["pillow"]["purpose"])
    assert "'test'" in str(found["pillow"]["purpose"])


def test_an_uninstalled_package_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def requires(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert cli.main(["doctor"]) == 2
    assert "install --editable ." in capsys.readouterr().out


def test_every_program_reports_a_version() -> None:
    installed = [item for item in PREREQUISITES if item.found()]
    assert {item.name for item in installed if item.found() == "present"} <= {"C library", "simavr"}


def test_one_command_installs_each_package_once() -> None:
    both = [ABSENT, Prerequisite(name="beads", purpose="slide", package="libabacus", probe=("no-such-bead",))]
    assert install_command(both)[-1:] == ["libabacus"]
    assert install_command(both).count("libabacus") == 1


def test_without_apt_every_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert "abacus: counts (Debian's package is libabacus)" in how_to_install([ABSENT])


def test_a_program_that_fails_is_not_there() -> None:
    broken = Prerequisite(name="broken", purpose="fails", package="broken", probe=("false",))
    assert broken.found() is None
