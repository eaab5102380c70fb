"""Emulated boards whose cores have the DSP extension, opened once for all tests of kernels."""

from collections.abc import Iterator

import pytest

import utvm
from utvm.device import Session


@pytest.fixture(scope="session", params=["qemu-cortex-m4", "qemu-cortex-m7", "qemu-cortex-m33", "qemu-cortex-m55"])
def board(request: pytest.FixtureRequest) -> Iterator[Session]:
    with utvm.connect(request.param) as session:
        yield session
