"""The table of allowed imports holds, and an import that it does not allow is reported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="import-linter comes with the extra 'lint'")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with this one's contract and a package `utvm` that holds only what a test puts there."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    package = tmp_path / "src" / "utvm"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    return tmp_path


def lint_imports(directory: Path, python_path: str = "") -> subprocess.CompletedProcess[str]:
    """Check the contract of the project in a directory."""
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": python_path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def lint(project: Path, **sources: str) -> subprocess.CompletedProcess[str]:
    """Write modules, named with `__` for a dot, and check the contract."""
    for name, text in sources.items():
        path = project / "src" / "utvm" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text, encoding="utf-8")
    return lint_imports(project, f"{project / 'src'}{os.pathsep}{ROOT}")


def test_an_allowed_import_is_kept(project: Path) -> None:
    done = lint(
        project,
        graph__tensor="from utvm import errors\n",
        errors="",
        passes__fold="import utvm.graph.tensor\n",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_import_upwards_is_reported_with_its_line(project: Path) -> None:
    done = lint(project, graph__tensor="\nimport utvm.kernels.base\n", kernels__base="")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "utvm.graph.tensor -> utvm.kernels.base (line 2): 'graph' may not import 'kernels'" in done.stdout


def test_an_import_inside_a_function_is_reported(project: Path) -> None:
    done = lint(project, toolchain__elf="def f():\n    from utvm.boards import toml\n", boards__toml="")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "'toolchain' may not import 'boards'" in done.stdout


def test_a_package_that_the_table_does_not_know_is_reported(project: Path) -> None:
    done = lint(project, attic__old="")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "'attic' is not in the table" in done.stdout


def test_this_project_keeps_the_contract() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
