"""Async tests run on asyncio, as Serve does."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
