"""Simulated chips for tests."""

from collections.abc import Iterator

import pytest

from tests.support.chip.process import ChipProcess


@pytest.fixture
def chip(core: str) -> Iterator[ChipProcess]:
    """A chip with the core that the test names, in a process of its own."""
    with ChipProcess(core) as started:
        yield started
