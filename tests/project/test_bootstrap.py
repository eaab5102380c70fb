"""The set-up of a checkout, with everything that would change this machine replaced."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from utvm import prerequisites

ROOT = Path(__file__).resolve().parents[2]


class Started(BaseException):
    """Raised in the place of a program that would take over this process."""


def load_script() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_python(environment: Path) -> None:
    """Make a virtual environment, as far as anybody looks."""
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").touch()


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, on an empty checkout, as root with apt-get; `commands` holds what it ran."""
    module = load_script()
    commands: list[list[str]] = []

    def run(command: list[str], *, give_up: bool = True) -> str:
        commands.append(command)
        if command[1:3] == ["-m", "venv"]:
            make_python(Path(command[-1]))
        return ""

    (tmp_path / "pyproject.toml").write_text("[project]\n")
    values: dict[str, Any] = {
        "ROOT": tmp_path,
        "VENV": tmp_path / ".venv",
        "run": run,
        "become_root": lambda: ["as-root"],
    }
    for name, value in values.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    module.commands = commands  # type: ignore[attr-defined]
    return module


def absent_until_installed(bootstrap: ModuleType) -> Callable[[object], list[prerequisites.Prerequisite]]:
    return lambda _: [] if any("install" in command for command in bootstrap.commands) else [ABSENT]


ABSENT = prerequisites.Prerequisite(name="abacus", purpose="counts", package="libabacus", probe=("no-abacus",))


def test_missing_programs_are_installed_as_root(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "missing", absent_until_installed(bootstrap))
    bootstrap.install_system_packages(prerequisites, [ABSENT])
    assert [command[:3] for command in bootstrap.commands] == [
        ["as-root", "apt-get", "update"],
        ["as-root", "apt-get", "install"],
    ]
    assert bootstrap.commands[-1][-1] == "libabacus"


def test_nothing_is_run_when_nothing_is_missing(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "missing", lambda _: [])
    bootstrap.install_system_packages(prerequisites, [])
    assert bootstrap.commands == []


def test_without_root_it_says_what_to_install(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "become_root", lambda: None)
    monkeypatch.setattr(prerequisites, "missing", lambda _: [ABSENT])
    with pytest.raises(SystemExit) as stop:
        bootstrap.install_system_packages(prerequisites, [ABSENT])
    assert stop.value.code == 2
    assert "apt-get install --yes --no-install-recommends libabacus" in capsys.readouterr().err
    assert bootstrap.commands == []


def test_without_apt_it_says_what_to_install(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(prerequisites, "missing", lambda _: [ABSENT])
    with pytest.raises(SystemExit) as stop:
        bootstrap.install_system_packages(prerequisites, [ABSENT])
    assert stop.value.code == 2
    assert "abacus: counts (Debian's package is libabacus)" in capsys.readouterr().err


def test_an_installation_that_does_not_help_is_told(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prerequisites, "missing", lambda _: [ABSENT])
    with pytest.raises(SystemExit) as stop:
        bootstrap.install_system_packages(prerequisites, [ABSENT])
    assert stop.value.code == 2


def test_python_packages_are_installed_once_an_extra(bootstrap: ModuleType) -> None:
    bootstrap.install_python_packages("demo")
    assert [command[-1] for command in bootstrap.commands] == [str(bootstrap.VENV), f"{bootstrap.ROOT}[demo]"]
    bootstrap.install_python_packages("demo")
    assert len(bootstrap.commands) == 2
    bootstrap.install_python_packages("test")
    assert bootstrap.commands[2][-1] == f"{bootstrap.ROOT}[test]"


def test_a_changed_project_is_installed_again(bootstrap: ModuleType) -> None:
    bootstrap.install_python_packages("demo")
    (bootstrap.ROOT / "pyproject.toml").write_text("[project]\ndependencies = []\n")
    bootstrap.install_python_packages("demo")
    assert len(bootstrap.commands) == 3


def test_a_failed_installation_leaves_no_stamp(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    make_python(bootstrap.VENV)

    def fails(command: list[str], *, give_up: bool = True) -> None:
        raise SystemExit(2)

    monkeypatch.setattr(bootstrap, "run", fails)
    with pytest.raises(SystemExit):
        bootstrap.install_python_packages("demo")
    assert not list(bootstrap.VENV.glob("*.stamp"))


def test_what_cannot_be_installed_beside_is_said_once(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    works, absent = bootstrap.run, bootstrap.ROOT / ".venv-tvm" / "absent"

    def fails(command: list[str], *, give_up: bool = True) -> str:
        assert not give_up
        works(command)
        return "no such host" if "pip" in command else ""

    monkeypatch.setattr(bootstrap, "run", fails)
    bootstrap.install_beside("tvm")
    assert absent.read_text() == "no such host"
    assert "remove .venv-tvm to try again: no such host" in capsys.readouterr().out
    bootstrap.install_beside("tvm")
    assert len(bootstrap.commands) == 2
    (bootstrap.ROOT / "pyproject.toml").write_text("[project]\ndependencies = []\n")
    monkeypatch.setattr(bootstrap, "run", works)
    bootstrap.install_beside("tvm")
    assert bootstrap.commands[2][-2:] == [f"{bootstrap.ROOT}[tvm]", "pytest"]
    assert not absent.exists()
    bootstrap.install_beside("tvm")
    assert len(bootstrap.commands) == 3


def test_an_environment_beside_that_cannot_be_made_is_no_failure(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "run", lambda command, *, give_up=True: "no space left on device")
    bootstrap.install_beside("tvm")
    assert (bootstrap.ROOT / ".venv-tvm" / "absent").read_text() == "no space left on device"


def test_an_old_python_hands_over_to_a_newer_one(bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def execv(path: str, arguments: list[str]) -> None:
        raise Started([path, *arguments])

    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "demo"])
    monkeypatch.setattr("shutil.which", lambda name: "/opt/python3.12" if name == "python3.12" else None)
    monkeypatch.setattr(bootstrap.os, "execv", execv)
    with pytest.raises(Started) as started:
        bootstrap.use_new_enough_python()
    assert started.value.args[0] == ["/opt/python3.12", "/opt/python3.12", "bootstrap.py", "demo"]


def test_only_an_old_python_is_told(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(SystemExit) as stop:
        bootstrap.use_new_enough_python()
    assert stop.value.code == 2
    assert "install Python 3.11 or newer" in capsys.readouterr().err


def test_a_failure_that_is_not_the_end_is_one_line() -> None:
    said = "print('  ERROR: no such package\\n  note: this is no problem'); raise SystemExit(1)"
    assert load_script().run([sys.executable, "-c", said], give_up=False) == "ERROR: no such package"
    assert load_script().run([sys.executable, "-c", "raise SystemExit(3)"], give_up=False) == "status 3"


def test_a_failing_command_shows_what_it_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        load_script().run([sys.executable, "-c", "print('no space left'); raise SystemExit(3)"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "no space left" in error
    assert "status 3" in error
