"""Models with uint8 at their ends: exported, built and compared here and on an emulated core."""

from pathlib import Path

from tests.support.shared import shared
from utvm.deploy import export, verify, write_directory


def test_uint8_ends_are_exported_and_equal_everywhere(tmp_path: Path) -> None:
    model = shared("cases/tf37347_uint8_io.tflite")
    exported = export(model, "qemu-cortex-m4")
    write_directory(tmp_path, exported.contents(), owner=exported.manifest.name, force=False)
    done = verify(tmp_path, model, inputs=4)
    assert [check.failure or check.difference for check in done.checks] == [None, None]
    assert done.passed
