"""The bridge to TVM, in the virtual environment that `make test` sets up for it; skipped where there is none."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from utvm.errors import UtvmError

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-tvm" / "bin" / "python"
REASON = ROOT / ".venv-tvm" / "absent"
SECONDS = 900


def test_the_bridge_in_its_own_environment() -> None:
    if not PYTHON.exists() or REASON.exists():
        why = REASON.read_text(encoding="utf-8") if REASON.exists() else "`make test` makes it"
        pytest.skip(f"no environment with TVM: {why}")
    options = ["--noconftest", "-q", "-x", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(ROOT)]
    command = [str(PYTHON), "-m", "pytest", *options, str(ROOT / "tests" / "bridge" / "check_bridge.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_version_is_refused_with_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda package: "0.28.0")
    for module in [name for name in sys.modules if name.startswith("utvm.tvm")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(
        UtvmError, match=r"apache-tvm 0\.27\.0\.post1 \(there is 0\.28\.0\).* -m pip install apache-tvm=="
    ):
        __import__("utvm.tvm")


def test_the_extra_brings_what_is_checked() -> None:
    spec = importlib.util.spec_from_file_location("versions", ROOT / "src" / "utvm" / "tvm" / "versions.py")
    assert spec is not None
    assert spec.loader is not None
    versions = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(versions)
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"][
        "tvm"
    ]
    assert {f"{package}=={version}" for package, version in versions.PINNED.items()} <= set(extra)
    assert {re.split("[<>=]", each)[0] for each in extra} == {*versions.PINNED, *versions.NEEDED}
