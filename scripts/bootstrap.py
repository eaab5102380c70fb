"""Set up a checkout: system packages, the virtual environment in .venv, the Python packages of one extra.

Run by the Makefile with the system's Python as `bootstrap.py EXTRA`, where EXTRA is one of pyproject.toml's.
Needs nothing but the standard library. Says nothing and takes a moment when there is nothing to do. Where it
can't install something itself, it says what to install and exits with 2.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST_PYTHON = (3, 11)
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")
EXTRAS_WITHOUT_TOOLS = ("lint",)
EXTRAS_BESIDE = {"test": "tvm,fleet"}
"""Extras that bring others, which get an environment of their own by the name of the first: its packages are pinned.

Tests skip what needs one that could not be made.
"""


def main() -> int:
    """Set up for one extra and return the exit status."""
    extra = sys.argv[1]
    use_new_enough_python()
    prerequisites = load_prerequisites()
    wanted = [
        prerequisites.Prerequisite(
            name="python3-venv",
            purpose="makes the virtual environment",
            package="python3-venv",
            probe=(sys.executable, "-c", "import ensurepip, venv"),
        )
    ]
    if extra not in EXTRAS_WITHOUT_TOOLS:
        wanted += prerequisites.needed_for(extra)
    install_system_packages(prerequisites, wanted)
    install_python_packages(extra)
    if extra in EXTRAS_BESIDE:
        install_beside(EXTRAS_BESIDE[extra])
    return 0


def use_new_enough_python() -> None:
    """Start again with a newer Python if this one is too old; give up if there is none."""
    if sys.version_info >= OLDEST_PYTHON:
        return
    for name in NEWER_PYTHONS:
        path = shutil.which(name)
        if path:
            os.execv(path, [path, *sys.argv])
    wanted = ".".join(map(str, OLDEST_PYTHON))
    found = sys.version.split()[0]
    fail(f"{sys.executable} is Python {found}; install Python {wanted} or newer, as python{wanted} on PATH")


def load_prerequisites():  # type: ignore[no-untyped-def]
    """Return the module utvm.prerequisites without importing the package, which is not installed yet."""
    spec = importlib.util.spec_from_file_location("prerequisites", ROOT / "src" / "utvm" / "prerequisites.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def install_system_packages(prerequisites, wanted) -> None:  # type: ignore[no-untyped-def]
    """Install what is missing with apt-get, as root or through sudo; give up where neither can be had."""
    absent = prerequisites.missing(wanted)
    if not absent:
        return
    prefix = become_root()
    if shutil.which("apt-get") and prefix is not None:
        say(f"installing system packages for {', '.join(item.name for item in absent)} (a minute or two)")
        error = run([*prefix, "apt-get", "update", "--quiet", "--quiet"], give_up=False)
        if error:
            print(error, file=sys.stderr)
        run([*prefix, *prerequisites.install_command(absent)])
        absent = prerequisites.missing(wanted)
    if absent:
        names = ", ".join(item.name for item in absent)
        how = prerequisites.how_to_install(absent)
        fail(f"missing on this system: {names}. To go on:\n{how}\nThen run make again.")


def become_root() -> list[str] | None:
    """Return what to put before a command so that root runs it; None if nothing does without a password."""
    if os.geteuid() == 0:
        return ["env", "DEBIAN_FRONTEND=noninteractive"]
    sudo = ["sudo", "--non-interactive"]
    if shutil.which("sudo") and subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode == 0:
        return [*sudo, "env", "DEBIAN_FRONTEND=noninteractive"]
    return None


def install_python_packages(extra: str) -> None:
    """Set up .venv for an extra, or give up."""
    set_up_environment(VENV, extra)


def install_beside(extra: str) -> None:
    """Set up .venv-EXTRA for an extra, or the first of several, and pytest; where that fails, go on without."""
    set_up_environment(ROOT / f".venv-{extra.split(',')[0]}", extra, "pytest", give_up=False)


def set_up_environment(folder: Path, extra: str, *further: str, give_up: bool = True) -> None:
    """Make a virtual environment if it is not there; install this package with an extra unless a stamp says it is done.

    Without `give_up`, the file `absent` in the folder holds the reason of a failure. That too is tried again only when
    pyproject.toml changes or the folder is removed.
    """
    stamp, absent, python = folder / f"utvm-{extra}.stamp", folder / "absent", folder / "bin" / "python"
    project = (ROOT / "pyproject.toml").read_bytes()
    state = hashlib.sha256(os.fsencode(ROOT) + project).hexdigest()
    is_tried = stamp.exists() and stamp.read_text(encoding="utf-8") == state
    if is_tried and (python.exists() or absent.exists()):
        return
    error = ""
    if not python.exists():
        say(f"making {folder.name}")
        error = run([sys.executable, "-m", "venv", "--clear", str(folder)], give_up=give_up)
    folder.mkdir(exist_ok=True)
    if not error:
        say(f"installing Python packages for '{extra}' into {folder.name}")
        absent.write_text("its installation was interrupted", encoding="utf-8")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        error = run([*pip, "--editable", f"{ROOT}[{extra}]", *further], give_up=give_up)
    if error:
        absent.write_text(error, encoding="utf-8")
        say(f"going on without '{extra}'; remove {folder.name} to try again: {error}")
    else:
        absent.unlink()
    stamp.write_text(state, encoding="utf-8")


def run(command: list[str], *, give_up: bool = True) -> str:
    """Run a command quietly and return why it failed, in a line, or nothing.

    Show all that a failed command said and stop, unless told otherwise.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode == 0:
        return ""
    if give_up:
        print(done.stdout, file=sys.stderr)
        fail(f"this command failed with status {done.returncode}, its output is above: {' '.join(command)}")
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [f"status {done.returncode}"])[-1]


def say(message: str) -> None:
    """Tell what happens."""
    print(f"set-up: {message}", flush=True)


def fail(message: str) -> None:
    """Tell what the user has to do, and stop."""
    print(f"set-up: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main())
