"""docs/extending/operator.md, followed word by word in a copy of the sources: the tests that it names pass there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "extending" / "operator.md"


def test_the_guide_to_a_new_operator_works_as_it_stands(tmp_path: Path) -> None:
    for name in ("src", "tests", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    text = GUIDE.read_text(encoding="utf-8")
    there = [hunk for hunk in every_hunk(text) if (ROOT / hunk[0]).read_text(encoding="utf-8").count(hunk[2]) == 1]
    assert len(there) == 7, "the lines of the guide are not those of the sources"
    for path, removed, added in there:
        change(tmp_path / path, added, removed)
    assert "MAXIMUM" not in (tmp_path / "src/utvm/frontends/tflite_general.py").read_text(encoding="utf-8")
    for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if kind == "diff":
            for path, removed, added in hunks(block):
                change(tmp_path / path, removed, added)
        else:
            path = block.splitlines()[0].removeprefix("# ")
            (tmp_path / path).write_text(block.split("\n", 1)[1], encoding="utf-8")
    (command,) = re.findall(r"^    \.venv/bin/python -m (pytest .*)$", text, re.MULTILINE)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "-rp", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**inherited, "PYTHONPATH": str(tmp_path / "src"), "UTVM_PROPERTY_EXAMPLES": "4"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.findall(r"^PASSED (\S+)", done.stdout, re.MULTILINE)
    assert "tests/operators/test_table.py::test_the_reference_is_tflite_micro" in passed
    assert "tests/operators/test_table.py::test_kernels_on_a_core[qemu-cortex-m7]" in passed


def every_hunk(text: str) -> Iterator[tuple[str, str, str]]:
    for block in re.findall(r"^```diff\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from hunks(block)


def hunks(block: str) -> Iterator[tuple[str, str, str]]:
    """Yield (path, the lines that are there, the lines that shall be) of each hunk of a diff block."""
    for part in re.split(r"^--- ", block, flags=re.MULTILINE)[1:]:
        path, changes = part.split("\n", 1)
        for hunk in re.split(r"^@@\n", changes, flags=re.MULTILINE):
            lines = hunk.splitlines()
            assert all(line[:1] in (" ", "+", "-") for line in lines), hunk
            yield path, *("".join(f"{line[1:]}\n" for line in lines if line[0] != other) for other in "+-")


def change(path: Path, removed: str, added: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(removed) == 1, f"{path} has this {text.count(removed)} times:\n{removed}"
    path.write_text(text.replace(removed, added), encoding="utf-8")
