"""Property tests draw the same cases in every run, others for another seed, as many as are asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cases import drawn_cases


def drawn() -> list[int]:
    found = []

    @drawn_cases(times=2)
    @given(st.integers())
    def note(value: int) -> None:
        found.append(value)

    note()
    return found


def test_a_seed_draws_other_cases_and_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UTVM_PROPERTY_EXAMPLES", "20")
    sets = []
    for seed in ("1", "1", "2"):
        monkeypatch.setenv("UTVM_PROPERTY_SEED", seed)
        sets.append(drawn())
    monkeypatch.delenv("UTVM_PROPERTY_SEED")
    plain = [drawn(), drawn()]
    assert sets[0] == sets[1] != sets[2]
    assert plain[0] == plain[1] != sets[0]
    assert {len(values) for values in (*sets, *plain)} == {40}
