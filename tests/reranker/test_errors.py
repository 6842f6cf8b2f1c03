"""Errors can be sent between Ray processes."""

import pickle

import pytest

from reranker.errors import RerankerError
from tests.deployments.http.test_refusals import EXAMPLES


@pytest.mark.parametrize("error", EXAMPLES.values(), ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_and_are_one_line(error: RerankerError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert "\n" not in str(error)
