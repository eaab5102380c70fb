"""The page of a tuning run: offline, without scripts, and drawn without a complaint by a browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.tuning.support import record
from utvm.report import LayerTuning, TuningReport, tuning_html
from utvm.tuning import Outcome


def report() -> TuningReport:
    """Two layers: one with trials of two families, a failure and a wrong result; one without any."""
    trials = [
        record(config={"m": m, "n": n}, cycles=1000 + 40 * m - 90 * n, time=float(10 * m + n))
        for m in (1, 2)
        for n in (1, 2)
    ]
    trials += [record(family="portable <x>", config={}, cycles=9000, time=50.0)]
    trials += [record(config={"m": 9, "n": 9}, outcome=Outcome.HUNG, message="did not <return>", time=60.0)]
    layer = LayerTuning(
        label="Conv2D 8x8x4 -> 8x8x4", operators=("first", "second"), macs=100, space=9, trials=6, reused=0,
        wrong=("direct/m=3",), default=trials[0], best=trials[1], records=tuple(trials), code="int x = 1 < 2;",
    )  # fmt: skip
    empty = LayerTuning(
        label="Softmax 10 -> 10", operators=("last",), macs=0, space=1, trials=0, reused=0, wrong=(), default=None,
        best=None, records=(), code="",
    )  # fmt: skip
    return TuningReport(
        model="net", board="qemu-cortex-m7", core="cortex-m7", assume="", search="estimate", seconds=9.0,
        ended="that was the limit", records="store.sqlite", layers=(layer, empty),
    )  # fmt: skip


class Tags(HTMLParser):
    """Which elements a page has, and what they load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.loaded: list[str] = []
        self.places: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href")]
        self.places += [f"#{value}" for name, value in attrs if name == "id"]


def test_the_page_loads_nothing_and_shows_curves_knobs_failures_and_c() -> None:
    page = tuning_html(report())
    tags = Tags()
    tags.feed(page)
    assert "script" not in tags.found
    assert {value for value in tags.loaded if not value.startswith("data:")} == {"#layer-0", "#layer-1", "#c-0"}
    assert sorted(tags.places) == ["#c-0", "#layer-0", "#layer-1"]
    assert tags.found.count("polyline") == 1
    assert tags.found.count("circle") == 5
    for text in (
        "direct m = 1",
        "+4.7 %",
        "did not &lt;return&gt;",
        "wrong result: direct/m=3",
        "int x = 1 &lt; 2;",
        "9.47 %",
    ):
        assert text in page


def test_a_browser_draws_it_without_a_message(tmp_path: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed: `utvm doctor` says how")
    page = tmp_path / "page.html"
    page.write_text(tuning_html(report()), encoding="utf-8")
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", f"{page.as_uri()}#c-0",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert '<details open=""><summary>C of the chosen kernel' in done.stdout  # by the link to it
    curve = re.search(r'<polyline points="([^"]+)"', done.stdout)
    assert curve is not None
    assert len(curve[1].split()) == 5
    assert done.stdout.rstrip().endswith("</html>")
