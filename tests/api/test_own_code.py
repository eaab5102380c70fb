"""C of one's own on boards: the page's code as it stands there, and what can go wrong."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import utvm

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-code.md"
BOARD = "qemu-cortex-m7"
CODE = """
#include <math.h>
#include "own/scale.h"
void grow(const float *x, float *y, int n) { for (int i = 0; i < n; i++) y[i] = SCALE * expf(x[i]); }
int hang(int on) { while (on) {} return 1; }
static int hidden(void) { return 0; }
"""


def test_the_page_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    ((code, python),) = zip(*(re.findall(rf"```{kind}\n(.*?)```", page, re.S) for kind in ("c", "python")), strict=True)
    assert len(python.splitlines()) <= 15
    (tmp_path / "fir.c").write_text(code)
    monkeypatch.chdir(tmp_path)
    exec(compile(python, str(PAGE), "exec"), {})
    said = capsys.readouterr().out.splitlines()
    shown = [line.strip() for line in page.partition("prints\n")[2].splitlines() if line.startswith("    ")]
    # Counts are those of a compiler's version; all words must be the same.
    assert [_words(line) for line in said] == [_words(line) for line in shown]
    assert all(line.split()[1] == "True" for line in said)


def test_what_goes_wrong_is_said_and_the_session_goes_on(tmp_path: Path) -> None:
    (tmp_path / "include" / "own").mkdir(parents=True)
    (tmp_path / "include" / "own" / "scale.h").write_text("#define SCALE 2.0f\n")
    (tmp_path / "grow.c").write_text(CODE)
    files = [tmp_path / "grow.c", tmp_path / "include"]
    image = utvm.build_c(BOARD, files, entry=["grow", "hang"])
    x = np.linspace(-1, 1, 33, dtype=np.float32).reshape(3, 11)
    with utvm.connect(BOARD) as session:
        with pytest.raises(utvm.UtvmError, match="no image is loaded"):
            session.measure("grow", [x])
        session.load(image)
        for arguments, message in (
            ([1.5], "argument 0 is a float"),
            ([1 << 32], "more than 32 bits"),
            ([np.array(["a"])], "array of <U1"),
            (x, "no list of arguments"),
            ([np.zeros(1 << 24, np.uint8)], "the arrays don't fit"),
        ):
            with pytest.raises(utvm.UtvmError, match=message):
                session.measure("grow", arguments)  # type: ignore[arg-type]
        with pytest.raises(utvm.UtvmError, match="did not return"):
            session.measure("hang", [1], timeout=0.5)
        run = session.measure("grow", [x, np.zeros_like(x), x.size])
        alone = session.measure("hang", [0])
        assert alone.value == 1
        assert repr(alone).startswith("FunctionRun(Measurement(")
    assert np.allclose(run.outputs[1], 2 * np.exp(x), rtol=1e-6)
    assert np.array_equal(run.outputs[0], x)
    assert run.instructions
    assert repr(run).count("\n") < 3
    assert "<table>" in run._repr_html_()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: utvm.build_c(BOARD, {"a.c": CODE}, entry="grow"), "scale.h"),
        (lambda: utvm.build_c(BOARD, {"a.c": "static int f(void) { return 0; }"}, entry="f"), "no function 'f' in a.c"),
        (lambda: utvm.build_c(BOARD, {"a.c": ""}, entry=()), "no function is to be called"),
        (lambda: utvm.build_c(BOARD, "nowhere.c", entry="f"), "nowhere.c can't be read"),
        (lambda: utvm.build_c(BOARD, {"../a.h": ""}, entry="f"), "can't be built"),
        (lambda: utvm.build_c(BOARD, {}, entry="f"), "there is no C to compile"),
        (lambda: utvm.build_c(BOARD, str(Path(__file__).parent), entry="f"), "of a folder only its headers are taken"),
        (lambda: utvm.build_c(BOARD, 5, entry="f"), "sources=5 is of type int"),  # type: ignore[arg-type]
    ],
)
def test_wrong_arguments_are_our_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(utvm.UtvmError, match=message):
        call()


def _words(line: str) -> list[str]:
    return [word for word in line.split() if not word.isdigit()]
