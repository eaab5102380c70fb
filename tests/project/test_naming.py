"""Text from outside can't leave where it is put: any bytes, any unicode, in every output format."""

import re
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codegen.test_golden import small_network
from tests.support.cases import drawn_cases
from utvm import cli
from utvm.boards import BoardError, load_board
from utvm.boards.draft import BoardDraft, MemoryRange
from utvm.codegen import comment, port_names
from utvm.frontends.tflite_writer import write_tflite
from utvm.graph import DType, Tensor
from utvm.naming import LONGEST_NAME, RESERVED, identifier, library_name, plain
from utvm.report.page import escape, html_page

HOSTILE = (
    "*/ int system(); /*",
    "*\\int system();\\*",
    "*\\/",
    "/" * 9 + "*" * 9 + "/",
    "*??/",
    "a\n#error no",
    "a\r#error no\x0b\x0c\u2028\u2029",
    "`$(id)`; rm -rf . #",
    "</title><script>alert(1)</script>",
    "]]>&amp;<![CDATA[",
    '" onload="x',
    "\x00\x01\x1b[31m\x7f\x9b\ud800\udcff",
    "\u202e} /* \u2066",
    "${X} $(X) %s %n {0} {{",
    "x" * 5000,
    "",
    "_",
    "0",
    "日本語",
    "İı",
    "\U0001f600",
)
TEXTS = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(), max_size=60),
    st.text("*/\\?\n\r abc", max_size=40),
    st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")),
)
COMMENT = re.compile(r"/\*((?!\*/|/\*).)*\*/", re.DOTALL)


@drawn_cases(40)
@given(TEXTS)
def test_any_text_is_an_identifier_or_plain(text: str) -> None:
    for name in (identifier(text, "x"), library_name(text)):
        assert re.fullmatch("[a-z][a-z0-9_]*", name)
        assert len(name) <= LONGEST_NAME
        assert library_name(library_name(text)) == library_name(text)
    assert library_name(text) not in RESERVED
    assert re.fullmatch(r"[A-Za-z0-9 _.,:;/()\[\]+=-]*", plain(text))


@drawn_cases(40)
@given(TEXTS)
def test_a_comment_holds_any_text(text: str) -> None:
    for written in (comment(text), comment(f"before {text} after"), comment(plain(text)), comment(f"'{plain(text)}'")):
        assert COMMENT.fullmatch(written), written
        assert "\\" not in written
        assert "??" not in written


@drawn_cases(2)
@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_compilers_find_nothing_in_comments(texts: list[str]) -> None:
    source = "\n".join(comment(part) for text in texts for part in (text, plain(text))) + "\nint x;\n"
    flags = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-"]
    done = subprocess.run(
        ["gcc", *flags], input=source.encode(errors="surrogatepass"), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")


@drawn_cases(10)
@given(st.lists(TEXTS, min_size=2, max_size=6))
def test_ports_have_names_of_their_own(texts: list[str]) -> None:
    names = port_names([Tensor(name=text, shape=(1,), dtype=DType.INT8) for text in texts], "input")
    assert len(set(names)) == len(texts)
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in names)


@drawn_cases(40)
@given(TEXTS)
def test_pages_and_pictures_hold_any_text(text: str) -> None:
    written = f'<svg xmlns="x"><text title="{escape(text)}">{escape(text)}</text></svg>'
    (element,) = ElementTree.fromstring(written.encode())
    assert len(element) == 0
    page = html_page(text, "", "")
    assert page.count("<title>") == page.count("</title>") == 1
    assert "<script" not in page


@drawn_cases(20)
@given(TEXTS)
def test_toml_holds_any_text(text: str) -> None:
    draft = BoardDraft(
        name="x", description=text, core="cortex-m4", ram=(MemoryRange(origin=0, length=1024),), pyocd=text
    )
    read = tomllib.loads(draft.toml().encode(errors="replace").decode())
    assert set(read) == {"description", "core", "cycle_counter", "silicon", "link", "image", "memory"}


@pytest.mark.parametrize(
    "name", ["string", "stdint", "math", "time", "assert", "main", "utvm", "utvm_models", "int", "class", "Time", "hal"]
)
def test_names_that_headers_and_languages_have_get_another(name: str) -> None:
    assert library_name(name) == f"model_{name.lower()}"


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("string", "model_string: files and symbols named string would clash with those of others"),
        ("kws_weights", "kws_weights_model: files and symbols named kws_weights would clash with those of others"),
        ("1629_pad", "model_1629_pad: names in C begin with a letter of a to z"),
        ("日本語", "model: names in C begin with a letter of a to z"),
        ("My Net", None),
        ("m" * 90, None),
    ],
)
def test_compile_says_why_a_model_is_named_otherwise(
    asked: str, line: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model.tflite"
    model.write_bytes(write_tflite(small_network()))
    options = ["--board", "qemu-cortex-m4", "--name", asked, "-o", str(tmp_path / "out")]
    assert cli.main(["compile", str(model), *options]) == 0
    said = [text for text in capsys.readouterr().out.splitlines() if text.startswith("  name ")]
    assert said == ([] if line is None else [f"  name   {line}"])
    if line is not None:
        assert line.startswith(f"{library_name(asked)}: ")


def test_names_that_nobody_has_stay() -> None:
    for name in ("model", "cifar10_cnn", "kws_dscnn_int8", "two", "net_v2", "stringy"):
        assert library_name(name) == name
    assert library_name("kws_weights") == "kws_weights_model"
    assert library_name("9lives") == "model_9lives"


def test_no_header_of_an_installed_c_library_is_shadowed() -> None:
    folders = [
        *Path("/usr/lib/gcc").glob("*/*/include"),
        *Path("/usr/lib/picolibc").glob("*/include"),
        *map(Path, ("/usr/include/newlib", "/usr/lib/avr/include")),
    ]
    headers = {path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.h")}
    assert not {name for name in headers if library_name(name) == name}


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a*b", "a b", "-a", "a\nb"])
def test_a_board_file_has_a_name_that_c_can_hold(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.toml"
    path.write_text('description = "x"\n')
    with pytest.raises(BoardError, match="rename the file"):
        load_board(path)
