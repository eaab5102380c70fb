"""The onnx package's own node tests: as many pass as the page says."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections import Counter
from pathlib import Path

import onnx
import pytest

ROOT = Path(__file__).parents[2]


def test_the_page_of_conformance_is_true() -> None:
    pages = (ROOT / "docs" / "onnx-conformance.md").read_text()
    if f"onnx {onnx.__version__}\n" not in pages:
        pytest.skip(f"the page is about another version than onnx {onnx.__version__}")
    spec = importlib.util.spec_from_file_location("conformance", ROOT / "benchmarks" / "onnx_conformance.py")
    assert spec is not None
    assert spec.loader is not None
    conformance = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conformance)
    passed: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in conformance.collect_testcases(None):
            kind, good = conformance.outcome(case.model, *case.data_sets[0])
            passed[kind] += bool(good)
    said = {kind: int(count) for kind, count in re.findall(r"^\| (\w+) \| (\d+) \| \d+ \|$", pages, re.MULTILINE)}
    assert len(said) > 60
    assert {kind: passed[kind] for kind in said} == said
