"""Protocols: one file, one way to put a model or a method to the test."""

from __future__ import annotations

from typing import Protocol

from tapetum.bench.tables.results import Results
from tapetum.bench.trial import Trial


class BenchProtocol(Protocol):
    """`(trial, *, options) -> Results`: learns on the trial's train and val patients only, reads the test set once."""

    def __call__(self, trial: Trial) -> Results:
        """Run it."""
        ...
