"""Exports never destroy: foreign and edited files stay, old files stay whole, leftovers of our own go."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.exports import small_model
from utvm import cli
from utvm.deploy import DirectoryError, write_beside, write_directory
from utvm.deploy.directory import COMPILED, RECORD
from utvm.deploy.replacing import UNFINISHED

OLD = {"a.c": b"old", "src/b.c": b"old too", "deep/er/c.txt": b"x"}
NEW = {"a.c": b"new", "d.h": b"added"}


def held(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (RECORD, COMPILED)
    }


def test_an_export_replaces_its_own_and_removes_what_it_no_longer_has(tmp_path: Path) -> None:
    assert write_directory(tmp_path / "x" / "y", OLD, owner="m") == tuple(tmp_path / "x" / "y" / name for name in OLD)
    write_directory(tmp_path / "x" / "y", NEW, owner="m")
    assert held(tmp_path) == {f"x/y/{name}": data for name, data in NEW.items()}
    assert not (tmp_path / "x" / "y" / "src").exists()


@pytest.mark.parametrize("name", ["main.c", "d.h", ".hidden", "sub/notes", "umlaut-ä", "with\nnewline"])
def test_foreign_files_are_named_and_stay(name: str, tmp_path: Path) -> None:
    write_directory(tmp_path, OLD, owner="m")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"precious")
    with pytest.raises(DirectoryError, match="--force") as caught:
        write_directory(tmp_path, NEW, owner="m")
    assert name in str(caught.value)
    assert held(tmp_path) == OLD | {name: b"precious"}
    write_directory(tmp_path, NEW, owner="m", force=True)
    assert held(tmp_path) == {name: b"precious"} | NEW


def test_edited_files_and_exports_of_others_are_not_replaced(tmp_path: Path) -> None:
    write_directory(tmp_path, OLD, owner="m")
    with pytest.raises(DirectoryError, match=r"the export of m.*a\.c"):
        write_directory(tmp_path, NEW, owner="other")
    (tmp_path / "a.c").write_bytes(b"mine now")
    with pytest.raises(DirectoryError, match=r"changed since their export: a\.c"):
        write_directory(tmp_path, NEW, owner="m")
    assert (tmp_path / "a.c").read_bytes() == b"mine now"


def test_files_and_links_in_the_way_are_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(DirectoryError, match="no directory"):
        write_directory(tmp_path / "file", NEW, owner="m")
    with pytest.raises(DirectoryError, match="can't be written"):
        write_directory(tmp_path / "file" / "below", NEW, owner="m")
    (tmp_path / "taken" / "a.c").mkdir(parents=True)
    with pytest.raises(DirectoryError, match="is a directory"):
        write_directory(tmp_path / "taken", NEW, owner="m", force=True)
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.c").symlink_to(outside)
    with pytest.raises(DirectoryError, match=r"a\.c"):
        write_directory(tmp_path / "linked", NEW, owner="m")
    write_directory(tmp_path / "linked", NEW, owner="m", force=True)
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"owner": 1, "files": {"../../precious": "x"}}', "\xff"])
def test_a_damaged_record_owns_nothing(record: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    folder = tmp_path / "x" / "y"
    folder.mkdir(parents=True)
    (folder / RECORD).write_bytes(record.encode("latin-1"))
    write_directory(folder, NEW, owner="1")
    assert held(folder) == NEW
    assert (tmp_path / "precious").exists()


def test_a_full_disk_leaves_old_files_whole(tmp_path: Path) -> None:
    """A limit of the size of files stands in for it, at each number of bytes after which it can strike."""
    write_directory(tmp_path / "x", OLD, owner="m")
    before = held(tmp_path)
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom utvm.deploy import write_directory\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))\n"
        "write_directory(Path(sys.argv[1]), {'a.c': b'n' * 300, 'e.c': b'n' * 1000}, owner='m')\n"
    )
    for folder in (tmp_path / "x", tmp_path / "new" / "one"):
        done = subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=False)
        assert "DirectoryError" in done.stderr
        assert "File too large; what was there is unchanged" in done.stderr
    assert held(tmp_path) == before
    assert not (tmp_path / "new").exists()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


class Refusing:
    """Stands in for `Path.replace`: renames out of `new` succeed `allowed` times, those out of `old` if `undo`."""

    def __init__(self, allowed: int, error: BaseException, undo: bool = True) -> None:
        self.allowed, self.error, self.undo = allowed, error, undo

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rename = Path.replace

        def replace(path: Path, target: Path) -> Path:
            if UNFINISHED in str(path) and "old" in path.parts and not self.undo:
                raise PermissionError(1, "Operation not permitted")
            if "new" in path.parts:
                if self.allowed == 0:
                    raise self.error
                self.allowed -= 1
            return rename(path, target)

        monkeypatch.setattr(Path, "replace", replace)


CHANGED = {"a.c": b"new", "src/b.c": b"new too", "lib/z.c": b"added", "src/deep/y.c": b"added too"}


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("allowed", range(len(CHANGED) + 1))
def test_a_rename_that_fails_in_the_middle_puts_all_back(
    allowed: int, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_directory(tmp_path, OLD, owner="m")
    before = sorted(tmp_path.rglob("*"))
    if not links:
        monkeypatch.setattr("os.link", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    Refusing(allowed, OSError(5, "Input/output error")).patch(monkeypatch)
    with pytest.raises(DirectoryError, match="Input/output error; what was there is unchanged"):
        write_directory(tmp_path, CHANGED, owner="m")
    assert held(tmp_path) == OLD
    assert sorted(tmp_path.rglob("*")) == before
    monkeypatch.undo()
    write_directory(tmp_path, CHANGED, owner="m")
    assert held(tmp_path) == CHANGED


def test_an_interrupt_in_the_middle_puts_all_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_directory(tmp_path, OLD, owner="m")
    Refusing(2, KeyboardInterrupt()).patch(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write_directory(tmp_path, CHANGED, owner="m")
    assert held(tmp_path) == OLD


def test_what_can_not_be_put_back_is_named_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_directory(tmp_path, OLD, owner="m")
    Refusing(2, OSError(5, "Input/output error"), undo=False).patch(monkeypatch)
    with pytest.raises(DirectoryError, match=r"src/b\.c, a\.c could not be put back, all others are") as caught:
        write_directory(tmp_path, CHANGED, owner="m")
    assert "unchanged" not in str(caught.value)
    (old,) = tmp_path.glob(f"{UNFINISHED}*/old")
    assert str(old) in str(caught.value)
    assert {name: (old / name).read_bytes() for name in ("a.c", "src/b.c")} == {"a.c": b"old", "src/b.c": b"old too"}
    monkeypatch.undo()
    with pytest.raises(DirectoryError, match="changed since their export"):
        write_directory(tmp_path, CHANGED, owner="m")
    write_directory(tmp_path, CHANGED, owner="m", force=True)
    assert held(tmp_path) == CHANGED


def test_a_leftover_that_stays_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_directory(tmp_path, OLD, owner="m")
    monkeypatch.setattr(
        Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied"))
    )
    with pytest.raises(DirectoryError, match=r"all files are written, but .*src/b\.c .*Permission denied; remove it"):
        write_directory(tmp_path, NEW, owner="m")


def test_an_export_by_an_earlier_version_is_said(tmp_path: Path) -> None:
    manifest = b'{"format": 1, "utvm": "0.1.0", "model_sha256": "0", "name": "m", "files": {}}'
    for name, data in {**OLD, "manifest.json": manifest}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    with pytest.raises(DirectoryError, match=r"earlier version of µTVM.*a\.c.* or say --force"):
        write_directory(tmp_path, NEW, owner="m")
    assert held(tmp_path) == {**OLD, "manifest.json": manifest}
    write_directory(tmp_path, NEW, owner="m", force=True)
    assert held(tmp_path) == {**OLD, "manifest.json": manifest} | NEW


def test_what_a_killed_export_left_is_no_obstacle(tmp_path: Path) -> None:
    write_directory(tmp_path, OLD, owner="m")
    (tmp_path / ".utvm-new-abc").mkdir()
    (tmp_path / ".utvm-new-abc" / "half.c").write_bytes(b"h")
    write_directory(tmp_path, NEW, owner="m")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([RECORD, "a.c", "d.h"])


def test_the_command_refuses_a_project_and_changes_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model(tmp_path)
    project = tmp_path / "project"
    project.mkdir()
    (project / "Makefile").write_text("all:\n")
    command = ["export", str(model), "--board", "qemu-cortex-m4"]
    assert cli.main([*command, "--format", "make", "-o", str(project)]) == 2
    assert "Makefile" in capsys.readouterr().err
    assert held(project) == {"Makefile": b"all:\n"}
    target = tmp_path / "out"
    for kind, mark in (("arduino", "library.properties"), ("zephyr", "zephyr/module.yml"), ("make", "Makefile")):
        assert cli.main([*command, "--format", kind, "-o", str(target)]) == 0
        assert mark in held(target)
        assert cli.main(["verify", str(target), "--against", str(model), "--inputs", "2"]) == 0
    assert not {"library.properties", "zephyr/module.yml", "src/small.c"} & set(held(target))


def test_compile_replaces_only_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, other, target = small_model(tmp_path), small_model(tmp_path, "other"), tmp_path / "out"
    board = ["--board", "qemu-cortex-m4", "-o", str(target)]
    target.mkdir()
    (target / "main.c").write_bytes(b"mine")
    for command in (["compile", str(model)], ["compile", str(model), "--small"], ["compile", str(other)]):
        assert cli.main([*command, *board]) == 0
    compiled = held(target)
    assert {"small.c", "other.c", "main.c"} <= compiled.keys()
    (target / "small.c").write_bytes(b"edited")
    (target / "plan.svg").write_bytes(b"mine")
    capsys.readouterr()
    assert cli.main(["compile", str(model), "--plan", *board]) == 2
    assert "changed since: small.c, plan.svg. Name another" in capsys.readouterr().err
    assert held(target) == compiled | {"small.c": b"edited", "plan.svg": b"mine"}
    assert cli.main(["compile", str(model), "--plan", "--force", *board]) == 0
    assert held(target).keys() == compiled.keys() | {"plan.svg"}
    assert held(target)["main.c"] == b"mine"


def test_compile_beside_an_export_leaves_it_whole(tmp_path: Path) -> None:
    write_directory(tmp_path, OLD, owner="m")
    with pytest.raises(DirectoryError, match=r"not compiled or were changed since: a\.c"):
        write_beside(tmp_path, {"a.c": b"other", "b.c": b"x"})
    assert held(tmp_path) == OLD
    write_beside(tmp_path, {"a.c": b"old", "b.c": b"x"})
    assert held(tmp_path) == OLD | {"b.c": b"x"}
