"""Errors that say what was found, what was expected and what to do next.

Every error a user can meet is a `TapetumError`; the command line prints its text and ends with its `exit_code`.
"""

from __future__ import annotations

from typing import ClassVar


class TapetumError(Exception):
    """A failure told in three parts: found, expected, next step.

    Args:
        found: what was met, naming file and row where there is one.
        expected: what would have been right.
        next_step: the command or edit that mends it.

    Example:
        >>> print(TapetumError("no column 'pid' in clinic.csv", "one of: patient, eye", "--map patient=eye"))
        no column 'pid' in clinic.csv
          expected: one of: patient, eye
          next: --map patient=eye
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, found: str, expected: str = "", next_step: str = "") -> None:
        self.found = found
        self.expected = expected
        self.next_step = next_step
        lines = [found]
        if expected:
            lines.append(f"  expected: {expected}")
        if next_step:
            lines.append(f"  next: {next_step}")
        super().__init__("\n".join(lines))


class UsageError(TapetumError):
    """The command or configuration is wrong: unknown name, unknown option, bad value (exit code 2)."""

    exit_code: ClassVar[int] = 2


class DataError(TapetumError):
    """The data are not what they claim to be: missing column, unreadable image, wrong shape."""


class ArtefactError(TapetumError):
    """A file on disk is absent, of another kind, of another schema or damaged."""


class LeakageError(TapetumError):
    """A patient or a duplicate stands on both sides of a split, or the test set was used to choose."""


class UndefinedError(TapetumError):
    """The quantity does not exist for this input (one class only, an empty mask); never reported as 0."""


class MissingExtraError(TapetumError):
    """An optional dependency is not installed."""
