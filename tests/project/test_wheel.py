"""What the package has in itself, so that it works away from a checkout."""

import subprocess
import sys
from pathlib import Path

import utvm
from utvm.demo import EXAMPLE

ROOT = Path(__file__).resolve().parents[2]


def test_the_package_has_the_example_of_the_checkout() -> None:
    for name in ("cifar10_cnn.tflite", "labels.txt"):
        assert (EXAMPLE.parent / name).read_bytes() == (ROOT / "examples" / "cifar10" / name).read_bytes()
    assert EXAMPLE.is_relative_to(Path(utvm.__file__).parent)


def test_every_file_of_the_package_is_in_its_data() -> None:
    """Of each folder with files that are no Python, pyproject.toml has a pattern."""
    import tomllib

    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["utvm"]
    package = ROOT / "src" / "utvm"
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    others = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert len(others) > len(patterns)
    assert not sorted(others - packed)


def test_the_demonstration_runs_in_any_directory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "utvm", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "a cat" in done.stdout
