"""Errors tell what was found, what was expected and what to do next, and know their exit code."""

from __future__ import annotations

import pytest

from tapetum.core import errors
from tapetum.core.errors import TapetumError, UsageError

CLASSES = [
    c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, TapetumError) and c is not TapetumError
]


def test_parts_are_kept_and_told():
    error = TapetumError("found", "expected", "do this")
    assert str(error) == "found\n  expected: expected\n  next: do this"
    assert (error.found, error.expected, error.next_step) == ("found", "expected", "do this")
    assert str(TapetumError("found", next_step="do this")) == "found\n  next: do this"
    assert str(TapetumError("found")) == "found"


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_caught_as_tapetum_error(cls):
    with pytest.raises(TapetumError, match="found"):
        raise cls("found", "expected")
    assert cls.exit_code == (2 if cls is UsageError else 1)
    assert cls.__doc__


def test_the_list_of_errors():
    assert {c.__name__ for c in CLASSES} == {
        "UsageError", "DataError", "ArtefactError", "LeakageError", "UndefinedError", "MissingExtraError",
    }  # fmt: skip
