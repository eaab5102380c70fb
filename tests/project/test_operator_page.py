"""docs/operators.md says what the code takes."""

from pathlib import Path

from scripts.operator_table import table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operators.md"


def test_the_page_of_operators_is_that_of_the_code() -> None:
    assert PAGE.read_text(encoding="utf-8") == table(), "python -m scripts.operator_table > docs/operators.md"
