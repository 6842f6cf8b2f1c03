"""Texts to send, prepared once."""

import pytest

from cluster.bench.http.texts import Texts


@pytest.fixture(scope="session")
def texts() -> Texts:
    return Texts(seed=0)
